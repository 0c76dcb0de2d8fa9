"""Write tables as plain text and in Markdown, in one layout wherever they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.results.words import cell, markdown_text

if TYPE_CHECKING:
    import polars as pl

#: Where a number's digits before the point end.
_POINT = re.compile(r"(?<=\d)(?:\.|(?=[^\d,.]*$))")


@dataclass(frozen=True)
class CellTable:
    """Hold a table of texts.

    Attributes
    ----------
    heading
        One text per column.
    rows
        Rows of one text per column.
    right
        Whether each column is aligned at the right, as numbers are.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]

    def columns(self) -> list[list[str]]:
        """Each column's heading and texts, padded to one width; decimal points stand under each other."""
        columns = []
        for i, (word, right) in enumerate(zip(self.heading, self.right, strict=True)):
            texts = [row[i] for row in self.rows]
            column = [word, *(align_points(texts) if right else texts)]
            width = max(map(len, column))
            columns.append([text.rjust(width) if right else text.ljust(width) for text in column])
        return columns

    def lines(self, indent: str = "") -> list[str]:
        """Plain text: the heading, and one line per row."""
        return [(indent + "  ".join(row)).rstrip() for row in zip(*self.columns(), strict=True)]

    def markdown(self) -> str:
        """A Markdown table, in which no name from the data makes markup."""
        return markdown_table([list(map(markdown_text, row)) for row in (self.heading, *self.rows)], self.right)


def markdown_table(rows: Sequence[Sequence[str]], right: Sequence[bool], indent: str = "") -> str:
    """Write rows of Markdown, the heading first, as a table."""
    lines = [f"{indent}|{'|'.join(f' {text} ' if text else ' ' for text in row)}|" for row in rows]
    rule = "".join("---:|" if numbers else "---|" for numbers in right)
    return "\n".join([lines[0], f"{indent}|{rule}", *lines[1:]])


def cell_table(frame: pl.DataFrame, headings: Mapping[str, str] | None = None) -> CellTable:
    """Make the texts of a result table, without the columns that are null in every row.

    Parameters
    ----------
    headings
        What stands above a column, where that is not its name.
    """
    columns = [column for column in frame.columns if frame[column].null_count() < frame.height]
    cells = [[cell(column, value) for value in frame[column]] for column in columns]
    return CellTable(
        tuple((headings or {}).get(column, column) for column in columns),
        tuple(tuple(texts[i] for texts in cells) for i in range(frame.height)),
        tuple(frame.schema[column].is_numeric() for column in columns),
    )


def align_points(texts: Sequence[str]) -> list[str]:
    """Pad numbers with blanks behind them, so that at the right their decimal points stand under each other.

    Words end where whole numbers do.

    >>> align_points(["12.64", "(0.2445)", "-1,234.5***", "7", "REML"])
    ['12.64   ', '(0.2445)', '-1,234.5*** ', '7      ', 'REML      ']
    """
    behind = [len(text) - match.start() if (match := _POINT.search(text)) else 0 for text in texts]
    longest = max(behind, default=0)
    return [text + " " * (longest - length) if text else "" for text, length in zip(texts, behind, strict=True)]
