"""Print the tables of each analysis for ``mlm show``, under a line that says which rows they come from."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from mlm_ops.analyses.drift_words import one_row_a_number
from mlm_ops.cli.messages import command, short_path
from mlm_ops.cli.results import results_path
from mlm_ops.cli.terminal import LONG_TABLES, console, show_centering, show_largest_indices, show_table, show_tables
from mlm_ops.errors import MlmError
from mlm_ops.language.spelling import unknown_result
from mlm_ops.reports.page.places import existing_report
from mlm_ops.results.text.side_by_side import side_by_side
from mlm_ops.results.words import count, counts, one_line, rows_left_out, visible


def print_results(runs: pl.DataFrame, tables: dict[str, pl.DataFrame], options: Namespace) -> None:
    """Print the tables of each analysis below a line that names their run."""
    target = console()
    for run in runs.sort("analysis").iter_rows(named=True):
        of_run = {name: frame.filter(frame["analysis"] == run["analysis"]) for name, frame in tables.items()}
        if all(frame.is_empty() for frame in of_run.values()):
            continue
        if "drift" in of_run:
            of_run["drift"] = one_row_a_number(of_run["drift"])
        print_head(target, run)
        # an analysis has to be named only where there are several
        command_for = all_rows(
            options.database, run["analysis"] if runs.height > 1 else options.analysis, options.model
        )
        if options.side_by_side:
            fitted = set(of_run["fit_statistics"]["model"])
            beside = side_by_side(of_run, [model for model in options.model or () if model in fitted] or None)
            print(visible(beside.markdown() if options.side_by_side == "markdown" else beside.text(target.width)))
        elif options.table == "centering" and not options.all:
            show_centering(target, of_run["centering"], command_for("centering"), sentences=True)
        elif options.table == "sem_score_tests" and not options.all:
            show_largest_indices(target, of_run["sem_score_tests"], command_for("sem_score_tests"))
        elif options.table:
            limit = None if options.all else LONG_TABLES.get(options.table)
            show_table(target, options.table, of_run[options.table], command_for(options.table), limit)
        else:
            show_tables(target, of_run, command_for)


#: What is printed of a run: the JSON of its analysis and the versions are there by SQL.
RUN_COLUMNS = (
    "analysis",
    "run_id",
    "finished_at",
    "status",
    "n_obs",
    "n_rows",
    "data",
    "moments_checksum",
    "engine_version",
)


def show_runs(options: Namespace, tell: Callable[[str], None]) -> None:
    """Print a line for each run that is kept, the latest first; analyses whose last run had no rows are there too.

    Raises
    ------
    MlmError, StoreError
        There are no results, or none of the analysis; or a model is named, which runs have not.
    """
    from mlm_ops.analyses.store.runs import read_runs
    from mlm_ops.warehouse.connection import using

    if options.model is not None:
        raise MlmError("A run covers all models of its analysis. Leave out --model.")
    path = results_path(options.database)
    with using(path, read_only=True, on_wait=tell) as connection:
        runs = read_runs(connection)
    if options.analysis is not None:
        runs = run_of(runs, options.analysis)
    command_for = all_rows(options.database, options.analysis, None)
    limit = None if options.all else LONG_TABLES["runs"]
    show_table(console(), "runs", runs.select(RUN_COLUMNS), command_for("runs"), limit)


def print_report(database: Path, analyses: list[str], shown: list[str]) -> None:
    """Name the report of what was printed, if it was written."""
    path = existing_report(database, analyses, shown)
    if path is not None:
        print(one_line(f"The report with pictures: {short_path(path)}"))


def all_rows(database: Path | None, analysis: str | None, model: Sequence[str] | None) -> Callable[[str], str]:
    """The command that prints every row of a table of what is being printed."""
    return lambda name: command("show", database=database, analysis=analysis, model=model, table=name, all=True)


def print_head(target: Console, run: Mapping[str, Any]) -> None:
    """The line above an analysis' tables: which rows it used, and how many it left out."""
    finished = f"{run['finished_at']:%Y-%m-%d %H:%M} UTC"
    rows = f"{count(run['n_obs'])} of {count(run['n_rows'])} rows of {run['data']}"
    head = one_line(f"{run['analysis']}: {rows}, finished {finished}")
    target.print(head, style="bold", markup=False, soft_wrap=True)
    if run["n_obs"] < run["n_rows"]:
        missing = rows_left_out(run["n_obs"], run["n_rows"], counts(run["n_dropped"]))
        target.print(one_line(missing), markup=False, soft_wrap=True)
    target.print()


def of_analysis(
    runs: pl.DataFrame, tables: dict[str, pl.DataFrame], analysis: str
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Keep the rows of one analysis, which has to exist."""
    frames = {name: frame.filter(frame["analysis"] == analysis) for name, frame in tables.items()}
    return run_of(runs, analysis), frames


def run_of(runs: pl.DataFrame, analysis: str) -> pl.DataFrame:
    """The runs of one analysis, which has to exist."""
    analyses = list(dict.fromkeys(runs["analysis"]))
    if analysis not in analyses:
        raise MlmError(unknown_result("analysis", analysis, analyses))
    return runs.filter(runs["analysis"] == analysis)


def of_models(tables: dict[str, pl.DataFrame], models: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Keep the rows of some models, which must exist, and the rows without a single model."""
    with_models = {name: frame for name, frame in tables.items() if "model" in frame.columns}
    check_models(models, [name for frame in with_models.values() for name in frame["model"].drop_nulls()])
    return tables | {
        name: frame.filter(pl.col("model").is_in(models) | pl.col("model").is_null())
        for name, frame in with_models.items()
    }


def check_models(models: Sequence[str], present: Iterable[str]) -> None:
    """Refuse a model that there are no results of."""
    names = list(dict.fromkeys(present))
    for model in models:
        if model not in names:
            raise MlmError(unknown_result("model", model, names))
