"""Compare two fits by their likelihoods, fitted again by the estimator whose likelihoods compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlm_ops.inference.comparison import Comparison, check_same_rows, compare, same_fixed_part

if TYPE_CHECKING:
    from mlm_ops.language.options import Estimator
    from mlm_ops.results.record import FitRecord

#: Noted where the comparison is not by the likelihood that the model was asked to be fitted by.
REFIT_NOTE = "the fixed parts differ, so both were fitted again by ML: REML likelihoods would not compare"


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
    result = compare(larger.model, larger.estimate_by(estimator), smaller.model, smaller.estimate_by(estimator))
    if estimator != asked:
        result = replace(result, note="; ".join(filter(None, (result.note, REFIT_NOTE))))
    return estimator, result
