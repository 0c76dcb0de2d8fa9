"""Run against run: the columns that `mlm_ops.drift` fills when a run is written."""

from __future__ import annotations

from mlm_ops.tables.columns import FLAG, REAL, TEXT, Schema

DRIFT: Schema = {
    "against": TEXT,
    "reference_run": TEXT,
    "kind": TEXT,
    "group": TEXT,
    "term": TEXT,
    "other": TEXT,
    "before": REAL,
    "now": REAL,
    "difference": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "p_adjusted": REAL,
    "method": TEXT,
    "flagged": FLAG,
    "note": TEXT,
}
