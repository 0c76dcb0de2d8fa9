"""``FROM mlm()`` guesses from a table's first rows what it can leave out, and is right where the guess is wrong."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import mlm_ops as mlm
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments import first_rows
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import Moments
from mlm_ops.moments.single_answer import Answer
from mlm_ops.moments.single_statement import SingleStatement
from mlm_ops.plugins import duckdb as plugin
from mlm_ops.plugins.duckdb import register
from mlm_ops.warehouse.source import open_source

FORMULA = "y ~ x * w + z + (x | g)"
#: 400 rows in 40 groups; x, z and y vary within them, w does not.
ROWS = """
create table data as
select i // 10 as g, 50 + sin(i) * 3 as x, cos(i // 10) as w, cos(i * 1.7) - 1000 as z, x * 0.3 + w + sin(i * 2.3) as y
from range(400) as r(i)
"""


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 rows the first 50 are looked at."""
    monkeypatch.setattr(first_rows, "FIRST_ROWS", 50)
    monkeypatch.setattr(first_rows, "LEAST_ROWS", 300)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        register(opened)
        opened.execute(ROWS)
        yield opened


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Answer, Moments]]:
    """Answers of statements, and the moments that are read from them."""
    seen: list[tuple[Answer, Moments]] = []
    read = plugin.read_answer

    def see(query: SingleStatement, answer: Answer) -> Moments:
        seen.append((answer, read(query, answer)))
        return seen[-1][1]

    monkeypatch.setattr(plugin, "read_answer", see)
    return seen


def ask(connection: duckdb.DuckDBPyConnection, formula: str = FORMULA, relation: str = "data") -> None:
    connection.execute("select count(estimate) from mlm(?, ?)", [formula, relation]).fetchall()


def assert_collected(ours: Moments, connection: duckdb.DuckDBPyConnection, formula: str = FORMULA) -> None:
    """The moments are those that `collect` gives: but for rounding, as sums are taken around other centers."""
    theirs = collect(open_source("data", connection), [parse_formula(formula)])
    assert ours.schema.monomials == theirs.schema.monomials
    assert ours.schema.constants == theirs.schema.constants
    assert dict(ours.schema.centers) == pytest.approx(dict(theirs.schema.centers), rel=1e-13)
    assert (ours.n_rows, ours.n_dropped) == (theirs.n_rows, theirs.n_dropped)
    for label, other in zip(ours.labels, theirs.labels, strict=True):
        np.testing.assert_array_equal(label, other)
    np.testing.assert_array_equal(ours.n, theirs.n)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ours.scatter, theirs.scatter, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("key", ["g", "g::utinyint", "'group ' || g", "date '2020-01-01' + g::int", "g::double"])
