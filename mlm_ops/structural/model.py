"""Describe a structural equation model as its text states it: parameters and definitions, no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from mlm_ops.errors import FormulaError
from mlm_ops.language.syntax import Syntax
from mlm_ops.language.tokens import COMMENT, STRUCTURAL, Token, tokenize

Operator = Literal["=~", "~", "~~", "~1"]
ConstraintRelation = Literal["==", "<", ">"]
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
    slope
        ``rv("s")``: the name of the regression's random slope, a variable of level 2.
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
    slope: str | None = None

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
class Constraint:
    """``left == right``, ``left < right`` or ``left > right``, of labels and definitions.

    Attributes
    ----------
    relation
        Of the two sides.
    text
        As it is written.
    gap
        ``left - right``, of ``<`` ``right - left``: zero where an equality holds, positive where an inequality does.
    """

    relation: ConstraintRelation
    text: str
    gap: Syntax


@dataclass(frozen=True)
class SemModel:
    """A two-level structural equation model, as the text states it."""

    items: tuple[Item, ...]
    definitions: tuple[Definition, ...]
    text: str = field(compare=False, default="")
    constraints: tuple[Constraint, ...] = ()

    def at(self, level: int) -> tuple[Item, ...]:
        """The items of one level."""
        return tuple(item for item in self.items if item.level == level)


_READY = frozenset({"contextual", "mediation", "cfa"})
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
    # of a variable of level 2 nothing acts within clusters (Preacher, Zyphur and Zhang 2010)
    "1-1-2": (
        "level: 1\n  {m} ~ aw*{x}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
    "1-2-1": (
        "level: 1\n  {y} ~ cw*{x}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
    "2-1-2": (
        "level: 1\n  {m} ~~ {m}\nlevel: 2\n  {m} ~ ab*{x}\n  {y} ~ bb*{m} + cb*{x}\n"
        "indirect_between := ab*bb\ntotal_between := ab*bb + cb"
    ),
    # the mean of a product of slopes is that of their means plus their covariance (Kenny, Korchmaros and Bolger 2003)
    "1-1-1 random": (
        'level: 1\n  {m} ~ rv("{a}")*{x}\n  {y} ~ rv("{b}")*{m} + rv("{c}")*{x}\n'
        "level: 2\n  {a} ~ mean_a*1\n  {b} ~ mean_b*1\n  {c} ~ mean_c*1\n"
        "  {m} ~~ {y} + {a} + {b} + {c}\n  {y} ~~ {a} + {b} + {c}\n  {a} ~~ cov_ab*{b} + {c}\n  {b} ~~ {c}\n"
        "indirect := mean_a*mean_b + cov_ab\ntotal := mean_a*mean_b + cov_ab + mean_c"
    ),
}


def expand_ready_model(text: str) -> str:
    """Write out a line of a ready model, as ``contextual: y ~ x``; any other text stays as it is.

    Raises
    ------
    FormulaError
        A line that begins as a ready model and has not its form.
    """
    tokens = [token for token in tokenize(text, STRUCTURAL) if (token.kind, token.text) != ("newline", "\n")]
    texts = [token.text for token in tokens]
    if texts[0] not in _READY or ":" not in texts:
        return text
    colon = texts.index(":")
    design, rest = texts[1:colon], tokens[colon + 1 : -1]
    # the heading stands on one line, and something behind it
    heading = text[: tokens[colon].position].strip()
    if not rest or "\n" in heading or "".join(heading.split()) != "".join(texts[:colon]):
        return text
    match texts[0]:
        case "contextual":
            return _contextual(text, rest)
        case "mediation":
            return _mediation(text, rest, "".join(design))
    return _cfa(text[tokens[colon].position + 1 :])


def _contextual(text: str, rest: Sequence[Token]) -> str:
    outcome, *predictors = (token.text for token in rest[::2])
    signs = [token.text for token in rest[1::2]]
    if not _are_names(rest[::2]) or not predictors or signs != ["~", *["+"] * (len(predictors) - 1)]:
        raise FormulaError("A contextual model is 'contextual: outcome ~ predictor + predictor'.", text.strip(), 0)
    first, *others = predictors
    more = "".join(f" + {name}" for name in others)
    return (
        f"level: 1\n  {outcome} ~ within*{first}{more}\nlevel: 2\n  {outcome} ~ between*{first}{more}\n"
        "contextual := between - within"
    )


def _mediation(text: str, rest: Sequence[Token], design: str) -> str:
    path, arrows = rest[::3], [token.text for i, token in enumerate(rest) if i % 3]
    templates = {name.replace(" ", ""): template for name, template in _MEDIATION.items()}
    if design not in templates or len(path) != 3 or not _are_names(path) or arrows != ["-", ">"] * 2:
        raise FormulaError(
            f"A mediation model is 'mediation 1-1-1: x -> m -> y', with design {', '.join(_MEDIATION)}.",
            text.strip(),
            0,
        )
    x, m, y = (token.text for token in path)
    slopes = {name: f"slope_{name}" if name in (x, m, y) else name for name in "abc"}
    return templates[design].format(x=x, m=m, y=y, **slopes)


def _are_names(tokens: Sequence[Token]) -> bool:
    return all(token.kind == "name" for token in tokens)


def _cfa(rest: str) -> str:
    """The statements at both levels."""
    breaks = [token.position for token in tokenize(rest, STRUCTURAL) if token.kind in {"newline", "end"}]
    lines = (COMMENT.sub("", rest[start:end]).strip() for start, end in pairwise([0, *breaks]))
    block = "\n".join(f"  {line.removeprefix(';').strip()}" for line in lines if line.strip(";"))
    return f"level: 1\n{block}\nlevel: 2\n{block}"
