"""A store that was changed by hand: refused by name, wherever it is read."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from mlm_ops.cli.main import main

ROWS = "create table t as select g, i, g + i * i % 7 + i / 10 as y from range(12) a(g), range(8) b(i)"
ANALYSIS = "analysis: a\ndata: t\nmodels: {m: y ~ i + (1 | g)}\n"
REMEDY = "Restore the file from a copy, or remove it and run again."


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with rows and one run, as bytes."""
    folder = tmp_path_factory.mktemp("store")
    with duckdb.connect(str(folder / "d.duckdb")) as connection:
        connection.execute(ROWS)
    (folder / "a.yaml").write_text(ANALYSIS)
    assert main(["fit", str(folder / "a.yaml"), "--database", str(folder / "d.duckdb")]) == 0
    return (folder / "d.duckdb").read_bytes()


def damaged(store: bytes, folder: Path, *statements: str) -> Path:
    """The same database after these statements, beside its analysis file."""
    path = folder / "d.duckdb"
    path.write_bytes(store)
    (folder / "a.yaml").write_text(ANALYSIS)
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


VERSION = "The table mlm.store_version"


@pytest.mark.parametrize(
    ("statements", "sentence"),
    [
        (["delete from mlm.store_version"], f"{VERSION} has no row; expected one with the version. {REMEDY}"),
        (
            ["insert into mlm.store_version values (1)"],
            f"{VERSION} has several rows; expected one with the version. {REMEDY}",
        ),
        (
            ["drop table mlm.store_version", "create table mlm.store_version (x int)"],
            f"{VERSION} is not as mlm-ops writes it. Got the columns x; expected version. {REMEDY}",
        ),
        (
            ["update mlm.store_version set version = null"],
            "The schema mlm has another store version. Got None; expected 1. Use the mlm-ops that wrote it, or "
            "another database file.",
        ),
        (
            ["alter table mlm.fixed_effects alter estimate type varchar"],
            "The table mlm.fixed_effects was not written by mlm-ops alone: its column estimate has another type. Got "
            f"VARCHAR; expected DOUBLE. {REMEDY}",
        ),
        (["alter table mlm.runs drop column status cascade"], f"The table mlm.runs lacks status. {REMEDY}"),
        *(
            (
                [f"update mlm.runs set run_id = 'r', {change}"],
                "The table mlm.runs has a run without started_at, finished_at, data, n_rows, n_obs, n_dropped, status, "
                "or with an infinite time. Got the run r. Remove it: delete from mlm.runs where run_id = …",
            )
            for change in ("finished_at = 'infinity'", "started_at = '-infinity'", "finished_at = null", "n_obs = null")
        ),
    ],
)
def test_what_was_changed_by_hand_is_named(
    statements: list[str], sentence: str, store: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged(store, tmp_path, *statements)
    for command in (["show", "--database", str(path)], ["fit", str(tmp_path / "a.yaml"), "--database", str(path)]):
        assert main(command) == 2
        assert capsys.readouterr().err.splitlines()[-1] == f"mlm: {sentence}"


def test_a_view_that_is_gone_is_made_anew_by_the_next_run(
    store: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged(store, tmp_path, "drop view mlm.latest_runs")
    assert main(["show", "--database", str(path)]) == 2
    sentence = (
        r"mlm: The view mlm\.latest_runs cannot be read: Catalog Error: .*latest_runs.* The next run makes it anew\."
    )
    assert re.fullmatch(sentence, capsys.readouterr().err.strip())
    assert main(["fit", str(tmp_path / "a.yaml"), "--database", str(path)]) == 0
    assert main(["show", "--database", str(path)]) == 0


def test_counts_that_are_no_counts_are_left_out(store: bytes, tmp_path: Path) -> None:
    path = damaged(
        store,
        tmp_path,
        "update mlm.fit_statistics set n_groups = '[1'",
        "update mlm.runs set n_rows = 1000, n_dropped = '3'",
    )
    assert main(["show", "--database", str(path)]) == 0


def test_days_and_runs_of_the_history_have_an_end(
    store: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged(store, tmp_path)
    for key in ("keep_days", "keep_runs"):
        (tmp_path / "a.yaml").write_text(f"{ANALYSIS}history: {{{key}: 1000000000}}")
        assert main(["fit", str(tmp_path / "a.yaml"), "--database", str(path)]) == 2
        sentence = f"history.{key}: got 1000000000; expected 1 to 100,000; leave it out to keep all."
        assert capsys.readouterr().err.strip().endswith(sentence)
