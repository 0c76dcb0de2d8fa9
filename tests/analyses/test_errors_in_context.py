"""An error in the data says which models of the analysis have it, from what was looked at for all of them together."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import pytest

from mlm_ops.analyses import run
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import DataError
from mlm_ops.moments import survey

N = 60
AT = pl.int_range(N)
ROWS = pl.select(
    g=AT % 6,
    day=AT // 15,
    y=(AT * 7 % 11).cast(pl.Float64),
    x=(AT * 5 % 13).cast(pl.Float64),
    flat=pl.lit(1.0, pl.Float64).repeat_by(N).explode(),
    below=-AT.cast(pl.Float64) - 1,
    void=pl.lit(None, pl.Float64).repeat_by(N).explode(),
    even=pl.when(AT % 2 == 0).then(AT.cast(pl.Float64)),
    odd=pl.when(AT % 2 == 1).then(AT.cast(pl.Float64)),
)
COLUMNS = "Its columns are g, day, y, x, flat, below, void, even, odd."
DOMAIN = (
    "(a logarithm or root out of its domain, or a division by zero). Filter these rows with where, or transform it "
    "otherwise."
)
GAPS = "No row is complete: each of the 60 rows misses a value. Missing values by column:"


@pytest.mark.parametrize(
    ("models", "sentences"),
    [
        ({"a": "x", "b": "gone"}, f"analysis h, model b: Column 'gone' is not in table t. {COLUMNS}"),
        ({"a": "gone", "b": "gone"}, f"analysis h: Column 'gone' is not in table t. {COLUMNS}"),
        (
            {"a": "gone", "b": "x", "c": "lost + gone"},
            f"analysis h, model a: Column 'gone' is not in table t. {COLUMNS}\n"
            f"analysis h, model c: Columns 'lost', 'gone' are not in table t. {COLUMNS}",
        ),
        (
            {"a": "x", "b": "flat", "c": "x + flat"},
            "analysis h, models b, c: Column 'flat' has no variation: every row holds 1. Remove it from the formula.",
        ),
        (
            {"a": "log(below)", "b": "x"},
            f"analysis h, model a: log(below) is undefined in 60 of 60 rows {DOMAIN}",
        ),
        ({"a": "x", "b": "void"}, f"analysis h, model b: {GAPS} void (60)."),
        # each model alone has complete rows
        ({"a": "even", "b": "odd"}, f"analysis h: {GAPS} even (30), odd (30)."),
        # which no survey of one model would find
        (
            {"a": "x", "b": "C(g, ref='7')"},
            "analysis h: The reference level of C(g, ref='7') does not occur. Got '7'; expected one of 0, 1, 2, 3, 4, "
            "5.",
        ),
    ],
)
def test_which_models_have_a_fault(models: dict[str, str], sentences: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    ask = survey.run

    def counted(source: Any, sql: str, purpose: str) -> Any:
        queries.append(sql)
        return ask(source, sql, purpose)

    monkeypatch.setattr(survey, "run", counted)
    opened: list[int] = []
    monkeypatch.setattr(run, "open_rows", lambda *given, rows=run.open_rows: opened.append(1) or rows(*given))
    with duckdb.connect() as connection:
        connection.register("frame", ROWS)
        connection.execute("create table t as from frame")
        formulas = "".join(f"\n  {name}: y ~ {fixed} + (1 | g)" for name, fixed in models.items())
        analysis = parse_analysis(f"analysis: h\ndata: t\nmodels:{formulas}\n")
        with pytest.raises(DataError) as caught:
            run.collect_analysis(analysis, connection)
    assert str(caught.value) == sentences
    # one survey of all models: what it counts, ranges, and what is missing
    assert len(opened) == 1
    assert len(queries) <= 3


def test_a_partition_that_cannot_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect() as connection:
        connection.register("frame", ROWS.with_columns(x=pl.col("x") + 1))
        connection.execute("create table t as from frame where day < 3")
        analysis = parse_analysis(
            "{analysis: h, data: t, partition: day, models: {a: y ~ log(x) + (1 | g), b: y ~ odd + (1 | g)}}"
        )
        run.keep_moments(analysis, connection)
        connection.execute("insert into t select * replace (-1.0 as x) from frame where day = 3")
        with pytest.raises(DataError) as caught:
            run.keep_moments(analysis, connection)
    assert str(caught.value) == f"analysis h, model a: day 3: log(x) is undefined in 15 of 15 rows {DOMAIN}"
