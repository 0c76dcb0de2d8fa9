"""The macros as other warehouses get them: each dialect finds its columns. Of these Postgres and Spark also run it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from tests.hosts.dbt.dialects import QUOTES, package_for

DIALECTS = ("spark", "databricks", "snowflake", "bigquery", "trino", "duckdb", "postgres", "redshift")
#: BigQuery takes few characters in names, but the quotes have to hold whatever stands in them.
ODD = "\"b\";`d`'e' \\"
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
    "test_converged": {"model": "fits"},
    "test_not_singular": {"model": "fits"},
    "test_no_drift": {"model": "drift", "against": "baseline"},
    "test_moments_complete": {"model": "moments", "relation": "students", "group": GROUP, "complete": ["ses", ODD]},
}
EXPRESSIONS: dict[str, dict[str, Any]] = {
    "between": {"column": ODD, "group": "school", "over": ["school", "class"], "relation": "students"},
    "within": {"column": ODD, "group": GROUP, "complete": ["ses"]},
    "center": {"column": ODD, "over": "school", "relation": "students"},
}


def statement_of(macro: str, dialect: str, **variables: Any) -> exp.Expression:
    """The SQL of a macro as a warehouse would read it."""
    sql = str(package_for(dialect, **variables)[macro](**(SELECTS | EXPRESSIONS)[macro]))
    if macro in EXPRESSIONS:
        sql = f"select {sql} as made from students"
    (statement,) = sqlglot.parse(sql, dialect=dialect)
    assert statement is not None
    return statement


def warehouse(dialect: str) -> MappingSchema:
    """The tables as someone would have made them, with quotes around the names that need them."""
    made = ("n", *(f"mean_{column}" for column in ("mathach", ODD)), "value_sector", f"value_{ODD}")
    sums = ("scatter_mathach_mathach", f"scatter_{ODD}_mathach", f"scatter_{ODD}_{ODD}")
    tables = {
        "students": ["school", "class", "ses", "mathach", "sector", ODD],
        "moments": [*GROUP, "n"],
        "parts": [*GROUP, *made, *sums],
        "fits": ["model", "converged", "singular"],
        "drift": ["against", "flagged"],
    }

    def written(name: str) -> str:
        return exp.to_identifier(name, quoted=not name.isidentifier()).sql(dialect=dialect)

    columns = {table: {written(name): "double" for name in names} for table, names in tables.items()}
    return MappingSchema(columns, dialect=dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("macro", [*SELECTS, *EXPRESSIONS])
def test_each_name_is_one_of_the_warehouse(dialect: str, macro: str) -> None:
    """By the dialect's rules of letter case and of scopes, each column is one of a table."""
    statement = statement_of(macro, dialect)
    assert isinstance(statement, exp.Query)
    assert not list(statement.find_all(exp.Command))
    qualify(statement, dialect=dialect, schema=warehouse(dialect))


@pytest.mark.parametrize("macro", [*SELECTS, *EXPRESSIONS])
def test_names_of_snowflake_tables(macro: str) -> None:
    """As Snowflake stores them, in capitals, or with a variable as they are written."""
    with pytest.raises(OptimizeError, match="could not be resolved"):
        qualify(
            statement_of(macro, "snowflake", mlm_quoted_names=True), dialect="snowflake", schema=warehouse("snowflake")
        )
    lower = warehouse("duckdb")  # which leaves letters as they are
    qualify(statement_of(macro, "snowflake", mlm_quoted_names=True), dialect="duckdb", schema=lower)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_columns_have_their_names(dialect: str) -> None:
    """Whatever stands in a name comes out of the quotes as it went in."""
    names = statement_of("group_moments", dialect).named_selects
    assert names[:4] == (
        [*GROUP, "n", "center_mathach"] if dialect != "snowflake" else ["SCHOOL", ODD, "n", "CENTER_MATHACH"]
    )
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
    "snowflake": """not (typeof(to_variant("C")) = 'DOUBLE' and lower(to_varchar(to_variant("C"))) = 'nan')""",
    "bigquery": """format('%T', `c`) <> 'CAST("nan" AS FLOAT64)'""",
    "trino": """not (typeof("c") in ('double', 'real') and lower(cast("c" as varchar)) = 'nan')""",
    "spark": """not (typeof(`c`) in ('double', 'float') and lower(cast(`c` as string)) = 'nan')""",
    "duckdb": """not (typeof("c") in ('DOUBLE', 'FLOAT') and isnan(try_cast("c" as double)))""",
    "postgres": (
        """not (pg_typeof("c") in (cast('double precision' as regtype), cast('real' as regtype), """
        """cast('numeric' as regtype)) and cast("c" as text) = 'NaN')"""
    ),
    "redshift": """"c" = "c\"""",
}


@pytest.mark.parametrize("dialect", HAS_VALUE)
def test_the_text_nan_is_a_text(dialect: str) -> None:
    """Only a type of numbers has NaN: each dialect asks for the column's type before it looks at its text."""
    package = package_for(dialect)
    name = f"{QUOTES[dialect]}{'C' if dialect == 'snowflake' else 'c'}{QUOTES[dialect]}"
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


@pytest.mark.parametrize(
    ("dialect", "name", "expected"),
    [
        ("duckdb", 'a "b";c', '"a ""b"";c"'),
        ("duckdb", '"a "b";c"', '"a ""b"";c"'),
        ("duckdb", '"', '""""'),
        ("snowflake", "ses", '"SES"'),
        ("snowflake", '"ses"', '"ses"'),
        ("bigquery", "`a`b`", "`a\\`b`"),
        ("bigquery", '"a"', '`"a"`'),
    ],
)
def test_the_column_of_a_generic_test_has_quotes_once(dialect: str, name: str, expected: str) -> None:
    """With `quote: true` dbt has put them around it, whatever stands in it."""
    assert str(package_for(dialect)["tested_column"](name)) == expected
