"""Read the model-building strategy of an analysis file: the first model, the terms to try, the rule for keeping them.

There are three strategies, from Hox, Moerbeek and van de Schoot (2018), Multilevel Analysis, chapter 4, and other
textbooks: *a priori* fits the models that theory names and compares them as listed; *build-up* adds candidate terms one
by one, fixed ones first, then random slopes, then cross-level products; *tear-down* starts from the largest model and
drops terms one by one, first its random effects, then its fixed ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from mlm_ops.errors import AnalysisError, FormulaError
from mlm_ops.language.formula import parse_random_term, parse_term
from mlm_ops.language.model import GroupingFactor, Model, RandomBlock, Term, group_name
from mlm_ops.language.options import RuleCriterion, StrategyKind

#: The note on every model that was selected by steps.
WARNING = (
    "selected stepwise: the data that chose the terms also test them, so p values are too small, intervals too "
    "narrow and explained variance too large; check the model on new data"
)
#: The kinds of candidate terms, in the order in which a build-up tries them.
PHASES = ("fixed", "level 2", "level 3", "random", "cross-level")
#: The most candidates of a build-up, each of which is fitted.
MOST_CANDIDATES = 500
_RULE = re.compile(r"\s*(?:(aic|bic)|p\s*<\s*(\S+)|r_squared\s*>\s*(\S+))\s*")


@dataclass(frozen=True)
class Rule:
    """The rule that decides whether a term is kept.

    Attributes
    ----------
    criterion
        ``p``: the p value of the likelihood ratio test is below the bound; ``aic``, ``bic``: the criterion is lower
        with the term; ``r_squared``: the term adds more than the bound to the explained share of the variance.
    bound
        The bound of p, or of the gain; 0 for the information criteria.
    """

    criterion: RuleCriterion = "p"
    bound: float = 0.05

    def __str__(self) -> str:
        return {"p": f"p < {self.bound:g}", "r_squared": f"r_squared > {self.bound:g}"}.get(
            self.criterion, self.criterion
        )


#: What other keys call the model that a ladder selects, and the end of the name of its view of predictions.
SELECTED = "selected"


@dataclass(frozen=True)
class Candidate:
    """One term that a ladder adds or drops.

    Attributes
    ----------
    phase
        One of `PHASES`.
    text
        The term as the file writes it.
    term
        The term.
    group
        The grouping factor of a random term; None for a fixed term.
    """

    phase: str
    text: str
    term: Term
    group: GroupingFactor | None = None

    def added_to(self, model: Model) -> Model:
        """Return the model with this term, in R's order; a random term joins its factor's first block."""
        if self.group is None:
            return replace(model, fixed=_ordered((*model.fixed, self.term)))
        at = next((i for i, block in enumerate(model.random) if block.group == self.group), None)
        if at is None:
            return replace(model, random=(*model.random, RandomBlock((self.term,), self.group)))
        block = model.random[at]
        grown = replace(block, terms=_ordered((*block.terms, self.term)))
        return replace(model, random=(*model.random[:at], grown, *model.random[at + 1 :]))

    def dropped_from(self, model: Model) -> Model:
        """Return the model without this term; a random block without terms is removed."""
        if self.group is None:
            return replace(model, fixed=tuple(t for t in model.fixed if not _same(t, self.term)))
        blocks = (
            replace(b, terms=tuple(t for t in b.terms if not _same(t, self.term))) if b.group == self.group else b
            for b in model.random
        )
        return replace(model, random=tuple(b for b in blocks if b.terms))

    def stands_in(self, model: Model) -> bool:
        """Whether the model has this term."""
        return any(_same(t, self.term) for t in _terms(model, self.group))

    def lacks(self, model: Model) -> Term | None:
        """Return the first part of a fixed product that the model does not have; None if it has all of them."""
        return (
            next((p for p in _smaller_products(self.term) if not _contains(model.fixed, p)), None)
            if not self.group
            else None
        )

    def needed_by(self, model: Model) -> Term | None:
        """Return the first fixed product of the model that this fixed term is a part of; None if there is none."""
        own_variables = frozenset(self.term.variables)
        return (
            next((t for t in model.fixed if own_variables < frozenset(t.variables)), None) if not self.group else None
        )


@dataclass(frozen=True)
class Strategy:
    """A build-up or a tear-down, ready to be run.

    Attributes
    ----------
    kind
        ``build_up`` or ``tear_down``.
    start
        The name of the model to start from.
    candidates
        The terms to try, in order.
    rule
        The rule that decides whether a term is kept.
    """

    kind: StrategyKind
    start: str
    candidates: tuple[Candidate, ...]
    rule: Rule


def check_keys(
    kind: StrategyKind,
    start: str | None,
    candidates: Mapping[str, Sequence[str]],
    keep: str | None,
    models: Sequence[str],
) -> None:
    """Refuse combinations of the keys ``strategy``, ``start``, ``candidates`` and ``keep`` that do not go together.

    Raises
    ------
    ValueError
        With a clause for the sentence that lists the file's faults.
    """
    if kind == "a_priori":
        keys = [key for key, value in (("start", start), ("candidates", candidates), ("keep", keep)) if value]
        if keys:
            raise ValueError(f"{', '.join(keys)}: only for the strategies build_up and tear_down; say which")
        return
    if start is None:
        raise ValueError(f"strategy {kind} needs start, the name of the model to start from")
    if start not in models:
        raise ValueError(f"start names no model of this file: {start!r}; models are {', '.join(models)}")
    if kind == "build_up" and not any(candidates.values()):
        raise ValueError(f"strategy build_up needs candidates, a mapping of {', '.join(PHASES)} to lists of terms")
    if kind == "tear_down" and candidates:
        raise ValueError("strategy tear_down drops what start has, and takes no candidates")
    steps = [name for name in models if re.fullmatch(rf"{kind}_\d+", name)]
    if steps:
        raise ValueError(f"models named {', '.join(steps)}: the steps of the strategy are named so; rename them")


def parse_rule(text: str) -> Rule:
    """Read ``p < 0.05``, ``aic``, ``bic`` or ``r_squared > 0.01``.

    Raises
    ------
    AnalysisError
        It is none of these.
    """
    match = _RULE.fullmatch(text)
    try:
        if match and match[1]:
            return Rule("aic" if match[1] == "aic" else "bic", 0.0)
        if match and match[2] and 0 < float(match[2]) < 1:
            return Rule("p", float(match[2]))
        if match and match[3] and 0 <= float(match[3]) < 1:
            return Rule("r_squared", float(match[3]))
    except ValueError:
        pass
    raise AnalysisError(
        f"Unknown rule under keep. Got {text!r}; expected p < 0.05, aic, bic or r_squared > 0.01 (with any bound "
        "between 0 and 1)."
    )


def build_up(start: str, model: Model, candidates: Mapping[str, Sequence[str]], rule: Rule) -> Strategy:
    """Parse the candidates of a build-up.

    Parameters
    ----------
    start, model
        The model to start from, by name and itself.
    candidates
        Terms by phase; a random term may name its grouping factor, ``within(ses) | school``, and otherwise has the
        lowest one.

    Raises
    ------
    AnalysisError
        A term does not parse, is in the start already, or is listed twice.
    """
    total = sum(map(len, candidates.values()))
    if total > MOST_CANDIDATES:
        raise AnalysisError(
            f"A build-up has too many candidates. Got {total:,} terms; expected at most {MOST_CANDIDATES}, because "
            "each is fitted."
        )
    all_candidates: list[Candidate] = []
    for phase in PHASES:
        for text in candidates.get(phase, ()):
            try:
                new_candidates = list(_parse_candidates(phase, text, model))
            except FormulaError as error:
                raise AnalysisError(f"candidates, {phase}: {error}") from error
            for candidate in new_candidates:
                if candidate.stands_in(model):
                    raise AnalysisError(
                        f"candidates, {phase}: {candidate.text} is in the start {start!r} already; remove it from one "
                        "of them."
                    )
                if any(candidate.term == c.term and candidate.group == c.group for c in all_candidates):
                    hint = _product_hint(candidate, all_candidates)
                    raise AnalysisError(f"candidates, {phase}: {candidate.text} is listed twice; remove one.{hint}")
                all_candidates.append(candidate)
    return Strategy("build_up", start, tuple(all_candidates), rule)


def _product_hint(candidate: Candidate, before: Sequence[Candidate]) -> str:
    """How to write the product that a single variable among the cross-level terms is meant as; else nothing."""
    if candidate.phase != "cross-level" or len(candidate.term.variables) > 1:
        return ""
    slope = next((one.term.name for one in before if one.phase == "random"), "x")
    return f" A cross-level term is a product, such as {slope}:{candidate.text}."


def tear_down(start: str, model: Model, rule: Rule) -> Strategy:
    """List the terms that can be dropped from the largest model: random effects first, products before their parts.

    The fixed intercept and the random intercepts are never dropped.
    """
    random = [
        Candidate("random", f"{term.name} | {group_name(block.group)}", term, block.group)
        for block in reversed(model.random)
        for term in reversed(block.terms)
        if term.variables
    ]
    fixed = [
        Candidate("cross-level" if len(term.variables) > 1 else "fixed", term.name, term)
        for term in reversed(model.fixed)
        if term.variables
    ]
    return Strategy("tear_down", start, (*random, *fixed), rule)


def _parse_candidates(phase: str, text: str, model: Model) -> Iterator[Candidate]:
    if phase == "random":
        for term, group in parse_random_term(text, model):
            yield Candidate(phase, f"{term.name} | {group_name(group)}", term, group)
        return
    for term in parse_term(text, model):
        yield Candidate(phase, term.name, term)


def _terms(model: Model, group: GroupingFactor | None) -> tuple[Term, ...]:
    return model.fixed if group is None else tuple(t for b in model.random if b.group == group for t in b.terms)


def _ordered(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    return tuple(sorted(terms, key=lambda term: len(term.variables)))


def _same(first: Term, second: Term) -> bool:
    return frozenset(first.variables) == frozenset(second.variables)


def _contains(terms: Sequence[Term], part: Term) -> bool:
    return any(_same(term, part) for term in terms)


def _smaller_products(term: Term) -> Iterator[Term]:
    """Yield the parts of a product: each of its variables, and each product of fewer of them."""
    for size in range(1, len(term.variables)):
        for combination in combinations(term.variables, size):
            yield Term(combination)
