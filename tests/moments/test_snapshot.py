"""Rows that change while they are read: the survey and the scans see the same rows, or the fit is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import keep_moments
from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.moments import collect as collecting
from mlm_ops.moments import partitions, scan, survey
from mlm_ops.plugins.duckdb import register

FORMULA = "y ~ x + f + (1 | g)"


def rows(n: int, levels: str = "abc", seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "g": [f"g{i % 10}" for i in range(n)],
            "f": [levels[i * 7 % 11 % len(levels)] for i in range(n)],
            "x": [float((i * 13 + seed) % 17) for i in range(n)],
            "y": [float((i * i + seed) % 23 + i % 10) for i in range(n)],
            "day": [i % 4 for i in range(n)],
        }
    )


@pytest.fixture
def after_survey(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], list[int]]:
    """Call a function after each survey; the list gets an element each time."""

    def hook(do: Callable[[], Any]) -> list[int]:
        calls: list[int] = []
        for module, name in ((scan, "take_survey"), (collecting, "take_survey"), (partitions, "pooled_survey")):
            take = getattr(module, name)

            def take_and_call(*arguments: Any, take: Any = take) -> Any:
                survey = take(*arguments)
                calls.append(1)
                do()
                return survey

            monkeypatch.setattr(module, name, take_and_call)
        return calls

    return hook


class File:
    """A view v over a CSV file that others write."""

    def __init__(self, folder: Path) -> None:
        self.path, self.connection, self.written = folder / "v.csv", duckdb.connect(), 0
        self.write(rows(200))
        self.connection.execute(f"create view v as from read_csv('{self.path}')")

    def write(self, content: pl.DataFrame) -> None:
        content.write_csv(self.path)
        self.written += 1
        os.utime(self.path, (self.written, self.written))


def test_a_file_that_is_written_once_is_read_again(tmp_path: Path, after_survey: Any) -> None:
    file, new = File(tmp_path), rows(400, seed=3)
    calls = after_survey(lambda: file.write(new) if file.written < 2 else None)
    fit = mlm.fit(FORMULA, "v", connection=file.connection)
    assert len(calls) == 2
    assert (fit.moments.n_rows, fit.moments.n_obs) == (400, 400)
    expected = mlm.fit(FORMULA, new)
    assert fit.fixed_effects["estimate"].to_list() == pytest.approx(expected.fixed_effects["estimate"].to_list())


@pytest.mark.parametrize(
    ("contents", "what"),
    [
        ([rows(400), rows(200)], "200 rows were counted, 400 summed up"),
        # as many rows, some with a level that the survey has not seen
        ([rows(200, "abcd"), rows(200, "abc")], "200 rows were counted, 163 summed up"),
        # as many rows, one level gone
        ([rows(200, "ab"), rows(200, "abc")], "f has lost the level c"),
    ],
)
def test_a_file_that_is_written_again_and_again(
    tmp_path: Path, after_survey: Any, contents: list[pl.DataFrame], what: str
) -> None:
    """The file of the first survey returns before the second, and changes once more after it."""
    file = File(tmp_path)
    calls = after_survey(lambda: file.write(contents[0]))
    first = collecting._collect

    def from_the_start(*arguments: Any) -> Any:
        file.write(contents[1])
        return first(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collecting, "_collect", from_the_start)
        with pytest.raises(RowsChangedError) as error:
            mlm.fit(FORMULA, "v", connection=file.connection)
    assert len(calls) == 2
    assert str(error.value) == (
        f"The rows of table v changed while they were read: {what}. Fit them when nothing writes to them, or from a "
        "copy (create table … as from …)."
    )


def test_another_cursor_writes(after_survey: Any) -> None:
    """A table is read as it was when the survey began."""
    connection, frame, more = duckdb.connect(), rows(200), rows(200, "abcd", seed=5)
    connection.register("frame", frame.to_arrow())
    connection.execute("create table t as from frame")
    other = connection.cursor()
    other.register("more", more.to_arrow())
    calls = after_survey(lambda: other.execute("insert into t from more"))
    fit = mlm.fit(FORMULA, "t", connection=connection, residual="by(f)")
    assert len(calls) == 1
    assert (fit.moments.n_rows, fit.moments.n_obs) == (200, 200)
    assert connection.execute("select count(*) from t").fetchall() == [(400,)]
    expected = mlm.fit(FORMULA, frame, residual="by(f)")
    assert fit.fixed_effects["estimate"].to_list() == pytest.approx(expected.fixed_effects["estimate"].to_list())


def test_a_transaction_of_the_callers_stays_open() -> None:
    """What is not committed is fitted, and may be rolled back afterwards, or committed."""
    connection, frame = duckdb.connect(), rows(200)
    connection.register("frame", frame.to_arrow())
    connection.execute("create table kept (i integer)")
    for end, n_rows in (("rollback", 0), ("commit", 1)):
        connection.execute("begin")
        connection.execute("create table t as from frame")
        connection.execute("insert into kept values (1)")
        assert mlm.fit(FORMULA, "t", connection=connection).moments.n_obs == 200
        connection.execute(end)
        assert connection.execute("select count(*) from kept").fetchall() == [(n_rows,)]
    with pytest.raises(DataError, match="'nothing' is not in table t"):
        mlm.fit("y ~ nothing + (1 | g)", "t", connection=connection)
    connection.execute("begin")  # none is open
    connection.execute("rollback")


def test_partitions_of_a_file_that_is_written(tmp_path: Path, after_survey: Any) -> None:
    file, new = File(tmp_path), rows(400, seed=3)
    analysis = parse_analysis(f"analysis: a\ndata: v\npartition: day\nmodels:\n  m: {FORMULA}\n")
    calls = after_survey(lambda: file.write(new) if file.written < 2 else None)
    refresh = keep_moments(analysis, file.connection)
    assert len(calls) == 2
    assert (refresh.moments.n_rows, refresh.moments.n_obs) == (400, 400)
    facts = file.connection.execute("select sum(n_rows) from main.a_moments_partitions").fetchall()
    parts = file.connection.execute("select sum(n) from main.a_moments_parts").fetchall()
    assert facts == parts == [(400,)]
    # a partition that changes between its survey and its scan
    file.write(rows(480, seed=4))
    calls.clear()
    later = rows(600, seed=4)
    after = file.written + 1
    after_survey(lambda: file.write(later) if file.written < after else None)
    refresh = keep_moments(analysis, file.connection, ["1"])
    assert refresh.moments.n_rows == refresh.moments.n_obs == 450
    assert sum(refresh.moments.n) == 450


def gappy(n: int, gaps: int) -> pl.DataFrame:
    """Rows of which the first ones of day 1 miss x: so many of n are complete on that day."""
    more = rows(4 * n).with_row_index("i")
    return more.with_columns(x=pl.when((pl.col("day") == 1) & (pl.col("i") // 4 < gaps)).then(None).otherwise("x"))


def test_missing_values_of_partitions_are_counted_in_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows are complete before and after, so that the sums alone would not tell."""
    file, count_gaps = File(tmp_path), survey._part_rows
    file.write(gappy(50, 5).drop("i"))
    analysis = parse_analysis(f"analysis: a\ndata: v\npartition: day\nmodels:\n  m: {FORMULA}\n")
    assert keep_moments(analysis, file.connection).moments.n_dropped["x"] == 5
    contents = [gappy(53, 8), gappy(50, 5), gappy(53, 8)]

    def write_and_count(*arguments: Any) -> Any:
        if contents:
            file.write(contents.pop(0).drop("i"))
        return count_gaps(*arguments)

    monkeypatch.setattr(survey, "_part_rows", write_and_count)
    with pytest.raises(RowsChangedError) as error:
        keep_moments(analysis, file.connection, ["1"])
    # read twice: the file of the first time was there again the second time
    assert str(error.value) == (
        "analysis a: The rows of table v, day 1 changed while they were read: 45 of 53 rows of day 1 were complete, "
        "then 45 of 50. Fit them when nothing writes to them, or from a copy (create table … as from …)."
    )
    contents[:] = [gappy(53, 8)]
    moments = keep_moments(analysis, file.connection, ["1"]).moments
    assert (moments.n_rows, moments.n_dropped["x"]) == (203, 8)


