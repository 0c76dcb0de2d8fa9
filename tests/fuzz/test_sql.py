"""SQL: arguments of mlm() and its sisters, whatever their types."""

from __future__ import annotations

import itertools
import random

import duckdb
import pytest

from mlm_ops.language.options import MODEL_OPTIONS
from mlm_ops.plugins.duckdb import FUNCTIONS, register
from tests.fuzz.check import faults

VALUES = [
    *("null", "''", "'g'", "'nowhere'", "1", "-1.5", "'nan'::double", "true", "[]", "[null]", "['g', null]", "[1, 2]"),
    *("map {}", "map {'g': null}", "map {'g': '1'}", "map {null: 'a'}", "{'a': 1}", "date '2020-01-01'", "'a'::blob"),
    *("repeat('x', 20000)", "chr(0)", "'\u202e'", "'y ~ x'", "(select 1)", "[['g']]", "1e308", "'{}'::json", "uuid()"),
    *("interval 1 day", "'reml'", "'ml'", "'CR2'", "['g']", "map {'g': 'diagonal'}", "'by(f)'", "'none'", "x", "t"),
]
RELATIONS = [
    "'t'",
    "'nowhere'",
    "'(select * from t)'",
    "'(select 1)'",
    "'(select * from t) where'",
    "null",
    "''",
    "'t; t'",
]


def statements(n: int, seed: int) -> list[str]:
    """Calls with one or two options that are probably wrong."""
    chance = random.Random(seed)
    made = []
    for _ in range(n):
        options = chance.sample(list(MODEL_OPTIONS), chance.randint(0, 2))
        formula = "'y ~ x + (1 | g)'" if chance.random() < 0.7 else chance.choice(VALUES)
        relation = "'t'" if chance.random() < 0.7 else chance.choice(RELATIONS + VALUES)
        told = "".join(f", {option} := {chance.choice(VALUES)}" for option in options)
        made.append(f"from {chance.choice(list(FUNCTIONS))}({formula}, {relation}{told})")
    return made


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        "create table t as select i % 10 as g, (i * 7 % 11)::double as x, i % 2 as f, (i * 13 % 17)::double as y "
        "from range(60) a(i)"
    )
    register(connection)
    return connection


def test_some_arguments_in_sql(connection: duckdb.DuckDBPyConnection) -> None:
    assert faults(statements(25, 1), lambda sql: connection.sql(sql).fetchall(), sql=True) == []


@pytest.mark.fuzz
def test_arguments_in_sql(connection: duckdb.DuckDBPyConnection) -> None:
    every = [
        f"from mlm('y ~ x + (1 | g)', 't', {option} := {value})"
        for option, value in itertools.product(MODEL_OPTIONS, VALUES)
    ]
    assert faults(every + statements(200, 2), lambda sql: connection.sql(sql).fetchall(), sql=True) == []
