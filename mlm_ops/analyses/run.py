"""Run an analysis: scan once, fit every model, compare, draw up the tables."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.analyses.errors_in_context import analysis_in_errors, model_in_errors
from mlm_ops.analyses.file.questions import check_slopes
from mlm_ops.analyses.file.strategy import WARNING
from mlm_ops.analyses.ladder import Ladder, climb, ladder_steps
from mlm_ops.analyses.rows import open_rows
from mlm_ops.errors import MlmError
from mlm_ops.inference.fixed import contrasts as linear_contrasts
from mlm_ops.language.formula import formula_text
from mlm_ops.logs import Event, tell, tell_fit
from mlm_ops.moments.collect import collect
from mlm_ops.moments.coverage import nested_levels
from mlm_ops.moments.from_macros import gather
from mlm_ops.moments.needs import complete_rows
from mlm_ops.moments.partitions import Partitions, Refresh
from mlm_ops.moments.record import Moments
from mlm_ops.moments.storage import save_moments
from mlm_ops.moments.stored_tables import claim_tables, table_claim
from mlm_ops.results import tables
from mlm_ops.results.comparing import compare_records
from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit_model
from mlm_ops.results.numpy_warnings import quiet
from mlm_ops.results.tables.columns import COUNT
from mlm_ops.results.tables.questions import contrasts, interaction_tables
from mlm_ops.results.tables.suppression import publishable
from mlm_ops.warehouse.ownership import CENTERED, CENTERED_IN_POLARS, MOMENTS, check_not_read
from mlm_ops.warehouse.relation import TABLE
from mlm_ops.warehouse.sql import identifier

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.analyses.file.questions import SlopeQuestion
    from mlm_ops.language.model import GroupingFactor, Model
    from mlm_ops.warehouse.source import Source


#: Result tables of the models that a ladder went through before the one it selected.
ON_THE_WAY = ("fixed_effects", "variance_components", "fit_statistics", "r_squared", "models")


@dataclass(frozen=True)
class AnalysisResult:
    """All of an analysis.

    Attributes
    ----------
    moments
        From the one scan.
    fits
        By model name; that of the model which a ladder selected is called ``selected``.
    tables
        Result tables, each with column ``model`` first, which is null where the rows are of all models.
    """

    moments: Moments
    fits: dict[str, Fit]
    tables: dict[str, pl.DataFrame]


def collect_analysis(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> Moments:
    """Scan an analysis' rows, once for all its models."""
    started = time.perf_counter()
    with analysis_in_errors(analysis):
        source = open_rows(analysis, connection)
        made_of = gather if analysis.form == "moments" else collect
        moments = made_of(source, analysis.models_to_scan, analysis.level_columns, analysis.keys)
        _tell_moments(moments, started)
    return moments


def moments_table(analysis: Analysis) -> str:
    """Where the analysis' moments are kept."""
    return _in_main(f"{analysis.analysis}{MOMENTS}")


def centered_table(analysis: Analysis) -> str:
    """Where the rows with their within/between split are kept: named for the analysis, as two may share a table."""
    return _in_main(f"{analysis.analysis}{CENTERED}")


def polars_table(analysis: Analysis) -> str:
    """Where those that Polars made are kept beside the ones of SQL, if the analysis has ``steps: both``."""
    return _in_main(f"{analysis.analysis}{CENTERED_IN_POLARS}")


def _in_main(name: str) -> str:
    """A table's name in schema ``main``, in quotes only where it needs them, as people read it in the UI."""
    plain = f"main.{name}"
    return plain if TABLE.fullmatch(plain) else f"main.{identifier(name)}"


def keep_moments(
    analysis: Analysis, connection: duckdb.DuckDBPyConnection, partitions: Sequence[str] | None = None
) -> Refresh:
    """Collect an analysis' moments and keep them in `moments_table`.

    Parameters
    ----------
    partitions
        Where the analysis has a partition, those to read again; None finds the new and changed ones.

    Raises
    ------
    StoreError
        A table of that name is there and not ours, or the analysis reads it. Nothing is then changed.
    """
    started, table = time.perf_counter(), moments_table(analysis)
    with analysis_in_errors(analysis):
        source = open_rows(analysis, connection)
        claim_tables(connection, table)
        check_not_read(connection, table_claim(connection, table), source.relation)
    if analysis.partition is None:
        moments = collect_analysis(analysis, connection)
        save_moments(connection, moments, table)
        return Refresh(lambda: moments, (), (), None)
    with analysis_in_errors(analysis):
        done = _kept_partitions(analysis, connection, source).refresh(partitions)
        if done.rebuild_reason is not None:
            tell(Event.REBUILT, f"all partitions by {analysis.partition} were read again: {done.rebuild_reason}")
        _tell_moments(done.moments, started, partitions_read=len(done.scanned), partitions_dropped=len(done.dropped))
    return done