def test_one_statement_compares_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mlm() cannot query again: it refuses a count and a sum of different rows."""
    from mlm_ops.plugins import duckdb as plugin

    connection = duckdb.connect()
    connection.register("frame", rows(200).to_arrow())
    connection.execute("create table t as from frame")
    register(connection)
    read_answer = plugin.read_answer

    def read_shorter(query: Any, answer: Any) -> Any:
        moments = {name: values[1:] for name, values in answer.moments.items()}
        return read_answer(query, type(answer)(answer.types, answer.survey, answer.missing, moments, answer.residual))

    monkeypatch.setattr(plugin, "read_answer", read_shorter)
    with pytest.raises(duckdb.Error, match="The rows of table t changed while they were read: 200 rows were counted"):
        connection.sql(f"from mlm('{FORMULA}', 't')").fetchall()


@pytest.mark.parametrize("n_rows", [30, 90])
def test_counts_of_one_survey_that_are_not_of_the_same_rows(n_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file behind a view may be replaced between two looks of one query: it counted 30 rows and found 60 complete."""
    take = scan.take_survey
    monkeypatch.setattr(scan, "take_survey", lambda *arguments: replace(take(*arguments), n_rows=n_rows))
    with pytest.raises(RowsChangedError) as error:
        mlm.fit(FORMULA, rows(60))
    assert str(error.value).partition(" changed while they were read: ")[2] == (
        f"{n_rows} rows were counted, 60 of them complete and none with a missing value. Fit them when nothing writes "
        "to them, or from a copy (create table … as from …)."
    )
