"""Print a fit: equations, effects, variance components, fit, notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlm_ops.inference.random.variance import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.effect_columns import fixed_effect_columns, variance_component_columns
from mlm_ops.results.equations import write_equations
from mlm_ops.results.notes import notes_of
from mlm_ops.results.text.outline import Outline, OutlineTable
from mlm_ops.results.text.tables import CellTable, column_table
from mlm_ops.results.words import count, statistic

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def outline(record: FitRecord, symbol: Callable[[str], str] = str) -> Outline:
    """Equations, fixed effects, variance components, and how well the model fits.

    Parameters
    ----------
    symbol
        How the symbols of the tables are written.
    """
    estimate, icc = record.estimate, intraclass_correlation(record.estimate)
    groups = ", ".join(
        f"{count(len(level.labels))} units of {group_name(level.group)}" for level in record.estimate.design.levels
    )
    kind = "Multilevel model" if groups else "Single-level regression"
    method = "" if not groups else f" by {record.estimator.upper()}"
    statistics = {
        "log_likelihood": estimate.log_likelihood,
        "deviance": estimate.deviance,
        "aic": estimate.aic,
        "bic": estimate.bic,
        "icc": icc,
    }
    return Outline(
        head=(
            f"{kind}{method}: {record.model.text}",
            f"{count(estimate.design.n_rows)} rows{' in ' + groups if groups else ''}",
        ),
        equations=lambda alphabet: write_equations(record.equation_structure, "levels", alphabet, {}),
        tables=(
            OutlineTable("Fixed effects", _fixed_effects(record, symbol)),
            OutlineTable("Variance components", _variance_components(record, symbol)),
        ),
        measures=(", ".join(statistic(name, value) for name, value in statistics.items() if value is not None),),
        notes=tuple(notes_of(record)),
    )


def _fixed_effects(record: FitRecord, symbol: Callable[[str], str]) -> CellTable:
    names = ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value")
    headings = {
        "symbol": "",
        "std_error": "std. error",
        "statistic": "t" if record.df != "none" else "z",
        "p_value": "p",
    }
    return _cells({name: fixed_effect_columns(record)[name] for name in names}, headings, symbol)


def _variance_components(record: FitRecord, symbol: Callable[[str], str]) -> CellTable:
    """Variances and covariances, a covariance by both of its terms."""
    columns = variance_component_columns(record)
    pairs = zip(columns["term"], columns["other"], strict=True)
    shown = {
        "group": columns["group"],
        "term": [", ".join(name for name in pair if name is not None) for pair in pairs],
        **{name: columns[name] for name in ("symbol", "estimate", "std_dev", "correlation")},
    }
    return _cells(shown, {"symbol": "", "estimate": "variance", "std_dev": "std. dev."}, symbol)


def _cells(
    columns: Mapping[str, Sequence[Any]], headings: Mapping[str, str], symbol: Callable[[str], str]
) -> CellTable:
    """The texts of columns, infinities and NaN as no text, as in the result tables."""
    values = {name: _without_infinities(column) for name, column in columns.items()}
    return column_table(values | {"symbol": [symbol(text) for text in columns["symbol"]]}, headings)


def _without_infinities(column: Iterable[Any]) -> list[Any]:
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in column]
