"""List the covariance structures of random effects: the name of each, its meaning, and how other programs write it.

How T is computed from its parameters, with derivatives and start values, is the class of the same name in
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
        What users write, and what it means for the effects.
    correlated
        Whether effects covary; else their covariances and correlations are zero.
    alike
        Whether all effects have one variance, and all pairs one covariance.
    special_cases
        Names of the structures that are special cases of this one; None where all are.
    note
        What equations add to T, where its lower triangle does not show the structure.
    lmer
        How lme4's ``lmer`` writes the block: ``"joint"`` with one bar, ``"apart"`` with a bar for each effect; None
        where ``lmer`` cannot.
    nlme
        The class of nlme's ``lme``; None where nlme has none.
    mplus
        How Mplus' statements of a variance and of a covariance end, ``{block}`` being the block's name; None where
        Mplus cannot.
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
        """Return how many variances of T can be zero by themselves, for so many effects.

        Equal ones are zero together; beside them the variance of the effects' mean can be, if they covary.
        """
        return min(size, 1 + self.correlated) if self.alike else size


#: The structure of a formula that names none, and of a T whose numbers the user gives.
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
