"""Which columns of the upstream table a column of a table that we make comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from mlm_ops.language.analysis import Analysis
from mlm_ops.language.model import Model, columns_of
from mlm_ops.moments.centered import centered_columns
from mlm_ops.moments.moments import Schema
from mlm_ops.tables import TABLES


def model_columns(model: Model) -> tuple[str, ...]:
    """Columns of the table that a model reads: of its outcome and predictors, then of its groups."""
    values = (name for variable in model.variables for name in columns_of(variable))
    groups = (name for group in model.all_groups for name in group)
    return tuple(dict.fromkeys((*values, *groups)))


def model_lineage(analysis: Analysis, name: str, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Every number of a model's fixed effects comes from all the columns that the model reads; moments have others."""
    if analysis.form == "moments":
        return dg.TableColumnLineage({})
    sources = _columns(upstream, model_columns(analysis.parsed[name]))
    return dg.TableColumnLineage({column: sources for column in TABLES["fixed_effects"] if column != "model"})


def centered_lineage(analysis: Analysis, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """The group means come from a column and its groups, the deviation from the grand mean from the column alone."""
    columns, group = centered_columns(analysis)
    split = {
        f"{prefix}_{column}": _columns(upstream, (column, *group))
        for column in columns
        for prefix in ("between", "within")
    }
    return dg.TableColumnLineage(split | {f"center_{column}": _columns(upstream, (column,)) for column in columns})


def moments_lineage(schema: Schema, columns: Sequence[str], upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """What each column of the moments is made of: in the table's order, as `save_moments` has it."""
    factors = [[name for atom in monomial for name in columns_of(atom)] for monomial in schema.monomials]
    pairs = [(*first, *second) for i, first in enumerate(factors) for second in factors[: i + 1]]
    everything = [*schema.keys, *(name for names in factors for name in names)]
    constants = [columns_of(constant) for constant in schema.constants]
    read = [*([key] for key in schema.keys), everything]
    read += [[*names, *schema.keys] for names in (*factors, *pairs, *constants, *factors)]
    return dg.TableColumnLineage(
        {column: _columns(upstream, dict.fromkeys(names)) for column, names in zip(columns, read, strict=True)}
    )


def published_lineage(models: Sequence[dg.AssetKey]) -> dg.TableColumnLineage:
    """The published fixed effects are those of every model."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=model, column_name=column) for model in models]
            for column in TABLES["fixed_effects"]
            if column != "model"
        }
    )


def _columns(upstream: dg.AssetKey, names: Iterable[str]) -> list[dg.TableColumnDep]:
    return [dg.TableColumnDep(asset_key=upstream, column_name=name) for name in names]


def fits_lineage(analysis: Analysis, partition: str, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """The numbers of all models, each partition fitted alone, come from the columns of all and the partition's."""
    read = (name for model in analysis.parsed.values() for name in model_columns(model))
    sources = _columns(upstream, dict.fromkeys((*read, partition)))
    return dg.TableColumnLineage({column: sources for column in TABLES["fixed_effects"] if column != "model"})