def test_a_guess_that_holds_is_all_that_is_summed(
    key: str, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    connection.execute(f"create or replace table data as select * replace ({key} as g) from data")
    ask(connection)
    ((answer, moments),) = answers
    assert answer.guessed is not None
    assert not answer.moments
    # three monomials instead of five: y, x and z
    assert sum(name.startswith("scatter") for name in answer.guessed[2]) == 6
    assert_collected(moments, connection)


@pytest.mark.parametrize("formula", ["y ~ x + w", "y ~ within(x) + between(x) + (within(x) | g)", "x ~ log(y) + (1|g)"])
def test_other_models(
    formula: str, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    ask(connection, formula)
    ((answer, moments),) = answers
    assert answer.guessed is not None
    assert_collected(moments, connection, formula)


@pytest.mark.parametrize(
    "change",
    [
        *("update data set w = w + 1 where x > 52.9 and g > 30", "update data set x = null where g = 39 and z < -999"),
        *("update data set y = 'nan' where g = 38 and z < -999.5", "update data set z = z - 1e5"),
        *("delete from data where g > 2", "update data set x = x + 1e4", "update data set g = 7 where g = 39"),
    ],
)
def test_rows_that_only_the_query_sees(
    change: str, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    """The guess is made beside the transaction, in which the rows are others."""
    connection.execute("begin")
    connection.execute(change)
    ask(connection)
    ((_, moments),) = answers
    assert_collected(moments, connection)
    connection.execute("rollback")


@pytest.mark.parametrize(
    "columns",
    [
        *("'group ' || g as g", "z::decimal(9, 2) as z"),
        *("w::int as w", "y::float as y", "if(g % 4 = 1, 'nan', x)::double as x"),
    ],
)
def test_a_table_that_hides_the_one_that_was_seen(
    columns: str, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    """A temporary table of the name has columns of other types."""
    connection.execute(f"create temp table data as select * replace ({columns}) from data")
    ask(connection)
    ((_, moments),) = answers
    assert_collected(moments, connection)


@pytest.mark.parametrize(
    "column", ["struct_pack(a := x) as x", "[g] as g", "blob 'a' as z", "timestamp '2020-01-01' as y"]
)
def test_a_hidden_table_of_what_is_no_number_is_refused(
    column: str, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of a table that could not be seen."""
    sentences = []
    for least in (300, 10_000):
        monkeypatch.setattr(first_rows, "LEAST_ROWS", least)
        connection.execute(f"create or replace temp table data as select * replace ({column}) from memory.main.data")
        try:
            sentences.append(str(connection.execute(f"from mlm('{FORMULA}', 'data')").fetchall()))
        except duckdb.Error as error:
            sentences.append(str(error))
    assert sentences[0] == sentences[1]


@pytest.mark.parametrize("formula", ["y ~ x * z + (1 | g)", "y ~ C(w) + (1 | g)", "y ~ x + (1 | g)"])
def test_what_first_rows_cannot_tell(
    formula: str, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    """Products of rows, factors, and views, whose first rows may take as long as all."""
    connection.execute("create view viewed as from data")
    connection.execute("update data set w = round(w)")
    ask(connection, formula, "viewed" if formula.startswith("y ~ x +") else "data")
    ((answer, _),) = answers
    assert answer.guessed is None


def test_a_hidden_table_with_a_factor(connection: duckdb.DuckDBPyConnection) -> None:
    """Its numbers are those of Python, to what rounding leaves of a search's end."""
    connection.execute("create temp table data as select * replace (if(g % 3 = 0, 'a', 'b') as w) from data")
    ours = connection.execute(f"select term, estimate from mlm('{FORMULA}', 'data')").fetchall()
    theirs = mlm.fit(FORMULA, "data", connection=connection).fixed_effects
    assert [term for term, _ in ours] == theirs["term"].to_list()
    assert [estimate for _, estimate in ours] == pytest.approx(theirs["estimate"].to_list(), rel=1e-8)


@pytest.mark.parametrize(
    ("name", "is_seen"),
    [
        *(("data", True), ("DATA", True), ("main.data", True), ("memory.data", True), ("memory.main.data", True)),
        *(("staging.data", False), ("raw.data", True), ("memory.staging.data", False), ('"other".main.data', True)),
    ],
)
def test_a_view_is_left_alone_that_is_called_as_a_table_elsewhere(
    name: str, is_seen: bool, connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    """As dbt lays out its models: the view staging.data over the table raw.data."""
    connection.execute("create schema raw; create schema staging; attach ':memory:' as other")
    connection.execute("create table raw.data as from data; create table other.main.data as from data")
    connection.execute("create view staging.data as from raw.data")
    ask(connection, relation=name)
    assert (answers[0][0].guessed is not None) == is_seen
    assert_collected(answers[0][1], connection)


def test_a_prepared_statement_takes_the_rows_that_there_are(
    connection: duckdb.DuckDBPyConnection, answers: list[tuple[Answer, Moments]]
) -> None:
    connection.execute(f"prepare fitted as from mlm('{FORMULA}', 'data')")
    connection.execute("update data set w = w + sin(x)")
    connection.execute("execute fitted").fetchall()
    assert_collected(answers[-1][1], connection)


def test_a_registration_keeps_no_connection_open(tmp_path: Path) -> None:
    connection: Any = duckdb.connect(tmp_path / "rows.duckdb")
    register(connection)
    connection.execute(ROWS)
    ask(connection)
    reference = weakref.ref(connection)
    del connection
    gc.collect()
    assert reference() is None
    # another configuration would be refused while the database is open
    with duckdb.connect(tmp_path / "rows.duckdb", read_only=True) as reader:
        assert reader.execute("select count(*) from data").fetchall() == [(400,)]
