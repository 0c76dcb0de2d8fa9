"""Draw up all the tables of a fit, or of an analysis, by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, ParamSpec

import polars as pl

from mlm_ops.estimation.threads import one_thread
from mlm_ops.results.tables.columns import with_model
from mlm_ops.results.tables.effects import fixed_effects, influence_lists, random_effects, variance_components
from mlm_ops.results.tables.explained import contextual_effects, icc, r_squared, standard_errors
from mlm_ops.results.tables.findings import diagnostics
from mlm_ops.results.tables.questions import interaction_tables
from mlm_ops.results.tables.units import decomposition, groups, unit_lines
from mlm_ops.results.tables.whole_models import fit_statistics, models

if TYPE_CHECKING:
    from mlm_ops.inference.effect_sizes.interactions import At
    from mlm_ops.language.model import Model
    from mlm_ops.moments.record import Moments
    from mlm_ops.results.record import FitRecord
    from mlm_ops.warehouse.source import Source

P = ParamSpec("P")
#: The tables that are drawn up for each fit, some of them perhaps without rows.
FIT_TABLES: dict[str, Callable[[FitRecord], pl.DataFrame]] = {
    "fixed_effects": fixed_effects,
    "variance_components": variance_components,
    "random_effects": random_effects,
    "fit_statistics": fit_statistics,
    "r_squared": r_squared,
    "icc": icc,
    "standard_errors": standard_errors,
    "contextual_effects": contextual_effects,
    "influence_lists": influence_lists,
    "unit_lines": unit_lines,
    "models": models,
}
#: The tables that are drawn up once for an analysis, of all its models together; their column ``model`` is null.
ANALYSIS_TABLES: dict[str, Callable[[Sequence[Model], Moments], pl.DataFrame]] = {
    "decomposition": decomposition,
    "groups": groups,
}


def fit_tables(name: str, record: FitRecord, tables: Iterable[str] = tuple(FIT_TABLES)) -> dict[str, pl.DataFrame]:
    """Draw up result tables of one fit, by default those of every fit, each with column ``model`` first."""
    functions = FIT_TABLES | {"diagnostics": diagnostics}
    with one_thread(record.estimate.design.long_rows):
        frames = {table: functions[table](record) for table in tables}
    return {table: with_model(name, frame) for table, frame in frames.items()}


def analysis_tables(models: Sequence[Model], moments: Moments) -> dict[str, pl.DataFrame]:
    """Tables of an analysis as a whole, each with column ``model`` first, which is null."""
    return {table: with_model(None, draw(models, moments)) for table, draw in ANALYSIS_TABLES.items()}


def table_functions(
    name: str, record: FitRecord, slopes: Iterable[tuple[str, At]], rows: Source | None = None
) -> dict[str, Callable[[], pl.DataFrame]]:
    """Functions that draw up each table of an analysis of this one model, for callers that need a few of them.

    Parameters
    ----------
    name
        The model's name in the tables.
    slopes
        Predictors and their moderators, of which simple slopes, regions and curves are.
    rows
        Rows of the fit, for diagnostics of them.
    """
    models, moments = [record.model], record.moments

    @cache
    def answers() -> dict[str, pl.DataFrame]:
        return interaction_tables(record, slopes)

    def answer(table: str) -> pl.DataFrame:
        return with_model(name, answers().get(table, pl.DataFrame()))

    functions: dict[str, Callable[[], pl.DataFrame]] = {}
    for table, draw in FIT_TABLES.items():
        functions[table] = partial(_of_model, name, draw, record)
    for table, draw_whole in ANALYSIS_TABLES.items():
        functions[table] = partial(_of_model, None, draw_whole, models, moments)
    for table in ("simple_slopes", "johnson_neyman", "curves"):
        functions[table] = partial(answer, table)
    return functions | {"diagnostics": partial(_of_model, name, diagnostics, record, rows)}


def _of_model(name: str | None, draw: Callable[P, pl.DataFrame], *arguments: P.args, **named: P.kwargs) -> pl.DataFrame:
    return with_model(name, draw(*arguments, **named))
