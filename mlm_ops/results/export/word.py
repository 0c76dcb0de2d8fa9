"""Write a table as a Word document by the package python-docx, in three rules as papers print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import MlmError
from mlm_ops.results.words import one_line

if TYPE_CHECKING:
    from docx.document import Document
    from docx.oxml.xmlchemy import BaseOxmlElement
    from docx.table import Table, _Row

#: A table of more columns lies on its side.
_UPRIGHT_COLUMNS = 7
#: Sizes of letters, in points.
_IN_TABLE, _IN_NOTES = 9, 8


def check_word() -> None:
    """Refuse to write Word documents without the package that does.

    Raises
    ------
    MlmError
        python-docx is not installed.
    """
    if find_spec("docx") is None:
        raise MlmError(
            "Word documents need the package python-docx, which is not installed. "
            "Install it with: pip install 'mlm-ops[word]'"
        )


def write_word(
    path: Path,
    heading: Sequence[str],
    sections: Mapping[str, Sequence[Sequence[str]]],
    right: Sequence[bool],
    notes: Sequence[str] = (),
) -> None:
    """Write one table with the titles of its sections across it, and notes below; arguments as of `html_table`.

    Raises
    ------
    MlmError
        python-docx is not installed.
    """
    check_word()
    from docx import Document
    from docx.shared import Pt

    document = Document()
    document.core_properties.author = "mlm-ops"
    # by the style of all paragraphs, as a thousand cells with properties of their own take seconds
    style: Any = document.styles["Normal"]
    style.font.size, style.paragraph_format.space_after = Pt(_IN_TABLE), Pt(2)
    if len(heading) > _UPRIGHT_COLUMNS:
        _turn(document)
    titles = sum(bool(title) for title in sections)
    table = document.add_table(1 + titles + sum(map(len, sections.values())), len(heading))
    rows = iter(table.rows)
    _fill(next(rows), heading, right)
    for title, section in sections.items():
        if title:
            cells = next(rows).cells
            cells[0].merge(cells[-1]).paragraphs[0].add_run(one_line(title)).italic = True
        for texts in section:
            _fill(next(rows), texts, right)
    _rule(table)
    for note in notes:
        document.add_paragraph().add_run(one_line(note)).font.size = Pt(_IN_NOTES)
    document.save(str(path))


def _turn(document: Document) -> None:
    from docx.enum.section import WD_ORIENT

    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = section.page_height, section.page_width


def _fill(row: _Row, texts: Sequence[str], right: Sequence[bool]) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH

    for cell, text, numbers in zip(row.cells, texts, right, strict=True):
        (paragraph,) = cell.paragraphs
        if text:
            paragraph.add_run(one_line(text))
        if numbers:
            paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT


def _rule(table: Table) -> None:
    """Rules above and below the table and below its heading, which stands on every page."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    def borders(name: str, *sides: str) -> BaseOxmlElement:
        element = OxmlElement(name)
        for side in sides:
            line = OxmlElement(f"w:{side}")
            for key, value in {"val": "single", "sz": "8", "space": "0", "color": "auto"}.items():
                line.set(qn(f"w:{key}"), value)
            element.append(line)
        return element

    # behind the width, as Word wants the properties in the order of its schema
    table._tbl.tblPr.find(qn("w:tblW")).addnext(borders("w:tblBorders", "top", "bottom"))
    for cell in table.rows[0].cells:
        cell._tc.get_or_add_tcPr().append(borders("w:tcBorders", "bottom"))
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
