"""Read level equations, as the textbooks write them, into a `Model`.

::

    level 1: mathach ~ within(ses)
    level 2:
      intercept:   between(ses) + sector + random
      within(ses): sector + random

Level 1 is the equation of the outcome. An equation above it has the coefficient that it explains before its colon, by
the name of what the coefficient multiplies: ``intercept``, ``within(ses)``; at level 3 also those that level 2 brought
in: ``sector``, ``within(ses):sector``. Every equation has an intercept, the coefficient's mean, unless ``0 +`` removes
it. ``random`` adds a random effect of the level's units. A coefficient without an equation is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mlm_ops.errors import FormulaError
from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.formula import (
    MOST_TERMS,
    FormulaCompiler,
    check_model,
    default_group,
    formula_text,
    level_groups,
    parse_formula,
    summands,
)
from mlm_ops.language.model import PLAIN, GroupingFactor, Model, RandomBlock, Residual, Term, Variable
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import Call, Group, Name, Number, Operation, Syntax, parse_expression, parse_sides

Parsed = TypeVar("Parsed")
INTERCEPT_NAMES = frozenset({"intercept", "Intercept", "(Intercept)", "1"})


@dataclass(frozen=True)
class Random:
    """``random``, with its options.

    Attributes
    ----------
    block
        Effects of one block covary; None is a block of its own.
    covariance
        Structure of the block, if said here.
    """

    block: str | None = ""
    covariance: str | None = None


@dataclass(frozen=True)
class LevelEquation:
    """What explains a coefficient: terms, the empty one being its mean, and a random effect or none."""

    terms: tuple[Term, ...] = (Term(),)
    random: Random | None = None


class EquationCompiler(FormulaCompiler):
    """Compiles one equation; its errors begin with the place that it has among the level equations."""

    def __init__(self, text: str, place: str) -> None:
        super().__init__(text)
        self.place = place

    def fail(self, message: str, node: Syntax) -> FormulaError:
        """The error, with the equation's place and a caret under the node."""
        return FormulaError(f"{self.place}: {message}", self.text, node.position)

    def outcome_equation(self) -> tuple[Variable, list[Term]]:
        """Outcome and coefficients of level 1."""
        left, right = self.parse(parse_sides)
        parts = summands(right)
        for _, part in parts:
            if (mark := self.find_random(part)) is not None:
                raise self.fail(
                    "random marks a coefficient in its equation at level 2; at level 1 the residual is always there.",
                    mark,
                )
            self.refuse_bar(part)
        return self.variable(left), list(self.terms(parts))

    def coefficient(self) -> frozenset[Variable]:
        """The product that a coefficient multiplies; the empty one for the intercept."""
        if self.text in INTERCEPT_NAMES:
            return frozenset()
        node = self.parse(parse_expression)
        products = self.expand(node, {})
        if len(products) != 1:
            raise self.fail("An equation explains one coefficient; give each its own line.", node)
        return products[0]

    def equation(self) -> LevelEquation:
        """Predictors of a coefficient, and whether it is random."""
        random: Random | None = None
        rest = []
        for sign, part in summands(self.parse(parse_expression)):
            inner = part.inner if isinstance(part, Group) else part
            if self.is_random(inner):
                if sign == "-" or random is not None:
                    what = "cannot be subtracted; leave it out" if sign == "-" else "stands twice; keep one"
                    raise self.fail(f"random {what}.", part)
                random = self.options(inner)
                continue
            if (mark := self.find_random(part)) is not None:
                raise self.fail("random stands alone in the sum: write … + random.", mark)
            self.refuse_bar(part)
            rest.append((sign, part))
        return LevelEquation(self.terms(rest), random)

    def parse(self, how: Callable[[str], Parsed]) -> Parsed:
        """The syntax of the text; where it does not parse, the error names the equation."""
        try:
            return how(self.text)
        except FormulaError as error:
            raise FormulaError(f"{self.place}: {error}") from error

    def is_random(self, node: Syntax) -> bool:
        """``random`` or ``random(…)``; in backticks it is a column."""
        if isinstance(node, Name):
            return node.name == "random" and self.text[node.position] != "`"
        return isinstance(node, Call) and node.function == "random"

    def find_random(self, node: Syntax) -> Syntax | None:
        """Where random stands, be it inside a larger expression."""
        if self.is_random(node):
            return node
        inside: tuple[Syntax | None, ...] = ()
        if isinstance(node, Operation):
            inside = (node.left, node.right)
        elif isinstance(node, Group):
            inside = (node.inner,)
        elif isinstance(node, Call):
            inside = node.arguments
        return next((found for part in inside if part and (found := self.find_random(part))), None)

    def refuse_bar(self, node: Syntax) -> None:
        """Level equations have no ``(… | group)``."""
        bar = node.inner if isinstance(node, Group) else node
        if isinstance(bar, Operation) and bar.operator in {"|", "||"}:
            raise self.fail("Level equations mark random coefficients by random, not by (… | group).", bar)

    def options(self, node: Syntax) -> Random:
        """``random(independent)``, ``random(block=2, covariance=diagonal)``."""
        if not isinstance(node, Call):
            return Random()
        words = [a.name if isinstance(a, Name) else "" for a in node.arguments]
        named = {key: _word(value) for key, value in node.options}
        if set(words) - {"independent"} or set(named) - {"block", "covariance"} or "" in named.values():
            raise self.fail("random takes independent, block=name and covariance=structure.", node)
        if words and named:
            raise self.fail(
                "An independent effect is a block of its own, of one variance; drop the other options.", node
            )
        return Random(None if words else named.get("block", ""), named.get("covariance"))


