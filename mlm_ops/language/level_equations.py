"""Read level equations, as the textbooks write them, into a `Model`.

::

    level 1: mathach ~ within(ses)
    level 2:
      intercept:   between(ses) + sector + random
      within(ses): sector + random

Level 1 is the equation of the outcome. An equation of a higher level explains a coefficient, whose name stands before
the colon: ``intercept``, or the predictor that it multiplies, ``within(ses)``; at level 3 also those of level 2's
predictors: ``sector``, ``within(ses):sector``. Every equation has an intercept, the coefficient's mean, unless ``0 +``
removes it. ``random`` adds a random effect of the level's units. A coefficient without an equation is fixed.
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

Result = TypeVar("Result")
INTERCEPT_NAMES = frozenset({"intercept", "Intercept", "(Intercept)", "1"})


@dataclass(frozen=True)
class Random:
    """The word ``random`` in an equation, with its options.

    Attributes
    ----------
    block
        Name of the block, whose effects covary; None for a block of its own.
    covariance
        Structure of the block, if it stands here.
    """

    block: str | None = ""
    covariance: str | None = None


@dataclass(frozen=True)
class LevelEquation:
    """One equation above level 1: the terms that explain a coefficient (the empty one is its mean), and its effect."""

    terms: tuple[Term, ...] = (Term(),)
    random: Random | None = None


class EquationCompiler(FormulaCompiler):
    """Compiles one equation; its errors begin with its place, as in ``Level 2, equation of ses``."""

    def __init__(self, text: str, place: str) -> None:
        super().__init__(text)
        self.place = place

    def fail(self, message: str, node: Syntax) -> FormulaError:
        """Return the error, with the equation's place and a caret under the node."""
        return FormulaError(f"{self.place}: {message}", self.text, node.position)

    def outcome_equation(self) -> tuple[Variable, list[Term]]:
        """Compile the equation of level 1 to the outcome and the terms of its coefficients."""
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
        """Compile a coefficient's name to the product that it multiplies; the empty one for the intercept."""
        if self.text in INTERCEPT_NAMES:
            return frozenset()
        node = self.parse(parse_expression)
        products = self.expand(node, {})
        if len(products) != 1:
            raise self.fail("An equation explains one coefficient; give each its own line.", node)
        return products[0]

    def equation(self) -> LevelEquation:
        """Compile what explains a coefficient, and whether it is random."""
        random: Random | None = None
        rest = []
        for sign, part in summands(self.parse(parse_expression)):
            inner = part.inner if isinstance(part, Group) else part
            if self.is_random(inner):
                if sign == "-" or random is not None:
                    what = "cannot be subtracted; leave it out" if sign == "-" else "is given twice; keep one"
                    raise self.fail(f"random {what}.", part)
                random = self.options(inner)
                continue
            if (mark := self.find_random(part)) is not None:
                raise self.fail("random must be a separate term of the sum: write … + random.", mark)
            self.refuse_bar(part)
            rest.append((sign, part))
        return LevelEquation(self.terms(rest), random)

    def parse(self, parser: Callable[[str], Result]) -> Result:
        """Parse the text; where it does not parse, the error names the equation."""
        try:
            return parser(self.text)
        except FormulaError as error:
            raise FormulaError(f"{self.place}: {error}") from error

    def is_random(self, node: Syntax) -> bool:
        """Tell whether this is ``random`` or ``random(…)``; in backticks it is a column."""
        if isinstance(node, Name):
            return node.name == "random" and self.text[node.position] != "`"
        return isinstance(node, Call) and node.function == "random"

    def find_random(self, node: Syntax) -> Syntax | None:
        """Return the node of random, also from inside a larger expression; None if there is none."""
        if self.is_random(node):
            return node
        inside: tuple[Syntax | None, ...] = ()
        if isinstance(node, Operation):
            inside = (node.left, node.right)
        elif isinstance(node, Group):
            inside = (node.inner,)
        elif isinstance(node, Call):
            inside = node.arguments
        return next((mark for part in inside if part and (mark := self.find_random(part))), None)

    def refuse_bar(self, node: Syntax) -> None:
        """Refuse ``(… | group)``, which level equations do not have."""
        bar = node.inner if isinstance(node, Group) else node
        if isinstance(bar, Operation) and bar.operator in {"|", "||"}:
            raise self.fail("Level equations mark random coefficients by random, not by (… | group).", bar)

    def options(self, node: Syntax) -> Random:
        """Read the options of ``random(independent)`` or ``random(block=2, covariance=diagonal)``."""
        if not isinstance(node, Call):
            return Random()
        words = [a.name if isinstance(a, Name) else "" for a in node.arguments]
        values = {key: _word(value) for key, value in node.options}
        if set(words) - {"independent"} or set(values) - {"block", "covariance"} or "" in values.values():
            raise self.fail("random takes independent, block=name and covariance=structure.", node)
        if words and values:
            raise self.fail(
                "An independent effect is a block of its own, of one variance; drop the other options.", node
            )
        return Random(None if words else values.get("block", ""), values.get("covariance"))


