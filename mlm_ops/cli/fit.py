"""Run ``mlm fit``: a formula or an Mplus input on a file, or an analysis file in a database."""

from __future__ import annotations

import functools
import json
import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.cli.messages import command, short_path
from mlm_ops.cli.rows import database_of_table, refuse_beside_file, require_data, with_rows
from mlm_ops.errors import FormulaError, MlmError, StoreError
from mlm_ops.language.options import STEPS
from mlm_ops.logs import tell_fit
from mlm_ops.results.words import one_line, visible

#: The options of a formula that take one text.
_OF_FORMULAS = ("estimator", "df", "weights", "residual", "robust", "cluster")
#: Where the results of an analysis of a file are written, beside the analysis file.
RESULTS_FILE = "results.duckdb"
#: What DuckDB may keep in memory while it writes them; eight million rows of random effects need no more.
MEMORY_TO_WRITE = "256MB"

if TYPE_CHECKING:
    import polars as pl

    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.analyses.store.runs import Run


def fit_formula(options: Namespace) -> int:
    """Fit a formula to a data file and print the fit, or the SQL that it is fitted by; nothing is written."""
    if options.database is not None:
        raise MlmError(
            "A formula is fitted to one data file, and --database is for analysis files. Write: "
            f"{command('fit', shlex.quote(options.what), shlex.quote(short_path(options.database)), table='NAME')}"
        )
    if options.allow_files:
        raise MlmError("--allow-files is for analysis files; the data file of a formula is named on the command line.")
    require_data(options, "A formula")
    from mlm_ops.results.fitting import collect_moments, fit

    def show(rows: Any, connection: Any) -> None:
        if options.sql:
            print(visible(collect_moments(options.what, rows, connection, **settings).statements))
            return
        fitted = fit(options.what, rows, connection=connection, **settings)
        tell_fit(fitted, fitted.estimate.design.n_rows, fitted.estimate.log_likelihood)
        print(visible(str(fitted)))

    values = {name: getattr(options, name) for name in _OF_FORMULAS}
    settings: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if options.covariance is not None:
        settings["covariance"] = _structures(options.covariance)
    try:
        with_rows(options, show)
    except FormulaError as error:
        if "`" not in error.hint:
            raise
        # between double quotes a shell takes what stands in backticks for a command
        hint = f"{error.hint} In a shell put the formula in single quotes."
        raise FormulaError(error.sentence, error.text, error.position, hint) from error
    return 0


def fit_mplus(options: Namespace) -> int:
    """Fit the model of an Mplus input to a data file or to its own, and print it or its SQL; nothing is written."""
    own_options = ("database", "allow_files", *_OF_FORMULAS, "covariance")
    conflicts = [name for name in own_options if getattr(options, name)]
    if conflicts:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in conflicts)
        raise MlmError(f"An Mplus input sets its options itself. Got {names} beside {options.what}; drop them.")
    from mlm_ops.structural.mplus.reader import from_mplus

    model = from_mplus(Path(options.what))

    def show(rows: Any, connection: Any) -> None:
        if options.sql:
            print(visible(model.collect(rows, connection=connection).statements))
            return
        fitted = model.fit(rows, connection=connection)
        tell_fit(fitted, int(fitted.estimate.statistics.n_obs), fitted.estimate.log_likelihood)
        print(visible("\n".join([*(f"Note: {remark}" for remark in model.remarks), str(fitted)])))

    if options.data is None:
        show(None, None)
    else:
        with_rows(options, show)
    return 0


def _structures(texts: Sequence[str]) -> dict[str, Any]:
    """Read --covariance, which names each group once."""
    structures: dict[str, Any] = {}
    for group, structure in map(_structure, texts):
        if group in structures:
            raise MlmError(
                f"--covariance names each group once. Got {group} as {structures[group]} and as {structure}; leave one "
                "out."
            )
        structures[group] = structure
    return structures


def _structure(text: str) -> tuple[str, Any]:
    """Read GROUP=STRUCTURE: a word, or a number or matrix as JSON writes it."""
    group, sign, structure = text.rpartition("=")
    if not sign or not group.strip() or not structure.strip():
        raise MlmError(f"--covariance takes GROUP=STRUCTURE. Got {text!r}; write for instance school=diagonal.")
    try:
        values = json.loads(structure)
    except ValueError:
        return group.strip(), structure.strip()
    return group.strip(), values


