"""Tables of many rows are printed line by line as a short one is laid out, in memory that does not grow with them."""

from __future__ import annotations

import io
import itertools
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from rich.cells import cell_len
from rich.console import Console

from mlm_ops.analyses.store.long_rows import copy_rows, models_of_rows, pieces
from mlm_ops.analyses.store.schema import RESULT_TABLES
from mlm_ops.cli import long_tables
from mlm_ops.cli import main as cli
from mlm_ops.cli.terminal import show_table
from mlm_ops.errors import StoreError

#: Numbers of every way of writing them, of both signs, and those that rounding makes wider.
NUMBERS = [
    *(0.5, -0.5, 12.636972, -12.636972, 0.0, -0.0, 9.99996, 99.9996, -99.9996, 1234.5678, 123456.7, 9_999_999.9),
    *(1e-4, 9.99999e-5, 1.2e-5, -3e-120, 1e7, -2.5e15, 4e200, float("inf"), float("-inf"), float("nan"), None),
]


def rows(models: list[str | None], seed: int = 0) -> pl.DataFrame:
    """Rows with each number in turn in several columns, each model's next to each other."""
    height = len(models)
    numbers = pl.Series([NUMBERS[(i + seed) % len(NUMBERS)] for i in range(height)], dtype=pl.Float64)
    return pl.DataFrame(
        {
            "run_id": ["r"] * height,
            "analysis": ["a"] * height,
            "model": pl.Series(models, dtype=pl.String),
            "group": [("school", "two\nlines", "ctrl\x1b[2J", None)[i % 4] for i in range(height)],
            "unit": [f"unité {i * 7}" for i in range(height)],
            "symbol": ["gamma_00"] * height,
            "n": pl.Series([i * 1_001 if i % 5 else None for i in range(height)], dtype=pl.Int64),
            "estimate": numbers,
            "p_value": pl.Series([None if i % 3 else i / height for i in range(height)], dtype=pl.Float64),
            "df": [float(i - 3) for i in range(height)],
            "correlation": [(-1) ** i * i / height for i in range(height)],
            "conf_low": numbers.reverse(),
            "conf_high": numbers,
            "reliability": pl.Series([None] * height, dtype=pl.Float64),
            "significant": [bool(i % 2) for i in range(height)],
        }
    )


def lines(frame: pl.DataFrame, width: int, piece: int) -> str:
    """The lines of a frame that is read a few rows at a time."""
    target = Console(width=width, file=io.StringIO(), highlight=False)

    def read() -> Iterator[pl.DataFrame]:
        return frame.iter_slices(piece)

    long_tables.show_rows(target, "random_effects", read, frame.height)
    return target.file.getvalue()


@pytest.mark.parametrize("width", [200, 118, 90, 40])
@pytest.mark.parametrize(
    "models",
    [["m"] * 60, ["m"] * 30 + ["another model"] * 30, [None] * 60, [None] * 20 + ["m"] * 20 + ["n"] * 20],
    ids=["one", "two", "none", "none and two"],
)
def test_the_lines_are_those_of_a_table_that_is_laid_out_whole(models, width, monkeypatch):
    monkeypatch.setattr(long_tables, "PAGE", 0)
    frame = rows(models)
    target = Console(width=width, file=io.StringIO(), highlight=False)
    show_table(target, "random_effects", frame, "")
    for piece in (7, 60):
        assert lines(frame, width, piece) == target.file.getvalue()


def test_numbers_alone_are_as_wide_as_laid_out_whole(monkeypatch):
    monkeypatch.setattr(long_tables, "PAGE", 0)
    for seed in range(len(NUMBERS)):
        frame = rows(["m"] * 3, seed).select("model", "unit", "estimate")
        target = Console(width=200, file=io.StringIO(), highlight=False)
        show_table(target, "random_effects", frame, "")
        assert lines(frame, 200, 2) == target.file.getvalue()


def test_columns_stand_below_each_other_where_characters_are_two_cells_wide(monkeypatch):
    monkeypatch.setattr(long_tables, "PAGE", 0)
    frame = rows(["模型"] * 30 + ["m"] * 30).with_columns(unit=pl.Series(["東京", "Köln", "e\u0301cole"] * 20))
    for width in (200, 60):
        target = Console(width=width, file=io.StringIO(), highlight=False)
        show_table(target, "random_effects", frame, "")
        assert lines(frame, width, 7) == target.file.getvalue()


def test_prose_is_cut_to_the_room_of_a_terminal_and_whole_in_a_pipe(monkeypatch):
    monkeypatch.setattr(long_tables, "PAGE", 0)
    note = "the two runs share no group, so that they are taken as independent of each other"
    frame = pl.DataFrame({"model": ["m"] * 3, "term": "x" * 30, "note": [note, None, "東京" * 20], "estimate": 0.5})
    printed = {}
    for is_terminal in (True, False):
        target = Console(width=80, file=io.StringIO(), highlight=False, force_terminal=is_terminal, color_system=None)
        long_tables.show_rows(target, "drift", lambda: frame.iter_slices(2), 3)
        printed[is_terminal] = target.file.getvalue().splitlines()
    cut = [line for line in printed[True] if line.endswith("0.5000")]
    assert [cell_len(line) for line in cut] == [80 - 1] * 3
    assert "the two runs share no group, so tha…  " in cut[0]
    assert "  hidden at this width: the rest of note" in printed[True]
    assert sum(note in line for line in printed[False]) == 1
    assert not any("hidden" in line for line in printed[False])


