"""The page's section of models raw and centered, and what intercepts mean below the equations."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.reports.page.content import page_of
from tests.reports.stores import DATA, write_store

FILE = """
analysis: versions
data: main.students
levels: school
models:
  null: mathach ~ 1 + (1 | school)
  line: mathach ~ ses + (1 | school)
centering: line
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    return read_latest_results(write_store(tmp_path_factory.mktemp("versions"), DATA / "hsb.csv", FILE).path)


def section(html: str) -> str:
    """The section's text, its tags taken out."""
    found = re.search(r'<section id="centered".*?</section>', html, re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", found[0]).split()) if found else ""


def test_the_versions_stand_beside_each_other_in_their_order(tables: dict[str, pl.DataFrame]) -> None:
    text = section(page_of(tables).html)
    assert text.startswith(
        "Raw or centered The same model with its predictors raw and centered, fitted to the same rows: what moves and "
        "what stays. Versions of “line” raw grand mean group mean group mean + mean raw + mean equal whatever the data "
        "intercept 12.66 12.66 12.64 12.68 12.68 group mean + mean = raw + mean slope: ses 2.390 2.390 2.191 2.191 "
        "2.191 raw = grand mean; group mean = group mean + mean = raw + mean"
    )
    assert "group mean, mathach ~ 1 + within(ses) + (1 | school): A model of its own: the means of ses are left" in text


def test_without_the_table_there_is_no_section(tables: dict[str, pl.DataFrame]) -> None:
    assert section(page_of({name: frame for name, frame in tables.items() if name != "centering"}).html) == ""


def test_the_intercept_has_its_meaning_below_the_equations(tables: dict[str, pl.DataFrame]) -> None:
    html = page_of(tables).html
    sentence = (
        "Intercept: predicted mathach where ses is 0. Variance of the intercepts: variance over school of predicted "
        "mathach, the same at all values of the predictors."
    )
    assert f'<p class="reading">{sentence}</p>' in html
    # results of an earlier mlm-ops have no such columns
    names = ["intercept_meaning", "intercept_variance_meaning"]
    earlier = page_of(tables | {"models": tables["models"].drop(names)}).html
    assert "Variance of the intercepts" not in earlier
    assert earlier.count("<math") == html.count("<math")


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    pl.read_csv(DATA / "hsb.csv").rename({"ses": "s<b>es</b>"}).write_csv(rows)
    file = FILE.replace("mathach ~ ses", "'mathach ~ `s<b>es</b>`").replace("(1 | school)\ncent", "(1 | school)'\ncent")
    html = page_of(read_latest_results(write_store(tmp_path, rows, file).path)).html
    assert "slope: s&lt;b&gt;es&lt;/b&gt;" in html
    assert "<b>es" not in html