def fit_analysis_file(options: Namespace, run_id: str, tell: Callable[[str], None]) -> int:
    """Fit an analysis file in a database, write schema ``mlm`` there and print the tables; or print its SQL."""
    refuse_beside_file(options, ("table", "null", *_OF_FORMULAS, "covariance"))
    from mlm_ops.analyses.file.analysis import read_analysis

    analysis = read_analysis(options.what, allow_files=options.allow_files)
    database = _database(options, analysis)
    if options.sql:
        return _print_sql(analysis, database, options.wait, tell)
    if analysis.steps != STEPS.default:
        tell(f"steps: {analysis.steps} has no effect here: a Dagster project writes the centered rows, by mlm run.")
    from mlm_ops.analyses.run import fit_analysis
    from mlm_ops.analyses.store.layout import check_store
    from mlm_ops.analyses.store.prediction_views import check_view_names, create_prediction_views, prediction_views
    from mlm_ops.analyses.store.run_facts import run_facts
    from mlm_ops.analyses.store.runs import Run, read_latest, write_runs
    from mlm_ops.warehouse.connection import limit_memory, using

    with _without_empty_file(database), using(database, wait=options.wait, on_wait=tell) as connection:
        check_store(connection)
        check_view_names(connection, analysis)
        started = datetime.now(UTC)
        result = fit_analysis(analysis, connection)
        record = Run(
            run_id=run_id,
            analysis=analysis.analysis,
            started_at=started,
            finished_at=datetime.now(UTC),
            **run_facts(analysis, result.moments),
        )
        views = functools.partial(
            create_prediction_views, connection, analysis, prediction_views(connection, analysis, result.fits)
        )
        tables = result.tables
        # the fits and moments are not needed any more, and DuckDB takes memory to write: blocks that it has written it
        # keeps for as long as there is room
        del result
        limit_memory(connection, MEMORY_TO_WRITE)
        if analysis.history.keeps_all:
            # DuckDB would pack the rows of earlier runs anew with those of this one, though none has been deleted
            connection.execute("set max_vacuum_tasks = 0")
        write_runs(connection, [(record, tables)], analysis.history, beside=views)
        drift = read_latest(connection, "drift").filter(run_id=run_id, analysis=analysis.analysis)
    _print_results(database, record, tables, drift)
    return 0


def _print_sql(analysis: Analysis, database: Path, wait: float, tell: Callable[[str], None]) -> int:
    """Print the SQL that the moments of an analysis are collected by."""
    from mlm_ops.analyses.run import collect_analysis
    from mlm_ops.warehouse.connection import in_memory, using

    # data of a file need no database, and none is made for them
    with using(database, wait=wait, on_wait=tell) if database.exists() else in_memory() as connection:
        print(visible(collect_analysis(analysis, connection).statements))
    return 0


def _print_results(database: Path, run: Run, tables: Mapping[str, pl.DataFrame], drift: pl.DataFrame) -> None:
    """Print the tables of a run that was written, what has drifted in it, and where it is."""
    from dataclasses import asdict

    from mlm_ops.analyses.drift_words import drift_sentence
    from mlm_ops.analyses.store.version import VIEWS_OF_LISTS
    from mlm_ops.cli.show import all_rows, print_head
    from mlm_ops.cli.terminal import console, show_tables

    show_command = command("show", database=database, analysis=run.analysis)
    sentence = f"Written to schema mlm of {database}. Read it with: {show_command}"
    with _note_that_results_are_stored(sentence):
        target = console()
        print_head(target, asdict(run))
        shown = {VIEWS_OF_LISTS.get(name, name): frame for name, frame in tables.items()}
        show_tables(target, shown, all_rows(database, run.analysis, None))
        if (changes := drift_sentence(drift)) is not None:
            drift_command = command("show", database=database, analysis=run.analysis, table="drift")
            print(one_line(f"Drift: {changes}. See all with: {drift_command}"))
        print(visible(sentence))


def _database(options: Namespace, analysis: Analysis) -> Path:
    """Return the database of the results; where the data are a file it need not be there yet, nor be named.

    Raises
    ------
    MlmError, StoreError
        The data are a table, and the database that holds it is not named or not there; or they may not be read.
    """
    from mlm_ops.analyses.rows import check_data, names_a_file

    path: Path | None = options.database
    if path is None or not path.exists():
        check_data(analysis)
    if not names_a_file(analysis.data):
        return database_of_table(options, analysis)
    return Path(options.what).parent / RESULTS_FILE if path is None else path


@contextmanager
def _without_empty_file(database: Path) -> Iterator[None]:
    """Remove a database that a block has made, if the block fails: nothing was written to it."""
    is_new = not database.exists()
    try:
        yield
    except BaseException:
        if is_new:
            database.unlink(missing_ok=True)
        raise


@contextmanager
def _note_that_results_are_stored(written: str) -> Iterator[None]:
    """If the block cannot print, as on a full disk, say that the results are in the database all the same.

    Raises
    ------
    StoreError
        Standard output cannot be written.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would try to write the rest of the buffer again when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StoreError(f"The results cannot be printed: {error.strerror}. {written}") from error