def test_a_line_feed_in_prose_or_a_label_begins_no_row(monkeypatch):
    monkeypatch.setattr(long_tables, "PAGE", 0)
    frame = pl.DataFrame(
        {"model": "m", "term": ["a", "b"], "label": ["x", "y\nz"], "note": ["one\n two", None], "estimate": [0.5, 1.5]}
    )
    for piece in (1, 2):
        assert [line.split() for line in lines(frame, 200, piece).splitlines()[4:6]] == [
            ["a", "x", "one", "two", "0.5000"],
            ["b", "y", "z", "1.500"],
        ]


@pytest.fixture(scope="module")
def store(fitted_again: Path) -> Path:
    """A store whose latest run has 30,000 random effects of one model, after those of the other."""
    with duckdb.connect(str(fitted_again)) as connection:
        connection.execute(
            "insert into mlm.random_effects by name select r.* replace (unit || '-' || i as unit)"
            " from (from mlm.random_effects where model = 'null' limit 100) as r, range(300) as s(i) order by i, unit"
        )
    return fitted_again


@pytest.fixture(scope="module")
def fitted_again(fitted: Path, tmp_path_factory) -> Path:
    """A copy of the database of one analysis, to be written to."""
    path = tmp_path_factory.mktemp("long") / "d.duckdb"
    path.write_bytes(fitted.read_bytes())
    return path


def test_every_row_is_printed_in_the_order_of_the_store(store, capsys):
    assert cli.main(["show", "--database", str(store), "--table", "random_effects", "--model", "null", "--all"]) == 0
    head, _, title, _, words, rule, *printed = capsys.readouterr().out.splitlines()
    assert head.startswith("small: 7,185 of 7,185 rows of main.students")
    assert title == "random_effects of null"
    assert words.split() == ["group", "unit", "term", "estimate", "std_error", "conf_low", "conf_high", "reliability"]
    assert set(rule) == {" ", "─"}
    with duckdb.connect(str(store), read_only=True) as connection:
        rows = connection.execute("select unit from mlm.random_effects where model = 'null' order by rowid").fetchall()
    assert len(rows) == 30_160
    assert [line.split()[1] for line in printed[:-1]] == [unit for (unit,) in rows]
    assert printed[-1] == ""
    # columns stand below each other from the first to the last line
    assert {line.index("(Intercept)") for line in printed[:-1]} == {words.index("term")}


def test_a_copy_has_the_rows_and_the_columns_of_the_table(store, tmp_path):
    with duckdb.connect(str(store)) as connection:
        (run,) = connection.execute("select run_id from mlm.latest_runs").fetchall()[0]
        connection.execute(
            "insert into mlm.diagnostics (run_id, analysis, model, diagnostic, unit, flagged)"
            " select ?, 'small', if(i < 20000, 'null', null), 'x', i::varchar, i % 50 = 3 from range(20100) as r(i)",
            [run],
        )
        # a table of an earlier mlm-ops lacks a column that came since
        connection.execute("alter table mlm.diagnostics drop column bound")
        assert models_of_rows(connection, "diagnostics", run, "small") == ["null", None]
        assert models_of_rows(connection, "diagnostics", run, "other") == []
        assert copy_rows(connection, "diagnostics", run, "small", ["slopes"], tmp_path / "few") == 100
        assert copy_rows(connection, "diagnostics", run, "small", None, tmp_path / "rows") == 20_100
    frame = pl.concat(pieces(tmp_path / "rows", "diagnostics"))
    assert dict(frame.schema) == RESULT_TABLES["diagnostics"]
    assert frame["unit"].to_list() == [str(i) for i in range(20_100)]


def test_rows_that_cannot_be_read_are_one_sentence():
    with duckdb.connect() as connection:
        connection.execute("create schema mlm; create table mlm.diagnostics as select 1 as run_id, 'a' as analysis")
        with pytest.raises(StoreError) as refused:
            models_of_rows(connection, "diagnostics", "1", "a")
    assert str(refused.value).startswith("The rows of table diagnostics cannot be read: Binder Error: ")


def test_a_model_without_results_and_another_analysis_are_refused(store, refused):
    show = ["show", "--database", store, "--table", "random_effects", "--all"]
    assert "There are no results of the model slope. Did you mean 'slopes'? There are null, slopes." in refused(
        *show, "--model", "slope"
    )
    assert "Did you mean 'small'?" in refused(*show, "--analysis", "smal")


def test_the_copy_of_the_rows_is_removed_and_a_closed_pipe_ends_the_command(store, tmp_path):
    command = f"{sys.executable} -m mlm_ops show --database {store} --table random_effects --all | head -n 3"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (141, "", 3)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    """Python's own memory, of which a table that is laid out whole takes 8 kB a row."""
    peaks = []
    frame = rows(["m"] * 400)
    for times in (2, 8):
        target = Console(width=200, file=io.StringIO(), highlight=False)
        monkeypatch.setattr(target.file, "write", len)
        tracemalloc.start()
        long_tables.show_rows(target, "random_effects", lambda n=times: itertools.repeat(frame, n), 400 * times)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
