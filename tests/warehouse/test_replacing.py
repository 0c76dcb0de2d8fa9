"""What a user names to be written replaces its own kind of file alone: databases and analysis files stay."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mlm_ops.errors import StoreError
from mlm_ops.results.export.table_files import write_table
from mlm_ops.warehouse.connection import connect
from mlm_ops.warehouse.replacing import check_kind, new_file
from tests.cli.conftest import snapshot

PAGES = (".html", ".htm")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database, under its own name and others, and an analysis file."""
    duckdb.connect(str(tmp_path / "k.db")).close()
    for name in ("k.html", "k.csv", "k.docx", "k.png"):
        (tmp_path / name).write_bytes((tmp_path / "k.db").read_bytes())
    (tmp_path / "k.yaml").write_text("analysis: k\n")
    (tmp_path / "yaml.html").write_text("analysis: k\n")
    (tmp_path / "link.html").symlink_to("k.db")
    os.mkfifo(tmp_path / "pipe.html")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("k.db", "The report is saved as .html or .htm. Got k.db; give it one of these endings."),
        ("k.yaml", "The report is saved as .html or .htm. Got k.yaml; give it one of these endings."),
        ("link.html", "link.html is a link to {}/k.db, and the report is saved as .html or .htm. Name another file."),
        *(
            (
                f"{name}.html",
                f"{name}.html is there, and is no file of the kind .html. Name another file; this one was "
                "left as it is.",
            )
            for name in ("k", "yaml", "pipe")
        ),
    ],
)
def test_another_kind_of_file_is_left(name: str, sentence: str, folder: Path) -> None:
    before = snapshot(folder)
    with pytest.raises(StoreError) as caught, new_file(name, PAGES, "The report"):
        pytest.fail("the file is written")
    assert str(caught.value) == sentence.format(folder)
    assert snapshot(folder) == before


def test_the_own_kind_is_replaced(folder: Path) -> None:
    (folder / "page.html").write_text("\ufeff\n<!doctype html>")
    (folder / "empty.htm").touch()
    (folder / "other.html").symlink_to("page.html")
    for name in ("page.html", "empty.htm", "new.HTML", "other.html"):
        with new_file(name, PAGES, "The report") as building:
            building.write_text(f"<p>{name}")
        assert (folder / name).read_text() == f"<p>{name}"
    assert (folder / "page.html").read_text() == "<p>other.html"
    table = pl.DataFrame({"a": [1]})
    for name in ("t.csv", "t.parquet", "t.tex", "t.docx"):
        write_table(table, name)
        write_table(table, name)
    for name in ("k.csv", "k.docx"):
        with pytest.raises(StoreError, match="and is no file of the kind"):
            write_table(table, name)
    for name, start in {"p.png": b"\x89PNG\r\n", "p.pdf": b"%PDF-1", "p.svg": b"<svg"}.items():
        (folder / name).write_bytes(start)
        check_kind(name, (".png", ".pdf", ".svg"), "A picture")
    with pytest.raises(StoreError, match=r"^k\.png is there, and is no file of the kind \.png\."):
        check_kind("k.png", (".png",), "A picture")


@pytest.mark.parametrize("content", ["a", "a\n1\n", "é,b\n1,2\n"])
def test_a_short_text_is_no_database(content: str, tmp_path: Path) -> None:
    """DuckDB opens a CSV as a database in memory, and what is written there is lost."""
    path = tmp_path / "short.csv"
    path.write_text(content)
    with pytest.raises(
        StoreError, match=r"short\.csv is not a DuckDB database\. Choose another file; this one was left"
    ):
        connect(path)
    assert path.read_text() == content
