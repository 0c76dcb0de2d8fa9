"""Print every row of a table of single groups line by line, in memory that does not grow with the rows.

The lines are those that `terminal.show_table` lays out, whose memory and time grow with every cell. The rows are read
twice: once to see how wide the columns are, and once to be written.
"""

from __future__ import annotations

import functools
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from mlm_ops.analyses.drift_words import one_row_a_number
from mlm_ops.analyses.store.long_rows import PIECE, copy_rows, models_of_rows, pieces
from mlm_ops.analyses.store.runs import read_latest
from mlm_ops.cli.printed_tables import PROSE, PROSE_WIDTH, UNPRINTED, name_of_model
from mlm_ops.cli.results import no_results, results_path
from mlm_ops.cli.show import check_models, print_head, run_of
from mlm_ops.cli.terminal import (
    DROPPED_WHEN_NARROW,
    console,
    readable,
    show_table,
)
from mlm_ops.results.text.tables import after_the_point
from mlm_ops.results.words import LEAST, MOST, cell, number_writer
from mlm_ops.warehouse.connection import using

#: Tables of up to so many rows are laid out whole.
PAGE = 500
#: Blanks before a row that stands below the name of its model.
INDENT = 2


@dataclass(frozen=True)
class Width:
    """How many cells of a terminal a column's texts take: of a number until its decimal point, and from there on."""

    until_point: int = 0
    from_point: int = 0

    @property
    def whole(self) -> int:
        """Cells of the widest text, its decimal point below the others'."""
        return self.until_point + self.from_point

    def with_other(self, other: Width) -> Width:
        """The width that is enough for both."""
        return Width(max(self.until_point, other.until_point), max(self.from_point, other.from_point))


@dataclass(frozen=True)
class TableLayout:
    """The printed columns of a table, their widths, and the models of its rows.

    Attributes
    ----------
    widths
        By column; those without any value are left out.
    numbers
        The columns that stand at the right.
    models
        In the order of their first rows.
    headings
        Whether a model stands on a line of its own above its rows, instead of in a column.
    """

    widths: dict[str, Width]
    numbers: frozenset[str]
    models: tuple[str | None, ...]
    headings: bool = False

    @property
    def columns(self) -> list[str]:
        """The printed columns; a single model is in the title instead."""
        return [c for c in self.widths if c != "model" or not (self.headings or len(self.models) <= 1)]

    def width(self, column: str) -> int:
        """Cells of a column, its heading included."""
        widest = max(len(column), self.widths[column].whole)
        if self.headings and column == self.columns[0]:
            return max(widest, self.widths[column].whole + INDENT, *map(cell_len, map(name_of_model, self.models)))
        return widest

    def least_width(self) -> int:
        """The width of a line in which prose is as narrow as it may become."""
        widths = [min(PROSE_WIDTH, self.width(c)) if c in PROSE else self.width(c) for c in self.columns]
        return sum(widths) + 2 * len(widths)


def show_whole_table(options: Namespace, tell: Callable[[str], None]) -> None:
    """Print every row of a table of the latest results; the database is closed before the first line is written."""
    path, table = results_path(options.database), options.table
    with tempfile.TemporaryDirectory(prefix="mlm-show-") as folder:
        with using(path, read_only=True, on_wait=tell) as connection:
            runs = read_latest(connection, "runs").sort("analysis")
            if runs.is_empty():
                raise no_results(path)
            if options.analysis is not None:
                runs = run_of(runs, options.analysis)
            keys = runs.select("run_id", "analysis").rows()
            models = [m for run_id, analysis in keys for m in models_of_rows(connection, table, run_id, analysis)]
            check_models(options.model or (), [model for model in models if model is not None])
            if not models:
                return
            files = [Path(folder) / f"{number}.parquet" for number in range(len(keys))]
            heights = [
                copy_rows(connection, table, run_id, analysis, options.model, file)
                for (run_id, analysis), file in zip(keys, files, strict=True)
            ]
        target = console()
        for run, file, height in zip(runs.iter_rows(named=True), files, heights, strict=True):
            if height:
                print_head(target, run)
                read = functools.partial(pieces, file, table)
                if table == "drift":
                    # no row a group: whole in memory, where all rows tell whether both runs are the same
                    rows = one_row_a_number(pl.concat(read()))
                    read, height = functools.partial(rows.iter_slices, PIECE), rows.height
                show_rows(target, table, read, height)


