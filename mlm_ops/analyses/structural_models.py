"""Fit the structural equation models of an analysis, and draw up their tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlm_ops.analyses.errors_in_context import model_in_errors
from mlm_ops.analyses.rows import open_rows
from mlm_ops.logs import tell_fit
from mlm_ops.results.tables.suppression import publishable
from mlm_ops.structural.results import tables as structural_tables
from mlm_ops.structural.results.fitting import collect_sem, fit_sem
from mlm_ops.structural.statistics.grouped import lost_groups

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.moments.record import Moments
    from mlm_ops.structural.language.request import SemRequest
    from mlm_ops.structural.results.fit import SemFit


def sem_tables(analysis: Analysis, name: str, fitted: SemFit, moments: Moments) -> dict[str, pl.DataFrame]:
    """Every result table of one structural equation model of an analysis."""
    tables = structural_tables.sem_tables(name, fitted, with_score_tests=analysis.sem[name].score_tests)
    sizes = [group.n_obs for group in fitted.measures.by_group]
    return publishable(tables, analysis.min_publish_n, analysis.compiled_models, moments, sizes)


def fit_analysis_sem(analysis: Analysis, name: str, moments: Moments, connection: duckdb.DuckDBPyConnection) -> SemFit:
    """Fit one structural equation model of an analysis to its moments.

    With ``missing: ml`` it takes incomplete rows, which the moments of all models leave out: it scans them by itself.
    """
    request = analysis.compiled_sem[name]
    with model_in_errors(analysis, f"model {name} of sem", name):
        if request.missing == "ml":
            moments = collect_sem(request, open_rows(analysis, connection))
        fitted = fit_sem(request, moments, _lost_groups(analysis, request, moments, connection))
        tell_fit(fitted, int(fitted.estimate.statistics.n_obs), fitted.estimate.log_likelihood)
    return fitted


def _lost_groups(
    analysis: Analysis, request: SemRequest, moments: Moments, connection: duckdb.DuckDBPyConnection
) -> tuple[str, ...]:
    """Groups of rows that a structural model has nothing of; those too small to be published are not named."""
    if request.grouping is None or analysis.form != "rows" or not any(moments.n_dropped.values()):
        return ()
    sizes = lost_groups(open_rows(analysis, connection), moments, request.grouping.columns)
    return tuple(name for name, size in sizes.items() if size >= analysis.min_publish_n)
