"""What commands tell of an analysis that has run before: its runs, and what has drifted since."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.drift_words import drift_sentence
from mlm_ops.cli import main as cli
from mlm_ops.cli.terminal import LONG_TABLES
from tests.cli.conftest import ANALYSIS, HSB, fitted_database

#: The first run's data, twice; then a slope of one more within and between schools.
RUNS = 3


@pytest.fixture(scope="module")
def rerun(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rerun")
    database = fitted_database(folder, f"from read_csv('{HSB}')", small=ANALYSIS)
    for number in range(1, RUNS):
        if number == 2:
            with duckdb.connect(str(database)) as connection:
                connection.execute("update students set mathach = mathach + ses")
        assert cli.main(["fit", str(folder / "small.yaml"), "--database", str(database)]) == 0
    return database


def drift_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Drift: ")]


def test_the_command_that_made_the_run_tells_of_drift(tmp_path, capsys):
    database = fitted_database(tmp_path, f"from read_csv('{HSB}')", small=ANALYSIS)
    fit = ["fit", str(tmp_path / "small.yaml"), "--database", str(database)]
    assert drift_lines(capsys.readouterr().out) == []
    assert cli.main(fit) == 0
    assert drift_lines(capsys.readouterr().out) == []
    with duckdb.connect(str(database)) as connection:
        connection.execute("update students set mathach = mathach + ses")
    assert cli.main(fit) == 0
    assert drift_lines(capsys.readouterr().out) == [
        "Drift: 5 of 20 numbers differ from the run before or the baseline by more than chance, most clearly "
        "within(ses) of model slopes: 2.193 before, 3.194 now (adjusted p <0.001). See all with: "
        f"mlm show --database {database} --analysis small --table drift"
    ]


@pytest.mark.parametrize("more", [[], ["--all"]])
def test_two_runs_are_compared_once(tmp_path, capsys, more):
    """Of two runs, the earlier is the one before and the baseline."""
    database = fitted_database(tmp_path, f"from read_csv('{HSB}')", small=ANALYSIS)
    assert cli.main(["fit", str(tmp_path / "small.yaml"), "--database", str(database)]) == 0
    capsys.readouterr()
    assert cli.main(["show", "--database", str(database), "--table", "drift", *more]) == 0
    shown = capsys.readouterr().out
    assert shown.count("previous and baseline") == 20
    with duckdb.connect(str(database), read_only=True) as connection:
        stored = connection.execute("select against, count(*) from mlm.drift group by all order by all").fetchall()
    assert stored == [("baseline", 20), ("previous", 20)]


def test_every_run_has_a_line(rerun, capsys):
    assert cli.main(["show", "--database", str(rerun), "--table", "runs"]) == 0
    title, _, heading, _, *lines = capsys.readouterr().out.splitlines()
    assert title == "runs"
    assert heading.split()[:4] == ["analysis", "run_id", "finished_at", "status"]
    with duckdb.connect(str(rerun), read_only=True) as connection:
        ids = connection.sql("select run_id from mlm.runs order by sequence desc").pl()["run_id"].to_list()
    rows = [line.split() for line in lines if line.strip()]
    assert [row[1] for row in rows] == ids
    assert {row[0] for row in rows} == {"small"}
    # the first two runs are of the same rows
    checksums = [row[-2] for row in rows]
    assert checksums[0] != checksums[1] == checksums[2]
    assert max(map(len, lines)) < 200


def test_long_lists_of_runs_are_cut_short(rerun, capsys, monkeypatch):
    monkeypatch.setitem(LONG_TABLES, "runs", 2)
    show = ["show", "--database", str(rerun), "--table", "runs"]
    assert cli.main(show) == 0
    assert f"and 1 more rows: mlm show --database {rerun} --table runs --all\n" in capsys.readouterr().out
    assert cli.main([*show, "--all"]) == 0
    assert "more rows" not in capsys.readouterr().out


def test_runs_are_of_all_models(refused, rerun):
    show = ("show", "--database", rerun, "--table", "runs")
    assert refused(*show, "--model", "null") == "mlm: A run covers all models of its analysis. Leave out --model.\n"
    assert "small" in refused(*show, "--analysis", "smal")


def test_a_run_before_that_is_the_baseline_is_named_once() -> None:
    row = {"analysis": "a", "model": "m", "reference_run": "r", "kind": "icc", "group": None, "term": None}
    row |= {"other": None, "before": 0.1, "now": 0.5, "statistic": 5.0, "p_adjusted": 0.0, "flagged": True}
    rows = pl.DataFrame([row | {"against": against} for against in ("baseline", "previous")])
    assert drift_sentence(rows) == (
        "1 of 1 numbers differs from the run before by more than chance, most clearly the ICC of model m: 0.1000 "
        "before, 0.5000 now (adjusted p <0.001)"
    )


def test_a_sentence_names_what_has_drifted() -> None:
    keys = {"analysis": "a", "model": "m", "against": "previous", "reference_run": "r", "before": 1.0, "now": 2.0}
    numbers = (
        ("variance", "g", "x", None, "the variance of x over g"),
        ("variance", "g", "x", "z", "the covariance of x and z over g"),
        ("variance", "residual", None, None, "the residual variance"),
        ("icc", None, None, None, "the ICC"),
        ("sample", "g", "groups", None, "the number of groups of g"),
        ("sem_parameter", "within", "y ~ x", None, "y ~ x (within)"),
    )
    for kind, group, term, other, name in numbers:
        row = keys | {"kind": kind, "group": group, "term": term, "other": other, "flagged": True}
        row |= {"statistic": 3.0, "p_adjusted": None if kind == "sample" else 0.01}
        p = "" if kind == "sample" else " (adjusted p = 0.010)"
        assert drift_sentence(pl.DataFrame([row])) == (
            "1 of 1 numbers differs from the run before by more than chance, most clearly "
            f"{name} of model m: 1.000 before, 2.000 now{p}"
        )
