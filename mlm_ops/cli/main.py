"""The ``mlm`` command. Each command imports what it needs when it runs, so that help and a first fit are fast."""

from __future__ import annotations

import argparse
import functools
import io
import os
import shlex
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from mlm_ops.cli.messages import command, program, short_path
from mlm_ops.cli.parser import EXIT_BAD_INPUT, command_parser, refuse_arguments
from mlm_ops.errors import MlmError, StoreError
from mlm_ops.language.option_values import is_text
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.logs import Event, logging_to, on_event, run_failed, whole_run
from mlm_ops.results.words import message, one_line

EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 130, 141
#: The environment variable that makes an error print its traceback.
TRACEBACK = "MLM_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error that a user can correct is a sentence on standard error."""
    _open_closed_output()
    _print_any_character()
    try:
        with _exit_on_interrupt():
            status = _command(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except MlmError as error:
        _print_traceback(error)
        _tell(f"mlm: {error}")
        return EXIT_BAD_INPUT
    except KeyboardInterrupt as interrupt:
        _tell(str(interrupt) or "Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        sentence = _output_fault() or _sentence_of(error)
        if sentence is None:
            raise  # a bug of mlm-ops, which needs the traceback
        _print_traceback(error)
        _tell(f"mlm: {sentence}")
        return EXIT_BAD_INPUT
    return status


def _command(arguments: Sequence[str]) -> int:
    bad_argument = next((argument for argument in arguments if not is_text(argument)), None)
    if bad_argument is not None:
        raise MlmError(
            f"An argument is not valid UTF-8. Got {bad_argument!r}; rename the file, or type the name again."
        )
    parser = command_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        refuse_arguments(options.command, unknown)
    if options.command is None:
        # as click does: help, and a status that tells a script that the command is missing
        parser.print_help(sys.stderr)
        return EXIT_BAD_INPUT
    return _COMMANDS[options.command](options)


def _open_closed_output() -> None:
    """Let what is printed go nowhere where standard output or error is closed, as by ``>&-``.

    Python has None for them then, and the next file that is opened, perhaps a database, would get their number.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _print_any_character() -> None:
    """Print the code of a character that the terminal's encoding does not have, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _sentence_of(error: BaseException) -> str | None:
    from mlm_ops.warehouse.faults import sentence_of

    sentence = sentence_of(error)
    if sentence is None or isinstance(error, OSError):
        return sentence
    return f"{sentence} ({TRACEBACK}=1 shows where.)"


def _print_traceback(error: BaseException) -> None:
    """Print an error's traceback if ``MLM_TRACEBACK`` is set."""
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        _tell("".join(traceback.format_exception(error)).rstrip())


def _output_fault() -> str | None:
    """Return the sentence for a standard output that cannot be written, such as on a full disk; None if it can."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _discard_output()
        return f"The output cannot be written: {error.strerror}. Write it to another place."
    return None


def _discard_output() -> None:
    """Discard the rest of the output, because Python would report the fault again when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _exit_on_interrupt() -> Iterator[None]:
    """Let an interrupt end the process at once, for a block.

    An exception would not do: a library whose import is interrupted may turn it into any other error. Databases are
    safe, because what is not committed is not written.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: object) -> NoReturn:
        _tell("Interrupted.")
        run_failed(KeyboardInterrupt())
        os._exit(EXIT_INTERRUPTED)

    previous_handler = signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)


def _raise_on_interrupt() -> None:
    """Make an interrupt raise KeyboardInterrupt from now on, so that there is time to clean up and report."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def fit(options: argparse.Namespace) -> int:
    """Fit an analysis file, or a formula or an Mplus input to a data file."""
    from mlm_ops.analyses.project import ANALYSIS_SUFFIXES
    from mlm_ops.cli.fit import fit_analysis_file, fit_formula, fit_mplus

    run_id = str(uuid.uuid4())
    with (
        logging_to(options.log),
        on_event(Event.READ, _tell),
        on_event(Event.REBUILT, _tell),
        on_event(Event.NO_BASELINE, _tell),
        whole_run(run_id),
    ):
        if options.what.lower().endswith(ANALYSIS_SUFFIXES):
            return fit_analysis_file(options, run_id, tell=_tell)
        if options.what.lower().endswith(".inp"):
            return fit_mplus(options)
        # a text with = instead of ~ is meant as a formula, and the parser explains the mistake
        if "~" not in options.what and "=" not in options.what:
            if options.data is not None:
                raise MlmError(
                    f"The formula has no ~ between the outcome and the predictors. Got {options.what}; expected a"
                    ' formula such as "y ~ x + (x | g)".'
                )
            raise MlmError(
                f"There is nothing to fit. Got {options.what}; expected a formula such as"
                ' "y ~ x + (x | g)", or an analysis file that ends in .yaml.'
            )
        return fit_formula(options)


def centering(options: argparse.Namespace) -> int:
    """Print a model raw and centered in every way."""
    from mlm_ops.analyses.project import ANALYSIS_SUFFIXES
    from mlm_ops.cli.centering import centering_of_analysis, centering_of_formula

    is_file = options.what.lower().endswith(ANALYSIS_SUFFIXES)
    (centering_of_analysis if is_file else centering_of_formula)(options)
    return 0


def run(options: argparse.Namespace) -> int:
    """Run the project's pipelines in this process."""
    run_id = str(uuid.uuid4())
    with logging_to(options.log), whole_run(run_id):
        return _run(options, run_id)


def _run(options: argparse.Namespace, run_id: str) -> int:
    from mlm_ops.analyses.project import find_project

    find_project(Path.cwd())
    _require_dagster("run")
    if options.warehouse is not None:
        _require_folder(options.warehouse)
    _tell("Loading the project ...")
    from mlm_ops.cli.terminal import progress
    from mlm_ops.plugins.dagster import run_project

    _raise_on_interrupt()
    with progress("Working ...") as report:
        result = run_project(
            Path.cwd(), warehouse=options.warehouse, progress=report, run_id=run_id, analysis=options.analysis
        )
    for path in result.published:
        print(f"Published {short_path(path)} in {result.seconds:.1f} s. Read it with: {command('show', database=path)}")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the latest results."""
    from mlm_ops.analyses.store.schema import READABLE
    from mlm_ops.cli.results import read_results
    from mlm_ops.cli.show import of_analysis, of_models, print_report, print_results, show_runs
    from mlm_ops.cli.terminal import LONG_TABLES, OVERVIEW
    from mlm_ops.results.text.side_by_side import SOURCES

    if options.side_by_side and options.table:
        raise MlmError("--side-by-side is made from several tables. Leave out --table, or ask for the table alone.")
    if options.table == "runs":
        show_runs(options, _tell)
        return 0
    if options.all and options.table in LONG_TABLES:
        from mlm_ops.cli.long_tables import show_whole_table

        _raise_on_interrupt()  # a copy of the rows is removed first
        show_whole_table(options, _tell)
        return 0
    names = [options.table] if options.table else list(SOURCES if options.side_by_side else OVERVIEW)
    is_overview = not options.table and not options.side_by_side
    others = [name for name in READABLE if name not in (*names, "runs")] if is_overview else []
    path, runs, tables = read_results(options.database, names, _tell, others)
    analyses = sorted(runs["analysis"])
    if options.analysis is not None:
        runs, tables = of_analysis(runs, tables, options.analysis)
    if options.model is not None:
        tables = of_models(tables, options.model)
    print_results(runs, tables, options)
    if is_overview:
        print_report(path, analyses, sorted(runs["analysis"]))
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the latest results as pages with pictures."""
    from mlm_ops.cli.report import write_pages

    write_pages(options, tell=_tell)
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a table of the latest results to a file, or print it; or write a picture of them."""
    from mlm_ops.cli.export import export_table
    from mlm_ops.cli.export_picture import export_picture

    (export_table if options.picture is None else export_picture)(options, tell=_tell)
    return 0


def init(options: argparse.Namespace) -> int:
    """Write a project around a data file."""
    from mlm_ops.analyses.starter.analysis_file import doubts, left_out
    from mlm_ops.cli.new_project.create import create_project

    with on_event(Event.READ, _tell):
        roles = create_project(
            options.folder,
            options.data,
            table=options.table,
            outcome=options.outcome,
            group=options.group,
            dbt=options.dbt,
            ask=_ask_column if options.ask else None,
        )
    time = f", over {roles.time}" if roles.time is not None else ""
    sentence = f"Guessed: {roles.outcome} is the outcome, in groups of {', '.join(roles.levels)}{time}."
    print(f"{one_line(sentence)} Written to {options.folder}.")
    remarks = doubts(roles)
    for remark in remarks:
        print(one_line(remark))
    if remarks:
        print("Name others with --outcome and --group in a new folder, or be asked with --ask.")
    for line in left_out(roles):
        print(one_line(line[0].upper() + line[1:]))
    build_command = "dbt build" if options.dbt else f"{program(options.folder)} run"
    print(f"Now: cd {shlex.quote(str(options.folder))} && {build_command}")
    return 0


def _ask_column(question: str, default: str | None, columns: Sequence[str]) -> str:
    """Ask for a column until the answer is one of the table's; an empty answer means the default."""
    if not sys.stdin.isatty():
        raise MlmError("--ask asks in a terminal, and there is none. Name the columns with --group and --outcome.")
    print(one_line(f"The columns are {list_names(columns)}."))
    while True:
        print(one_line(question), *([f"[{one_line(default)}]"] if default is not None else []), end=" ", flush=True)
        try:
            answer = input().strip()
        except EOFError:
            raise MlmError("No answer was given. Name the columns with --group and --outcome.") from None
        if not answer and default is not None:
            return default
        if answer in columns:
            return answer
        print(one_line(f"There is no column {answer!r}.{did_you_mean(answer, columns)}"))


def ui(options: argparse.Namespace) -> int:
    """Open the Dagster UI on the project."""
    from mlm_ops.analyses.project import find_project

    find_project(Path.cwd())
    _require_dagster("ui")
    _tell("Starting the Dagster UI ...")
    from mlm_ops.plugins.dagster import serve_ui

    _raise_on_interrupt()
    browser = not options.no_browser and sys.stdout.isatty()
    return serve_ui(Path.cwd(), port=options.port, tell=functools.partial(print, flush=True), browser=browser)


def _require_dagster(action: str) -> None:
    """Refuse a command that needs Dagster if it is not installed; ``mlm fit`` and ``mlm show`` do not need it."""
    if find_spec("dagster") is None:
        raise MlmError(
            f"mlm {action} needs Dagster, which is not installed. Install it with: pip install 'mlm-ops[dagster]'"
        )


def _require_folder(folder: Path) -> None:
    """Refuse a path that cannot be a folder, before anything is loaded or recorded."""
    for path in (folder, *folder.resolve().parents):
        if path.exists() and not path.is_dir():
            raise StoreError(
                f"The warehouse is a folder, and {short_path(path)} is a file. Name another with --warehouse."
            )


def _tell(sentence: str) -> None:
    # if standard error cannot be written, only the exit status reports the error
    if sys.stderr is not None:
        with suppress(OSError):
            print(message(sentence), file=sys.stderr, flush=True)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": init,
    "run": run,
    "fit": fit,
    "centering": centering,
    "show": show,
    "report": report,
    "export": export,
    "ui": ui,
}
