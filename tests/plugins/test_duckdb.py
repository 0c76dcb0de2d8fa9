"""``FROM mlm(…)`` gives what `mlm_ops.fit` gives, on every kind of relation, and its sentences for faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import StoreError
from mlm_ops.plugins.duckdb import FUNCTIONS, register
from mlm_ops.results.tables import FIT_TABLES
from mlm_ops.warehouse.sql import render

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"
TABLES_OF_DATA = {"students": "hsb", "sleep": "sleepstudy", "three": "sim_3lev", "ar1": "sim_ar1", "pen": "penicillin"}
SIMPLE = "mathach ~ ses + (ses | school)"
#: Sums are taken in another order where factors are keys, and a p value of 1e-100 has 250 times its statistic's error.
NUMBERS, P_VALUES = 1e-12, 1e-9


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        register(opened)
        for name, file in TABLES_OF_DATA.items():
            opened.execute(f"create table {name} as from read_csv('{DATA / file}.csv', nullstr='')")
        opened.execute("create table holes as select *, if(size % 3 = 0, null, ses) as gap from students")
        yield opened


def _option(value: Any) -> str:
    return f"map {value}" if isinstance(value, dict) else repr(value)


def from_sql(
    connection: duckdb.DuckDBPyConnection, formula: str, relation: str, function: str = "mlm", **options: Any
) -> pl.DataFrame:
    named = "".join(f", {name} := {_option(value)}" for name, value in options.items())
    return connection.sql(f"from {function}(?, ?{named})", params=[formula, relation]).pl()


def same(ours: pl.DataFrame, expected: pl.DataFrame) -> None:
    numbers = pl.selectors.by_name("p_value", "gradient", "evaluations", "seconds", require_all=False)
    assert_frame_equal(ours.select(~numbers), expected.select(~numbers), rel_tol=NUMBERS, abs_tol=NUMBERS)
    if "p_value" in expected.columns:
        assert_frame_equal(ours.select("p_value"), expected.select("p_value"), rel_tol=P_VALUES, abs_tol=0)


@pytest.mark.parametrize(
    ("formula", "table", "options"),
    [
        (SIMPLE, "students", {}),
        (SIMPLE, "students", {"df": "kenward-roger"}),
        (SIMPLE, "students", {"robust": "CR2"}),
        (SIMPLE, "students", {"estimator": "ml", "covariance": {"school": "diagonal"}}),
        ("mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)", "students", {}),
        ("mathach ~ sex * ses + center(size, over=school) + (ses || school)", "students", {}),
        ("mathach ~ within(sex) + between(sex) + log(size) + I(ses**2) + (1 | school)", "students", {}),
        ("mathach ~ poly(ses, 2) + C(minority, ref='1') * C(sex, sum) + (1 | school)", "students", {}),
        ("mathach ~ ses + sector", "students", {}),
        ("mathach ~ ses * sex", "students", {"robust": "CR2", "cluster": "school"}),
        ("within(mathach) ~ within(ses) + (0 + within(ses) | school)", "students", {}),
        ("mathach ~ sex * ses + (1 | school)", "students", {"weights": "size"}),
        ("mathach ~ ses * sex + (1 | school)", "students", {"residual": "by(sex)"}),
        ("mathach ~ ses + minority + (1 | school)", "students", {"residual": "by(minority)"}),
        ("Reaction ~ Days + (1 | Subject)", "sleep", {"residual": "ar1(Days)"}),
        ("y ~ x + within(x, class) + z + (x | school/class)", "three", {}),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "pen", {}),
        ("mathach ~ gap + (1 | school)", "holes", {}),
        (
            "level 1: mathach ~ within(ses)\nlevel 2:\n  intercept: sector + random\n  within(ses): sector + random",
            "students",
            {"levels": ["school"]},
        ),
    ],
)
def test_the_numbers_are_those_of_python(
    connection: duckdb.DuckDBPyConnection, formula: str, table: str, options: dict[str, Any]
) -> None:
    expected = mlm.fit(formula, table, connection=connection, **options)
    same(from_sql(connection, formula, table, **options), expected.fixed_effects)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_returns_its_table(connection: duckdb.DuckDBPyConnection, function: str) -> None:
    formula = "mathach ~ within(ses) * sex + (within(ses) | school)"
    table = FUNCTIONS[function]
    ours = from_sql(connection, formula, "students", function)
    assert ours.schema == pl.Schema(TABLES[table])
    same(ours, FIT_TABLES[table](mlm.fit(formula, "students", connection=connection)))


def test_what_a_relation_may_be(connection: duckdb.DuckDBPyConnection) -> None:
    expected = mlm.fit(SIMPLE, "(select * from students where ses > 0)", connection=connection).fixed_effects
    connection.execute("create or replace view positive as from students where ses > 0")
    connection.execute("create or replace temp table chosen as from positive")
    for relation in (
        "positive",
        "memory.main.positive",
        "chosen",
        "(select * from students where ses > 0)",
        "select * from students where ses > 0 -- no end",
        "(with kept as (from students where ses > 0) from kept)",
        "(select * from students where ses > 0) _dbt_et_filter_subq_students",
        '(from students where ses > 0) as "a ""b"""',
        '"positive"',
    ):
        same(from_sql(connection, SIMPLE, relation), expected)


