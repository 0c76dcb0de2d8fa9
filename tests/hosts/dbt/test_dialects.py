"""The macros as other warehouses get them: their SQL parses in each dialect. Of these only Spark also runs it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from tests.hosts.dbt.dialects import QUOTES, package_for

DIALECTS = ("spark", "snowflake", "bigquery", "trino", "duckdb", "postgres")
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
    texts = [node.this for node in sqlglot.parse_one(sql, dialect=dialect).find_all(exp.Literal) if node.is_string]
    assert {"mathach", ODD, "school"} <= set(texts)


@pytest.mark.parametrize(("dialect", "number"), [("bigquery", "float64"), ("snowflake", "double precision")])
def test_numbers_are_doubles(dialect: str, number: str) -> None:
    assert str(package_for(dialect)["value"]("ses")).count(f" as {number})") >= 2


#: On PostgreSQL 15: of 'NaN', 'nan', 'Nan', null, 'a', 'a' five have a value; of 1, NaN, 3, null, -0.0, 0.0 four.
HAS_VALUE = {
    "snowflake": """not (typeof(to_variant("c")) = 'DOUBLE' and lower(to_varchar(to_variant("c"))) = 'nan')""",
    "bigquery": """format('%T', `c`) <> 'CAST("nan" AS FLOAT64)'""",
    "trino": """not (typeof("c") in ('double', 'real') and lower(cast("c" as varchar)) = 'nan')""",
    "spark": """not (typeof(`c`) in ('double', 'float') and lower(cast(`c` as string)) = 'nan')""",
    "duckdb": """not (typeof("c") in ('DOUBLE', 'FLOAT') and isnan(try_cast("c" as double)))""",
    "postgres": (
        """not (cast(pg_typeof("c") as text) in ('double precision', 'real', 'numeric') """
        """and cast("c" as text) = 'NaN')"""
    ),
    "redshift": """"c" = "c\"""",
}


@pytest.mark.parametrize("dialect", HAS_VALUE)
def test_the_text_nan_is_a_text(dialect: str) -> None:
    """Only a type of numbers has NaN: each dialect asks for the column's type before it looks at its text."""
    package = package_for(dialect)
    name = f"{QUOTES[dialect]}c{QUOTES[dialect]}"
    for condition in (package["has_value"]("c"), package["in_group"](["c"])):
        sqlglot.parse_one(f"select 1 from t where {condition}", dialect=dialect)
        text = " ".join(str(condition).split()).replace("( ", "(")
        assert text == f"{name} is not null and {HAS_VALUE[dialect]}"


def test_groups_of_nan_on_duckdb() -> None:
    """Of groups 1, NaN, null, -0.0 and 0.0 there are two; of the texts 'NaN', 'nan' and 'Nan' there are three."""
    package = package_for("duckdb")
    with duckdb.connect() as connection:
        connection.execute(
            "create table t as select * from (values (1.0::double, 'NaN', 1.0), (1.0, 'NaN', 2.0), "
            "('nan', 'nan', 3.0), (null, 'Nan', 4.0), (-0.0::double, 'Nan', 5.0), (0.0, 'Nan', 6.0)) as rows(d, s, x)"
        )
        for group, sizes in (("d", [2.0, 2.0]), ("s", [1.0, 2.0, 3.0])):
            moments = package["group_moments"]("t", ["x"], group)
            assert sorted(n for (n,) in connection.sql(f"select n from ({moments})").fetchall()) == sizes
            means = package["group_means"]("t", ["x"], group)
            assert sorted(n for (n,) in connection.sql(f"select n from ({means})").fetchall()) == sizes
        between = connection.sql(f"select {package['between']('x', 'd')} from t order by x").fetchall()
    assert between == [(1.5,), (1.5,), (None,), (None,), (5.5,), (5.5,)]
