"""Standard errors of single-level regression that allow for unequal residual variances: HC0, HC1, HC2 and HC3.

The covariance matrix of the coefficients is ``M (sum_i c_i e_i^2 x_i x_i') M``, M = (X'X)^-1, e_i the residual and
h_i = x_i' M x_i the leverage of row i. White (1980), Econometrica 48, 817-838, has c_i = 1 (HC0); MacKinnon and White
(1985), Journal of Econometrics 29, 305-325, have N / (N - p) (HC1), 1 / (1 - h_i) (HC2, unbiased where variances are
equal) and 1 / (1 - h_i)^2 (HC3, near the jackknife), which Long and Ervin (2000), The American Statistician 54,
217-224, advise below 250 rows. Where rows have weights, they count as scaled by their roots.

The sums are of fourth order and the leverages in a denominator, so that no moments hold them: the rows are read once
more, in one query, after the coefficients are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlm_ops.errors import RowsChangedError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.robust import Sandwich, root_of, user_from_rotated
from mlm_ops.inference.prediction.sql import STD_DEV, PredictionQuery
from mlm_ops.language.model import label
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.survey import rows_changed_sentence
from mlm_ops.warehouse.sql import identifier, literal, render

if TYPE_CHECKING:
    from mlm_ops.warehouse.source import Source

#: By kind, the power of one minus the leverage.
POWERS = {"HC0": 0, "HC1": 0, "HC2": 1, "HC3": 2}
#: The rows' leverages add up to the number of coefficients but for rounding of this share.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class RowRobust(Sandwich):
    """Inference about the p coefficients of a regression by a key of `POWERS`: a `CoefficientMethod`.

    Tests have N - p degrees of freedom, as those of least squares have.
    """

    def degrees(self, contrasts: Array) -> Array:
        """Degrees of freedom of the t test of each contrast: (k, p) -> (k,)."""
        return np.full(len(contrasts), self._freedom)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """No scaling, and N - p degrees of freedom."""
        return 1.0, self._freedom

    @property
    def _freedom(self) -> float:
        return float(self.estimate.design.n_obs - len(self.estimate.gamma))


def row_robust(estimate: Estimate, kind: str, squares: Array) -> RowRobust:
    """Robust inference about the coefficients of a regression.

    Parameters
    ----------
    squares
        (p, p) as `squared_residuals` returns them.
    """
    n = estimate.design.n_obs
    factor = n / (n - len(squares)) if kind == "HC1" else 1.0
    return RowRobust(estimate, kind, root_of(factor * squares))


def squared_residuals(query: PredictionQuery, source: Source, kind: str) -> Array:
    """Sum ``e^2 q q' / (1 - h)^power`` over the rows of a regression, in one query.

    q are the rows' predictors in the basis in which ``X' V^-1 X`` is the identity, so that the leverage is ``q'q``.

    Parameters
    ----------
    source
        The rows that the model was fitted to, and no others.

    Returns
    -------
    (p, p) array
        In the engine's units of the outcome.

    Raises
    ------
    RowsChangedError
        They are not the rows that the model was fitted to.
    """
    estimate, names, p = query.estimate, query.predictors, len(query.estimate.gamma)
    if not p:
        return np.zeros((0, 0))
    scale = estimate.design.outcome_scale
    rotated = user_from_rotated(estimate) / scale
    factors = [
        " * ".join(identifier(names[label(v)]) for v in column.variables) or literal(1.0)
        for column in estimate.design.fixed.columns
    ]
    directions = [
        " + ".join(f"{literal(float(share))} * {factor}" for share, factor in zip(column, factors, strict=True))
        for column in rotated.T
    ]
    sql = render(
        "squared_residuals",
        predictions=query.sql(source.relation, kept=(), predictors=True, std_dev=True),
        scale=f"{literal(float(scale * np.sqrt(estimate.scaled_sigma2)))} / {identifier(STD_DEV)}",
        directions=directions,
        power=POWERS[kind],
    )
    ((n, leverage, products),) = source.query(sql).fetchall()
    expected = estimate.design.n_obs
    if n != expected or abs(leverage - p) > _ROUNDING * p:
        counts = f"{expected} rows were fitted, {n} with other values read again"
        raise RowsChangedError(rows_changed_sentence(source.description, counts))
    squares = np.zeros((p, p))
    squares[np.tril_indices(p)] = products
    lower = np.tril(squares, -1)
    return np.asarray((squares + lower.T) / scale**2)
