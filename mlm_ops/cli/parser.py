"""Define the arguments of each ``mlm`` command, and refuse a wrong one in one sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, get_args

from mlm_ops.cli.messages import program
from mlm_ops.errors import MlmError
from mlm_ops.language.options import (
    CLUSTER,
    COVARIANCE,
    DF,
    ESTIMATOR,
    RESIDUAL,
    ROBUST,
    WEIGHTS,
    TableFile,
    TableFormat,
)
from mlm_ops.language.other_programs import argument_here

EXIT_BAD_INPUT = 2
MOST_PORT = 65535


class _Parser(argparse.ArgumentParser):
    """Parse arguments; an error is one sentence, without argparse's usage text above it."""

    def error(self, message: str) -> NoReturn:
        program_name = self.prog.replace("mlm", program(), 1)
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; see {program_name} --help\n")


def command_parser() -> argparse.ArgumentParser:
    """Parse a command line; its attribute ``command`` is the name of the command, None where there is none."""
    parser = _Parser(prog="mlm", description="Multilevel models in the warehouse.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, (add_arguments, what) in _COMMANDS.items():
        add_arguments(commands.add_parser(name, help=what))
    return parser


def refuse_arguments(name: str | None, unknown: Sequence[str]) -> NoReturn:
    """Refuse arguments that a command does not take, with what other programs' options are called here.

    Raises
    ------
    MlmError
        Always.
    """
    option = unknown[0].lstrip("-").partition("=")[0].replace("-", "_")
    hint = argument_here(option) if unknown[0].startswith("-") else ""
    where = f"{program()} {name} --help" if name is not None else f"{program()} --help"
    raise MlmError(f"Unknown arguments: {' '.join(unknown)}.{hint} See: {where}")


def _add_init(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    parser.add_argument("data", type=Path, help="a CSV, Parquet or DuckDB file; it stays where it is")
    parser.add_argument("--table", metavar="NAME", help="the table of a DuckDB file")
    parser.add_argument("--outcome", metavar="COLUMN", help="the column to model; by default guessed")
    parser.add_argument("--group", metavar="COLUMN", help="the column that groups the rows; by default guessed")
    parser.add_argument("--ask", action="store_true", help="ask for the groups and the outcome, in a terminal")
    parser.add_argument("--dbt", action="store_true", help="write a dbt project instead of a Dagster project")


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "analysis", nargs="?", metavar="ANALYSIS", help="one analysis only, with its data (default: all)"
    )
    parser.add_argument("--warehouse", type=Path, metavar="DIR", help="where the databases go (default: warehouse/)")
    _add_log(parser)


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        metavar="FORMULA|FILE",
        help='"y ~ x + (x | g)", an analysis file (.yaml), or an Mplus input of a two-level model (.inp)',
    )
    _add_rows(parser)
    for option in (ESTIMATOR, DF):
        values = f"{option.expected} (default: {option.default})"
        parser.add_argument(f"--{option.name}", metavar=option.name.upper(), help=values)
    for option in (WEIGHTS, RESIDUAL, ROBUST, CLUSTER):
        parser.add_argument(f"--{option.name}", metavar=option.name.upper(), help=f"for a formula: {option.expected}")
    parser.add_argument(
        f"--{COVARIANCE.name}",
        metavar="GROUP=STRUCTURE",
        action="append",
        help="for a formula: the structure of a grouping factor's T, or its values; may be repeated",
    )
    parser.add_argument(
        "--sql", action="store_true", help="print the SQL that collects the moments, and fit nothing; it reads the rows"
    )
    parser.add_argument(
        "--database",
        type=Path,
        metavar="DB",
        help="for an analysis file: holds the data and gets schema mlm (default for data files: results.duckdb)",
    )
    parser.add_argument(
        "--allow-files", action="store_true", help="let the analysis file read files outside its project, in any SQL"
    )
    parser.add_argument(
        "--wait", type=_seconds, default=30.0, metavar="S", help="seconds to wait for a busy database (default: 30)"
    )
    _add_log(parser)


