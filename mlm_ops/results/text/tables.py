"""Tables of cells, written as plain text and in Markdown: the one layout of every table that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.results.words import cell, plain

if TYPE_CHECKING:
    import polars as pl

#: Where a number's digits before the point end.
_POINT = re.compile(r"(?<=\d)(?:\.|(?=[^\d,.]*$))")


@dataclass(frozen=True)
class CellTable:
    """A table of texts.

    Attributes
    ----------
    heading
        A word a column.
    rows
        A text a column each.
    right
        Of each column, whether it stands at the right, as numbers do.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]

    def columns(self) -> list[list[str]]:
        """Each column's heading and texts, all as wide; the points of its numbers stand under each other."""
        columns = []
        for i, (word, right) in enumerate(zip(self.heading, self.right, strict=True)):
            texts = [row[i] for row in self.rows]
            column = [word, *(at_the_point(texts) if right else texts)]
            width = max(map(len, column))
            columns.append([text.rjust(width) if right else text.ljust(width) for text in column])
        return columns

    def lines(self, indent: str = "") -> list[str]:
        """Plain text: the heading, and a line a row."""
        return [(indent + "  ".join(row)).rstrip() for row in zip(*self.columns(), strict=True)]

    def markdown(self) -> str:
        """A Markdown table, in which no name from the data makes markup."""
        return markdown_table([list(map(plain, row)) for row in (self.heading, *self.rows)], self.right)


def markdown_table(rows: Sequence[Sequence[str]], right: Sequence[bool], indent: str = "") -> str:
    """Rows of Markdown, the heading first, as a table."""
    lines = [f"{indent}|{'|'.join(f' {text} ' if text else ' ' for text in row)}|" for row in rows]
    rule = "".join("---:|" if numbers else "---|" for numbers in right)
    return "\n".join([lines[0], f"{indent}|{rule}", *lines[1:]])


def cell_table(frame: pl.DataFrame, headings: Mapping[str, str] | None = None) -> CellTable:
    """A result table as it is read; columns that hold nothing are left out.

    Parameters
    ----------
    headings
        What stands above a column, where that is not its name.
    """
    shown = [column for column in frame.columns if frame[column].null_count() < frame.height]
    cells = [[cell(column, value) for value in frame[column]] for column in shown]
    return CellTable(
        tuple((headings or {}).get(column, column) for column in shown),
        tuple(tuple(texts[i] for texts in cells) for i in range(frame.height)),
        tuple(frame.schema[column].is_numeric() for column in shown),
    )


def at_the_point(texts: Sequence[str]) -> list[str]:
    """Numbers with blanks behind them, so that at the right their decimal points stand under each other.

    Words end where whole numbers do.

    >>> at_the_point(["12.64", "(0.2445)", "-1,234.5***", "7", "REML"])
    ['12.64   ', '(0.2445)', '-1,234.5*** ', '7      ', 'REML      ']
    """
    behind = [len(text) - match.start() if (match := _POINT.search(text)) else 0 for text in texts]
    longest = max(behind, default=0)
    return [text + " " * (longest - length) if text else "" for text, length in zip(texts, behind, strict=True)]
