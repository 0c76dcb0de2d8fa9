"""Describe a structural equation model as its text states it: parameters and definitions, no data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from mlm_ops.errors import FormulaError
from mlm_ops.language.syntax import Syntax
from mlm_ops.language.tokens import COMMENT

Operator = Literal["=~", "~", "~~", "~1"]
WITHIN, BETWEEN = 1, 2


@dataclass(frozen=True)
class Item:
    """One parameter that the text names.

    Attributes
    ----------
    level
        1 within clusters, 2 between.
    lhs, op, rhs
        As lavaan's parameter table has them; an intercept is ``~1`` with an empty `rhs`.
    label
        Equal labels are equal parameters.
    fixed
        The value that the text fixes it to.
    freed
        ``NA*``: free where the default would fix it.
    start
        Where the search shall begin.
    equal
        ``equal("f=~y2")``: a label, or the name of the parameter that this one is equal to; at level 2 with ``.l2``.
    """

    level: int
    lhs: str
    op: Operator
    rhs: str
    label: str | None = None
    fixed: float | None = None
    freed: bool = False
    start: float | None = None
    equal: str | None = None

    @property
    def name(self) -> str:
        """``f =~ y2``, ``y ~ 1``."""
        return f"{self.lhs} ~ 1" if self.op == "~1" else f"{self.lhs} {self.op} {self.rhs}"


@dataclass(frozen=True)
class Definition:
    """``name := expression`` of labels and names defined before."""

    name: str
    text: str
    expression: Syntax


@dataclass(frozen=True)
class SemModel:
    """A two-level structural equation model, as the text states it."""

    items: tuple[Item, ...]
    definitions: tuple[Definition, ...]
    text: str = field(compare=False, default="")

    def at(self, level: int) -> tuple[Item, ...]:
        """The items of one level."""
        return tuple(item for item in self.items if item.level == level)


_HEAD = re.compile(r"\s*(?P<kind>contextual|mediation|cfa)(?:\s+(?P<design>[\w-]+))?\s*:(?!=)")
_NAME = r"[^\W\d][\w.]*"
_MEDIATION = {
    "1-1-1": (
        "level: 1\n  {m} ~ aw*{x}\n  {y} ~ bw*{m} + cw*{x}\n"
        "level: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_within := aw*bw\nindirect_between := ab*bb\n"
        "total_within := aw*bw + cw\ntotal_between := ab*bb + cb"
    ),
    "2-1-1": (
        "level: 1\n  {y} ~ bw*{m}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
    "2-2-1": (
        "level: 1\n  {y} ~~ {y}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
}


def expand_ready_model(text: str) -> str:
    """Write out a line of a ready model, as ``contextual: y ~ x``; any other text stays as it is.

    Raises
    ------
    FormulaError
        A line that begins as a ready model and has not its form.
    """
    match = _HEAD.match(text)
    rest = COMMENT.sub("", text[match.end() :]).strip() if match is not None else ""
    if match is None or not rest:
        return text
    design = match["design"]
    if match["kind"] == "contextual":
        return _contextual(text, rest)
    return _mediation(text, rest, design) if match["kind"] == "mediation" else _cfa(rest)


def _contextual(text: str, rest: str) -> str:
    outcome, tilde, right = (part.strip() for part in rest.partition("~"))
    predictors = [name.strip() for name in right.split("+")]
    if not tilde or not all(re.fullmatch(_NAME, name) for name in (outcome, *predictors)):
        raise FormulaError("A contextual model is 'contextual: outcome ~ predictor + predictor'.", text.strip(), 0)
    first, *others = predictors
    rest = "".join(f" + {name}" for name in others)
    return (
        f"level: 1\n  {outcome} ~ within*{first}{rest}\nlevel: 2\n  {outcome} ~ between*{first}{rest}\n"
        "contextual := between - within"
    )


def _mediation(text: str, rest: str, design: str | None) -> str:
    path = [name.strip() for name in rest.split("->")]
    if design not in _MEDIATION or len(path) != 3 or not all(re.fullmatch(_NAME, name) for name in path):
        raise FormulaError(
            f"A mediation model is 'mediation 1-1-1: x -> m -> y', with design {', '.join(_MEDIATION)}.",
            text.strip(),
            0,
        )
    return _MEDIATION[design].format(x=path[0], m=path[1], y=path[2])


def _cfa(rest: str) -> str:
    block = "\n".join(f"  {line.strip()}" for line in re.split(r"[;\n]", rest) if line.strip())
    return f"level: 1\n{block}\nlevel: 2\n{block}"
