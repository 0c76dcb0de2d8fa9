"""Every example of docs/files.md: the Python prints what the page says, and the analysis file is fitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlm_ops.cli.main import main
from mlm_ops.language.options import FILE_KEYS
from mlm_ops.warehouse.files.cells import WORDS
from mlm_ops.warehouse.files.kinds import SUFFIXES
from tests.specification.examples import ROOT, blocks, check_printed


@pytest.fixture
def exams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write exams.csv in an empty folder, beginning with the lines that the page shows."""
    monkeypatch.chdir(tmp_path)
    ((_, start),) = blocks("files", "csv")
    cells = (
        f"{'abcdefgh'[i // 5]};{'.' if i % 5 == 1 else f'{i * 7 % 13},5'};{'ja' if i % 3 else 'nein'};{i * 11 % 17},25"
        for i in range(2, 40)
    )
    Path("exams.csv").write_text(start.strip() + "\n" + "\n".join(cells) + "\n", encoding="latin-1")
    return tmp_path


def test_the_python_prints_what_the_page_says(exams: Path) -> None:
    check_printed(blocks("files", "python", "text"))


def test_the_analysis_is_fitted(exams: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ((_, text),) = blocks("files", "yaml")
    Path("exams.yaml").write_text(text, encoding="utf-8")
    assert main(["fit", "exams.yaml"]) == 0
    assert "'.' is missing: 8 of 40 cells of Größe." in capsys.readouterr().err
    assert Path("results.duckdb").exists()


def test_the_page_names_everything() -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    missing = [name for name in (*SUFFIXES, *WORDS, *FILE_KEYS) if f"`{name}`" not in page]
    assert missing == []