@pytest.mark.parametrize(
    "key",
    [
        *("school::utinyint", "school::ubigint", "school::hugeint", "school::double", "school::decimal(9, 2)"),
        *("'s' || school", "if(school % 2 = 0, '', 'it''s:' || school)", "date '2020-01-01' + school::int"),
    ],
)
def test_groups_of_every_type_beside_factors(connection: duckdb.DuckDBPyConnection, key: str) -> None:
    """Whole numbers are grouped by as they are, other keys as text; factors together, whatever their levels hold."""
    connection.execute(
        f"create or replace temp table typed as select * replace (if(size % 7 = 0, null, {key}) as school), "
        "if(ses > 0, '1:a', ':') as one, if(size % 2 = 0, '', '3:1:a') as two from "
        "(select * replace (school % 200 as school) from students)"
    )
    formula = "mathach ~ ses + one + two + (ses | school)"
    ours = from_sql(connection, formula, "typed", "mlm_random_effects")
    fit = mlm.fit(formula, "typed", connection=connection)
    assert {"one[:]", "two[3:1:a]"} & set(fit.fixed_effects["term"])
    same(ours.sort("unit", "term"), fit.random_effects.sort("unit", "term"))
    same(from_sql(connection, formula, "typed"), fit.fixed_effects)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_table_of_moments(connection: duckdb.DuckDBPyConnection, function: str) -> None:
    """What a table of moments holds is found by the statement itself, as it is for rows."""
    arguments = {"columns": ["mathach", "ses"], "group": "school", "constants": ["sector", "size"]}
    sql = render("group_moments", relation="students", **arguments)
    connection.execute(f"create or replace temp table sums as {sql}")
    formula = "mathach ~ within(ses) * sector + size + (within(ses) | school)"
    expected = mlm.fit(formula, mlm.read_moments(connection.table("sums"), "school"), df="kenward-roger")
    for relation in ("sums", "(from sums) as s"):
        ours = from_sql(connection, formula, relation, function, form="moments", df="kenward-roger")
        same(ours, FIT_TABLES[FUNCTIONS[function]](expected))


def test_no_rows_are_asked_for() -> None:
    """As dbt's --empty has it: a statement that is right, whatever the rows."""
    with duckdb.connect() as connection:
        register(connection, empty=True)
        connection.execute("create table pupils (y double, x double, g integer)")
        for function, table in FUNCTIONS.items():
            rows = from_sql(connection, "y ~ x + (1 | g)", "(select * from pupils where false limit 0) p", function)
            assert rows.schema == pl.Schema(TABLES[table])
            assert rows.is_empty()
        register(connection)
        with pytest.raises(duckdb.InvalidInputException, match="There are no rows in table pupils"):
            from_sql(connection, "y ~ x + (1 | g)", "pupils")


def test_it_sees_what_the_transaction_sees() -> None:
    with duckdb.connect() as connection:
        register(connection)
        connection.execute("begin")
        connection.execute(f"create table students as from '{DATA / 'hsb.csv'}'")
        connection.execute("delete from students where ses < 0")
        ours = connection.sql("select n_obs from mlm_fit_statistics('mathach ~ sex + (1 | school)', 'students')")
        assert ours.fetchall() == connection.execute("select count(*) from students").fetchall()
        connection.execute("rollback")


