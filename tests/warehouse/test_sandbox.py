"""What an analysis file may read: tables, views and data files of its project; the rest is refused by name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.centered import create_centered
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis, read_analyses, read_analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import collect_analysis, fit_analysis
from mlm_ops.cli.main import main
from mlm_ops.errors import DataError, MlmError
from mlm_ops.warehouse.sandbox import MOST_CHARACTERS, REFUSED, Reach

ROWS = 60
ALLOWED = "The {} of an analysis file may read only tables, views and data files of the project. Got {}. "
HOW = (
    "Read it in a view of the database, or allow it with mlm fit --allow-files, allow_files: true in "
    "defs.yaml, or read_analysis(…, allow_files=True) in Python."
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a project with a data file, beside a file that is nobody's business."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "analyses").mkdir()
    (project / "pyproject.toml").touch()
    frame().write_csv(project / "data" / "rows.csv")
    frame().write_csv(project / "rows.csv")
    frame().write_parquet(project / "data" / "rows.parquet")
    (project / "data" / "notes.txt").write_text("y\n1\n")
    frame().write_csv(tmp_path / "secret.csv")
    (project / "link.csv").symlink_to(tmp_path / "secret.csv")
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.register("frame", frame().to_arrow())
        connection.execute("create table t as from frame")
        connection.execute("create schema marts; create view marts.v as from t; create table other as from t")
        connection.execute("attach ':memory:' as elsewhere; create table elsewhere.main.e as from t")
        connection.execute("create sequence counted; create macro owner_reads(p) as table from read_text(p)")
        connection.execute("create macro owner_adds(a) as a + (select count(*) from read_text('/etc/hostname'))")
        yield connection


def frame() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    g = np.arange(ROWS) % 10
    x = rng.normal(size=ROWS)
    return pl.DataFrame({"y": x + rng.normal(size=10)[g] + rng.normal(size=ROWS), "x": x, "g": g})


def analysis(data: str, where: str | None = None, folders: tuple[Path, ...] = ()) -> Analysis:
    made = Analysis.model_validate({"analysis": "a", "data": data, "models": {"m": "y ~ x + (1 | g)"}, "where": where})
    return made.reaching(Reach(folders))


def n_rows(found: Analysis, connection: duckdb.DuckDBPyConnection) -> int:
    source = open_rows(found, connection)
    return int(source.query(f"select count(*) from {source.relation}").fetchall()[0][0])


@pytest.mark.parametrize(
    "data",
    [
        "t",
        "T",
        "main.t",
        '"main"."t"',
        "memory.main.t",
        "marts.v",
        "elsewhere.e",
        "elsewhere.main.e",
        "frame",
        "select * from t;",
        "from marts.v -- all of them",
        "table t",
        "with a as (select * from t), b as materialized (from a) select * from b",
        "with recursive r as (select 1 as i union all select i + 1 from r where i < 3) from t, r where i = 1",
        "select t.* from t join (select distinct g from other) o using (g) left join marts.v as v on false",
        "select * exclude (x), columns('x') from t qualify row_number() over (partition by y order by x) = 1",
        "select y, x, g, lag(x) over (order by y), sum(x) over w, rank() over w from t window w as (order by y)",
        "select cast(y as decimal(9, 3)) as y, x::double as x, g::varchar collate nocase as g from t",
        "select y, case when x > 0 then ln(x) else coalesce(x, 0) end as x, nullif(g, -1) as g from t",
        "select y, x, g, date '2020-01-01' + interval 3 day, extract(year from now()), current_date from t",
        "select y, x, g, [i for i in [1, 2] if i > 1], {'a': 1}.a, struct_pack(b := 2), list_sum([1]) from t",
        "select any_value(y order by x) as y, median(x) as x, g from t group by all union all by name from t limit 60",
        "select y, x, unnest([g]) as g from t order by all limit 100%",
        "select i / 7 as y, i as x, i % 10 as g from range(60) r(i)",
        "from (pivot (select y, x, g, 'a' as k, 1 as v from t) on k in ('a') using sum(v))",
        "select y, x, g from t where g in (select g from other) and exists (from marts.v) and y between -9 and 9",
        "select * from t where regexp_matches(g::varchar, '\\d') and not g::varchar like 'a%' and x is distinct from y",
    ],
)
def test_what_reads_tables_is_read(data: str, connection: duckdb.DuckDBPyConnection) -> None:
    assert n_rows(analysis(data), connection) == ROWS


@pytest.mark.parametrize("data", ["data/rows.csv", "data/rows.parquet", "rows.csv", "./data/../rows.csv", "local.csv"])
def test_files_of_the_project_are_read(data: str, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    frame().write_csv(place / "analyses" / "local.csv")
    assert n_rows(analysis(data, folders=(place, place / "analyses")), connection) == ROWS


@pytest.mark.parametrize(
    "data",
    [
        "select * from read_csv('data/rows.csv')",
        "select * from read_csv('data/rows.csv', header = true, nullstr = ['NA'])",
        "from 'data/rows.csv'",
        "from rows.csv",
        "select p.* from read_parquet('data/rows.parquet') as p",
        "from parquet_scan('{place}/data/rows.parquet')",
    ],
)
def test_a_select_reads_files_of_the_project(data: str, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    assert n_rows(analysis(data.format(place=place), folders=(place,)), connection) == ROWS


REFUSED_SELECTS = {
    "select * from read_csv('../secret.csv')": "read_csv('../secret.csv')",
    "select * from read_csv('link.csv')": "read_csv('link.csv')",
    "select * from read_csv('{place}/../secret.csv')": "read_csv('{place}/../secret.csv')",
    "select * from read_csv(['data/rows.csv', '../secret.csv'])": "read_csv(…)",
    "select * from read_csv('data/' || 'rows.csv')": "read_csv(…)",
    "select * from read_csv('data/*.csv')": "read_csv('data/*.csv')",
    "select * from read_csv('data/notes.txt')": "read_csv('data/notes.txt')",
    "select * from read_csv('https://example.org/rows.csv')": "read_csv('https://example.org/rows.csv')",
    "select * from read_csv('~/rows.csv')": "read_csv('~/rows.csv')",
    "select * from t, lateral (from read_parquet(t.g))": "read_parquet(…)",
    "from '../secret.csv'": "../secret.csv, which is not a table of the database",
    "from 'link.csv'": "link.csv, which is not a table of the database",
    'from ".."."/secret"."csv"': ".../secret.csv, which is not a table of the database",
    "from 's3://bucket/rows.parquet'": "s3://bucket/rows.parquet, which is not a table of the database",
    "from t where y in (select y from '../secret.csv')": "../secret.csv, which is not a table of the database",
    "with \"../secret.csv\" as (from t) from (from t), '../secret.csv'": "../secret.csv, which is not a table",
    "select (select y from '../secret.csv' limit 1), * from t": "../secret.csv, which is not a table of the database",
    "from t order by (select 1 from '../secret.csv')": "../secret.csv, which is not a table of the database",
    "from t limit (select count(*) from '../secret.csv')": "../secret.csv, which is not a table of the database",
    "from read_text('/etc/hostname')": "the table function read_text",
    "from read_blob('/etc/hostname')": "the table function read_blob",
    "from READ_TEXT('data/rows.csv')": "the table function read_text",
    "from read_json('/etc/hostname')": "the table function read_json",
    "from glob('*')": "the table function glob",
    "from sniff_csv('data/rows.csv')": "the table function sniff_csv",
    "from parquet_metadata('data/rows.parquet')": "the table function parquet_metadata",
    "from query('from t')": "the table function query",
    "from query_table('t')": "the table function query_table",
    "from duckdb_secrets()": "the table function duckdb_secrets",
    "from duckdb_settings()": "the table function duckdb_settings",
    "from pragma_storage_info('t')": "the table function pragma_storage_info",
    "from json_execute_serialized_sql('')": "the table function json_execute_serialized_sql",
    "from owner_reads('/etc/hostname')": "the table function owner_reads",
    "from mlm('y ~ x', 'select 1')": "the table function mlm",
    "from sqlite_scan('a.db', 't')": "the table function sqlite_scan",
    "select owner_adds(y) as y from t": "the function owner_adds",
    "select getenv('HOME') as y from t": "the function getenv",
    "select current_setting('home_directory') as y from t": "the function current_setting",
    "select getvariable('a') as y from t": "the function getvariable",
    "select json_serialize_plan('from t') as y from t": "the function json_serialize_plan",
    "select nextval('counted') as y, x, g from t": "the function nextval, which changes something",
    "select random() as y, x, g from t": (
        "the function random, which changes something or gives different rows each time"
    ),
    "select a.b.c(1) as y from t": "the function a.b.c",
    "from pg_catalog.pg_settings": "pg_catalog.pg_settings, which describes the database system",
    "from pg_settings": "pg_settings, which describes the database system",
    "from information_schema.tables": "information_schema.tables, which describes the database system",
    "from system.main.duckdb_tables": "system.main.duckdb_tables, which describes the database system",
    "pg_settings": "pg_settings, which describes the database system",
    "information_schema.tables": "information_schema.tables, which describes the database system",
    "main.duckdb_databases": "main.duckdb_databases, which describes the database system",
    "from (describe t)": "a part of the kind show ref",
    "from (show tables)": "a part of the kind show ref",
    "from (summarize t)": "a part of the kind show ref",
    "select y, $a as x from t": "an expression of the kind parameter",
    "select * from t using sample 50 percent (bernoulli)": "a sample, which gives different rows each time",
    "select * from t tablesample 10 rows": "a sample, which gives different rows each time",
    "select pg_get_viewdef(1) as y from t": "the function pg_get_viewdef",
    "select * from read_csv('data/rows.csv', store_rejects = true)": "read_csv(…, store_rejects = …)",
    "select * from read_csv('data/rows.csv', header = true, filename = true)": "read_csv(…, filename = …)",
}


@pytest.mark.parametrize("data", REFUSED_SELECTS)
def test_a_select_that_reads_more_is_refused(data: str, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    got = REFUSED_SELECTS[data].format(place=place)
    with pytest.raises(DataError) as caught:
        open_rows(analysis(data.format(place=place), folders=(place,)), connection)
    message = str(caught.value)
    assert message.startswith(ALLOWED.format("data", got).split(". Got")[0])
    assert f"Got {got}" in message
    assert message.endswith(HOW)
    assert connection.execute("select count(*) from t").fetchall() == [(ROWS,)]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "/etc/nosuch", "/etc", "http://127.0.0.1:9/x", "data/*", "..", "md:db", "a\\b"]
)
def test_whether_a_file_is_there_is_not_told(name: str, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    for found in (analysis(f"from '{name}'", None, (place,)), analysis("t", f"exists (from '{name}')", (place,))):
        with pytest.raises(DataError, match=re.escape(f"Got {name}, which is not a table of the database. Read")):
            open_rows(found, connection)


def test_a_missing_table_of_a_select_is_named(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    tables = "The database holds e, frame, other, t, marts.v."
    for select, sentence in {
        "select * from nosuch n join t using (g)": f"Table nosuch does not exist. {tables}",
        "with a as (from t) select * from a, oter": f"Table oter does not exist. Did you mean 'other'? {tables}",
        # DuckDB could take it for a file of that name
        "from marts.w": ALLOWED.format("data", "marts.w, which is not a table of the database") + HOW,
        "select zz from t": 'Cannot read the SELECT: Binder Error: Referenced column "zz" not found in FROM clause!',
        "from sandbox": f"Table sandbox does not exist. {tables}",
    }.items():
        with pytest.raises(DataError) as caught:
            open_rows(analysis(select, folders=(place,)), connection)
        assert str(caught.value) == sentence


def test_nothing_is_opened_before_the_check(place: Path) -> None:
    """A pipe that nobody writes to would be waited for."""
    os.mkfifo(place.parent / "pipe.csv")
    selects = [f"select * from read_csv('{place.parent}/{name}.csv')" for name in ("pipe", "secret", "nosuch")]
    for select in selects:
        (place / "f.yaml").write_text(f'analysis: f\ndata: "{select}"\nmodels: {{m: y ~ x}}\n')
        for database in ((), ("--database", "new.duckdb")):
            command = [sys.executable, "-m", "mlm_ops", "fit", "f.yaml", *database]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=place)
            got = ALLOWED.format("data", select.removeprefix("select * from "))
            assert (done.returncode, done.stderr) == (2, f"mlm: {got}{HOW}\n")
            assert not (place / "new.duckdb").exists()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            "selec * from 'rows.csv'",
            "The data are neither a table name nor a SELECT. Got \"selec * from 'rows.csv'\": Parser Error: syntax "
            'error at or near "selec"',
        ),
        (
            "select * from 'rows.csv'; select 1",
            "The data are one table name or one SELECT. Got \"select * from 'rows.csv'; select 1\".",
        ),
        (
            "select * from read_parquet('/etc/passwd')",
            ALLOWED.format("data", "read_parquet('/etc/passwd')") + HOW,
        ),
        ("select * from 'rows.csv' join t using (g)", "An analysis file is fitted in a database: mlm fit f.yaml"),
        ("select * from marts.v", "An analysis file is fitted in a database: mlm fit f.yaml --database FILE.duckdb"),
    ],
)
def test_what_is_wrong_is_said_without_a_database(
    data: str, sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "f.yaml").write_text(f'analysis: f\ndata: "{data}"\nmodels: {{m: y ~ x}}\n')
    assert main(["fit", "f.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"mlm: {sentence}")


def test_a_select_that_writes_is_refused(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB 2.0 lets a WITH write; earlier versions refuse it themselves."""
    data = "with w as (insert into other from t returning *) from w"
    with pytest.raises(DataError, match=r"insert query node|The data are neither|cannot be checked"):
        open_rows(analysis(data), connection)
    assert connection.execute("select count(*) from other").fetchall() == [(ROWS,)]