def _word(node: Syntax) -> str:
    if isinstance(node, Number):
        return f"{node.value:g}"
    return node.name if isinstance(node, Name) else ""


_LEVEL = re.compile(r"level[ _]?(\d{1,4})", re.IGNORECASE)
_HEADING = re.compile(rf"\s*{_LEVEL.pattern}\s*:", re.IGNORECASE)
#: The most characters of a formula, or of the level equations of one model.
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
    return _compile_equations(_equations_by_level(text), level_groups(levels), tuple(levels), residual)


def level_text(mapping: Mapping[str, Any]) -> str:
    """Write a mapping of level equations as text."""
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
    """Tell whether a key names a level: ``level 1``."""
    return _LEVEL.fullmatch(key) is not None


def _equations_by_level(text: str) -> dict[int, dict[str, str]]:
    """Split level equations by level and coefficient; level 1 has one equation, under an empty key."""
    by_level: dict[int, dict[str, str]] = {}
    level = 0
    for line in filter(str.strip, text.splitlines()):
        heading = _HEADING.match(line)
        if heading:
            level = int(heading[1])
            if level in by_level:
                raise FormulaError(f"Level {level} is given twice in the level equations.", line.strip(), 0)
            by_level[level] = {}
            key, equation = "", line[heading.end() :].strip()
            if level > 1 and equation:
                raise FormulaError(
                    f"Level {level} has an equation for each coefficient, on lines of their own; {_FORM}.", line, 0
                )
            if level > 1:
                continue
        else:
            split = _split_at_colon(line.strip())
            if split is None or level < 2:
                raise FormulaError(f"The level equations do not parse: {_FORM}.", line.strip(), 0)
            key, equation = split
        if key in by_level[level]:
            raise FormulaError(f"Level {level} has two equations for {key!r}; put them together.", line.strip(), 0)
        by_level[level][key] = equation
    if 1 not in by_level:
        raise FormulaError(f"Level equations begin with level 1, the equation of the outcome. Got none; {_FORM}.")
    if len(by_level) < max(by_level):
        missing = next(level for level in range(2, max(by_level)) if level not in by_level)
        raise FormulaError(
            f"Level {missing} is missing below level {max(by_level)}. If it explains nothing, write level {missing}: "
            "with the line intercept: 1."
        )
    return by_level


def _split_at_colon(line: str) -> tuple[str, str] | None:
    """Split a line at the first colon that ends a word outside backticks; None if there is none."""
    in_backticks = False
    for i, character in enumerate(line):
        if character == "`":
            in_backticks = not in_backticks
        elif character == ":" and not in_backticks and (i + 1 == len(line) or line[i + 1].isspace()):
            return line[:i].strip(), line[i + 1 :].strip()
    return None


def _compile_equations(
    equations: Mapping[int, Mapping[str, str]],
    groups: Sequence[GroupingFactor],
    levels: tuple[str, ...],
    residual: Residual,
) -> Model:
    top = max(equations)
    first = EquationCompiler(equations[1].get("", ""), "Level 1")
    outcome, coefficients = first.outcome_equation()
    blocks: list[RandomBlock] = []
    level_variables: list[tuple[Variable, int, GroupingFactor]] = []
    for level in range(2, top + 1):
        by_coefficient = _parse_level(level, len(groups) + 1, equations[level], coefficients)
        if level > len(groups) + 1:
            raise _no_units(level, levels, equations[level], by_coefficient)
        coefficients, marks = _substitute(level, coefficients, by_coefficient)
        blocks += _blocks(level, marks, groups[level - 2])
        predictors = (v for equation in by_coefficient.values() for term in equation.terms for v in term.variables)
        level_variables += [(variable, level, groups[level - 2]) for variable in dict.fromkeys(predictors)]
    random = tuple(blocks)
    fixed = tuple(sorted(coefficients, key=lambda term: len(term.variables)))
    model = Model(outcome, fixed, random, default_group(outcome, random, levels), residual)
    model = replace(model, text=formula_text(model), level_variables=tuple(level_variables))
    texts = [text for level in equations.values() for text in level.values()]
    check_model(model, next((t for t in texts if "within(" in t or "between(" in t), texts[0]))
    return model


