"""Moments of one analysis by Dagster's partitions: which rows are read, and which other partitions they tell of."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from mlm_ops.database import Connection
from mlm_ops.plugins.dagster import steps
from mlm_ops.plugins.dagster.metadata import Metadata
from mlm_ops.plugins.dagster.partition_keys import partition_values, windows_of
from mlm_ops.plugins.dagster.plan import Plan


def make_partitions(
    connection: Connection,
    plan: Plan,
    partitions_def: dg.PartitionsDefinition[str],
    keys: Sequence[str],
    instance: dg.DagsterInstance,
) -> tuple[Metadata, list[dg.AssetCheckResult], list[str]]:
    """Bring the moments up to date with the rows of some partitions.

    Parameters
    ----------
    keys
        The partitions that a run is asked for.
    instance
        Knows the partitions that were added while the project ran.

    Returns
    -------
    tuple
        Metadata and checks of the moments, and the other partitions that were read with these: the first build and a
        rebuild read all rows.
    """
    asked = partition_values(connection, plan.analysis, windows_of(partitions_def, keys))
    wanted = {value for values in asked.values() for value in values}
    metadata, checks = steps.make_moments(connection, plan.analysis, sorted(wanted), plan.upstream)
    value = metadata[steps.PARTITIONS_READ].value
    read = {str(name) for name in value} if isinstance(value, list) else set()
    if read <= wanted:
        return metadata, checks, []
    every = partitions_def.get_partition_keys(dynamic_partitions_store=instance)
    others = windows_of(partitions_def, (key for key in every if key not in asked))
    if all(window is None for window in others.values()):
        return metadata, checks, [key for key in others if key in read]
    found = partition_values(connection, plan.analysis, others)
    return metadata, checks, [key for key, values in found.items() if values and read.issuperset(values)]
