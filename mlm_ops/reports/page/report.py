"""Write the report of each analysis of a results store: one HTML file, and an index where there are several."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.errors import MlmError, StoreError
from mlm_ops.language import options
from mlm_ops.language.spelling import unknown_result
from mlm_ops.logs import Event, about, tell
from mlm_ops.reports.page.content import AnalysisReport, Summary, page_of, summary_of
from mlm_ops.reports.page.html import render
from mlm_ops.reports.page.places import FOLDER, INDEX, file_names, page_name
from mlm_ops.reports.pictures.series import KEYS
from mlm_ops.reports.pictures.words import of, shown
from mlm_ops.results.words import count
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.connection import OnWait
from mlm_ops.warehouse.replacing import check_kind, new_file

#: Bytes of a file that is not written.
MOST = 5_000_000
#: What the name of a page ends in.
ENDINGS = (".html", ".htm")
#: Pictures that a message names.
_NAMED = 3
#: The tables of partitions that are shown.
_OF_KEYS = ("runs", "models", "fixed_effects", "variance_components", "fit_statistics")


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes
    ----------
    path
        Where.
    analysis
        Of which analysis; None for the index of several.
    pictures, size
        How many pictures and bytes it has.
    seconds
        How long it took, reading aside.
    answers
        What was found, in sentences.
    missing
        Why there are no drawings; None where there are.
    """

    path: Path
    analysis: str | None
    pictures: int
    size: int
    seconds: float
    answers: Sequence[str] = ()
    missing: str | None = None


@checked(
    database=options.DATABASE,
    output=options.OUTPUT,
    analysis=options.ANALYSIS,
    model=options.MODEL_NAME,
    unit_names=options.UNIT_NAMES,
    runs=options.RUNS,
)
def report(
    database: str | Path,
    output: str | Path | None = None,
    *,
    analysis: str | None = None,
    model: str | None = None,
    unit_names: bool = True,
    runs: int = 60,
) -> str:
    """Write the report of a results store as HTML, and return the path of the page to open.

    Parameters
    ----------
    database
        The store, such as a project's ``warehouse/results.duckdb``; it is opened read-only and closed again.
    output
        The file, of one analysis; by default ``report/<analysis>.html`` beside the database, of each.
    analysis
        Which; by default all, and an index where there are several.
    model
        The model whose effects, units and checks are shown; by default the last compared one with diagnostics, else
        the last with random effects.
    unit_names
        Whether units are named; otherwise they are numbered.
    runs
        How many of the latest runs pictures over the runs show.

    Raises
    ------
    MlmError
        There are no results, or none of such an analysis or model; the output is a folder or another kind of file, or
        cannot be written; or a page would have more than 5 MB.
    """
    paths = write_reports(
        Path(database), None if output is None else Path(output), analysis, model, unit_names=unit_names, runs=runs
    )
    return str(paths[-1].path)


def write_reports(
    database: Path,
    output: Path | None = None,
    analysis: str | None = None,
    model: str | None = None,
    *,
    unit_names: bool = True,
    runs: int = 60,
    on_wait: OnWait | None = None,
) -> list[Written]:
    """Write the report of each analysis, and last the index where there are several; `report` says how."""
    if output is not None and output.is_dir():
        raise StoreError(f"The report is a file, and {output} is a folder. Name a file in it with --output.")
    if output is not None:
        check_kind(output, ENDINGS, "The report")
    by_analysis = read_analyses(database, runs=runs, on_wait=on_wait, analysis=analysis)
    # a file has the name that it has among all
    names = file_names(list(by_analysis))
    if analysis is not None:
        if analysis not in by_analysis:
            raise MlmError(unknown_result("analysis", analysis, by_analysis))
        by_analysis = {analysis: by_analysis[analysis]}
    if model is not None:
        by_analysis = _with_model(by_analysis, model)
    if output is not None and len(by_analysis) > 1:
        raise MlmError(
            f"One file holds one analysis, and there are {count(len(by_analysis))}: {', '.join(by_analysis)}. Name one "
            "with --analysis, or leave out --output."
        )
    folder = database.parent / FOLDER
    files, summaries = [], {}
    for name, tables in by_analysis.items():
        start = time.perf_counter()
        page = page_of(tables, model, unit_names=unit_names, runs=runs)
        path = output or folder / names[name]
        size = _write(path, page, name)
        summaries[name] = page.summary
        seconds, found = time.perf_counter() - start, page.summary.answers
        file = Written(path, name, len(page.drawings), size, seconds, found, page.missing)
        tell_written(file)
        files.append(file)
    if output is None and len(by_analysis) > 1:
        files.append(_write_index(database, summaries, names))
    return files


def write_index(database: Path, *, on_wait: OnWait | None = None) -> Written | None:
    """Write the list of all analyses that have a report beside the database; None where they are fewer than two."""
    by_analysis = read_analyses(database, runs=1, on_wait=on_wait)
    names, folder = file_names(list(by_analysis)), database.parent / FOLDER
    summaries = {name: summary_of(tables) for name, tables in by_analysis.items() if (folder / names[name]).is_file()}
    return _write_index(database, summaries, names) if len(summaries) > 1 else None


def _write_index(database: Path, summaries: Mapping[str, Summary], names: Mapping[str, str]) -> Written:
    start = time.perf_counter()
    path = database.parent / FOLDER / INDEX
    size = _replace(path, _index(database.name, summaries, names))
    return Written(path, None, 0, size, time.perf_counter() - start)


