"""Write tables of cells as plain text, Markdown, HTML and LaTeX, in one layout wherever they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mlm_ops.results.words import cell, html_text, latex_text, markdown_text

if TYPE_CHECKING:
    import polars as pl

#: Where a number's digits before the point end; looked for where the first point is none of a number.
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

    def lines_within(self, width: int) -> list[str]:
        """Plain text in blocks of as many columns as fit the width, one below the other, each with the first column."""
        label, *others = self.columns()
        blocks: list[list[list[str]]] = [[]]
        for column in others:
            if blocks[-1] and sum(2 + len(texts[0]) for texts in (*blocks[-1], column)) + len(label[0]) > width:
                blocks.append([])
            blocks[-1].append(column)
        texts = [["  ".join(row).rstrip() for row in zip(label, *block, strict=True)] for block in blocks]
        return [line for i, block in enumerate(texts) for line in ([""] * bool(i) + block)]

    def markdown(self) -> str:
        """A Markdown table, in which no name from the data makes markup."""
        return markdown_table([list(map(markdown_text, row)) for row in (self.heading, *self.rows)], self.right)

    def html(self, caption: str = "") -> str:
        """An HTML table, in which no name from the data makes markup."""
        return html_table(self.heading, {"": self.rows}, self.right, caption)


def markdown_table(rows: Sequence[Sequence[str]], right: Sequence[bool], indent: str = "") -> str:
    """Write rows of Markdown, the heading first, as a table."""
    lines = [f"{indent}|{'|'.join(f' {text} ' if text else ' ' for text in row)}|" for row in rows]
    rule = "".join("---:|" if numbers else "---|" for numbers in right)
    return "\n".join([lines[0], f"{indent}|{rule}", *lines[1:]])


#: For pages that show tables of `html_table`: colors are those around it, so that it is read on dark grounds too.
#: Behind a number stands, unseen, what its column's longest number has more behind the point.
HTML_STYLE = (
    ".mlm-fit{overflow-x:auto}"
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
    longest = [max((after_the_point(row[i]) for row in rows), default=0) for i in range(len(heading))]

    def entry(i: int, text: str) -> str:
        if right[i]:
            missing = longest[i] - after_the_point(text) if text else 0
            behind = f' data-behind="{"0" * missing}"' if missing else ""
            return f'<td class="n"{behind}>{html_text(text)}</td>'
        # an empty cell heads no row
        return f'<th scope="row">{html_text(text)}</th>' if i == 0 and text else f"<td>{html_text(text)}</td>"

    kinds = [' class="n"' if numbers else "" for numbers in right]
    words = (f'<th scope="col"{kind}>{html_text(word)}</th>' for word, kind in zip(heading, kinds, strict=True))
    lines = ['<table class="mlm-table">', *([f"<caption>{html_text(caption)}</caption>"] if caption else [])]
    lines.append(f"<thead><tr>{''.join(words)}</tr></thead>")
    for title, section in sections.items():
        above = f'<tr><th colspan="{len(heading)}" scope="rowgroup">{html_text(title)}</th></tr>' if title else ""
        below = (f"<tr>{''.join(entry(i, text) for i, text in enumerate(row))}</tr>" for row in section)
        lines.append(f"<tbody>{above}{''.join(below)}</tbody>")
    return "\n".join([*lines, "</table>"])


#: A table of more rows goes over several pages.
_ROWS_A_PAGE = 45
#: A column of longer texts is a paragraph.
_LONGEST_IN_A_LINE = 60


def latex_table(
    heading: Sequence[str],
    sections: Mapping[str, Sequence[Sequence[str]]],
    right: Sequence[bool],
    notes: Sequence[str] = (),
) -> str:
    r"""Rows of LaTeX with the rules of booktabs, arguments as of `html_table`; a long one is a longtable.

    A comment says which packages it needs. Notes are paragraphs below.
    """
    rows = [row for section in sections.values() for row in section]
    long = len(rows) > _ROWS_A_PAGE
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(heading))]
    columns = "".join(
        "r" if numbers else "l" if width <= _LONGEST_IN_A_LINE else r"p{0.4\linewidth}"
        for numbers, width in zip(right, widths, strict=True)
    )
    name = "longtable" if long else "tabular"
    lines = [
        rf"% \usepackage{{booktabs{',longtable' if long else ''}}}",
        rf"\begin{{{name}}}{{{columns}}}",
        r"\toprule",
    ]
    lines += [_latex_row(heading, [False] * len(heading)), r"\midrule", *([r"\endhead"] if long else [])]
    for i, (title, section) in enumerate(sections.items()):
        lines += [r"\addlinespace"] if title and i else []
        lines += [rf"\multicolumn{{{len(heading)}}}{{l}}{{\textit{{{latex_text(title)}}}}} \\"] if title else []
        lines += [_latex_row(row, right) for row in section]
    lines += [r"\bottomrule", rf"\end{{{name}}}"]
    lines += [rf"\par{{\noindent\footnotesize {latex_text(note)}\par}}" for note in notes]
    return "\n".join(lines)


def _latex_row(row: Sequence[str], right: Sequence[bool]) -> str:
    """One row; LaTeX would take a bracket or star behind the end of the row before for an option of that."""
    cells = [_latex_number(text) if numbers else latex_text(text) for text, numbers in zip(row, right, strict=True)]
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return rf"{guard}{' & '.join(cells)} \\".lstrip()


def _latex_number(text: str) -> str:
    """A number with a minus, and stars above; a word as it is."""
    text = re.sub(r"(?<=.)\*+$", lambda stars: rf"\textsuperscript{{{stars[0]}}}", latex_text(text))
    return re.sub(r"^-(?=\d)", "$-$", text)


def cell_table(frame: pl.DataFrame, headings: Mapping[str, str] | None = None) -> CellTable:
    """Make the texts of a result table, as `column_table` does."""
    return column_table(frame.to_dict(as_series=False), headings)


def column_table(columns: Mapping[str, Sequence[Any]], headings: Mapping[str, str] | None = None) -> CellTable:
    """Make the texts of columns of equal length, without those that are None in every row.

    Parameters
    ----------
    headings
        What stands above a column, where that is not its name.
    """
    filled = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    return CellTable(
        tuple((headings or {}).get(name, name) for name in filled),
        tuple(zip(*([cell(name, value) for value in values] for name, values in filled.items()), strict=True)),
        tuple(_are_numbers(values) for values in filled.values()),
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether a column has numbers, by its first value."""
    first = next(value for value in values if value is not None)
    return isinstance(first, int | float | Decimal) and not isinstance(first, bool)


def align_points(texts: Sequence[str]) -> list[str]:
    """Pad numbers with blanks behind them, so that at the right their decimal points stand under each other.

    Words end where whole numbers do.

    >>> align_points(["12.64", "(0.2445)", "-1,234.5***", "7", "REML"])
    ['12.64   ', '(0.2445)', '-1,234.5*** ', '7      ', 'REML      ']
    """
    behind = list(map(after_the_point, texts))
    longest = max(behind, default=0)
    return [text + " " * (longest - length) if text else "" for text, length in zip(texts, behind, strict=True)]


def after_the_point(text: str) -> int:
    """Characters of a number from its point on, with what stands behind it."""
    at = text.find(".")
    if at > 0 and text[at - 1].isdigit():
        return len(text) - at
    match = _POINT.search(text)
    return len(text) - match.start() if match else 0