@pytest.mark.parametrize("data", ["../secret.csv", "{place}/../secret.csv", "link.csv", "/etc/hostname.csv"])
def test_a_path_stays_in_the_project(data: str, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    data = data.format(place=place)
    expected = f"The path of the data leaves the project. Got {data}; expected one under {place}. Move the file, or "
    with pytest.raises(DataError, match=f"^{re.escape(expected)}"):
        open_rows(analysis(data, folders=(place,)), connection)
    outside = analysis(data).reaching(Reach((place,), everything=True))
    if "hostname" not in data:
        assert n_rows(outside, connection) == ROWS


SECRET = 7.25


@pytest.fixture
def traps(place: Path) -> Path:
    """Files whose names are patterns of others, of links, and of folders that lead outside."""
    outside = place.parent / "outside"
    outside.mkdir()
    secret = frame().with_columns(pl.lit(SECRET).alias("y"))
    for name in ("payroll.csv", "link.csv", "[l]ink.csv", "q.csv", "rows.csv"):
        secret.write_csv(outside / name)
    (place / "sub").symlink_to(outside)
    (place / "gone.csv").symlink_to(outside / "payroll.csv")
    for name in ("[l]ink.csv", "[s]ub/payroll.csv", "gone[.]csv", "*.csv", "?one.csv", "{gone,rows}.csv", "**"):
        own = place / name / "own.csv" if name == "**" else place / name
        own.parent.mkdir(exist_ok=True)
        frame().write_csv(own)
    frame().write_csv(place / "data" / "GONE.CSV")
    os.mkfifo(place / "data" / "pipe.csv")
    (place / "data" / "..\\..\\outside").mkdir()
    frame().write_csv(place / "data" / "..\\..\\outside" / "q.csv")
    return place


OWN = ["[l]ink.csv", "[s]ub/payroll.csv", "*.csv", "?one.csv", "{gone,rows}.csv", "**/own.csv", "data/GONE.CSV"]
OWN += [
    "data/..\\..\\outside/q.csv",
    "data/../[l]ink.csv",
]
FOREIGN = ["sub/payroll.csv", "gone.csv", "data/../sub/payroll.csv", "sub/[l]ink.csv", "./sub/../gone.csv"]
FOREIGN += [
    "data/pipe.csv",
    "../outside/payroll.csv",
    "/proc/self/cwd/gone.csv",
    "/proc/self/root/etc/hostname.csv",
    "/dev/fd/0.csv",
    "gone.csv\0.csv",
    "file:///etc/hostname.csv",
    "file:../outside/payroll.csv",
    "~/rows.csv",
    "http://localhost/rows.csv",
    "s3://bucket/rows.csv",
    "\u2025/outside/payroll.csv",
    "..\uff0foutside\uff0fpayroll.csv",
]


@pytest.mark.parametrize("name", OWN)
def test_a_name_that_looks_like_a_pattern_is_one_file(
    name: str, traps: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    """No pattern is expanded, so none can lead outside: what is read is the file of that very name."""
    for data, where in (
        (name, None),
        (f"select * from '{name}'", None),
        (f"select * from read_csv('{name}', header = true)", None),
        ("t", f"y in (select y from '{name}')"),
        ("t", f"exists (from read_csv('{name}'))"),
        (f"with f as (from '{name}') select * from f where x in (select x from read_csv_auto('{name}'))", None),
    ):
        source = open_rows(
            analysis(data.replace("t.y", "y"), where and where.replace("t.y", "y"), (traps,)), connection
        )
        found = source.query(f"select count(*), count(*) filter (y = {SECRET}) from {source.relation}").fetchall()
        assert found == [(ROWS, 0)], data


@pytest.mark.parametrize("name", FOREIGN)
def test_no_name_leads_outside(name: str, traps: Path, connection: duckdb.DuckDBPyConnection) -> None:
    for data, where in (
        (name, None),
        (f"select * from '{name}'", None),
        (f'select * from "{name}"', None),
        (f"select * from read_csv('{name}')", None),
        (f"select * from read_parquet(['{name}'])", None),
        ("t", f"y in (select y from '{name}')"),
        ("t", f"exists (from read_csv('{name}'))"),
    ):
        with pytest.raises(
            DataError,
            match=r"may read only tables, views and data files of the project|There is no file|"
            r"The path of the data leaves the project|is not a table name|neither a table name nor a SELECT",
        ):
            open_rows(analysis(data, where, (traps,)), connection)


def test_what_is_read_is_what_was_looked_at(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """A link that leads elsewhere after the check, also in a view that stays, is not followed again."""
    (place / "today.csv").symlink_to(place / "data" / "rows.csv")
    (place / "now").symlink_to(place / "data")
    frame().with_columns(pl.lit(SECRET).alias("y")).write_csv(place.parent / "rows.csv")
    texts = ["today.csv", "now/rows.csv", "select * from 'today.csv'", "select y, x, g from read_csv('now/rows.csv')"]
    sources = [open_rows(analysis(text, "y in (select y from 'today.csv')", (place,)), connection) for text in texts]
    for link in (place / "today.csv", place / "now"):
        link.unlink()
    (place / "today.csv").symlink_to(place.parent / "rows.csv")
    (place / "now").symlink_to(place.parent)
    for source in sources:
        found = source.query(f"select count(*), count(*) filter (y = {SECRET}) from {source.relation}").fetchall()
        assert found == [(ROWS, 0)]


def test_a_file_in_a_select_keeps_its_name(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """What runs is DuckDB's writing of what was checked, and means the same."""
    for data in (
        "select rows.* from 'data/rows.csv' where rows.x is not null",
        "select a.y, b.x, b.g from 'data/rows.csv' a join 'data/rows.parquet' as b using (x) where a.y = b.y",
        "from read_csv('data/rows.csv', header = true, types = {'y': 'DOUBLE'}) select y, x, g order by all",
        "with r as (from rows.csv) select y, x, g, sum(x) over (partition by g) as s from r qualify s is not null",
        "from (pivot (select y, x, g, 'a' as k, 1 as v from 'data/rows.csv') on k in ('a') using sum(v))",
        "select * exclude (g), g::varchar as g from 'data/rows.csv' where y between -9 and 9 and [1, 2][1] = 1",
    ):
        assert n_rows(analysis(data, folders=(place,)), connection) == ROWS, data


def test_without_a_project_there_are_no_files(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match=r"^The path of the data leaves the project\. Got data/rows\.csv; expected a t"):
        open_rows(analysis("data/rows.csv"), connection)
    with pytest.raises(DataError, match=r"^The path of the data leaves the project\. Got rows\.csv; expected a table"):
        open_rows(analysis("rows.csv"), connection)
    with pytest.raises(DataError, match=r"Got rows\.csv, which is not a table of the database\."):
        open_rows(analysis("select * from rows.csv"), connection)
    connection.execute("create schema rows; create table rows.csv as from t")
    assert n_rows(analysis("rows.csv"), connection) == ROWS


@pytest.mark.parametrize("data", ["/etc/passwd", "./students.ods", "notes\\students.rds"])
def test_a_file_of_another_kind_is_named_as_one(data: str, connection: duckdb.DuckDBPyConnection) -> None:
    analysis = parse_analysis(f"analysis: a\ndata: {data}\nmodels: {{m: y ~ x}}\n")
    with pytest.raises(DataError) as caught:
        open_rows(analysis, connection)
    assert str(caught.value) == (
        f"The data are a file of a kind that is not read. Got {data}; expected a file that ends in .arrow, .csv, .dat, "
        ".dta, .feather, .json, .jsonl, .ndjson, .parquet, .sas7bdat, .sav, .tab, .tsv, .txt, .xlsx, a table name "
        "or a SELECT."
    )


def test_a_table_that_is_not_there(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match=r"^Table marts\.w does not exist\. Did you mean 'marts\.v'\?"):
        open_rows(analysis("marts.w"), connection)


@pytest.mark.parametrize(
    ("where", "got"),
    [
        ("x > 0 and y in (select y from '../secret.csv')", "../secret.csv, which is not a table of the database"),
        ("exists (from read_text('/etc/hostname'))", "the table function read_text"),
        ("nextval('counted') > 0", "the function nextval, which changes something or gives different rows each time"),
        ("random() < 0.5", "the function random, which changes something or gives different rows each time"),
        ("getenv('HOME') = ''", "the function getenv"),
        ("write_log('x') is null", "the function write_log"),
        ("setseed(0.5) is null", "the function setseed, which changes something or gives different rows each time"),
        ("current_setting('threads') > 0", "the function current_setting"),
    ],
)
def test_a_row_filter_that_reads_more_is_refused(
    where: str, got: str, place: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    sentence = ALLOWED.format("where", got)[:-2]
    for data in ("t", "select * from t", "data/rows.csv"):
        with pytest.raises(DataError, match=f"^{re.escape(sentence)}"):
            open_rows(analysis(data, where, (place,)), connection)
    assert connection.execute("select nextval('counted')").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "where",
    [
        "true) or (true",
        "true)) or ((true",
        "true) union all (from t",
        "true) as a, (from t",
        "true) qualify (true",
        "true) group by (y",
        "true; drop table t",
        "true); drop table t; select (1",
        "true /*",
        "true */ --",
        "true, true",
        "",
        " ",
        "-- nothing",
        "'",
        "$$",
        "$a$ ) $b$",
        "true\x00) or (true",
        "select true",
        "true as a",
        "true then 1 end], [case when true",
        "(" * 200_000,
        "[" * 5_000 + "]" * 5_000,
        "not " * 20_000 + "true",
        "x > 0 or " * 12_000 + "true",
    ],
    ids=lambda where: where[:20],
)
def test_a_row_filter_is_one_condition(where: str, connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(MlmError):
        open_rows(analysis("t", "true").model_copy(update={"where": where}), connection)
    assert connection.execute("select count(*) from t").fetchall() == [(ROWS,)]


@pytest.mark.parametrize(
    "where",
    ["true -- all", "$$)$$ = $$)$$ /* ) */", "')' = ')' and \"x\" = x", "g in (select g from other)", "e'\\'' = ''''"],
)
def test_a_row_filter_may_be_odd(where: str, connection: duckdb.DuckDBPyConnection) -> None:
    assert n_rows(analysis("t", where), connection) == ROWS


def test_a_long_text_is_refused_at_once(connection: duckdb.DuckDBPyConnection) -> None:
    where = "x > 0 or " * MOST_CHARACTERS + "true"
    with pytest.raises(DataError, match=r"^The where of an analysis file is too long\. Got 900,004 characters; exp"):
        open_rows(analysis("t", where), connection)


def test_the_file_cannot_allow_it_itself() -> None:
    for key in ("allow_files", "reach", "_reach", "everything"):
        with pytest.raises(MlmError, match=f"unknown key '{key}'"):
            parse_analysis(f"{{analysis: a, data: t, models: {{m: y ~ x + (1 | g)}}, {key}: true}}")


def test_the_command_line_allows_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = place / "analyses" / "a.yaml"
    file.write_text("{analysis: a, data: select * from '../secret.csv', models: {m: y ~ x + (1 | g)}}")
    with duckdb.connect("db.duckdb") as database:
        database.execute("create table t as select 1")
    fit = ["fit", str(file), "--database", "db.duckdb"]
    assert main(fit) == 2
    assert capsys.readouterr().err == (
        "mlm: analysis a: " + ALLOWED.format("data", "../secret.csv, which is not a table of the database") + HOW + "\n"
    )
    assert main([*fit, "--allow-files"]) == 0
    assert f"{ROWS} rows" in capsys.readouterr().out
    assert main(["fit", "y ~ x", "rows.csv", "--allow-files"]) == 2


def test_an_analysis_of_a_data_file_is_fitted(place: Path) -> None:
    file = place / "analyses" / "a.yaml"
    file.write_text("{analysis: a, data: data/rows.csv, models: {m: y ~ x + (1 | g)}, where: x > -9}")
    (analysis,) = read_analyses(place / "analyses")
    with duckdb.connect() as connection:
        assert fit_analysis(analysis, connection).moments.n_obs == ROWS


@pytest.mark.parametrize("data", ["data/rows.csv", "data/rows.parquet"])
def test_an_analysis_of_a_data_file_is_fitted_written_and_predicted(
    data: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "a.yaml").write_text(f"{{analysis: a, data: {data}, models: {{m: y ~ within(x) + (1 | g)}}}}")
    duckdb.connect(str(place / "own.duckdb")).close()
    assert main(["fit", str(place / "a.yaml"), "--database", str(place / "own.duckdb")]) == 0, capsys.readouterr().err
    with duckdb.connect(str(place / "own.duckdb")) as connection:
        view = "mlm.predicted_a__m"
        counted = connection.execute(f"select count(*), count(prediction) from {view}").fetchall()
        assert counted == [(ROWS, ROWS)]
        # tables of rows, as a code location makes them, are of the file's rows too
        create_centered(connection, read_analysis(place / "a.yaml"), "main.a_centered")
        assert connection.execute("select count(within_x) from a_centered").fetchall() == [(ROWS,)]


def test_what_a_view_reads_is_its_owners_decision(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create view secret as from '../secret.csv'")
    assert n_rows(analysis("secret", folders=(place,)), connection) == ROWS


def test_a_copy_keeps_what_it_may_read(place: Path) -> None:
    file = place / "analyses" / "a.yaml"
    file.write_text("{analysis: a, data: data/rows.csv, models: {m: y ~ x + (1 | g)}}")
    read = read_analysis(file)
    assert read.model_copy(update={"where": "x > 0"}).reach == read.reach
    assert read.reach.folders == (place, place / "analyses")
    assert not read.reach.everything
    assert read_analysis(file, allow_files=True).reach.everything


def test_a_connection_of_someone_else_is_left_as_it_was(connection: duckdb.DuckDBPyConnection) -> None:
    before = connection.execute("select name, value from duckdb_settings() order by all").fetchall()
    collect_analysis(analysis("select * from t", "x > -9"), connection)
    assert connection.execute("select name, value from duckdb_settings() order by all").fetchall() == before


def test_no_other_place_opens_what_an_analysis_names() -> None:
    """Every path to the rows of an analysis goes by `open_rows`."""
    package = Path(__file__).parents[2] / "mlm_ops"
    opened = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"open_source", "read_rows"}:
                named = [getattr(inner, "attr", "") for inner in ast.walk(node)]
                opened += [path.name] if "data" in named else []
    assert opened == []


def test_the_volatile_functions_of_duckdb_are_known() -> None:
    """A new one has to be looked at: it is refused, and so are macros that use one."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select distinct function_name, macro_definition from duckdb_functions() "
            "where function_type = 'macro' or (function_type = 'scalar' and stability = 'VOLATILE')"
        ).fetchall()
    volatile = {name for name, definition in rows if definition is None} | REFUSED
    calls = re.compile(rf"\b({'|'.join(map(re.escape, volatile - {'error'}))})\(")
    hidden = {name for name, definition in rows if definition and calls.search(definition)}
    assert hidden <= volatile | {"current_query"}


def test_a_folder_outside_is_not_searched(
    place: Path, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look for Parquet files below the root of the file system takes minutes, and the answer is the same."""
    monkeypatch.setattr(Path, "rglob", lambda *_: pytest.fail("a folder outside the project is searched"))
    for data in ("/", "../", "./elsewhere/"):
        if data == "./elsewhere/":
            (place / "elsewhere").symlink_to(place.parent)
        with pytest.raises(DataError, match=r"^The path of the data leaves the project\. Got "):
            open_rows(analysis(data, folders=(place,)), connection)


def test_a_link_in_a_folder_leads_not_outside(place: Path, connection: duckdb.DuckDBPyConnection) -> None:
    (place / "parts" / "k=1").mkdir(parents=True)
    frame().write_parquet(place.parent / "secret.parquet")
    frame().write_parquet(place / "parts" / "k=1" / "a.parquet")
    assert n_rows(analysis("./parts/", folders=(place,)), connection) == ROWS
    (place / "parts" / "k=2").symlink_to(place.parent)
    assert n_rows(analysis("./parts/", folders=(place,)), connection) == ROWS
    (place / "parts" / "k=1" / "b.parquet").symlink_to(place.parent / "secret.parquet")
    with pytest.raises(DataError, match=r"b\.parquet leads out of the folder .*parts\. Move the file into it\.$"):
        open_rows(analysis("./parts/", folders=(place,)), connection)
