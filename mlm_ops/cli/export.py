"""Run ``mlm export``: a result table, or the models of an analysis side by side, to a file or standard output."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from mlm_ops.cli.messages import short_path
from mlm_ops.cli.printed_tables import UNPRINTED
from mlm_ops.cli.results import read_results
from mlm_ops.cli.show import of_analysis, of_models
from mlm_ops.cli.terminal import OVERVIEW, notes_of, with_criteria
from mlm_ops.errors import MlmError
from mlm_ops.language.options import TableFile
from mlm_ops.language.spelling import list_names
from mlm_ops.results.criteria import comparable
from mlm_ops.results.export.table_files import EXACT, SUFFIXES, exact, format_of, to_read, write_file
from mlm_ops.results.export.word import check_word
from mlm_ops.results.text.side_by_side import NOTE_SUBJECTS, SOURCES, SideBySide, side_by_side
from mlm_ops.results.words import one_line, visible

#: Formats that are text, so that they can be printed.
_PRINTED: tuple[TableFile, ...] = ("latex", "csv")
_MOST_LISTED = 10


def export_table(options: Namespace, tell: Callable[[str], None]) -> None:
    """Write the table that was asked for, or print it; everything that can be refused is refused before.

    Raises
    ------
    MlmError
        The format and the file do not go together, or there are no such results.
    """
    if options.term is not None or options.group is not None:
        raise MlmError("--term and --group apply to pictures. Leave them out, or name one with --picture.")
    if options.table is not None:
        from mlm_ops.analyses.store.runs import check_table

        check_table(options.table)
    file_format = _file_format(options.format, options.output)
    if file_format == "word":
        check_word()
    names = ["fit_statistics", "fixed_effects"] if options.table == "fit_statistics" else [options.table]
    path, runs, tables = read_results(options.database, SOURCES if options.side_by_side else names, tell)
    if options.analysis is not None:
        runs, tables = of_analysis(runs, tables, options.analysis)
    if options.model:
        tables = of_models(tables, options.model)
    what = "models side by side" if options.side_by_side else options.table
    table: pl.DataFrame | SideBySide
    notes: list[str] = []
    if options.side_by_side:
        table = _beside(tables, options.model, path)
    elif file_format in EXACT:
        table = _in_order(tables[options.table], options.model)
    else:
        in_order = {name: _in_order(frame, options.model) for name, frame in tables.items()}
        table, notes = _columns_to_read(options.table, in_order)
    if options.output is not None:
        write_file(table, options.output, notes)
        analyses = list_names(runs["analysis"].sort(), _MOST_LISTED)
        print(one_line(f"Wrote {short_path(options.output)}: {what} of {analyses}."))
    elif file_format == "latex":
        print(to_read(table, notes).latex())
    else:
        text = exact(table, file_format).decode()
        # a program reads the names as they are; a terminal would obey what is in them
        sys.stdout.write(visible(text) if sys.stdout.isatty() else text)


def _file_format(file_format: TableFile | None, output: Path | None) -> TableFile:
    """The format that was named, or that the file's ending says; they may not contradict each other."""
    if output is None:
        if file_format is None:
            raise MlmError("The format is not known. Name it with --format latex, or a file with --output FILE.tex.")
        if file_format not in _PRINTED:
            (suffix,) = (suffix for suffix, name in SUFFIXES.items() if name == file_format)
            raise MlmError(f"The format {file_format} is a file. Name it with --output FILE{suffix}.")
        return file_format
    by_ending = format_of(output)
    if file_format not in (None, by_ending):
        raise MlmError(
            f"The ending of {output} says {by_ending}, and --format says {file_format}. Leave one of them out."
        )
    return by_ending


def _beside(tables: dict[str, pl.DataFrame], models: Sequence[str] | None, path: Path) -> SideBySide:
    """The models of the one analysis that has such, side by side."""
    if tables["fit_statistics"].is_empty():
        raise MlmError(
            f"There are no multilevel models in {short_path(path)} to set side by side. "
            "Structural models are in --table sem_parameters."
        )
    _check_one_analysis(tables["fit_statistics"])
    return side_by_side(tables, models)


def _check_one_analysis(frame: pl.DataFrame) -> None:
    analyses = frame["analysis"].unique(maintain_order=True).to_list()
    if len(analyses) > 1:
        raise MlmError(
            "A table to read shows one analysis, and so do models side by side. "
            f"Name it with --analysis: {list_names(analyses, _MOST_LISTED)}."
        )


def _in_order(frame: pl.DataFrame, models: Sequence[str] | None) -> pl.DataFrame:
    """The rows in the order in which the models were named."""
    if not models or "model" not in frame.columns:
        return frame
    return pl.concat(frame.filter(pl.col("model") == model) for model in dict.fromkeys(models))


def _columns_to_read(name: str, tables: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, list[str]]:
    """The columns that `mlm show` prints of a table, with the model where there are several, and the notes below."""
    frame = tables[name]
    if frame.is_empty():
        return frame, []  # which is refused where it is written
    _check_one_analysis(frame)
    columns, note = OVERVIEW.get(name, tuple(column for column in frame.columns if column not in UNPRINTED)), None
    if name == "fit_statistics":
        criteria = comparable(frame, tables["fixed_effects"])
        columns, note = with_criteria(columns, criteria.columns), criteria.note
    keys = ["model"] if "model" in frame.columns else []
    frame = frame.select(list(dict.fromkeys((*keys, *columns))))
    notes = notes_of(name, frame, note)
    if name in NOTE_SUBJECTS:
        frame = frame.drop("note", "notes", strict=False)
    return frame if not keys or frame["model"].n_unique() > 1 else frame.drop("model"), notes