def test_prepared_statements_take_new_values(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("prepare fitted as select term from mlm($1, $2)")
    for formula, last in ((SIMPLE, "ses"), ("mathach ~ sex + (1 | school)", "sex[Male]")):
        rows = connection.execute(f"execute fitted('{formula}', 'students')").fetchall()
        assert rows[-1][0] == last


def test_it_is_a_table_like_any_other(connection: duckdb.DuckDBPyConnection) -> None:
    rows = connection.execute(
        f"with raw as (from mlm('{SIMPLE}', 'students')), split as (from mlm('mathach ~ within(ses) + (1 | school)',"
        " 'students')) select raw.estimate > split.estimate from raw, split where raw.term = 'ses' and split.level = 1"
        " and split.term <> '(Intercept)'"
    ).fetchall()
    assert rows == [(True,)]
    connection.execute(f"create or replace table kept as from mlm('{SIMPLE}', 'students')")
    assert connection.execute("select count(*) from kept").fetchall() == [(2,)]


def test_hostile_names(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        'create or replace table "drop table students; --" as select mathach as "a""b\'c", ses as "select", '
        'sex as "x; drop table students", school as "Schule ß", minority as mlm_unit_0 from students'
    )
    formula = "`a\"b'c` ~ `select` * `x; drop table students` + mlm_unit_0 + (`select` | `Schule ß`)"
    plain = mlm.fit("mathach ~ ses * sex + minority + (ses | school)", "students", connection=connection)
    ours = from_sql(connection, formula, '"drop table students; --"')
    same(ours.select("estimate", "std_error"), plain.fixed_effects.select("estimate", "std_error"))
    assert connection.execute("select count(*) from students").fetchall() == [(7185,)]


@pytest.mark.parametrize(
    ("formula", "relation", "options", "sentence"),
    [
        (
            "mathach ~ sess + (1 | school)",
            "students",
            "",
            "Column 'sess' is not in table students. Did you mean 'ses'?",
        ),
        ("mathach ~ Ses + (1 | school)", "students", "", "Column 'Ses' is not in table students. Did you mean 'ses'?"),
        ("mathach ~ ses + (1 | school", "students", "", "the parenthesis opened at column 17 is not closed"),
        ("mathach ~ log(sex) + (1 | school)", "students", "", "The column 'sex' holds text (VARCHAR), and log(sex)"),
        ("mathach ~ log(ses) + (1 | school)", "students", "", "log(ses) is undefined in 3566 of 7185 rows"),
        ("sex ~ ses + (1 | school)", "students", "", "The outcome 'sex' holds text (VARCHAR)"),
        ("mathach ~ C(sex, ref='x') + (1 | school)", "students", "", "The reference level of C(sex, ref='x') does not"),
        ("mathach ~ within(size) + (1 | school)", "students", "", "within(size) is zero in every row"),
        (
            "mathach ~ ses + (1 | school)",
            "(select * from students where false)",
            "",
            "There are no rows in the SELECT.",
        ),
        ("mathach ~ ses", "students; drop table students", "", "The data are neither a table name nor a SELECT."),
        ("mathach ~ ses", "(select 1); drop table students", "", "The data are one table name or one SELECT."),
        ("mathach ~ ses", "select 1) union all (select 2", "", "The data are neither a table name nor a SELECT."),
        ("mathach ~ ses", "(select 1) a; drop table students", "", "The data are neither a table name nor a SELECT."),
        ("mathach ~ ses", "students", "form := 'sums'", "Unknown form. Got 'sums'; expected one of rows, moments."),
        (
            "mathach ~ ses",
            "students",
            "form := 'moments'",
            "There are no moments in table students. Got the columns school, minority, sex,",
        ),
        ("mathach ~ ses", "(from holes where false)", "form := 'moments'", "There are no rows in the SELECT."),
        ("mathach ~ ses", "drop table students", "", "The data are one"),
        ("mathach ~ ses", "", "", "mlm() takes a formula and a table name or a SELECT"),
        ("mathach ~ ses + (1 | school)", "students", "df := 'both'", "Unknown df. Got 'both'; expected one of"),
        ("mathach ~ ses", "students", "robust := 'CR2'", "Robust errors of single-level regression need clusters."),
        ("mathach ~ ses", "students", "residual := 'by(sex'", "is not closed"),
        (
            "mathach ~ ses + sex + (1 | school)",
            "students",
            "residual := 'ar1(size)'",
            "Fit the model with mlm_ops.fit in",
        ),
        ("y ~ day + (1 | g)", "(select 1 as g, current_date as day, 2 as y)", "", "'day' is neither numeric nor text."),
    ],
)
def test_faults_are_sentences(
    connection: duckdb.DuckDBPyConnection, formula: str, relation: str, options: str, sentence: str
) -> None:
    named = f", {options}" if options else ""
    with pytest.raises(duckdb.InvalidInputException) as caught:
        connection.execute(f"from mlm(?, ?{named})", [formula, relation]).fetchall()
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("Invalid Input Error: ")
    assert "Python exception" not in str(caught.value)
    assert connection.execute("select count(*) from students").fetchall() == [(7185,)]


def test_far_means_are_refused_not_wrong(connection: duckdb.DuckDBPyConnection) -> None:
    far = "(select i % 9 as g, (i % 9) * 1e9 + (i * 37 % 101) / 50 as x, x * 1e-9 + i % 7 as y from range(500) r(i))"
    with pytest.raises(duckdb.InvalidInputException, match=r"lie so far apart .* Fit the model with mlm_ops\.fit"):
        from_sql(connection, "y ~ x + (1 | g)", far)


def test_a_cursor_takes_a_registration_of_its_own(connection: duckdb.DuckDBPyConnection) -> None:
    with connection.cursor() as cursor:
        register(cursor)
        register(cursor)
        assert len(from_sql(cursor, SIMPLE, "students")) == 2
        assert len(from_sql(connection, SIMPLE, "students")) == 2


def test_hosts_with_cursors_of_their_own(tmp_path: Path) -> None:
    """The macros are in the database: each cursor has them, and each connection, also when the first has gone."""
    path, sealed = tmp_path / "school.duckdb", tmp_path / "sealed.duckdb"
    connection, other = duckdb.connect(path), duckdb.connect(path)
    connection.execute(f"create table students as from '{DATA / 'hsb.csv'}'")
    register(connection, all_cursors=True)
    register(connection, all_cursors=True)
    expected = from_sql(connection, SIMPLE, "students")
    connection.close()
    with other, other.cursor() as cursor:
        assert_frame_equal(from_sql(other, SIMPLE, "students"), expected)
        assert_frame_equal(from_sql(cursor, SIMPLE, "students"), expected)
    duckdb.connect(sealed).close()
    with duckdb.connect(sealed, read_only=True) as reader, pytest.raises(StoreError) as caught:
        register(reader, all_cursors=True)
    assert str(caught.value).startswith("The functions of mlm cannot be written to the database for all cursors: ")
    assert str(caught.value).endswith(
        "Leave out all_cursors, and register each cursor; or open the database for writing."
    )


@pytest.mark.parametrize("kind", ["as table select x", "as x"])
def test_a_macro_of_the_user_is_not_replaced(connection: duckdb.DuckDBPyConnection, kind: str) -> None:
    connection.execute(f"create macro mlm_equations(x) {kind}")
    with pytest.raises(StoreError) as caught:
        register(connection, all_cursors=True)
    assert str(caught.value) == (
        "The database has a macro mlm_equations that mlm-ops did not make, and all_cursors would replace it. Rename it,"
        " or leave out all_cursors and register each cursor."
    )
    # one that ends with the connection only stands before it
    register(connection)
    assert len(connection.sql(f"from mlm_equations('{SIMPLE}', 'students')").fetchall()) == 1


@pytest.mark.parametrize("relation", ["data/pupils.csv", "'data/pupils.csv'"])
def test_a_path_is_told_how_to_be_written(connection: duckdb.DuckDBPyConnection, relation: str) -> None:
    sentence = r"Got the path data/pupils\.csv; write it as a SELECT: from 'data/pupils\.csv'\."
    with pytest.raises(duckdb.InvalidInputException, match=sentence):
        from_sql(connection, SIMPLE, relation)


def test_a_connection_that_was_closed_takes_its_functions_with_it(tmp_path: Path) -> None:
    """Another connection to the same database registers its own; to call those of the first would end the process."""
    path = tmp_path / "school.duckdb"
    first, second = duckdb.connect(path), duckdb.connect(path)
    with second:
        second.execute(f"create table students as from '{DATA / 'hsb.csv'}'")
        register(first)
        expected = from_sql(first, SIMPLE, "students")
        first.close()
        register(second)
        assert_frame_equal(from_sql(second, SIMPLE, "students"), expected)


def test_a_read_only_database_is_enough(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "school.duckdb") as writer:
        writer.execute(f"create table students as from '{DATA / 'hsb.csv'}'")
    with duckdb.connect(tmp_path / "school.duckdb", read_only=True) as reader:
        register(reader)
        assert len(from_sql(reader, SIMPLE, "students")) == 2
