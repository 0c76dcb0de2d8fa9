"""Lay out a result table for a terminal, or write it line by line if the output is not a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlm_ops.results.text.tables import cell_table
from mlm_ops.results.words import visible

#: The keys stand above the table; what is for copying is there by SQL.
UNPRINTED = frozenset({"run_id", "analysis", "latex", "markdown", "mathml", "lme4", "mplus", "mermaid", "syntax"})
#: Text that may go over several lines, and how narrow that may become; names and numbers stay whole.
PROSE = frozenset(
    {"formula", "level_equations", "reduced_equation", "notes", "note", "reason", "n_groups", "data", "n_dropped"}
    | {"meaning", "explanation", "intercept_meaning", "intercept_variance_meaning"}
)
PROSE_WIDTH = 24
#: Ends of lines, and what joins the characters beside it: rich gives such a text other cells in a line than alone.
_UNPLAIN = re.compile("[\n\u200d\ufe0f]")


def name_of_model(model: str | None) -> str:
    """The heading above the rows of a model, or above rows without a single model."""
    return "(all models)" if model is None else model


@dataclass(frozen=True)
class PrintedColumn:
    """A column of a printed table.

    Attributes
    ----------
    word
        What stands above it.
    texts
        A text a row.
    width
        Cells of the widest text.
    is_prose
        Whether texts may go over several lines.
    """

    word: str
    texts: list[str]
    width: int
    is_prose: bool

    @property
    def least(self) -> int:
        """Cells below which a text would be broken that may not be."""
        return min(PROSE_WIDTH, self.width) if self.is_prose else self.width


@dataclass(frozen=True)
class PrintedTable:
    """A table as it is printed.

    Attributes
    ----------
    title
        What stands above it.
    columns
        The columns that have values.
    sections
        Rows with a blank line above them.
    headings
        Names of models that stand on lines of their own, by the row that they stand above.
    """

    title: str
    columns: list[PrintedColumn]
    sections: frozenset[int]
    headings: Mapping[int, str]

    @property
    def width(self) -> int:
        """Cells of a line that breaks no text."""
        return sum(column.width + 2 for column in self.columns)

    @property
    def least_width(self) -> int:
        """Cells of a line below which a name or number would be broken."""
        return sum(column.least + 2 for column in self.columns)

    @property
    def is_plain(self) -> bool:
        """Whether each text takes one line, if there is room."""
        texts = [self.title, *self.headings.values(), *(text for column in self.columns for text in column.texts)]
        return bool(self.columns) and cell_len(self.title) <= self.width and not any(map(_UNPLAIN.search, texts))

    def lines(self) -> Iterator[str]:
        """The lines, without blanks at their ends, each text in one."""
        yield self.title
        yield ""
        columns = [
            [text + " " * (column.width - cell_len(text)) for text in (column.word, *column.texts)]
            for column in self.columns
        ]
        head, *rows = [f" {'  '.join(texts)}".rstrip() for texts in zip(*columns, strict=True)]
        yield head
        yield f" {'─' * (self.width - 2)}"
        for i, row in enumerate(rows):
            if i in self.sections:
                yield ""
            if i in self.headings:
                yield f" {self.headings[i]}".rstrip()
            yield row
        yield ""

    def rich(self) -> Table:
        """The table as rich prints it, which breaks prose where there is too little room."""
        table = Table(
            title=Text(self.title),
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        # Text everywhere, so that the brackets of sex[Male] are not taken for markup
        for column in self.columns:
            table.add_column(Text(column.word), no_wrap=not column.is_prose, overflow="fold", min_width=column.least)
        for i, row in enumerate(zip(*(column.texts for column in self.columns), strict=True)):
            if i in self.sections:
                table.add_section()
            if i in self.headings:
                table.add_row(Text(self.headings[i], style="bold"))
            table.add_row(*map(Text, row))
        return table


def print_table(target: Console, table: PrintedTable) -> None:
    """Print a table; what is piped has no blanks at the ends of lines."""
    before, target.width = target.width, max(target.width, table.least_width)
    try:
        if target.is_terminal:
            target.print(table.rich())
        elif table.is_plain and table.width <= target.width:
            # rich looks at every cell several times
            target.file.write("".join(f"{line}\n" for line in table.lines()))
        else:
            with target.capture() as captured:
                target.print(table.rich())
            target.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    finally:
        target.width = before


def printed_table(name: str, frame: pl.DataFrame, headings: bool) -> PrintedTable:
    """Lay out a table; columns without any value are left out, a repeated model is named once.

    With `headings` the model stands on a line of its own above its rows, instead of in a column.
    """
    # of runs the keys are what the reader looks for
    unprinted = frozenset[str]() if name == "runs" else UNPRINTED
    filled = [c for c in frame.columns if c not in unprinted and frame[c].null_count() < frame.height]
    # rows that are of no single model have none
    has_models = "model" in filled
    models = frame["model"].to_list() if has_models else [None] * frame.height
    if len(set(models)) == 1 and has_models:
        name = f"{name} of {models[0]}"
    repeated = 1 < len(set(models)) < len(models)
    headings = headings and repeated
    if len(set(models)) <= 1 or headings:
        filled = [column for column in filled if column != "model"]
    written = cell_table(frame.select(filled))
    is_first = [i == 0 or model != models[i - 1] for i, model in enumerate(models)]
    columns = []
    # rich would take the blanks behind a number away, so that the heading, too, is at the right already
    for heading, (word, *texts), right in zip(filled, written.columns(), written.right, strict=True):
        texts = [visible(text if right else text.rstrip()) for text in texts]
        above = 0
        if headings and heading == filled[0]:
            texts = [f"  {text}" for text in texts]
            above = max(map(cell_len, map(name_of_model, models)))
        word = word if right else word.rstrip()
        whole = max(cell_len(word), above, *map(cell_len, texts))
        if heading == "model" and repeated:
            texts = [text if first else "" for text, first in zip(texts, is_first, strict=True)]
        columns.append(PrintedColumn(word, texts, whole, heading in PROSE))
    firsts = [i for i, first in enumerate(is_first) if first]
    return PrintedTable(
        name,
        columns,
        frozenset(firsts[1:] if repeated else ()),
        {i: name_of_model(models[i]) for i in firsts} if headings else {},
    )
