"""What assets return, and the metadata keys that Dagster's UI and this package read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    Result = dg.MaterializeResult[None]
else:
    # Dagster takes a result with checks beside it only by the bare name
    Result = dg.MaterializeResult

SCHEMA = "dagster/column_schema"
LINEAGE = "dagster/column_lineage"
TABLE = "dagster/table_name"
#: On the asset that publishes an analysis: the analysis' name.
ANALYSIS = "mlm/analysis"
