"""The cells of the dashboard, without a browser: stores of every kind, no store, no package that draws."""

from __future__ import annotations

import sys
from html import unescape
from pathlib import Path
from typing import Any

import marimo as mo
import pytest

from mlm_ops.analyses.store.version import STORE_VERSION
from mlm_ops.warehouse.connection import connect
from pipelines import dashboard
from tests.reports.stores import CASES, write_store


@pytest.fixture(scope="module")
def hsb(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("hsb"), *CASES["hsb"]).path


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch):
    """Run every cell over a store; what they show, and what they define."""

    def run(path: Path) -> tuple[str, dict[str, Any]]:
        monkeypatch.setattr(mo, "cli_args", lambda: {"database": str(path)})
        outputs, names = dashboard.app.run()
        return "\n".join(unescape(output.text) for output in outputs if output is not None), dict(names)

    return run


def test_it_has_at_most_a_hundred_lines():
    assert len(Path(dashboard.__file__).read_text(encoding="utf-8").splitlines()) <= 100


def test_it_shows_an_analysis_and_the_model_of_its_report(look, hsb):
    text, names = look(hsb)
    assert "7,185 rows of main.students" in text
    assert names["analysis"].value == "hsb"
    assert names["model"].value == "slopes_as_outcomes"
    assert list(names["model"].options)[-2:] == ["slopes_as_outcomes", "latent_contextual"]
    assert next(iter(names["filled"])) == names["table"].value == "fixed_effects"
    assert "One row per coefficient (gamma) of a model" in text
    assert "<svg" in text
    assert "No earlier run is kept; the history begins with the next one." in text


@pytest.mark.parametrize("case", ["three_level", "crossed", "weighted", "robust", "structural"])
def test_it_shows_every_kind_of_analysis(look, case, tmp_path):
    text, names = look(write_store(tmp_path, *CASES[case]).path)
    assert names["analysis"].value == case
    assert names["filled"]["fixed_effects"].height > 0
    assert "<svg" in text


def test_it_opens_on_hsb_where_there_are_others(look, hsb, tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(hsb.read_bytes())
    with connect(path) as connection:
        for table in ("runs", "models"):
            connection.execute(f"insert into mlm.{table} by name select * replace ('a' as analysis) from mlm.{table}")
    _, names = look(path)
    assert list(names["analysis"].options) == ["hsb", "a"]
    assert names["analysis"].value == "hsb"


def test_it_shows_earlier_runs(look, hsb, tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(hsb.read_bytes())
    with connect(path) as connection:
        for table in ("runs", "fixed_effects"):
            connection.execute(
                f"insert into mlm.{table} by name select * replace ('earlier' as run_id"
                + (", 0 as sequence, finished_at - interval 1 day as finished_at)" if table == "runs" else ")")
                + f" from mlm.{table}"
            )
    text, _ = look(path)
    assert "No earlier run" not in text
    assert "finished_at" in text


def test_without_the_package_that_draws_it_says_so(look, hsb, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    text, _ = look(hsb)
    assert "pip install 'mlm-ops[report]'" in text
    assert "<svg" not in text


def test_without_results_it_says_what_to_do(look, tmp_path):
    path = tmp_path / "results.duckdb"
    sentence = f"There are no results in {path} yet. Run the pipeline first, uv run mlm run, and reload this page."
    text, names = look(path)
    assert sentence in text
    assert "model" not in names


def test_a_store_that_cannot_be_read_is_named(look, hsb, tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(hsb.read_bytes())
    with connect(path) as connection:
        connection.execute("update mlm.store_version set version = 99")
    text, _ = look(path)
    assert f"Got 99; expected {STORE_VERSION}." in text
    path.write_text("no database")
    assert "is not a DuckDB database" in look(path)[0]
