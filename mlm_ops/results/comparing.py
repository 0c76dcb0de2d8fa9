"""Compare fits by their likelihoods, after refitting them by an estimator whose likelihoods are comparable."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.inference.comparison import Comparison, check_same_rows, compare_estimates, same_fixed_part

if TYPE_CHECKING:
    from mlm_ops.language.options import Estimator
    from mlm_ops.results.record import FitRecord

    class NestedFit(Protocol):
        """A `Fit` or a `SemFit`."""

        estimate: Any

        def compare(self, larger: Any) -> pl.DataFrame:
            """Test this fit against a larger one."""


#: Noted where the comparison is not by the likelihood that the model was asked to be fitted by.
REFIT_NOTE = "the fixed parts differ, so both were fitted again by ML: REML likelihoods would not compare"


def compare(*fits: NestedFit) -> pl.DataFrame:
    """Likelihood ratio tests of nested fits in a row, as ``anova`` of R: each against the next larger one.

    Parameters
    ----------
    *fits
        Two fits or more of `mlm_ops.fit`, or of `mlm_ops.sem`, in any order; they are sorted by their numbers of
        parameters.

    Returns
    -------
    polars.DataFrame
        A row for each fit but the smallest, as its method ``compare`` makes it. Fits of `mlm_ops.sem` are named by
        their place in the call, ``1`` for the first.

    Raises
    ------
    MlmError
        Fewer than two fits, fits of different kinds, other rows or another outcome.

    Examples
    --------
    >>> import polars as pl, mlm_ops as mlm
    >>> data = pl.DataFrame({"y": [1.0, 2, 4, 5, 7, 9], "x": [0.0, 1, 1, 2, 3, 5]})
    >>> mlm.compare(mlm.fit("y ~ x", data), mlm.fit("y ~ 1", data))["reference_model"].to_list()
    ['y ~ 1']
    """
    kinds = sorted({type(fit).__name__ for fit in fits})
    if len(fits) < 2 or kinds not in (["Fit"], ["SemFit"]):
        kinds_given = f"{len(fits)} of {' and '.join(kinds)}" if fits else "none"
        raise MlmError(f"compare() takes two fits or more, all of mlm.fit or all of mlm.sem. Got {kinds_given}.")
    places = sorted(range(len(fits)), key=lambda place: fits[place].estimate.n_parameters)
    frames = []
    for smaller, larger in pairwise(places):
        row = fits[smaller].compare(fits[larger])
        if "model" not in row.columns:
            names = (pl.lit(str(larger + 1)).alias("model"), pl.lit(str(smaller + 1)).alias("reference_model"))
            row = row.select(*names, pl.all())
        frames.append(row)
    return pl.concat(frames)


def compare_records(larger: FitRecord, smaller: FitRecord) -> tuple[Estimator, Comparison]:
    """Compare two fits of the same rows; with other fixed parts, by ML, which from moments costs milliseconds.

    Returns
    -------
    tuple
        The estimator whose likelihoods were compared, which is the larger model's own wherever that is possible, and
        the comparison.

    Raises
    ------
    MlmError
        The models have different outcomes, or were fitted to different rows.
    """
    check_same_rows(larger.moments, smaller.moments)
    asked = estimator = larger.estimator
    if estimator == "reml" and not same_fixed_part(larger.estimate, smaller.estimate):
        estimator = "ml"
    large, small = larger.estimate_by(estimator), smaller.estimate_by(estimator)
    result = compare_estimates(larger.model, large, smaller.model, small)
    if estimator != asked:
        result = replace(result, note="; ".join(filter(None, (result.note, REFIT_NOTE))))
    return estimator, result