def changed_partitions(
    analysis: Analysis, connection: duckdb.DuckDBPyConnection
) -> dict[str, tuple[str | None, str | None]]:
    """Find the partitions of an analysis whose moments are not of today's rows, as `Partitions.changes` does."""
    with analysis_in_errors(analysis):
        return _kept_partitions(analysis, connection, open_rows(analysis, connection)).changes()


def _kept_partitions(analysis: Analysis, connection: duckdb.DuckDBPyConnection, source: Source) -> Partitions:
    return Partitions(
        connection,
        moments_table(analysis),
        source,
        str(analysis.partition),
        analysis.models_to_scan,
        analysis.level_columns,
        analysis.keys,
    )


def _tell_moments(moments: Moments, started: float, **facts: int) -> None:
    seconds = time.perf_counter() - started
    message = f"{moments.n_obs:,} of {moments.n_rows:,} rows collected in {moments.n_units:,} groups, {seconds:.2f} s"
    sizes = {"n_rows": moments.n_rows, "n_obs": moments.n_obs, "n_groups": moments.n_units}
    tell(Event.COLLECTED, message, **sizes, **facts, seconds=seconds, moments_checksum=moments.checksum)


def fit_analysis_model(
    analysis: Analysis, name: str, moments: Moments, connection: duckdb.DuckDBPyConnection | None = None
) -> Fit:
    """Fit one model of an analysis to its moments.

    Parameters
    ----------
    connection
        Where the rows are, which HC errors read again.
    """
    request = analysis.requests[name]
    with model_in_errors(analysis, f"model {name}", name):
        rows = _complete_rows(analysis, connection) if request.of_rows else None
        fitted = fit_model(request, _moments_for_model(analysis, name, moments), rows=rows)
        tell_fit(fitted, fitted.estimate.design.n_rows, fitted.estimate.log_likelihood)
    return fitted


def _complete_rows(analysis: Analysis, connection: duckdb.DuckDBPyConnection | None) -> Source | None:
    """The rows that the moments of an analysis were collected from; None where there are moments alone."""
    if connection is None or analysis.form == "moments":
        return None
    rows = open_rows(analysis, connection)
    return complete_rows(rows, analysis.models_to_scan, analysis.level_columns, analysis.keys)


def _moments_for_model(analysis: Analysis, name: str, moments: Moments) -> Moments:
    """The one scan's moments, kept ones too, as a model takes them, which may nest labels by levels of its own.

    Models that take them alike get one record, as a copy has nothing of what the others derived.
    """
    # the smallest and largest value are those of single rows, and would stand in a note
    ranges = {} if analysis.min_publish_n > 1 else moments.ranges
    nested_in = _nested_in(analysis, name, moments)
    if ranges == moments.ranges and nested_in == moments.nested_in:
        return moments
    taken_as = (bool(ranges), frozenset(nested_in.items()))
    return moments.derived(
        "moments as models take them", taken_as, lambda: replace(moments, ranges=ranges, nested_in=nested_in)
    )


def _nested_in(analysis: Analysis, name: str, moments: Moments) -> Mapping[str, GroupingFactor]:
    """The grouping columns of a model whose labels repeat across the levels above them."""
    if analysis.models[name].levels is None:
        return moments.nested_in
    levels = tuple(analysis.requests[name].levels)
    return moments.derived("nested levels", levels, lambda: nested_levels(moments, levels))


def model_tables(
    analysis: Analysis, name: str, fitted: Fit, connection: duckdb.DuckDBPyConnection
) -> dict[str, pl.DataFrame]:
    """Every result table of one model of an analysis, with what the analysis asks of it."""
    drawn = _placed(tables.fit_tables(name, fitted, tables.FIT_TABLES), list(analysis.models).index(name))
    with model_in_errors(analysis, f"model {name}", name):
        if name in analysis.diagnostics:
            drawn["diagnostics"] = _diagnostics(analysis, name, fitted, connection)
        answers = question_tables(fitted, analysis.simple_slopes.get(name, ()), analysis.contrasts.get(name))
        if name in analysis.centering:
            answers["centering"] = tables.centering(fitted)
    drawn |= {table: tables.with_model(name, frame) for table, frame in answers.items()}
    return publishable(drawn, analysis.min_publish_n, analysis.compiled_models, fitted.moments)