def show_rows(target: Console, name: str, read: Callable[[], Iterator[pl.DataFrame]], height: int) -> None:
    """Print rows that `read` gives piece by piece, each time from the first on."""
    if height <= PAGE:
        show_table(target, name, pl.concat(read()), "")
        return
    layout, hidden = within(measure(map(in_lines, read())), target.width)
    if target.is_terminal:
        # what is piped is read by programs, too, so that it stays whole
        layout, cut = with_narrow_prose(layout, target.width)
        hidden += [f"the rest of {column}" for column in cut]
    title = f"{name} of {layout.models[0]}" if len(layout.models) == 1 and layout.models[0] is not None else name
    target.print(Text(title), style="bold", soft_wrap=True)
    target.print()
    target.print(Text(heading(layout)), style="bold", soft_wrap=True)
    target.print(
        Text(f" {'─' * (sum(map(layout.width, layout.columns)) + 2 * len(layout.columns) - 2)}"), soft_wrap=True
    )
    for lines in lines_of(layout, map(in_lines, read())):
        target.file.write(lines)
    target.print()
    if hidden:
        target.print(Text(f"  hidden at this width: {', '.join(hidden)}"), style="dim", soft_wrap=True)
        target.print()


def in_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """The readable texts, each in one line, prose too: a line feed in it would begin what looks like another row."""
    return readable(frame).with_columns(pl.col(pl.String).str.replace_all(r"\s*\n\s*", " "))


def measure(frames: Iterable[pl.DataFrame]) -> TableLayout:
    """See how wide the texts of each column are, without writing more of them than the extremes."""
    widths: dict[str, Width] = {}
    models: dict[str | None, None] = {}
    numbers: set[str] = set()
    order: list[str] = []
    for frame in frames:
        order = order or [c for c in frame.columns if c not in UNPRINTED]
        numbers |= {c for c in order if frame.schema[c].is_numeric()}
        models |= dict.fromkeys(frame["model"].unique(maintain_order=True))
        for column in order:
            if (values := frame[column].drop_nulls()).len():
                widths[column] = widths.get(column, Width()).with_other(width_of(values))
    return TableLayout({c: widths[c] for c in order if c in widths}, frozenset(numbers), tuple(models))


def width_of(values: pl.Series) -> Width:
    """How wide the texts of a column's values are: of numbers by those of the extremes of each way of writing them."""
    if values.dtype == pl.String:
        return Width(max(cells(values).to_list(), default=0))
    if not values.dtype.is_numeric():
        return Width(max(len(cell(values.name, value)) for value in values.unique()))
    texts = [cell(values.name, value) for value in extremes(values)]
    behind = [after_the_point(text) for text in texts]
    return Width(max(len(text) - length for text, length in zip(texts, behind, strict=True)), max(behind))


def cells(texts: pl.Series) -> pl.Series:
    """How many cells of a terminal each text takes: an ideograph two, a combining accent none."""
    lengths = texts.str.len_chars()
    if (texts.str.len_bytes() == lengths).all():
        return lengths
    return pl.Series([None if text is None else cell_len(text) for text in texts], dtype=pl.UInt32)


def extremes(values: pl.Series) -> list[float]:
    """The least and the largest of the numbers of each sign that are written alike: plainly, or by a power of ten."""
    number, size = pl.col(values.name), pl.col(values.name).abs()
    is_real = values.dtype.is_float()
    # from half below the bound on, rounding makes a power of ten of a plain number
    kinds = [size == 0, size < LEAST, size < MOST - 0.5, size < MOST, size.is_finite()] if is_real else []
    kind = pl.sum_horizontal(pl.lit(0), *(kind.cast(pl.Int64) for kind in kinds))
    groups = values.to_frame().group_by(kind.alias("kind"), (number < 0).alias("is_negative"))
    ends = groups.agg(number.min().alias("least"), number.max().alias("largest"))
    return [*ends["least"], *ends["largest"]]


