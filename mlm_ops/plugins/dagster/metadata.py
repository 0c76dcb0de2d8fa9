"""Make the metadata that Dagster's UI shows of fits and tables: equations, tables, numbers to plot over time."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from mlm_ops.analyses.centered import CenteredColumn
from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.language.model import Model, columns_of
from mlm_ops.moments.needs import needs_of
from mlm_ops.moments.record import Schema as MomentsSchema
from mlm_ops.results.fit import Fit
from mlm_ops.results.meaning import intercept_meanings
from mlm_ops.results.tables.columns import KEYS, SQL_TYPES, ColumnTypes
from mlm_ops.results.tables.descriptions import COLUMNS
from mlm_ops.results.text.tables import cell_table
from mlm_ops.results.words import code_block, counts, statistic, visible
from mlm_ops.structural.results.fit import SemFit
from mlm_ops.structural.results.random_paths import without_random_paths

Metadata = dict[str, dg.MetadataValue]

if TYPE_CHECKING:
    Result = dg.MaterializeResult[None]
else:
    # Dagster takes a result with checks beside it only by the bare name
    Result = dg.MaterializeResult

SCHEMA = "dagster/column_schema"
LINEAGE = "dagster/column_lineage"
TABLE = "dagster/table_name"
#: Coefficients beyond so many, such as those of a factor with hundreds of levels, are plotted by nobody.
MOST_COEFFICIENTS = 100
#: On the asset that publishes an analysis: the analysis' name.
ANALYSIS = "mlm/analysis"


def column_schema(columns: ColumnTypes) -> dg.TableSchema:
    """Columns of a result table, as the catalogue of the UI shows them."""
    return dg.TableSchema(
        [dg.TableColumn(name, SQL_TYPES[kind], description=COLUMNS.get(name)) for name, kind in columns.items()]
    )


def result_schema(table: str) -> dg.TableSchema:
    """Columns of one of the tables of schema ``mlm``."""
    return column_schema(KEYS | TABLES[table])


def relation_schema(types: Mapping[str, str]) -> dg.TableSchema:
    """Columns of a table of the warehouse, from their names and DuckDB types."""
    return dg.TableSchema([dg.TableColumn(name, kind.lower()) for name, kind in types.items()])


def model_metadata(formula: str, fit: Fit, tables: Mapping[str, pl.DataFrame]) -> Metadata:
    """Make the metadata of a model.

    Parameters
    ----------
    formula
        The model as the analysis file states it.
    fit
        Its fit.
    tables
        Its published tables; where they have no rows, the metadata have no numbers either.
    """
    if tables["fixed_effects"].is_empty() and not fit.fixed_effects.is_empty():
        return withheld_metadata(formula, tables["models"]["notes"][0])
    statistics = fit.fit_statistics.row(0, named=True)
    return {
        "formula": dg.MetadataValue.text(formula),
        "equations": dg.MetadataValue.md(fit.equations("levels", "markdown", estimates=True)),
        "level_equations": _code(fit.equations("levels")),
        "reduced_equation": _code(fit.equations("reduced")),
        **_meanings(fit),
        "fixed_effects": table_metadata(fit.fixed_effects),
        "variance_components": table_metadata(fit.variance_components),
        "dagster/row_count": dg.MetadataValue.int(fit.fixed_effects.height),
        "summary": dg.MetadataValue.text(_summary(statistics)),
        **numbers(statistics),
        **_group_counts(statistics.get("n_groups")),
        **_variances(fit.variance_components),
        **_coefficients(tables["fixed_effects"]),
    }


def _meanings(fit: Fit) -> Metadata:
    """What the intercept and the variance of the intercepts mean, where the model has them."""
    names = ("intercept_meaning", "intercept_variance_meaning")
    texts = zip(names, intercept_meanings(fit), strict=True)
    return {name: dg.MetadataValue.text(text) for name, text in texts if text is not None}


def withheld_metadata(formula: str, notes: str | None = None) -> Metadata:
    """Make the metadata of a model that is not published because of too few rows."""
    note = notes or "min_publish_n: the results of this model are not published, because it has too few rows"
    return {
        "formula": dg.MetadataValue.text(formula),
        "dagster/row_count": dg.MetadataValue.int(0),
        "summary": dg.MetadataValue.text(note),
    }


def sem_metadata(fit: SemFit) -> Metadata:
    """Make the metadata of a structural equation model: its diagram, equations, parameters and measures of fit."""
    statistics = fit.fit_statistics.row(0, named=True)
    picture = base64.b64encode(fit.diagram("svg").encode()).decode()
    return {
        "diagram": dg.MetadataValue.md(f"![Path diagram](data:image/svg+xml;base64,{picture})"),
        "mermaid": _code(fit.diagram("mermaid"), "mermaid"),
        "equations": _code(fit.equations()),
        "mplus": _code(fit.equations("mplus")),
        "parameters": table_metadata(without_random_paths(fit.parameters)),
        "variables": table_metadata(fit.variables),
        "dagster/row_count": dg.MetadataValue.int(fit.parameters.height),
        "summary": dg.MetadataValue.text(_sem_summary(statistics)),
        **({"notes": dg.MetadataValue.text("; ".join(fit.notes))} if fit.notes else {}),
        **numbers(statistics),
    }


def _sem_summary(statistics: Mapping[str, object]) -> str:
    parts = [statistic("log_likelihood", statistics["log_likelihood"])]
    if statistics["df"] and statistics["chi_square"] is not None:
        parts.append(f"{statistic('chi_square', statistics['chi_square'])} on {statistics['df']} df")
    if statistics["singular"]:
        parts.append("singular")
    return ", ".join(parts)


def numbers(values: Mapping[str, object]) -> Metadata:
    """Make metadata of the finite numbers of a row, which the UI can plot, and of its flags."""
    metadata: Metadata = {}
    for name, value in values.items():
        if isinstance(value, bool):
            metadata[name] = dg.MetadataValue.bool(value)
        elif isinstance(value, int):
            metadata[name] = dg.MetadataValue.int(value)
        elif isinstance(value, float) and math.isfinite(value):
            metadata[name] = dg.MetadataValue.float(value)
    return metadata


def table_metadata(frame: pl.DataFrame) -> dg.MetadataValue:
    """Make a Markdown table of a result table, without the columns that are null in every row."""
    return dg.MetadataValue.md(cell_table(frame).markdown())


def _code(text: str, language: str = "") -> dg.MetadataValue:
    return dg.MetadataValue.md(code_block(text, language))


def _summary(statistics: Mapping[str, object]) -> str:
    parts = [statistic("log_likelihood", statistics["log_likelihood"])]
    if statistics.get("icc") is not None:
        parts.append(statistic("icc", statistics["icc"]))
    if statistics.get("singular"):
        parts.append("singular")
    return ", ".join(parts)


def _group_counts(n_groups: object) -> Metadata:
    units = counts(n_groups if isinstance(n_groups, str) else None)
    return {f"n_groups_{group}": dg.MetadataValue.int(n) for group, n in units.items()}


def _variances(components: pl.DataFrame) -> Metadata:
    """Each variance and covariance by its symbol, with the group or stratum where several share one."""
    symbols = list(components["symbol"])
    values: dict[str, object] = {}
    for row in components.iter_rows(named=True):
        name = row["symbol"]
        if symbols.count(name) > 1:
            name += f"_{row['term'] if row['group'] == 'residual' else row['group']}"
        values[name] = row["estimate"]
    return numbers(values)


def _coefficients(fixed_effects: pl.DataFrame) -> Metadata:
    """Each fixed effect by its term, the first of very many."""
    rows = fixed_effects.head(MOST_COEFFICIENTS).select("term", "estimate").iter_rows()
    return numbers({f"fixed_{visible(term)}": estimate for term, estimate in rows})


def model_columns(model: Model) -> tuple[str, ...]:
    """List the columns of the table that a model reads: of its outcome and predictors, then of its groups."""
    needs = needs_of([model])
    return tuple(dict.fromkeys((*needs.columns, *needs.keys)))


def model_lineage(analysis: Analysis, name: str, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Say that each column of a model's fixed effects comes from all columns it reads; none where it reads moments."""
    if analysis.form == "moments":
        return dg.TableColumnLineage({})
    sources = _columns(upstream, model_columns(analysis.compiled_models[name]))
    return dg.TableColumnLineage({column: sources for column in TABLES["fixed_effects"] if column != "model"})