def _word(node: Syntax) -> str:
    if isinstance(node, Number):
        return f"{node.value:g}"
    return node.name if isinstance(node, Name) else ""


_LEVEL = re.compile(r"level[ _]?(\d{1,4})", re.IGNORECASE)
_HEADING = re.compile(rf"\s*{_LEVEL.pattern}\s*:", re.IGNORECASE)
#: Of a formula or the level equations of one model.
MOST_CHARACTERS = 100_000
_FORM = "write level 1: outcome ~ predictors, and below level 2: a line such as intercept: predictors + random"


def parse_model(
    specification: str | Mapping[str, Any], levels: Sequence[str] = (), residual: Residual = PLAIN
) -> Model:
    """Compile a formula, or level equations as text or as a mapping, to a Model.

    Parameters
    ----------
    specification
        ``y ~ x + (x | g)``; or the text of level equations; or ``{"level 1": …, "level 2": {coefficient: …}}``.
    levels
        Grouping columns, lowest first.

    Raises
    ------
    FormulaError
        One sentence, with a caret where it is about a place in the text.
    """
    text = specification if isinstance(specification, str) else level_text(specification)
    if len(text) > MOST_CHARACTERS:
        raise FormulaError(
            f"The formula is too long. Got {len(text):,} characters; expected at most {MOST_CHARACTERS:,}. Give "
            "columns shorter names in a view."
        )
    if not _HEADING.match(text):
        return parse_formula(text, tuple(levels), residual)
    return _compile(_read(text), level_groups(levels), tuple(levels), residual)


def level_text(mapping: Mapping[str, Any]) -> str:
    """Level equations of a mapping as text."""
    lines = []
    for name, content in mapping.items():
        if not _LEVEL.fullmatch(name):
            raise FormulaError(
                f"Unknown key {name!r} in level equations.{did_you_mean(name, ['level 1', 'level 2', 'level 3'])} "
                "Expected level 1, level 2, and so on."
            )
        if isinstance(content, str):
            lines.append(f"{name}: {' '.join(content.split())}")
        elif isinstance(content, Mapping) and all(isinstance(value, str | None) for value in content.values()):
            lines.append(f"{name}:")
            lines += [f"  {key}: {' '.join((value or '').split())}".rstrip() for key, value in content.items()]
        else:
            raise FormulaError(f"Level equations are text. Got {content!r} under {name!r}; {_FORM}.")
    return "\n".join(lines)


def is_level(key: str) -> bool:
    """Whether a key names a level: ``level 1``."""
    return _LEVEL.fullmatch(key) is not None


