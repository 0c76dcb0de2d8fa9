"""Partitions are stored as analyses of their own, and have one page together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, write_run
from mlm_ops.errors import MlmError
from mlm_ops.reports.page.places import existing_report
from mlm_ops.reports.page.report import write_reports
from tests.reports.stores import DATA

ANALYSIS = """
{{analysis: '{name}', data: main.days, levels: Subject, models: {{line: Reaction ~ Days + (1 | Subject)}}}}
"""


@pytest.fixture
def store(tmp_path: Path):
    """Writes results of the same rows under names."""

    def write(*names: str) -> Path:
        path = tmp_path / "results.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute(f"create table days as from '{DATA / 'sleepstudy.csv'}'")
            for day, name in enumerate(names, start=1):
                analysis = parse_analysis(ANALYSIS.format(name="days")).model_copy(update={"analysis": name})
                result = fit_analysis(analysis, connection)
                now = datetime(2026, 1, day, tzinfo=UTC)
                run = Run(f"run-{day}", name, now, now, **run_facts(analysis, result.moments))
                write_run(connection, run, result.tables, analysis.history)
        return path

    return write


def test_all_partitions_have_one_page(store) -> None:
    path = store("w[1]", "w[10]", "w[2]", "x")
    files = write_reports(path)
    assert [(file.path.name, file.analysis) for file in files] == [
        ("w.html", "w"),
        ("x.html", "x"),
        ("index.html", None),
    ]
    page = files[0].path.read_text()
    assert "<h1>w</h1>" in page
    assert "<strong>540</strong> rows" in page
    assert "All from the result tables of the latest run of each partition, of which this one finished last; " in page
    assert "All from the result tables of one run; " in files[1].path.read_text()
    assert existing_report(path, ["w[1]", "w[10]", "w[2]", "x"], ["w[1]", "w[10]", "w[2]"]) == files[0].path
    assert existing_report(path, ["w[1]", "w[10]", "w[2]", "x"], ["w[1]", "x"]) == files[2].path


def test_one_partition_alone_has_the_page_of_an_analysis(store) -> None:
    (file,) = write_reports(store("w[1]"), analysis="w")
    assert file.path.name == "w.html"
    assert "<strong>180</strong> rows" in file.path.read_text()
    assert file.pictures > 2


def test_an_analysis_beside_its_partitions_keeps_its_own_page(store) -> None:
    (file,) = write_reports(store("w", "w[1]", "w[2]"))
    assert "<strong>180</strong> rows" in file.path.read_text()


def test_a_file_is_named_as_among_all(store) -> None:
    path = store("a", "A")
    named = {file.analysis: file.path.name for file in write_reports(path)}
    (alone,) = write_reports(path, analysis="a")
    assert alone.path.name == named["a"] != named["A"]


def test_a_partition_is_named_by_its_analysis(store) -> None:
    with pytest.raises(MlmError, match=r"^There are no results of the analysis w\[1\]\. .*There are w\.$"):
        write_reports(store("w[1]", "w[2]"), analysis="w[1]")
