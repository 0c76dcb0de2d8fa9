"""Residuals of the rows, looked at in the database: their distribution, and their means along each predictor.

The one look at rows that moments cannot spare: a single query, which reads them once and gives back sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.inference.prediction_sql import PredictionQuery
from mlm_ops.moments.render import render
from mlm_ops.moments.source import Source
from mlm_ops.moments.survey import find_needs

Array = NDArray[np.float64]

#: Probabilities of the quantiles.
PROBABILITIES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
#: Bins of a predictor; fewer where it has few values.
BINS = 20


@dataclass(frozen=True)
class Bins:
    """Residuals in b bins of a predictor, each array (b,).

    Attributes
    ----------
    at
        Mean of the predictor in the bin.
    n, mean, std_dev
        Of the residuals; the standard deviation of one row is not a number.
    """

    at: Array
    n: NDArray[np.int64]
    mean: Array
    std_dev: Array


@dataclass(frozen=True)
class RowChecks:
    """What the rows tell.

    Attributes
    ----------
    n
        Rows with a residual.
    mean, std_dev, skewness, kurtosis
        Of the standardised residuals (the conditional residual over the residual's standard deviation), divisor n.
    largest
        The greatest absolute standardised residual.
    quantiles
        Of the standardised residuals at `PROBABILITIES`, interpolated as numpy does.
    bins
        By predictor; the fixed part of the prediction is ``fixed_prediction``.
    """

    n: int
    mean: float
    std_dev: float
    skewness: float
    kurtosis: float
    largest: float
    quantiles: Array
    bins: dict[str, Bins]


def check_residuals(query: PredictionQuery, source: Source, bins: int = BINS) -> RowChecks | None:
    """Ask about the residuals of a source's rows, in one query; None where no row has one or all are equal.

    Rows of groups that the fit has not seen are left out. The residuals are conditional (less the random effects) and
    are set against the fixed part: these are uncorrelated if the model holds, while residuals and predictions with
    shrunken random effects are not.

    Raises
    ------
    DataError
        The source lacks a column of the model.
    """
    find_needs(source, [query.model], query.moments.schema.keys)  # says which columns are missing
    against = {**query.predictors, "fixed_prediction": "fixed_prediction"}
    sql = render(
        "residual_checks",
        predictions=query.sql(source.relation, alone=True),
        probabilities=PROBABILITIES,
        cuts=[i / bins for i in range(1, bins)],
        predictors=list(against.values()),
    )
    ((n, mean, second, third, fourth, largest, quantiles, binned),) = source.query(sql).fetchall()
    if not n or not second:
        return None
    by_term = {name: _bins([bin for bin in binned if bin["term"] == i]) for i, name in enumerate(against)}
    return RowChecks(
        n, mean, second**0.5, third / second**1.5, fourth / second**2, largest, np.array(quantiles, float), by_term
    )


def _bins(found: list[dict[str, float]]) -> Bins:
    at, mean, std_dev = (np.array([b[name] for b in found], dtype=float) for name in ("at", "mean", "std_dev"))
    return Bins(at, np.array([b["n"] for b in found], dtype=np.int64), mean, std_dev)