def _diagnostics(
    analysis: Analysis, name: str, fitted: Fit, connection: duckdb.DuckDBPyConnection | None
) -> pl.DataFrame:
    rows = None if analysis.form == "moments" or connection is None else open_rows(analysis, connection)
    return tables.with_model(name, tables.diagnostics(fitted, rows, least=analysis.min_publish_n))


def _placed(drawn: dict[str, pl.DataFrame], models_before: int) -> dict[str, pl.DataFrame]:
    """A model's tables, with its place among the models of the analysis."""
    return drawn | {"models": drawn["models"].with_columns(pl.lit(models_before + 1, COUNT).alias("position"))}


def whole_tables(analysis: Analysis, moments: Moments) -> dict[str, pl.DataFrame]:
    """The tables of an analysis as a whole: every group's numbers, and each variable within and between the groups."""
    nested_in = dict(moments.nested_in)
    for name in analysis.models:
        nested_in = {**_nested_in(analysis, name, moments), **nested_in}
    if nested_in != moments.nested_in:
        moments = replace(moments, nested_in=nested_in)
    drawn = tables.analysis_tables(analysis.models_to_scan, moments)
    return publishable(drawn, analysis.min_publish_n, analysis.compiled_models, moments)


def question_tables(
    fitted: Fit, slopes: Sequence[SlopeQuestion], named: linear_contrasts.Contrasts | None
) -> dict[str, pl.DataFrame]:
    """Draw up what an analysis file asks of a fit; regions of significance where the one moderator is a number."""
    answers = interaction_tables(fitted, [(one.slope, one.at) for one in slopes])
    return answers | ({"contrasts": contrasts(fitted, named)} if named else {})


@quiet
def compare_analysis(
    analysis: Analysis, moments: Moments, fits: Mapping[str, Fit] | None = None
) -> dict[str, pl.DataFrame]:
    """The comparisons that an analysis asks for: likelihoods, and changes of explained variance, each a table.

    REML likelihoods are compared where the fixed parts are equal; elsewhere both models are fitted by ML, which from
    moments costs milliseconds. `fits` spares fitting again what was fitted already.
    """
    compared = dict(fits or {})
    for name in dict.fromkeys(name for pair in analysis.compare for name in pair if name not in compared):
        # not told: it was fitted before, in another step
        with model_in_errors(analysis, f"model {name}", name):
            request = analysis.requests[name].without_robust()
            compared[name] = fit_model(request, _moments_for_model(analysis, name, moments))
    rows, changes = [], []
    for model, reference in analysis.compare:
        with model_in_errors(analysis, f"comparison of {model} with {reference}", model):
            rows.append((model, reference, *compare_records(compared[model], compared[reference])))
        change = tables.r_squared_changes(compared[model], compared[reference], reference)
        changes.append(tables.with_model(model, change))
    frames = {"comparisons": tables.comparisons(rows), **({"r_squared": pl.concat(changes)} if changes else {})}
    return publishable(frames, analysis.min_publish_n, analysis.compiled_models, moments)


@dataclass(frozen=True)
class Climbed:
    """A ladder that was climbed: its steps, the fit of the selected model, and the result tables."""

    ladder: Ladder
    selected: Fit
    tables: dict[str, pl.DataFrame]


