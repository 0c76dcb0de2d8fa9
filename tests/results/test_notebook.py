"""What a notebook shows of a fit: what `print` says, as HTML that is small, quick, escaped and needs nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.estimation import estimate
from mlm_ops.results.equations.writers import symbol_in_unicode
from tests.results.test_mathml import MATH, structural
from tests.specification.reference import reference

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>&'\""


def tables(root: ElementTree.Element) -> dict[str, list[list[str]]]:
    """The texts of each table, by its caption."""
    return {
        table.findtext("caption", ""): [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
        for table in root.iter("table")
    }


def printed(fit: mlm.Fit | mlm.SemFit, title: str) -> list[list[str]]:
    """The same of the printed text; cells are set apart by two blanks."""
    block = str(fit).rpartition(f"\n{title}\n")[2].partition("\n\n")[0]
    return [re.split(r" {2,}", line.strip()) for line in block.splitlines()]


@pytest.mark.parametrize("fit", [lambda: reference.fitted("hsb_cross_level"), structural], ids=["mixed", "structural"])
def test_it_says_what_print_says(fit) -> None:
    fitted = fit()
    root = ElementTree.fromstring(fitted._repr_html_())
    found = tables(root)
    for title, rows in found.items():
        # symbols are letters in HTML
        expected = [
            [symbol_in_unicode(t) if re.match("gamma_|tau_|sigma2", t) else t for t in r]
            for r in printed(fitted, title)
        ]
        assert [[text for text in row if text] for row in rows] == expected
    paragraphs = [list(paragraph.itertext()) for paragraph in root.iter("p")]
    lines = str(fitted).splitlines()
    assert paragraphs[0] == lines[:2]
    assert paragraphs[1] == lines[-len(paragraphs[1]) :]
    assert len(list(root.iter(f"{MATH}math"))) == 1
    assert set(found) == (
        {"Fixed effects", "Variance components"}
        if isinstance(fitted, mlm.Fit)
        else {"Within clusters", "Between clusters", "Defined"}
    )


def test_points_stand_under_each_other() -> None:
    """Behind a number stand as many unseen characters as the longest of its column has more behind the point."""
    root = ElementTree.fromstring(reference.fitted("hsb_cross_level")._repr_html_())
    (table, *_) = root.iter("table")
    for column in zip(*(row for row in table.iter("tr")), strict=True):
        numbers = [cell for cell in column[1:] if cell.get("class") == "n"]
        texts = [(cell.text or "") + cell.get("data-behind", "") for cell in numbers if "." in (cell.text or "")]
        assert len({len(text.partition(".")[2]) for text in texts}) <= 1
        assert len(numbers) in (0, len(column) - 1)


def test_notes_are_paragraphs() -> None:
    data = pl.DataFrame({"y": [1.0, 2.0, 4.0, 3.5, None, 6.0], "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.5]})
    root = ElementTree.fromstring(mlm.fit("y ~ x", data)._repr_html_())
    (note,) = [p.text for p in root.iter("p") if (p.text or "").startswith("Note: ")]
    assert note == "Note: 1 of 6 rows left out for missing values (y 1)."


def test_small_quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What costs time is a search or a query, and a fit that is shown makes neither."""
    # a copy, which holds nothing that was computed for another test
    fitted = replace(reference.fitted("hsb_cross_level"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a fit that is shown is not fitted again, and reads no rows")

    monkeypatch.setattr(estimate, "minimise", refuse)
    monkeypatch.setattr(duckdb, "connect", refuse)
    html = fitted._repr_html_()
    assert len(html.encode()) < 30_000
    assert set(re.findall(r"https?:[^\"]*", html)) == {MATH.strip("{}")}
    assert not re.search(r"<script|<img|<link|url\(|@import|style=|\son\w+=", html)
    # the ground's own colors, light or dark
    assert not re.search(r"#[0-9a-f]{3}|rgb|color", html)


def test_names_make_no_markup() -> None:
    data = pl.DataFrame({"y": [1.0, 2.5, 3.0, 4.5, 5.0, 7.0] * 4, HOSTILE: [0.1, 1.0, 2.0, 0.5, 3.0, 2.5] * 4})
    html = mlm.fit(f"y ~ `{HOSTILE}`", data)._repr_html_()
    assert not re.search(r"<script|<img", html)
    assert tables(ElementTree.fromstring(html))["Fixed effects"][2][0] == f"`{HOSTILE}`"
