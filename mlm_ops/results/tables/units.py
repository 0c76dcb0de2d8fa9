"""The tables of units: sizes and means of groups, and each group's own line."""

from __future__ import annotations

from mlm_ops.results.tables.columns import COUNT, REAL, TEXT, ColumnTypes

GROUPS: ColumnTypes = {
    "group": TEXT,
    "unit": TEXT,
    "n": COUNT,
    "variable": TEXT,
    "mean": REAL,
    "std_dev": REAL,
}
UNIT_LINES: ColumnTypes = {
    "group": TEXT,
    "unit": TEXT,
    "n": COUNT,
    "term": TEXT,
    "x_low": REAL,
    "x_high": REAL,
    "intercept": REAL,
    "slope": REAL,
    "own_intercept": REAL,
    "own_slope": REAL,
}
