"""Every benchmark runs, at small sizes; those of other programs' fits are left out where these are not installed."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: Scripts that only others import, and the one that runs them all.
HELPERS = {"simulate", "page"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Import a benchmark, which imports its neighbours by their names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    return importlib.import_module


def test_every_script_stands_on_the_page(script: Any) -> None:
    sections = script("page").SECTIONS
    assert {arguments[0] for _, _, arguments in sections} == {
        path.name for path in BENCHMARKS.glob("*.py") if path.stem not in HELPERS
    }


@pytest.mark.parametrize(
    ("name", "sizes", "printed"),
    [
        ("two_level", (2_000, 100), r"2,000 rows in 100 groups.*\ngroup means .*peak memory \d+ MB"),
        ("ladder", (2_000, 100), r"\d"),
        ("structures", (2_000, 100, 20), r"2,000 rows, 100 classes in 20 schools.*converged True"),
        ("robust", (2_000, 100), r"CR0 over 100 clusters .*CR2 over 100 clusters"),
        ("partitions", (6_000, 60), r"scan of everything"),
        ("on_disk", (20_000, 200, None), r"\d"),
        ("dagster_scale", (2, 1, 2), r"loading 2 models: .*2 partitions, run 1: .*2 partitions, run 2: "),
    ],
)
def test_it_measures(
    name: str, sizes: tuple[int | None, ...], printed: str, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    script(name).main(*sizes)
    assert re.search(printed, capsys.readouterr().out, re.DOTALL)


def test_what_others_fit_is_not_needed_for_the_numbers_of_ours(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("rivals", "shapes"):
        module = script(name)
        monkeypatch.setattr(module, "rival", lambda *_: "is not installed")
        module.main(2_000, 100)
        assert "is not installed" in capsys.readouterr().out


def test_crossed_factors_and_what_stands_around_the_fit(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    crossed = script("crossed")
    monkeypatch.setattr(crossed, "CASES", {"small": (2_000, 60, 30, crossed.CASES["insteval"][3], 1, None)})
    crossed.measure("small")
    assert '"' in capsys.readouterr().out
    around = script("around_the_fit")
    around.make_data(tmp_path, 2_000, 40)
    assert (tmp_path / "store.duckdb").exists()
    assert around.cases()