def centered_lineage(columns: Iterable[CenteredColumn], upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Say that a new column comes from the one that is centered and those of its groups."""
    return dg.TableColumnLineage(
        {new.name: _columns(upstream, dict.fromkeys((new.column, *new.group))) for new in columns}
    )


def moments_lineage(schema: MomentsSchema, columns: Sequence[str], upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Say which columns each column of the moments comes from, in the order in which `save_moments` writes them."""
    factors = [[name for atom in monomial for name in columns_of(atom)] for monomial in schema.monomials]
    pairs = [(*first, *second) for i, first in enumerate(factors) for second in factors[: i + 1]]
    everything = [*schema.keys, *(name for names in factors for name in names)]
    constants = [columns_of(constant) for constant in schema.constants]
    sources = [*([key] for key in schema.keys), everything]
    sources += [[*names, *schema.keys] for names in (*factors, *pairs, *constants, *factors)]
    return dg.TableColumnLineage(
        {column: _columns(upstream, dict.fromkeys(names)) for column, names in zip(columns, sources, strict=True)}
    )


def published_lineage(models: Sequence[dg.AssetKey]) -> dg.TableColumnLineage:
    """Say that the published fixed effects come from those of every model."""
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
    """Say that the fits of the partitions come from the columns that any model reads, and the partition's."""
    names = (name for model in analysis.compiled_models.values() for name in model_columns(model))
    sources = _columns(upstream, dict.fromkeys((*names, partition)))
    return dg.TableColumnLineage({column: sources for column in TABLES["fixed_effects"] if column != "model"})