def _read(text: str) -> dict[int, dict[str, str]]:
    """Equations by level and coefficient; level 1 has the one equation, under an empty key."""
    found: dict[int, dict[str, str]] = {}
    level = 0
    for line in filter(str.strip, text.splitlines()):
        heading = _HEADING.match(line)
        if heading:
            level = int(heading[1])
            if level in found:
                raise FormulaError(f"Level {level} stands twice in the level equations.", line.strip(), 0)
            found[level] = {}
            key, equation = "", line[heading.end() :].strip()
            if level > 1 and equation:
                raise FormulaError(
                    f"Level {level} has an equation for each coefficient, on lines of their own; {_FORM}.", line, 0
                )
            if level > 1:
                continue
        else:
            split = _key(line.strip())
            if split is None or level < 2:
                raise FormulaError(f"The level equations do not parse: {_FORM}.", line.strip(), 0)
            key, equation = split
        if key in found[level]:
            raise FormulaError(f"Level {level} has two equations for {key!r}; put them together.", line.strip(), 0)
        found[level][key] = equation
    if 1 not in found:
        raise FormulaError(f"Level equations begin with level 1, the equation of the outcome. Got none; {_FORM}.")
    if len(found) < max(found):
        missing = next(level for level in range(2, max(found)) if level not in found)
        raise FormulaError(
            f"Level {missing} is missing below level {max(found)}. If it explains nothing, write level {missing}: with "
            "the line intercept: 1."
        )
    return found


def _key(line: str) -> tuple[str, str] | None:
    """What stands before and behind the first colon outside backticks that ends a word."""
    quoted = False
    for i, character in enumerate(line):
        if character == "`":
            quoted = not quoted
        elif character == ":" and not quoted and (i + 1 == len(line) or line[i + 1].isspace()):
            return line[:i].strip(), line[i + 1 :].strip()
    return None


def _compile(
    equations: Mapping[int, Mapping[str, str]],
    groups: Sequence[GroupingFactor],
    levels: tuple[str, ...],
    residual: Residual,
) -> Model:
    top = max(equations)
    first = EquationCompiler(equations[1].get("", ""), "Level 1")
    outcome, coefficients = first.outcome_equation()
    blocks: list[RandomBlock] = []
    stated: list[tuple[Variable, int, GroupingFactor]] = []
    for level in range(2, top + 1):
        parsed = _parse_level(level, len(groups) + 1, equations[level], coefficients)
        if level > len(groups) + 1:
            raise _no_units(level, levels, equations[level], parsed)
        coefficients, marks = _substitute(level, coefficients, parsed)
        blocks += _blocks(level, marks, groups[level - 2])
        predictors = (v for equation in parsed.values() for term in equation.terms for v in term.variables)
        stated += [(variable, level, groups[level - 2]) for variable in dict.fromkeys(predictors)]
    random = tuple(blocks)
    fixed = tuple(sorted(coefficients, key=lambda term: len(term.variables)))
    model = Model(outcome, fixed, random, default_group(outcome, random, levels), residual)
    model = replace(model, text=formula_text(model), stated=tuple(stated))
    texts = [text for level in equations.values() for text in level.values()]
    check_model(model, next((t for t in texts if "within(" in t or "between(" in t), texts[0]))
    return model


def _parse_level(
    level: int, n_levels: int, equations: Mapping[str, str], coefficients: Sequence[Term]
) -> dict[Term, LevelEquation]:
    """Equations of one level by the coefficient that they explain."""
    known = {frozenset(term.variables): term for term in coefficients}
    compiled = [
        (key, EquationCompiler(key, f"Level {level}").coefficient(), _equation(level, key, text))
        for key, text in equations.items()
    ]
    parsed: dict[Term, LevelEquation] = {}
    for key, of, equation in compiled:
        if of not in known:
            brought_in = any(of == set(term.variables) for _, _, other in compiled for term in other.terms)
            raise _no_coefficient(level, n_levels, key, list(coefficients), brought_in and equation.random is not None)
        if known[of] in parsed:
            raise FormulaError(f"Level {level} has two equations for {key!r}; put them together.")
        parsed[known[of]] = equation
    return parsed


