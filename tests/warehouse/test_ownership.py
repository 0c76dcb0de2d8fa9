"""What is not marked as ours is never replaced: tables, views, and those of an mlm-ops that made no marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.centered import create_centered
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import fit_analysis, keep_moments
from mlm_ops.analyses.store.runs import write_run
from mlm_ops.cli import main as cli
from mlm_ops.errors import StoreError
from mlm_ops.moments.collect import collect
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.plugins.centered_in_polars import create_centered_in_polars
from mlm_ops.warehouse.source import open_source
from tests.analyses.test_store import effects, make_run

FILE = """
analysis: {name}
data: "{data}"
levels: school
models:
  slope: y ~ within(x) + (1 | school)
"""
BY_DAY = FILE + "partition: day\n"
#: Every table of moments that are kept by partition, with the residual's.
KEPT = ("", "_description", "_parts", "_partitions", "_origin")


def analysis(text: str = BY_DAY, name: str = "t", data: str = "pupils") -> Analysis:
    return parse_analysis(text.format(name=name, data=data))


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(
            "create table pupils as select i % 20 as school, i % 4 as day, (i * 7) % 11 as x,"
            " (i % 20) * 0.3 + (i * 7) % 11 + (i * 13) % 17 as y from range(200) t(i)"
        )
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f"from {table} order by all").fetchall()


def without_marks(connection: duckdb.DuckDBPyConnection) -> None:
    """As a database of an mlm-ops that made none."""
    found = connection.execute(
        "select 'table', schema_name, table_name from duckdb_tables() where comment is not null union all"
        " select 'view', schema_name, view_name from duckdb_views() where comment is not null and not internal"
    ).fetchall()
    assert found
    for kind, schema, name in found:
        connection.execute(f'comment on {kind} {schema}."{name}" is null')


@pytest.mark.parametrize("suffix", KEPT)
@pytest.mark.parametrize("kind", ["table", "view"])
def test_moments_by_partition_take_the_place_of_nothing_of_the_user(connection, suffix, kind) -> None:
    connection.execute(f"create {kind} T_moments{suffix} as select 7 as mine")
    with pytest.raises(StoreError) as refused:
        fit_analysis(analysis(), connection)
    assert str(refused.value) == (
        f"analysis t: main.T_moments{suffix} is a {kind} that mlm-ops did not make, and the moments kept as "
        "main.t_moments would take its place. Rename one of the two: the table, or the analysis that keeps its moments "
        "there."
    )
    assert rows(connection, f"t_moments{suffix}") == [(7,)]
    made = connection.execute("select table_name from duckdb_tables() where table_name <> 'pupils'").fetchall()
    assert [name for (name,) in made] == ([f"T_moments{suffix}"] if kind == "table" else [])


def test_data_with_the_name_that_the_moments_would_take_stay_whole(connection) -> None:
    """Two hundred rows became twenty."""
    connection.execute("alter table pupils rename to t_moments")
    with pytest.raises(StoreError, match=r"main\.t_moments is a table that mlm-ops did not make"):
        fit_analysis(analysis(data="t_moments"), connection)
    assert connection.execute("select count(*) from t_moments").fetchall() == [(200,)]


@pytest.mark.parametrize("text", [FILE, BY_DAY], ids=["whole", "by partition"])
def test_moments_are_replaced_by_those_of_the_next_run(connection, text) -> None:
    for _ in range(2):
        keep_moments(analysis(text), connection)
        connection.execute("insert into pupils select school, 9, x, y from pupils where day = 1")
    marks = connection.execute("select distinct comment from duckdb_tables() where table_name <> 'pupils'").fetchall()
    assert marks == [("mlm-ops: moments kept as main.t_moments",)]


@pytest.mark.parametrize("text", [FILE, BY_DAY], ids=["whole", "by partition"])
def test_moments_of_an_earlier_mlm_ops_are_known_by_their_columns(connection, text) -> None:
    keep_moments(analysis(text), connection)
    without_marks(connection)
    connection.execute("insert into pupils select school, 9, x, y from pupils where day = 1")
    assert keep_moments(analysis(text), connection).moments.n_obs == 250
    marks = connection.execute("select distinct comment from duckdb_tables() where table_name <> 'pupils'").fetchall()
    assert marks == [("mlm-ops: moments kept as main.t_moments",)]


def test_a_table_without_a_mark_beside_a_description_of_other_columns_is_not_ours(connection) -> None:
    keep_moments(analysis(), connection)
    without_marks(connection)
    connection.execute("create or replace table t_moments as select school, count(*) as n from pupils group by all")
    with pytest.raises(StoreError, match=r"main\.t_moments is a table that mlm-ops did not make"):
        keep_moments(analysis(), connection)


def test_two_analyses_whose_names_differ_in_case_do_not_share_moments(connection) -> None:
    fit_analysis(analysis(name="t"), connection)
    before = rows(connection, "t_moments")
    with pytest.raises(StoreError) as refused:
        fit_analysis(analysis(name="T"), connection)
    assert "main.t_moments holds the moments kept as main.t_moments, and the moments kept as main.T_moments" in str(
        refused.value
    )
    assert rows(connection, "t_moments") == before


def test_moments_that_python_keeps_replace_their_own_alone(connection) -> None:
    moments = collect(open_source("pupils", connection), list(analysis(FILE).compiled_models.values()))
    connection.execute("create table kept as select 7 as mine")
    with pytest.raises(StoreError, match=r"main\.kept is a table that mlm-ops did not make"):
        save_moments(connection, moments, "kept")
    for name in ("other", "main.other"):
        save_moments(connection, moments, name)
        assert load_moments(connection, name).checksum == moments.checksum


def test_frames_and_temporary_tables_of_the_user_stay(connection) -> None:
    connection.execute("create temp table mlm_rows_to_center as select 'rows' as mine")
    connection.register("mlm_frame", pl.DataFrame({"mine": ["frame"]}))
    without_partition = analysis(FILE + "steps: both\n")
    save_moments(connection, keep_moments(without_partition, connection).moments, "other_moments")
    assert create_centered_in_polars(connection, without_partition, "main.t_centered_in_polars") is None
    write_run(connection, make_run("one"), effects(1.0))
    assert rows(connection, "mlm_rows_to_center") == [("rows",)]
    assert rows(connection, "mlm_frame") == [("frame",)]
    left = connection.execute("select count(*) from duckdb_tables() where temporary").fetchall()
    left += connection.execute("select count(*) from duckdb_views() where temporary and not internal").fetchall()
    assert left == [(1,), (1,)]


def test_the_centered_table_takes_the_place_of_nothing_of_the_user(connection) -> None:
    connection.execute("create table pupils_centered as select * from pupils where school < 16")
    one = analysis(FILE, "pupils", "select * from pupils_centered where day < 3")
    with pytest.raises(StoreError) as refused:
        create_centered(connection, one, "main.pupils_centered")
    assert str(refused.value) == (
        "main.pupils_centered is a table that mlm-ops did not make, and the centered rows of the analysis pupils would "
        "take its place. Rename one of the two: the table, or the analysis."
    )
    assert connection.execute("select count(*) from pupils_centered").fetchall() == [(160,)]


@pytest.mark.parametrize("through", ["the text", "a view"])
def test_an_analysis_does_not_replace_the_rows_that_it_reads(connection, through) -> None:
    """Each run would have read what the last one left."""
    create_centered(connection, analysis(FILE), "main.t_centered")
    connection.execute("create view recent as select school, day, x, y from T_Centered where day < 3")
    data = "recent" if through == "a view" else "select school, day, x, y from t_centered where day < 3"
    with pytest.raises(StoreError) as refused:
        create_centered(connection, analysis(FILE, data=data), "main.t_centered")
    assert str(refused.value) == (
        "main.t_centered is read by the data, and the centered rows of the analysis t would take its place: rows would "
        "be lost at every run. Rename one of the two: the table, or the analysis."
    )
    assert connection.execute("select count(*) from t_centered").fetchall() == [(200,)]


def test_another_table_of_that_name_may_be_read(connection) -> None:
    connection.execute("create schema raw; create table raw.t_centered as from pupils")
    named = "with t_centered as (select * from raw.t_centered) select * from t_centered"
    for _ in range(2):
        create_centered(connection, analysis(FILE, data=named), "main.t_centered")
    assert connection.execute("select count(*) from t_centered").fetchall() == [(200,)]


def test_a_centered_table_of_an_earlier_mlm_ops_needs_a_run_of_the_analysis_here(connection) -> None:
    create_centered(connection, analysis(FILE), "main.t_centered")
    # then a table had the columns that a formula centers alone
    for name in ("between_y", "within_y", "center_y"):
        connection.execute(f"alter table t_centered drop column {name}")
    without_marks(connection)
    with pytest.raises(StoreError, match=r"main\.t_centered is a table that mlm-ops did not make"):
        # as dbt makes one by the same macro
        create_centered(connection, analysis(FILE), "main.t_centered")
    connection.execute("create schema mlm_staging; create table mlm_staging.checksums (analysis text, model text)")
    connection.execute("insert into mlm_staging.checksums values ('t', 'slope')")
    create_centered(connection, analysis(FILE), "main.t_centered")
    assert connection.execute("select comment from duckdb_tables() where table_name = 't_centered'").fetchall() == [
        ("mlm-ops: centered rows of the analysis t",)
    ]


@pytest.mark.parametrize("kind", ["table", "view"])
@pytest.mark.parametrize("name", ["runs", "drift", "influence", "latest_drift"])
def test_the_store_takes_the_place_of_nothing_in_its_schema(connection, name, kind) -> None:
    write_run(connection, make_run("a"), effects(1))
    for table in {name, f"latest_{name.removeprefix('latest_')}"}:
        is_view = table.startswith("latest") or table == "influence"
        connection.execute(f"drop {'view' if is_view else 'table'} mlm.{table}")
    connection.execute(f"create {kind} mlm.{name.upper()} as select 7 as mine")
    with pytest.raises(StoreError) as refused:
        write_run(connection, make_run("b"), effects(1))
    what = "results of the latest runs" if name.startswith("latest") else "results"
    assert str(refused.value) == (
        f"mlm.{name.upper()} is a {kind} that mlm-ops did not make, and the {what} would take its place. Rename it, or "
        "use another database file."
    )
    assert rows(connection, f"mlm.{name}") == [(7,)]


def test_a_table_that_has_more_than_influences_is_not_moved(connection) -> None:
    """It would be dropped, and what it has more would be lost."""
    write_run(connection, make_run("a"), effects(1))
    columns = connection.sql("from mlm.influence").columns
    connection.execute("drop view mlm.influence; drop view mlm.latest_influence")
    more = ", ".join(f'null::varchar as "{name}"' for name in columns)
    connection.execute(f"create table mlm.influence as select {more}, 7 as mine")
    with pytest.raises(StoreError) as refused:
        write_run(connection, make_run("b"), effects(1))
    assert str(refused.value) == (
        "mlm.influence is a table that mlm-ops did not make, and the results would take its place. Rename it, or use "
        "another database file."
    )
    assert connection.execute("select mine from mlm.influence").fetchall() == [(7,)]


def test_a_store_of_an_earlier_mlm_ops_is_marked_at_its_next_run(connection) -> None:
    write_run(connection, make_run("a"), effects(1))
    without_marks(connection)
    write_run(connection, make_run("b"), effects(1))
    unmarked = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'mlm' and comment is null union all"
        " select view_name from duckdb_views() where schema_name = 'mlm' and comment is null"
    ).fetchall()
    assert unmarked == []
    assert len(rows(connection, "mlm.runs")) == 2


def test_a_users_table_beside_a_prediction_view_stays_when_the_model_goes(connection, fit_file) -> None:
    database = fit_file("models: {a: 'y ~ x + (1 | school)', b: 'y ~ 1 + (1 | school)'}")
    with duckdb.connect(database) as own:
        own.execute("create table mlm.predicted_t__b__units_7 as select 7 as mine")
    fit_file("models: {a: 'y ~ x + (1 | school)'}")
    with duckdb.connect(database) as own:
        left = own.execute(
            "select table_name from duckdb_tables() where table_name like 'predicted_t__b%' union all"
            " select view_name from duckdb_views() where view_name like 'predicted_t__b%'"
        ).fetchall()
        assert left == [("predicted_t__b__units_7",)]


def test_prediction_views_of_an_earlier_mlm_ops_are_replaced(connection, fit_file) -> None:
    database = fit_file("models: {a: 'y ~ x + (1 | school)'}")
    with duckdb.connect(database) as own:
        without_marks(own)
        # views had this comment, and their tables of units none
        own.execute("comment on view mlm.predicted_t__a is 'predictions of analysis t'")
    fit_file("models: {a: 'y ~ x + (1 | school)'}")
    with duckdb.connect(database) as own:
        comments = own.execute("select comment from duckdb_views() where view_name = 'predicted_t__a'").fetchall()
        assert comments == [("mlm-ops: predictions of analysis t",)]


@pytest.fixture
def fit_file(tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> Callable[[str], str]:
    """`mlm fit` of an analysis of the pupils with these models; the database."""
    database = str(tmp_path / "d.duckdb")
    connection.execute(f"attach '{database}' as other; create table other.pupils as from pupils; detach other")

    def fit(models: str) -> str:
        (tmp_path / "t.yaml").write_text(f"analysis: t\ndata: pupils\n{models}\n")
        assert cli.main(["fit", str(tmp_path / "t.yaml"), "--database", database]) == 0
        return database

    return fit