def _add_centering(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="FORMULA|FILE", help='"y ~ x + (x | g)", or an analysis file (.yaml)')
    _add_rows(parser)
    values = f"{ESTIMATOR.expected} (default: {ESTIMATOR.default})"
    parser.add_argument(f"--{ESTIMATOR.name}", metavar=ESTIMATOR.name.upper(), help=values)
    parser.add_argument("--database", type=Path, metavar="DB", help="for an analysis file: the database of its data")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the model of an analysis file (default: that of its key centering, or the last)",
    )
    parser.add_argument(
        "--allow-files", action="store_true", help="let the analysis file read files outside its project, in any SQL"
    )
    parser.add_argument(
        "--wait", type=_seconds, default=30.0, metavar="S", help="seconds to wait for a busy database (default: 30)"
    )


def _add_show(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument("--analysis", metavar="NAME", help="one analysis only, also one whose file no longer exists")
    parser.add_argument(
        "--model", metavar="NAME", action="append", help="one model only; may be repeated, side by side in this order"
    )
    parser.add_argument(
        "--table", metavar="NAME", help="one result table only, with all its columns; runs has a line a run"
    )
    parser.add_argument(
        "--side-by-side",
        choices=get_args(TableFormat),
        nargs="?",
        const="text",
        help="the models side by side, as papers print them",
    )
    parser.add_argument("--all", action="store_true", help="all rows of a long table")


def _add_report(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument("--analysis", metavar="NAME", help="one analysis only")
    parser.add_argument("--model", metavar="NAME", help="the model whose effects, units and checks are shown")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default: report/<analysis>.html beside the database"
    )
    parser.add_argument(
        "--no-unit-names", dest="unit_names", action="store_false", help="number the units instead of naming them"
    )
    parser.add_argument(
        "--runs",
        type=_runs,
        default=60,
        metavar="N",
        help="the latest runs in pictures over runs (default: 60)",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def _add_export(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--table", metavar="NAME", help="a result table, such as fixed_effects")
    what.add_argument("--side-by-side", action="store_true", help="the models of an analysis side by side")
    what.add_argument("--picture", metavar="KEY", help="a picture, such as caterpillar, as .svg, .png, .pdf or .html")
    parser.add_argument("--term", metavar="NAME", help="the term of a picture")
    parser.add_argument("--group", metavar="NAME", help="the grouping factor of a picture, or the group of rows")
    parser.add_argument(
        "--format", choices=get_args(TableFile), help="default: by the ending of the file: .tex, .csv, .parquet, .docx"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write; without it LaTeX and CSV are printed"
    )
    _add_database(parser)
    parser.add_argument("--analysis", metavar="NAME", help="one analysis only")
    parser.add_argument(
        "--model", metavar="NAME", action="append", help="one model only; repeated, these models in this order"
    )


def _add_ui(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=3000, metavar="N", help="default: 3000")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open no browser")


def _add_rows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", nargs="?", help="for a formula: a CSV, Parquet or DuckDB file, or a SELECT; nothing is written"
    )
    parser.add_argument("--table", metavar="NAME", help="the table of a DuckDB file")
    parser.add_argument(
        "--null",
        metavar="WORD",
        action="append",
        help="a word of a data file that is a missing value, such as -99, instead of those that are assumed; may be "
        "repeated",
    )


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", type=Path, metavar="DB", help="default: the project's warehouse/results.duckdb")


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log", metavar="FILE", help="append a log as JSON lines; - for standard error")


def _runs(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a number of runs, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"got {text}; expected seconds, such as 30")
    return float(text)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MOST_PORT:
        raise argparse.ArgumentTypeError(f"got {text}; expected a port, 1 to {MOST_PORT}")
    return int(text)


class _Version(argparse.Action):
    """Print the version; it is looked up only then, because importlib.metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"mlm-ops {version('mlm-ops')}")
        parser.exit()


#: In the order of the help: what adds the arguments of each command, and what it does.
_COMMANDS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "init": (_add_init, "write a new project around a data file"),
    "run": (_add_run, "run the project's pipelines and publish the results"),
    "fit": (_add_fit, "fit a formula to a data file, or an analysis file in a database"),
    "centering": (_add_centering, "fit a model raw and centered in every way, and say what is equal"),
    "show": (_add_show, "print the latest results"),
    "report": (_add_report, "write the latest results as pages with pictures"),
    "export": (_add_export, "write a result table or a picture for a paper or another program"),
    "ui": (_add_ui, "open the Dagster UI on the project"),
}