def tell_written(file: Written) -> None:
    """Log that the report of an analysis was written."""
    with about(analysis=file.analysis):
        facts = {"n_pictures": file.pictures, "n_bytes": file.size, "seconds": file.seconds}
        message = f"report written to {file.path} {written_text(file)[:-1]}"
        tell(Event.REPORTED, message, path=str(file.path), **facts)


def read_analyses(
    database: Path, *, runs: int = 60, on_wait: OnWait | None = None, analysis: str | None = None
) -> dict[str, dict[str, pl.DataFrame]]:
    """Read the tables that pictures are of, by analysis; of one alone, the others have their runs only."""
    if not database.exists():
        raise StoreError(f"There are no results in {database}: there is no such file.")
    of = None if analysis is None else lambda name: analysis in (name, page_name(name))
    by_analysis = _by_analysis(read_latest_results(database, runs=runs, on_wait=on_wait, of=of))
    if not by_analysis:
        raise StoreError(f"There are no finished results in {database} yet.")
    return by_analysis


def _by_analysis(results: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, pl.DataFrame]]:
    """The tables of each analysis that has results, by name; of one with several partitions, those of all its keys."""
    runs = results["runs"].filter(pl.col("status") == "finished").sort("analysis")
    results = {**results, "runs": runs}
    parts = {
        name: frame.partition_by("analysis", as_dict=True) for name, frame in results.items() if not frame.is_empty()
    }
    members: dict[str, list[str]] = {}
    for analysis in runs["analysis"]:
        members.setdefault(page_name(analysis), []).append(analysis)
    pages = {}
    for name, analyses in members.items():
        keys = [analysis for analysis in analyses if analysis != name]
        # a single partition is shown as an analysis is; so is an analysis of all rows beside its partitions
        whole = name if name in analyses else keys[0]
        tables = {table: rows[whole,] for table, rows in parts.items() if (whole,) in rows}
        of_keys = _of_keys(name, keys, results) if len(keys) > 1 else {}
        pages[name] = of_keys | tables if name in analyses or not of_keys else of_keys
    return pages


def _of_keys(name: str, keys: Sequence[str], results: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables of one page of all partitions: theirs with a prefix, and one run that counts the rows of all."""
    frames = {table: results[table].filter(pl.col("analysis").is_in(keys)) for table in _OF_KEYS if table in results}
    last = frames["runs"].sort("finished_at", "run_id").tail(1)
    sums = frames["runs"].select(pl.col("n_rows", "n_obs").sum())
    run = last.with_columns(pl.lit(name).alias("analysis"), *(pl.lit(sums[c][0]).alias(c) for c in sums.columns))
    tables = {f"{KEYS}{table}": frame for table, frame in frames.items()}
    return {**tables, "runs": run.with_columns(pl.lit("{}").alias("n_dropped"))}


def _with_model(by_analysis: dict[str, dict[str, pl.DataFrame]], model: str) -> dict[str, dict[str, pl.DataFrame]]:
    """The analyses that have results of the model, which some has to."""
    models = {
        name: {m for t in ("fit_statistics", f"{KEYS}fit_statistics") if t in tables for m in tables[t]["model"]}
        for name, tables in by_analysis.items()
    }
    names = sorted(set().union(*models.values()))
    if model not in names:
        raise MlmError(unknown_result("model", model, names))
    return {name: tables for name, tables in by_analysis.items() if model in models[name]}


def _write(path: Path, page: AnalysisReport, analysis: str) -> int:
    size = len(page.html.encode())
    if size > MOST:
        large = sorted(page.drawings.items(), key=lambda pair: (-pair[1], pair[0]))[:_NAMED]
        listed = ", ".join(f"{name} {_kilobytes(bytes_)}" for name, bytes_ in large)
        raise MlmError(
            f"The report of {analysis} would have {size / 1e6:.1f} MB, and at most {MOST / 1e6:.0f} MB are written. "
            f"Largest: {listed}. A model with fewer random effects (--model) or fewer runs (--runs) makes it smaller."
        )
    return _replace(path, page.html)


def _kilobytes(size: int) -> str:
    return f"{count(round(size / 1000))} kB"


def written_text(file: Written) -> str:
    """What is said of a written file behind its path."""
    return f"({written_size(file)}) in {file.seconds:.1f} s."


def written_size(file: Written) -> str:
    """How much a file holds: ``664 kB, 24 pictures``."""
    pictures = f", {count(file.pictures)} pictures" if file.pictures != 1 else ", 1 picture"
    return f"{_kilobytes(file.size)}{pictures if file.analysis is not None else ''}"


def _replace(path: Path, html: str) -> int:
    content = html.encode()
    with new_file(path, ENDINGS, "The report") as building:
        building.write_bytes(content)
    return len(content)


def _index(database: str, summaries: Mapping[str, Summary], names: Mapping[str, str]) -> str:
    entries = [
        {
            "file": names[name],
            "name": shown(name),
            "facts": " · ".join(f"{number} {words}" for number, words in summary.facts),
            "description": summary.description,
            "answers": summary.answers,
            "flagged": of(sum(check.flagged for check in summary.checks), len(summary.checks), "checks flagged")
            if summary.checks
            else "",
        }
        for name, summary in summaries.items()
    ]
    return render("index.html.j2", entries=entries, database=shown(database))
