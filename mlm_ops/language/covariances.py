"""The covariance structures of random effects, one row each: what the languages, messages and other programs say of it.

Its numbers (how T is made from parameters, their derivatives and starts) are the class of the same name in
`estimation.covariance.COVARIANCES`. A new structure is a row here and a class there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CovarianceStructure:
    """One structure of T, the (q, q) covariance matrix of a random block.

    Attributes
    ----------
    name, meaning
        What a formula's user writes, and what it says of the effects.
    correlated
        Whether effects covary; else their covariances and correlations are zero, and no parameters.
    alike
        Whether all effects have one variance, and all pairs one covariance.
    special_cases
        Structures of the same effects that are special cases of this one; None where any T is one.
    note
        What equations say beside T, whose lower triangle does not show it.
    lmer
        How lme4's ``lmer`` writes the block: ``"joint"`` with one bar, ``"apart"`` with a bar for each effect; None
        where it has no word for it.
    nlme
        The class of nlme's ``lme``; None where it has none.
    mplus
        What follows Mplus' statement of a variance and that of a covariance, ``{block}`` naming the block; None where
        it has no words for it.
    """

    name: str
    meaning: str
    correlated: bool
    alike: bool
    special_cases: tuple[str, ...] | None
    note: str
    lmer: Literal["joint", "apart"] | None
    nlme: str | None
    mplus: tuple[str, str] | None

    def n_variances(self, size: int) -> int:
        """How many variances of T can be zero by themselves: alike, effects have one, and of their mean another."""
        return min(size, 1 + self.correlated) if self.alike else size


#: The structure that a formula means where it says none, and that of a T that is given.
DEFAULT = "unstructured"
_ROWS = (
    CovarianceStructure(
        name=DEFAULT,
        meaning="any variances and covariances",
        correlated=True,
        alike=False,
        special_cases=None,
        note="",
        lmer="joint",
        nlme="pdLogChol",
        mplus=("", ""),
    ),
    CovarianceStructure(
        name="diagonal",
        meaning="independent effects",
        correlated=False,
        alike=False,
        special_cases=("identity",),
        note="",
        lmer="apart",
        nlme="pdDiag",
        mplus=("", "@0"),
    ),
    CovarianceStructure(
        name="compound",
        meaning="equal variances and equal covariances",
        correlated=True,
        alike=True,
        special_cases=("identity",),
        note="equal variances, equal covariances",
        lmer=None,
        nlme="pdCompSymm",
        mplus=(" (v{block})", " (c{block})"),
    ),
    CovarianceStructure(
        name="identity",
        meaning="independent effects of equal variance",
        correlated=False,
        alike=True,
        special_cases=(),
        note="equal variances",
        lmer=None,
        nlme="pdIdent",
        mplus=(" (v{block})", "@0"),
    ),
)
#: By name, in the order in which messages list them.
STRUCTURES = {row.name: row for row in _ROWS}