@quiet
def climb_analysis(
    analysis: Analysis, moments: Moments, connection: duckdb.DuckDBPyConnection | None = None
) -> Climbed | None:
    """Climb by the strategy of an analysis; None where the models are fitted as listed.

    The selected model gets every table, and what the analysis asks of it, those on the way to it `ON_THE_WAY`, and the
    candidates left out a row of ``ladder_steps`` alone.
    """
    strategy = analysis.compiled_strategy
    if strategy is None:
        return None
    request, moments = analysis.requests[strategy.start], _moments_for_model(analysis, strategy.start, moments)
    with model_in_errors(analysis, f"strategy {strategy.kind}"):
        ladder = climb(
            strategy,
            request.model,
            request.estimator,
            lambda model, by, near: fit_model(request.of(model).for_likelihood(by), moments, near),
            lambda larger, smaller: compare_records(larger, smaller)[1],
        )
        frames = [{"ladder_steps": ladder_steps(ladder)}]
        rows = _complete_rows(analysis, connection) if request.of_rows else None
        fitted = fit_model(request, moments, rows=rows) if len(ladder.path) == 1 else None
        for place, (name, model) in enumerate(list(ladder.path.items())[1:], len(analysis.models)):
            candidate = replace(model, text=formula_text(model))
            is_last = name == ladder.selected
            remarks = (WARNING, *(_slopes_of_selected(analysis, candidate)[1] if is_last else ()))
            fitted = replace(fit_model(request.of(candidate), moments, rows=rows), remarks=remarks)
            chosen = tables.FIT_TABLES if is_last else ON_THE_WAY
            frames.append(_placed(tables.fit_tables(name, fitted, chosen), place))
        assert fitted is not None, "a path has its start"
        frames.append(_asked_of_selected(analysis, ladder.selected, fitted, connection))
        tried = {step.name: step.fit.model for step in ladder.steps if step.fit is not None}
    compiled = {**analysis.compiled_models, **tried, **ladder.path}
    return Climbed(ladder, fitted, publishable(_stacked(frames), analysis.min_publish_n, compiled, moments))


def _asked_of_selected(
    analysis: Analysis, name: str, fitted: Fit, connection: duckdb.DuckDBPyConnection | None
) -> dict[str, pl.DataFrame]:
    """Answer what the analysis asks of the selected model; without slopes whose products were not selected."""
    if analysis.selected is None:
        return {}
    answers = {}
    # where the start is selected, it may have been asked the same
    if analysis.selected in analysis.diagnostics and name not in analysis.diagnostics:
        answers["diagnostics"] = _diagnostics(analysis, name, fitted, connection)
    slopes, _ = _slopes_of_selected(analysis, fitted.model)
    drawn = question_tables(fitted, [one for one in slopes if one not in analysis.simple_slopes.get(name, ())], None)
    return answers | {table: tables.with_model(name, frame) for table, frame in drawn.items()}


def _slopes_of_selected(analysis: Analysis, model: Model) -> tuple[list[SlopeQuestion], tuple[str, ...]]:
    """Return the slopes asked of the selected model, and a remark on each whose product was not selected."""
    slopes, remarks = [], []
    for question in analysis.simple_slopes.get(analysis.selected or "", ()):
        try:
            check_slopes(model, [question])
            slopes.append(question)
        except MlmError:
            at = " and ".join(question.at)
            remarks.append(f"no slopes of {question.slope} at {at}: the selected model has no product of them")
    return slopes, tuple(remarks)


def _stacked(made: Sequence[Mapping[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    names = dict.fromkeys(table for one in made for table in one)
    return {table: pl.concat([one[table] for one in made if table in one]) for table in names}


def fit_analysis(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> AnalysisResult:
    """Scan, fit and compare all models of an analysis."""
    # moments that accumulate are kept; others serve once, and leave no table behind
    accumulate = analysis.partition is not None
    moments = keep_moments(analysis, connection).moments if accumulate else collect_analysis(analysis, connection)
    return fit_collected(analysis, moments, connection)


def fit_collected(analysis: Analysis, moments: Moments, connection: duckdb.DuckDBPyConnection) -> AnalysisResult:
    """Fit and compare all models of an analysis from its moments; row diagnostics alone look at rows again."""
    fits = {name: fit_analysis_model(analysis, name, moments, connection) for name in analysis.models}
    frames = [model_tables(analysis, name, fitted, connection) for name, fitted in fits.items()]
    frames += [compare_analysis(analysis, moments, fits), whole_tables(analysis, moments)]
    if analysis.sem:
        # twenty files and scipy.linalg, for those analyses alone that have structural models
        from mlm_ops.analyses.structural_models import fit_analysis_sem, sem_tables

        for name in analysis.sem:
            frames.append(sem_tables(analysis, name, fit_analysis_sem(analysis, name, moments, connection), moments))
    if (climbed := climb_analysis(analysis, moments, connection)) is not None:
        frames.append(climbed.tables)
        if analysis.selected is not None:
            fits[analysis.selected] = climbed.selected
    return AnalysisResult(moments, fits, _stacked(frames))