def _equation(level: int, key: str, text: str) -> LevelEquation:
    return EquationCompiler(text or "1", f"Level {level}, equation of {key}").equation()


def _no_coefficient(
    level: int, n_levels: int, key: str, coefficients: Sequence[Term], random_predictor: bool
) -> FormulaError:
    """The refusal of an equation for a coefficient that is none, such as a random one of the level's own predictor."""
    names = [_coefficient_name(term) for term in coefficients]
    below = "level 1 has" if level == 2 else "the levels below have"
    reason = ""
    if random_predictor and level == n_levels:
        reason = (
            f" {key} explains coefficients at level {level}, the highest: its own cannot be random, as there is no "
        )
        reason += "higher unit for it to vary over."
    elif random_predictor:
        reason = f" {key} explains coefficients at level {level}: its own can be random at level {level + 1}."
    return FormulaError(
        f"Level {level} has an equation for {key!r}, but {below} no such coefficient.{did_you_mean(key, names)} "
        f"There are {', '.join(names)}.{reason}"
    )


def _substitute(
    level: int, coefficients: Sequence[Term], parsed: Mapping[Term, LevelEquation]
) -> tuple[list[Term], list[tuple[Term, Random]]]:
    """Put a level's equations into those below: the coefficients that it leaves, and those that vary over its units."""
    kept = [term for term in coefficients if Term() in parsed.get(term, LevelEquation()).terms]
    products = {frozenset(term.variables) for term in kept}
    for term, equation in ((t, parsed[t]) for t in coefficients if t in parsed):
        for factor in (f for f in equation.terms if f.variables):
            product = Term(tuple(dict.fromkeys((*term.variables, *factor.variables))))
            if frozenset(product.variables) in products:
                raise FormulaError(
                    f"The term {product.name} stands twice: the level-{level} equation of {_coefficient_name(term)} "
                    "brings it in, and it was there before. Remove one of them."
                )
            kept.append(product)
            products.add(frozenset(product.variables))
            if len(kept) > MOST_TERMS:
                raise FormulaError(f"The level equations multiply out to more than {MOST_TERMS:,} terms; write fewer.")
    return kept, [(t, r) for t in coefficients if t in parsed and (r := parsed[t].random) is not None]


def _blocks(level: int, marks: Sequence[tuple[Term, Random]], group: GroupingFactor) -> list[RandomBlock]:
    """One block of effects that covary, or more where the marks say so."""
    members: dict[object, list[Term]] = {}
    structures: dict[object, set[str]] = {}
    for term, mark in marks:
        key = (term,) if mark.block is None else mark.block
        members.setdefault(key, []).append(term)
        structures.setdefault(key, set()).update({mark.covariance} if mark.covariance else ())
    for found in structures.values():
        if len(found) > 1:
            raise FormulaError(
                f"Random effects of level {level} that covary have one covariance structure. Got "
                f"{' and '.join(sorted(found))}; say it once, or separate them by random(block=…)."
            )
    return [
        RandomBlock(tuple(terms), group, next(iter(structures[key]), DEFAULT))
        for key, terms in ((k, sorted(t, key=lambda term: len(term.variables))) for k, t in members.items())
    ]


def _no_units(
    level: int, levels: Sequence[str], equations: Mapping[str, str], parsed: Mapping[Term, LevelEquation]
) -> FormulaError:
    """The refusal of a level that has no units."""
    got = f"levels {', '.join(levels)}" if levels else "no levels"
    example = f"[{', '.join(levels)}, …]" if levels else "school"
    varying = [key for key, equation in zip(equations, parsed.values(), strict=True) if equation.random]
    if varying and levels:
        return FormulaError(
            f"The coefficient of {varying[0]} cannot be random at level {level}: level {level - 1} is the highest, so "
            f"there is no higher unit for it to vary over. Got {got}; add the column of the level-{level} units, "
            f"levels: {example}, or remove random."
        )
    return FormulaError(
        f"Level {level} needs the column that names its units. Got {got}; add it, as in levels: {example}."
    )


def _coefficient_name(term: Term) -> str:
    return term.name if term.variables else "intercept"
