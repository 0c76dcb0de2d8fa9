"""Fit what an analysis asks for from its moments: the rows that are published later, and what Dagster shows of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import dagster as dg
import polars as pl

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.file.strategy import WARNING
from mlm_ops.analyses.run import (
    climb_analysis,
    compare_analysis,
    fit_analysis_model,
    model_tables,
)
from mlm_ops.analyses.store.prediction_views import PredictionView, add_prediction_views, prediction_views
from mlm_ops.analyses.store.staging import StepRows, stage
from mlm_ops.analyses.structural_models import fit_analysis_sem, sem_tables
from mlm_ops.errors import StoreError
from mlm_ops.moments.record import Moments
from mlm_ops.plugins.dagster import checks
from mlm_ops.plugins.dagster.metadata import (
    Metadata,
    model_metadata,
    numbers,
    sem_metadata,
    table_metadata,
    withheld_metadata,
)
from mlm_ops.plugins.dagster.pictures import pictures_metadata, report_model
from mlm_ops.results.text.side_by_side import side_by_side
from mlm_ops.structural.results.largest_indices import largest_indices
from mlm_ops.warehouse.connection import Connection

#: Rows, and seconds since the last writing, beyond which results are written before the step ends: so that those of a
#: million random effects do not add up, and that whoever waits for long fits sees them come.
MOST_ROWS, MOST_SECONDS = 500_000, 5.0


@dataclass(frozen=True)
class FitResult:
    """Hold what came of one asset that is fitted from the moments.

    Attributes
    ----------
    rows
        For the step that publishes.
    metadata, checks
        As Dagster shows them.
    views
        Of the model's predictions.
    """

    rows: StepRows
    metadata: Metadata
    checks: Sequence[dg.AssetCheckResult] = ()
    views: Sequence[PredictionView] = ()


@dataclass
class ResultsToStage:
    """Gather results of a step, and write many at a time: a transaction costs as much as a fit."""

    connection: Connection
    analysis: Analysis
    checksum: str
    results: list[FitResult] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether there are many rows to write, or the last writing is long ago."""
        rows = sum(frame.height for result in self.results for frame in result.rows.tables.values())
        return rows > MOST_ROWS or time.monotonic() - self.start > MOST_SECONDS

    def write(self) -> None:
        """Write all that was added, and the views of predictions with them.

        Raises
        ------
        StoreError
            The database refuses the rows or a view. None of them is then written.
        """
        self.start = time.monotonic()
        if not self.results:
            return
        views = [view for result in self.results for view in result.views]
        stage(
            self.connection,
            self.analysis.analysis,
            [result.rows for result in self.results],
            self.checksum,
            beside=lambda: add_prediction_views(self.connection, views),
        )
        self.results.clear()


def fit_one_model(connection: Connection, analysis: Analysis, name: str, moments: Moments) -> FitResult:
    """Fit one model."""
    fit = fit_analysis_model(analysis, name, moments, connection)
    tables = model_tables(analysis, name, fit, connection)
    metadata = model_metadata(analysis.models[name].formula, fit, tables)
    if name == report_model(analysis):
        metadata = pictures_metadata(analysis, tables, moments) | metadata
    statistics = tables["fit_statistics"].row(0, named=True)
    verdicts = [checks.converged(name, fit), checks.not_singular(name, fit, statistics)]
    if name in analysis.diagnostics:
        flagged = tables["diagnostics"].filter("flagged")
        metadata["diagnostics"] = _flagged_metadata(flagged)
        verdicts += [checks.no_influential_unit(name, flagged), checks.assumptions(name, flagged)]
    views = prediction_views(connection, analysis, {name: fit})
    return FitResult(StepRows("models", [name], tables), metadata, verdicts, views)


def _flagged_metadata(flagged: pl.DataFrame) -> dg.MetadataValue:
    return table_metadata(flagged) if flagged.height else dg.MetadataValue.md("Nothing is flagged.")


def fit_one_sem(connection: Connection, analysis: Analysis, name: str, moments: Moments) -> FitResult:
    """Fit one structural equation model."""
    fit = fit_analysis_sem(analysis, name, moments, connection)
    tables = sem_tables(analysis, name, fit, moments)
    is_published = tables["sem_fit"].height > 0
    metadata = sem_metadata(fit) if is_published else withheld_metadata(fit.model.text)
    if "sem_score_tests" in tables and tables["sem_score_tests"].height:
        metadata["score_tests"] = table_metadata(largest_indices(tables["sem_score_tests"].drop("model")))
    # notes tell numbers of the rows
    verdicts = [checks.sem_converged(fit), checks.sem_not_singular(fit, fit.notes if is_published else [])]
    return FitResult(StepRows("sem", [name], tables), metadata, verdicts)


def models_compared(analysis: Analysis) -> list[str]:
    """Models that are compared with another, each once."""
    return list(dict.fromkeys(model for model, _ in analysis.compare))


def compare_all(analysis: Analysis, moments: Moments) -> FitResult:
    """Make every comparison that the analysis asks for."""
    tables = compare_analysis(analysis, moments)
    table = tables["comparisons"]
    metadata: Metadata = {
        "comparisons": table_metadata(table),
        "dagster/row_count": dg.MetadataValue.int(table.height),
        "summary": dg.MetadataValue.text(f"{table.height} pair{'s' * (table.height != 1)} of models"),
    }
    return FitResult(StepRows("comparisons", models_compared(analysis), tables), metadata)


def climb_ladder(connection: Connection, analysis: Analysis, moments: Moments) -> FitResult:
    """Build a model step by step.

    Raises
    ------
    StoreError
        The analysis has no strategy but the models as listed.
    """
    climbed = climb_analysis(analysis, moments, connection)
    if climbed is None:
        raise StoreError(f"The analysis {analysis.analysis} has no strategy. Give it build_up or tear_down.")
    ladder, tables = climbed.ladder, climbed.tables
    steps_taken = sum(step.taken for step in ladder.steps)
    metadata: Metadata = {
        "steps": table_metadata(tables["ladder_steps"]),
        "selected": dg.MetadataValue.text(ladder.path[ladder.selected].text),
        "warning": dg.MetadataValue.text(WARNING),
        "summary": dg.MetadataValue.text(
            f"{steps_taken} of {len(ladder.steps)} steps taken, ends at {ladder.selected}"
        ),
        **numbers({"tried": len(ladder.steps), "taken": steps_taken}),
    }
    if "diagnostics" in tables:
        metadata["diagnostics"] = _flagged_metadata(tables["diagnostics"].filter("flagged"))
    if len(ladder.path) > 1:
        metadata["side_by_side"] = dg.MetadataValue.md(side_by_side(tables).markdown())
        if report_model(analysis) is None:
            metadata = pictures_metadata(analysis, tables, moments) | metadata
    fits = {} if analysis.selected is None else {analysis.selected: climbed.selected}
    # the names of the ladder's models come from the data
    return FitResult(StepRows("ladder", None, tables), metadata, views=prediction_views(connection, analysis, fits))
