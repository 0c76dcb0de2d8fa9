"""Compute the columns of the tables in a printed fit: fixed effects and variance components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlm_ops.inference.random.variance import Component
from mlm_ops.language.symbols import coefficient_symbol

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def fixed_effect_columns(record: FitRecord) -> Mapping[str, Sequence[Any]]:
    """One value per fixed effect in each column; what does not exist is infinite or not a number."""
    tests, structure = record.tests, record.equation_structure
    index, columns = structure.indices, structure.fixed
    return {
        "term": [c.name for c in columns],
        "symbol": [coefficient_symbol(index[c]) for c in columns],
        "level": [structure.level(c) for c in columns],
        "estimate": tests.estimate.tolist(),
        "std_error": tests.std_error.tolist(),
        "df": tests.df.tolist(),
        "statistic": tests.statistic.tolist(),
        "p_value": tests.p_value.tolist(),
        "conf_low": tests.conf_low.tolist(),
        "conf_high": tests.conf_high.tolist(),
    }


def variance_component_columns(record: FitRecord) -> Mapping[str, Sequence[Any]]:
    """In each column, a value per variance and covariance of each T, lower triangle by columns, the residual last."""
    return dict(zip(Component._fields, zip(*record.components, strict=True), strict=True))
