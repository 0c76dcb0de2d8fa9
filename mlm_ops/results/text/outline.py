"""List the parts of a printed fit in order, as plain text and as HTML: equations, tables, fit, notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlm_ops.language.options import EquationFormat
from mlm_ops.results.equations.mathml import STYLE
from mlm_ops.results.text.tables import HTML_STYLE, CellTable
from mlm_ops.results.words import html_text


@dataclass(frozen=True)
class OutlineTable:
    """A table with its title above, and lines below it."""

    title: str
    table: CellTable
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """A fit to read.

    Attributes
    ----------
    head
        What was fitted, and to which rows.
    equations
        The model's equations in a format.
    measures
        Lines of how well it fits.
    """

    head: tuple[str, ...]
    equations: Callable[[EquationFormat], str]
    tables: tuple[OutlineTable, ...]
    measures: tuple[str, ...]
    notes: tuple[str, ...]

    def text(self) -> str:
        """Plain text, as ``print`` shows it."""
        lines = [*self.head, "", self.equations("text")]
        for part in self.tables:
            lines += ["", part.title, *part.table.lines(indent="  "), *(f"  {line}" for line in part.below)]
        return "\n".join([*lines, "", *self.measures, *(f"Note: {note}." for note in self.notes)])

    def html(self) -> str:
        """HTML, as a notebook shows it: nothing from elsewhere, no script, colors as around it."""
        parts = [f"<style>{STYLE}{HTML_STYLE}</style>", _paragraph(self.head)]
        parts.append(self.equations("mathml"))
        for part in self.tables:
            parts += [part.table.html(part.title), *([_paragraph(part.below)] if part.below else [])]
        parts.append(_paragraph(self.measures))
        parts += [_paragraph((f"Note: {note}.",)) for note in self.notes]
        return "\n".join(['<div class="mlm-fit">', *parts, "</div>"])


def _paragraph(lines: tuple[str, ...]) -> str:
    return f"<p>{'<br/>'.join(map(html_text, lines))}</p>"