def _parse_level(
    level: int, n_levels: int, equations: Mapping[str, str], coefficients: Sequence[Term]
) -> dict[Term, LevelEquation]:
    """Compile the equations of one level, by the term of the coefficient that each explains."""
    terms = {frozenset(term.variables): term for term in coefficients}
    entries = [
        (key, EquationCompiler(key, f"Level {level}").coefficient(), _equation(level, key, text))
        for key, text in equations.items()
    ]
    by_coefficient: dict[Term, LevelEquation] = {}
    for key, of, equation in entries:
        if of not in terms:
            brought_in = any(of == set(term.variables) for _, _, other in entries for term in other.terms)
            raise _no_coefficient(level, n_levels, key, list(coefficients), brought_in and equation.random is not None)
        if terms[of] in by_coefficient:
            raise FormulaError(f"Level {level} has two equations for {key!r}; put them together.")
        by_coefficient[terms[of]] = equation
    return by_coefficient


def _equation(level: int, key: str, text: str) -> LevelEquation:
    return EquationCompiler(text or "1", f"Level {level}, equation of {key}").equation()


def _no_coefficient(
    level: int, n_levels: int, key: str, coefficients: Sequence[Term], random_predictor: bool
) -> FormulaError:
    """Return the error of an equation whose coefficient does not exist.

    ``random_predictor``: the equation makes a predictor's coefficient random at the predictor's own level.
    """
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
    level: int, coefficients: Sequence[Term], by_coefficient: Mapping[Term, LevelEquation]
) -> tuple[list[Term], list[tuple[Term, Random]]]:
    """Put a level's equations into those below it.

    Returns
    -------
    coefficients, random
        The terms after that, and the random ones, each with its options.
    """
    terms = [term for term in coefficients if Term() in by_coefficient.get(term, LevelEquation()).terms]
    products = {frozenset(term.variables) for term in terms}
    for term, equation in ((t, by_coefficient[t]) for t in coefficients if t in by_coefficient):
        for factor in (f for f in equation.terms if f.variables):
            product = Term(tuple(dict.fromkeys((*term.variables, *factor.variables))))
            if frozenset(product.variables) in products:
                raise FormulaError(
                    f"The term {product.name} is given twice: the level-{level} equation of {_coefficient_name(term)} "
                    "brings it in, and it was there before. Remove one of them."
                )
            terms.append(product)
            products.add(frozenset(product.variables))
            if len(terms) > MOST_TERMS:
                raise FormulaError(f"The level equations multiply out to more than {MOST_TERMS:,} terms; write fewer.")
    return terms, [(t, r) for t in coefficients if t in by_coefficient and (r := by_coefficient[t].random) is not None]


def _blocks(level: int, marks: Sequence[tuple[Term, Random]], group: GroupingFactor) -> list[RandomBlock]:
    """Return the random blocks of a level: one, unless the options of ``random`` separate its effects."""
    members: dict[object, list[Term]] = {}
    structures: dict[object, set[str]] = {}
    for term, mark in marks:
        key = (term,) if mark.block is None else mark.block
        members.setdefault(key, []).append(term)
        structures.setdefault(key, set()).update({mark.covariance} if mark.covariance else ())
    for names in structures.values():
        if len(names) > 1:
            raise FormulaError(
                f"Random effects of level {level} that covary have one covariance structure. Got "
                f"{' and '.join(sorted(names))}; say it once, or separate them by random(block=…)."
            )
    return [
        RandomBlock(tuple(terms), group, next(iter(structures[key]), DEFAULT))
        for key, terms in ((k, sorted(t, key=lambda term: len(term.variables))) for k, t in members.items())
    ]


def _no_units(
    level: int, levels: Sequence[str], equations: Mapping[str, str], by_coefficient: Mapping[Term, LevelEquation]
) -> FormulaError:
    """Return the error of a level without a column that names its units."""
    levels_text = f"levels {', '.join(levels)}" if levels else "no levels"
    example = f"[{', '.join(levels)}, …]" if levels else "school"
    varying = [key for key, equation in zip(equations, by_coefficient.values(), strict=True) if equation.random]
    if varying and levels:
        return FormulaError(
            f"The coefficient of {varying[0]} cannot be random at level {level}: level {level - 1} is the highest, so "
            f"there is no higher unit for it to vary over. Got {levels_text}; add the column of the "
            f"level-{level} units, levels: {example}, or remove random."
        )
    return FormulaError(
        f"Level {level} needs the column that names its units. Got {levels_text}; add it, as in levels: {example}."
    )


def _coefficient_name(term: Term) -> str:
    return term.name if term.variables else "intercept"
