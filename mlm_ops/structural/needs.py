"""What a structural equation model demands of the columns, checked before the scan."""

from __future__ import annotations

from mlm_ops.errors import DataError
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.language.structural.parameters import ParameterTable
from mlm_ops.moments.source import Source


def check_columns(table: ParameterTable, cluster: GroupingFactor, source: Source) -> None:
    """Refuse columns that are no numbers, before the scan.

    Raises
    ------
    DataError
        A missing column, text, or the cluster's own column as a variable.
    """
    source.require([*table.columns, *cluster])
    for name in table.columns:
        if name in cluster:
            raise DataError(f"{name!r} names the clusters and stands in the model too. Leave it out of the model.")
        if not source.is_numeric(name):
            raise DataError(
                f"Column {name!r} holds {source.types[name]}, and a structural equation model needs numbers."
                f"{source.stray_cells(name) if source.is_text(name) else ''} Recode it in a view or SELECT, "
                f"for example 0 and 1; the clusters are those of {group_name(cluster)!r}."
            )
