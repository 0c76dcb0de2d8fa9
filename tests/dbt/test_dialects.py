"""The macros as other warehouses get them: their SQL parses in each dialect. Of these only Spark also runs it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from tests.dbt.dialects import package_for

DIALECTS = ("spark", "snowflake", "bigquery", "trino", "duckdb")
#: BigQuery takes few characters in names, but the quotes have to hold whatever stands in them.
ODD = "a \"b\";c `d` 'e' \\"
GROUP = ["school", ODD]
SELECTS: dict[str, dict[str, Any]] = {
    "centered": {"relation": "students", "columns": ["ses", ODD], "group": GROUP, "complete": ["sector"]},
    "group_means": {"relation": "students", "columns": ["ses", ODD], "group": "school", "complete": ["sector"]},
    "group_moments": {
        "relation": "students",
        "columns": ["mathach", ODD],
        "group": GROUP,
        "products": [["mathach", ODD]],
        "complete": ["ses"],
        "constants": ["sector", ODD],
    },
    "merge_group_moments": {
        "relation": "parts",
        "columns": ["mathach", ODD],
        "group": GROUP,
        "constants": ["sector", ODD],
    },
    "decomposition": {"relation": "students", "columns": ["mathach", ODD], "group": "school"},
    "test_constant_within": {"model": "students", "column_name": ODD, "group": "school"},
    "test_varies_within": {"model": "students", "column_name": ODD, "group": "school"},
    "test_min_groups": {"model": "students", "group": GROUP, "at_least": 20},
    "test_moments_complete": {"model": "moments", "relation": "students", "group": GROUP, "complete": ["ses", ODD]},
}
EXPRESSIONS: dict[str, dict[str, Any]] = {
    "between": {"column": ODD, "group": "school", "over": ["school", "class"], "relation": "students"},
    "within": {"column": ODD, "group": GROUP, "complete": ["ses"]},
    "center": {"column": ODD, "over": "school", "relation": "students"},
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("macro", [*SELECTS, *EXPRESSIONS])
def test_the_sql_parses(dialect: str, macro: str) -> None:
    package = package_for(dialect)
    sql = str(package[macro](**(SELECTS | EXPRESSIONS)[macro]))
    if macro in EXPRESSIONS:
        sql = f"select {sql} as made from students"
    (statement,) = sqlglot.parse(sql, dialect=dialect)
    assert isinstance(statement, exp.Query)
    assert not list(statement.find_all(exp.Command))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_columns_have_their_names(dialect: str) -> None:
    """Whatever stands in a name comes out of the quotes as it went in."""
    sql = str(package_for(dialect)["group_moments"](**SELECTS["group_moments"]))
    names = sqlglot.parse_one(sql, dialect=dialect).named_selects
    assert names[:2] == GROUP
    product = f"mathach_by_{ODD}"
    assert {f"mean_{ODD}", f"scatter_{ODD}_mathach", f"mean_{product}", f"value_{ODD}"} < set(names)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_stand_in_the_table_of_the_decomposition(dialect: str) -> None:
    sql = str(package_for(dialect)["decomposition"](**SELECTS["decomposition"]))
    texts = [found.this for found in sqlglot.parse_one(sql, dialect=dialect).find_all(exp.Literal) if found.is_string]
    assert {"mathach", ODD, "school"} <= set(texts)


@pytest.mark.parametrize(("dialect", "number"), [("bigquery", "float64"), ("snowflake", "double precision")])
def test_numbers_are_doubles(dialect: str, number: str) -> None:
    assert str(package_for(dialect)["value"]("ses")).count(f" as {number})") >= 2
