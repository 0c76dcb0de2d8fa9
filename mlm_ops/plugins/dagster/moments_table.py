"""Build the asset that brings a table of moments over from another warehouse, for an analysis of moments."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import re
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from mlm_ops.errors import AnalysisError
from mlm_ops.language import options
from mlm_ops.language.option_values import Option, text
from mlm_ops.moments.from_macros import read_moments
from mlm_ops.moments.storage import transaction
from mlm_ops.plugins.dagster.metadata import SCHEMA, TABLE, Result, numbers, relation_schema
from mlm_ops.plugins.dagster.plan import asset_key
from mlm_ops.plugins.dagster.warehouse import Warehouse, as_warehouse, without_vain_retries
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.arrow import scannable
from mlm_ops.warehouse.connection import registered
from mlm_ops.warehouse.frames import read_rows
from mlm_ops.warehouse.ownership import Claim, replace_table, with_schema
from mlm_ops.warehouse.relation import quoted_table, table_parts
from mlm_ops.warehouse.source import open_source


@checked(
    table=text("table", "the name of a table"),
    read=options.READ,
    group=options.GROUP,
    upstream=Option("upstream", "the key of an asset: text, parts of text, or an AssetKey", asset_key).or_none(),
    group_name=text("group_name", "the name of a group").or_none(),
    resource=text("resource", "the key of a resource"),
)
def build_moments_table(
    table: str,
    read: Callable[[], Any],
    group: str | Sequence[str],
    *,
    upstream: dg.AssetKey | Sequence[str] | str | None = None,
    group_name: str | None = None,
    resource: str = "warehouse",
) -> dg.AssetsDefinition:
    """Make an asset that reads a table of moments elsewhere and writes it into the project's database.

    The table is one of ``mlm.group_moments`` or ``merge_group_moments``. It is read as a fit would read it before
    anything is written, in one transaction. The asset's key is the last part of the table's name, which an analysis
    with ``data: <table>`` and ``form: moments`` takes for its upstream. The code location supplies the warehouse as a
    resource.

    Parameters
    ----------
    table
        The table to write, perhaps with a schema before it.
    read
        Called without arguments at each materialisation; returns the moments as `fit` takes data: a frame, an Arrow
        table, the path of a Parquet file or folder.
    group
        The column, or all the columns, that the macro grouped by.
    upstream
        Key of the asset that makes the moments: a dbt model of the other warehouse.
    group_name
        Group of the asset in the UI.
    resource
        Key of the resource that is the warehouse, as `build_analysis_assets` takes it.

    Raises
    ------
    AnalysisError
        A name that Dagster cannot take.
    DataError
        The name is not that of a table, or Dagster refuses that of the group. At a materialisation: what was read are
        no moments.
    StoreError
        At a materialisation: there is a table of this name that the asset did not make.
    """
    name = table_parts(table)[-1]
    if re.fullmatch(r"[A-Za-z0-9_]+", name) is None:
        raise AnalysisError(
            f"The table names no asset that Dagster knows. Got {table!r}; expected a name in letters, digits and "
            "underscores, perhaps with a schema before it."
        )

    @dg.asset(
        key=dg.AssetKey([name]),
        deps=[] if upstream is None else [dg.AssetKey.from_coercible(upstream)],
        group_name=group_name,
        kinds={"duckdb"},
        description=f"Moments of another warehouse, one row per {_words(group)}: sizes, means and sums of products.",
        metadata={TABLE: table},
        required_resource_keys={resource},
    )
    def moments_table(context: dg.AssetExecutionContext) -> Result:
        with without_vain_retries():
            warehouse = as_warehouse(getattr(context.resources, resource), resource)
            return bring_moments(warehouse, table, read(), group)

    return moments_table


def bring_moments(warehouse: Warehouse, table: str, rows: Any, group: str | Sequence[str]) -> Result:
    """Write a table of moments from elsewhere into a warehouse, once it is read as a fit would read it.

    Parameters
    ----------
    table, group
        As `build_moments_table` takes them.
    rows
        The moments, as `fit` takes data.

    Returns
    -------
    Result
        Their checksum as its version, and how many rows and groups they are of.

    Raises
    ------
    DataError, StoreError
        As at a materialisation.
    """
    brought = read_rows(rows)
    moments = read_moments(brought, group)
    with warehouse.connection() as connection:
        claim = Claim(
            with_schema(connection, table_parts(table)),
            "moments brought over from another warehouse",
            "Give build_moments_table another name of a table, or rename that one.",
        )
        with registered(connection, scannable(brought)) as frame, transaction(connection):
            replace_table(connection, claim, f"as from {frame}")
        types = open_source(quoted_table(table), connection).types
    return Result(
        data_version=dg.DataVersion(moments.checksum),
        metadata={
            "dagster/row_count": dg.MetadataValue.int(moments.n_units),
            "summary": dg.MetadataValue.text(f"{moments.n_obs:,} rows in {moments.n_units:,} groups"),
            **numbers({"n_obs": moments.n_obs, "n_groups": moments.n_units}),
            SCHEMA: dg.MetadataValue.table_schema(relation_schema(types)),
        },
    )


def _words(group: str | Sequence[str]) -> str:
    return group if isinstance(group, str) else " and ".join(group)
