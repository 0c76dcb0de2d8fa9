"""Tables of cells, written as plain text, in Markdown and HTML: the one layout of every table that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.results.words import cell, markup, plain

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

    def html(self, caption: str = "") -> str:
        """An HTML table, in which no name from the data makes markup."""
        return html_table(self.heading, {"": self.rows}, self.right, caption)


def markdown_table(rows: Sequence[Sequence[str]], right: Sequence[bool], indent: str = "") -> str:
    """Rows of Markdown, the heading first, as a table."""
    lines = [f"{indent}|{'|'.join(f' {text} ' if text else ' ' for text in row)}|" for row in rows]
    rule = "".join("---:|" if numbers else "---|" for numbers in right)
    return "\n".join([lines[0], f"{indent}|{rule}", *lines[1:]])


#: For pages that show tables of `html_table`: colors are those around it, so that it is read on dark grounds too.
#: Behind a number stands, unseen, what its column's longest number has more behind the point.
HTML_STYLE = (
    ".mlm-table{border-collapse:collapse;margin:.6em 0}"
    ".mlm-table caption{text-align:left;font-weight:bold;padding:.2em 0;white-space:nowrap}"
    ".mlm-table th,.mlm-table td{text-align:left;font-weight:normal;padding:.15em .5em;border:0}"
    ".mlm-table tr>:first-child{padding-left:0}"
    ".mlm-table thead th{border-bottom:1px solid}"
    ".mlm-table tbody th[colspan]{font-style:italic;padding-top:.5em}"
    ".mlm-table .n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    ".mlm-table [data-behind]::after{content:attr(data-behind);visibility:hidden}"
)


def html_table(
    heading: Sequence[str],
    sections: Mapping[str, Sequence[Sequence[str]]],
    right: Sequence[bool],
    caption: str = "",
) -> str:
    """Rows of HTML below their headings, each section's below its title if it has one; well-formed XML too.

    Parameters
    ----------
    right
        Of each column, whether it stands at the right, its points under each other.
    """
    rows = [row for section in sections.values() for row in section]
    longest = [max((_after_the_point(row[i]) for row in rows), default=0) for i in range(len(heading))]

    def entry(i: int, text: str) -> str:
        if right[i]:
            missing = longest[i] - _after_the_point(text) if text else 0
            behind = f' data-behind="{"0" * missing}"' if missing else ""
            return f'<td class="n"{behind}>{markup(text)}</td>'
        return f'<th scope="row">{markup(text)}</th>' if i == 0 else f"<td>{markup(text)}</td>"

    kinds = [' class="n"' if numbers else "" for numbers in right]
    words = (f'<th scope="col"{kind}>{markup(word)}</th>' for word, kind in zip(heading, kinds, strict=True))
    lines = ['<table class="mlm-table">', *([f"<caption>{markup(caption)}</caption>"] if caption else [])]
    lines.append(f"<thead><tr>{''.join(words)}</tr></thead>")
    for title, section in sections.items():
        above = f'<tr><th colspan="{len(heading)}" scope="rowgroup">{markup(title)}</th></tr>' if title else ""
        below = (f"<tr>{''.join(entry(i, text) for i, text in enumerate(row))}</tr>" for row in section)
        lines.append(f"<tbody>{above}{''.join(below)}</tbody>")
    return "\n".join([*lines, "</table>"])


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
    behind = list(map(_after_the_point, texts))
    longest = max(behind, default=0)
    return [text + " " * (longest - length) if text else "" for text, length in zip(texts, behind, strict=True)]


def _after_the_point(text: str) -> int:
    """Characters of a number from its point on, with what stands behind it."""
    match = _POINT.search(text)
    return len(text) - match.start() if match else 0
