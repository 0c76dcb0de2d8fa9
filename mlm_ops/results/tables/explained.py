"""Draw up the tables of explained variance, ICC, standard errors and contextual effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.inference.comparison import check_outcomes, check_same_rows
from mlm_ops.inference.effect_sizes import contextual
from mlm_ops.inference.effect_sizes import r_squared as measures
from mlm_ops.inference.effect_sizes.clustering import clustering, least_squares
from mlm_ops.language.model import group_name, label
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord

R_SQUARED: ColumnTypes = {
    "measure": TEXT,
    "level": COUNT,
    "group": TEXT,
    "term": TEXT,
    "estimate": REAL,
    "reference_model": TEXT,
    "note": TEXT,
}


def r_squared(record: FitRecord) -> pl.DataFrame:
    """One row per measure of explained variance."""
    return _measure_rows(
        measures.r_squared(record.model, record.moments, record.estimate, lambda: record.variance_split)
    )


def r_squared_changes(record: FitRecord, reference: FitRecord, name: str) -> pl.DataFrame:
    """One row per measure that differs from a reference model's, and one a variance that is smaller than there."""
    check_outcomes(record.model, reference.model)
    check_same_rows(record.moments, reference.moments)
    ours, theirs = (measures.shares(f.model, f.moments, f.estimate) for f in (record, reference))
    reductions = measures.proportional_reduction(record.estimate, reference.estimate, name)
    return _measure_rows([*measures.changes(ours, theirs, name), *(reductions if record.model.random else ())])


def _measure_rows(rows: Sequence[measures.Measure]) -> pl.DataFrame:
    names = {"reference_model": "reference"}
    return frame(R_SQUARED, {c: [getattr(m, names.get(c, c)) for m in rows] for c in R_SQUARED})


CONTEXTUAL_EFFECTS: ColumnTypes = {
    "predictor": TEXT,
    "group": TEXT,
    "within": REAL,
    "between": REAL,
    "estimate": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "reliability": REAL,
    "predicted_bias": REAL,
    "corrected": REAL,
    "corrected_std_error": REAL,
    "bias_matters": FLAG,
    "note": TEXT,
}


def contextual_effects(record: FitRecord) -> pl.DataFrame:
    """One row per variable whose group mean is in the model beside it."""
    effects = contextual.contextual_effects(record.model, record.moments, record.estimate, record.method)
    tests = ("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high")
    values = {name: [getattr(one.test, name)[0] for one in effects] for name in tests}
    columns = ("within", "between", "reliability", "corrected", "corrected_std_error", "note")
    values |= {name: [getattr(one, name) for one in effects] for name in columns}
    values |= {
        "predictor": [label(one.pair.predictor) for one in effects],
        "group": [group_name(one.pair.group) for one in effects],
        "predicted_bias": [None if one.corrected is None else one.test.estimate[0] - one.corrected for one in effects],
        "bias_matters": [one.matters for one in effects],
    }
    return frame(CONTEXTUAL_EFFECTS, values)


ICC: ColumnTypes = {
    "group": TEXT,
    "level": COUNT,
    "icc": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "method": TEXT,
    "conditional": FLAG,
    "row_correlation": REAL,
    "group_size": REAL,
    "design_effect": REAL,
    "n_effective": REAL,
    "reliability": REAL,
    "note": TEXT,
}
STANDARD_ERRORS: ColumnTypes = {
    "term": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "std_error_kind": TEXT,
    "naive_estimate": REAL,
    "naive_std_error": REAL,
    "robust_std_error": REAL,
    "std_error_ratio": REAL,
}


def icc(record: FitRecord) -> pl.DataFrame:
    """One row per grouping factor."""
    correlations = clustering(record.moments, record.estimate, record.block_effects)
    names = {"row_correlation": "correlation"}
    return frame(ICC, {c: [getattr(one, names.get(c, c)) for one in correlations] for c in ICC})


def standard_errors(record: FitRecord) -> pl.DataFrame:
    """One row per fixed effect; the last of the levels holds the clusters of a single-level regression."""
    estimate, tests, multilevel = record.estimate, record.tests, bool(record.estimate.design.levels)
    top = record.request.top_level
    if not multilevel and estimate.design.clusters is None and top:
        estimate = estimate_design(build_design(record.model, record.moments, top), reml=record.estimator == "reml")
    naive = least_squares(estimate)
    return frame(
        STANDARD_ERRORS,
        {
            "term": [c.name for c in record.equation_structure.fixed],
            "estimate": tests.estimate,
            "std_error": tests.std_error,
            "std_error_kind": [record.error_kind] * len(tests.estimate),
            "naive_estimate": naive.estimate,
            "naive_std_error": naive.std_error,
            "robust_std_error": [None] * len(tests.estimate)
            if naive.robust_std_error is None
            else naive.robust_std_error,
            "std_error_ratio": tests.std_error / naive.std_error if multilevel else [None] * len(tests.estimate),
        },
    )