def within(layout: TableLayout, width: int) -> tuple[TableLayout, list[str]]:
    """Go without columns until the lines fit a width; a heading for each model comes before any column goes.

    Returns
    -------
    tuple
        The layout, and the columns that are hidden.
    """
    hidden: list[str] = []
    for going in ((), *DROPPED_WHEN_NARROW):
        if layout.least_width() <= width:
            break
        hidden += [c for c in going if c in layout.widths]
        kept = {c: width for c, width in layout.widths.items() if c not in going}
        layout = replace(layout, widths=kept, headings=len(layout.models) > 1)
    return layout, hidden


def with_narrow_prose(layout: TableLayout, width: int) -> tuple[TableLayout, list[str]]:
    """Give prose no more than the room that the other columns leave, but `PROSE_WIDTH` at least.

    Returns
    -------
    tuple
        The layout, and the columns whose texts are cut.
    """
    room, widths, cut = max(0, width - layout.least_width()), dict(layout.widths), list[str]()
    for column in layout.columns:
        if column not in PROSE or column in layout.numbers:
            continue
        more = layout.width(column) - PROSE_WIDTH
        if more > room:
            cut.append(column)
            widths[column] = Width(PROSE_WIDTH + room)
        room -= min(room, max(0, more))
    return replace(layout, widths=widths), cut


def heading(layout: TableLayout) -> str:
    """The heading above the rows; headings of numbers are aligned right."""
    words = (c.rjust(layout.width(c)) if c in layout.numbers else c.ljust(layout.width(c)) for c in layout.columns)
    return f" {'  '.join(words)}".rstrip()


def lines_of(layout: TableLayout, frames: Iterable[pl.DataFrame]) -> Iterator[str]:
    """Write the rows of each frame as lines, each model named once and separated by a blank line."""
    last: str | None = None
    for number, frame in enumerate(frames):
        model = frame["model"]
        is_new = model.ne_missing(model.shift(1, fill_value=last))
        is_first = pl.Series([number == 0]).append(pl.repeat(False, frame.height - 1, dtype=pl.Boolean, eager=True))
        texts = [
            pl.when(is_new | is_first).then(padded(layout, model)).otherwise(pl.lit(" " * layout.width(c)))
            if c == "model"
            else padded(layout, frame[c])
            for c in layout.columns
        ]
        above = pl.when(is_new & ~is_first).then(pl.lit("\n")).otherwise(pl.lit(""))
        if layout.headings:
            name = pl.concat_str(pl.lit(" "), model.fill_null(name_of_model(None)), pl.lit("\n"))
            above = pl.concat_str(
                above, pl.when(is_new | is_first).then(name).otherwise(pl.lit("")), pl.lit(" " * INDENT)
            )
        line = pl.concat_str(above, pl.lit(" "), pl.concat_str(texts, separator="  ").str.strip_chars_end(" "))
        yield pl.select(line.str.join("\n")).item() + "\n"
        last = model[-1]


def padded(layout: TableLayout, values: pl.Series) -> pl.Series:
    """The texts of a column, padded to its width, with decimal points aligned."""
    column, width = values.name, layout.width(values.name)
    if layout.headings and column == layout.columns[0]:
        width -= INDENT
    if values.dtype == pl.String:
        return in_cells(values.fill_null(""), width)
    write = number_writer(column) if values.dtype.is_float() else functools.partial(cell, column)
    texts = ["" if value is None else write(value) for value in values.to_list()]
    if column not in layout.numbers:
        return pl.Series(texts, dtype=pl.String).str.pad_end(width)
    behind = layout.widths[column].from_point
    blanks = [" " * length for length in range(behind + 1)]
    return pl.Series([text + blanks[behind - after_the_point(text)] for text in texts]).str.pad_start(width)


def in_cells(texts: pl.Series, width: int) -> pl.Series:
    """The texts, each with blanks behind it up to a width in cells, or cut to it."""
    lengths = cells(texts)
    if (lengths <= width).all() and (lengths == texts.str.len_chars()).all():
        return texts.str.pad_end(width)
    return pl.Series(
        [
            set_cell_size(text, width) if length <= width else f"{set_cell_size(text, width - 1)}…"
            for text, length in zip(texts, lengths, strict=True)
        ],
        dtype=pl.String,
    )
