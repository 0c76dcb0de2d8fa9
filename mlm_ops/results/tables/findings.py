"""Draw up the table `diagnostics`: one row per finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.results.diagnose import diagnose
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord
    from mlm_ops.warehouse.source import Source

DIAGNOSTICS: ColumnTypes = {
    "diagnostic": TEXT,
    "group": TEXT,
    "unit": TEXT,
    "term": TEXT,
    "level": COUNT,
    "value": REAL,
    "n": COUNT,
    "estimate": REAL,
    "skewness": REAL,
    "expected": REAL,
    "std_error": REAL,
    "statistic": REAL,
    "df": REAL,
    "p_value": REAL,
    "bound": REAL,
    "flagged": FLAG,
    "note": TEXT,
    "at": REAL,
}


def diagnostics(record: FitRecord, rows: Source | None = None, *, least: int = 1) -> pl.DataFrame:
    """One row per finding: influence by unit, outliers, normality by random effect, equal variances, collinearity.

    With the rows also their residuals: the distribution, its quantiles, whether their variance follows a predictor, and
    means in bins of each predictor, each bin of `least` rows or more.
    """
    findings = diagnose(record, rows, least)
    values = {name: [getattr(finding, name) for finding in findings] for name in DIAGNOSTICS if name != "at"}
    return frame(DIAGNOSTICS, values | {"at": values["value"]})
