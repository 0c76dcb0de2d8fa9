"""Polars and SQL make the same centered table of whatever rows; where Polars cannot read them, SQL makes both."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlm_ops.analyses.centered import create_centered
from mlm_ops.analyses.centered_agreement import compare_steps
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import centered_table, polars_table
from mlm_ops.errors import AnalysisError, DataError, MlmError, StoreError
from mlm_ops.plugins import centered_in_polars
from mlm_ops.plugins.centered_in_polars import create_centered_in_polars
from mlm_ops.warehouse.sql import identifier

#: Rounding of sums of the same numbers in another order, in standard deviations.
TOLERANCE = 1e-12
PUPILS = """
create table pupils as
select (i // 7) % 6 as school, i % 3 as class, sin(i * 7.3) * 10 + i % 3 as x, x / 2 + cos(i * 3.1) as y,
       ((i // 7) % 6) / 2 as w, i % 2 as half
from range(250) as r(i)
"""
LEVELS = """
analysis: a
data: pupils
levels: [class, school]
models:
  m: y ~ within(x, class) + center(x, at=2.5) + w + (1 | school/class)
"""
ONE_LEVEL = "{analysis: a, data: pupils, levels: school, steps: both, models: {m: y ~ within(x) + (1 | school)}}"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder whose name is a pattern to DuckDB and to Polars, and has a quote."""
    folder = tmp_path / "its [a]'s %20 * {b}"
    folder.mkdir()
    return folder


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(tmp_path / "own.duckdb") as connection:
        connection.execute(PUPILS)
        yield connection


def make_both(connection: duckdb.DuckDBPyConnection, analysis: Analysis) -> str | None:
    create_centered(connection, analysis, centered_table(analysis))
    return create_centered_in_polars(connection, analysis, polars_table(analysis))


def frame(connection: duckdb.DuckDBPyConnection, table: str) -> pl.DataFrame:
    return connection.sql(f"select * from {table}").pl()


def exact_means(rows: pl.DataFrame, column: str, keys: list[str]) -> list[float]:
    """The group mean of each row, from sums that do not round."""
    values = defaultdict(list)
    for *key, value in rows.select(*keys, column).iter_rows():
        values[tuple(key)].append(float(value))
    means = {key: math.fsum(group) / len(group) for key, group in values.items()}
    return [means[key] for key in rows.select(keys).iter_rows()]


def test_every_level_and_every_centering(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = parse_analysis(LEVELS)
    assert make_both(connection, analysis) is None
    for table in (centered_table(analysis), polars_table(analysis)):
        rows = frame(connection, table)
        assert rows.columns[6:] == [
            *("between_x", "within_x", "center_x"),
            *("between_y", "within_y", "center_y", "between_w", "within_w", "center_w"),
            *("class_within_school_x", "between_school_x", "center_x_at_2.5"),
            *("class_within_school_y", "between_school_y", "class_within_school_w", "between_school_w"),
        ]
        for column in ("x", "y", "w"):
            scale = rows[column].abs().max()
            of_class = pl.Series(exact_means(rows, column, ["school", "class"]))
            of_school = pl.Series(exact_means(rows, column, ["school"]))
            of_all = math.fsum(rows[column]) / rows.height
            expected = {
                f"between_{column}": of_class,
                f"within_{column}": rows[column] - of_class,
                f"center_{column}": rows[column] - of_all,
                f"class_within_school_{column}": of_class - of_school,
                f"between_school_{column}": of_school,
            }
            for name, values in expected.items():
                assert (rows[name] - values).abs().max() < 1e-14 * scale, name
            parts = sum(rows[f"{part}_{column}"] for part in ("within", "class_within_school", "between_school"))
            assert (rows[column] - parts).abs().max() < 1e-14 * scale
        assert (rows["center_x_at_2.5"] - (rows["x"] - 2.5)).abs().max() == 0.0
    difference = compare_steps(connection, analysis)
    assert difference.largest < TOLERANCE
    assert difference.other_rows is None


def test_without_groups_there_is_the_grand_mean_alone(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = parse_analysis("{analysis: a, data: pupils, models: {m: y ~ center(x)}}")
    assert make_both(connection, analysis) is None
    assert frame(connection, polars_table(analysis)).columns[6:] == ["center_x", "center_y"]
    assert compare_steps(connection, analysis).largest < TOLERANCE


def test_rows_have_a_value_in_every_model_of_any_kind(connection: duckdb.DuckDBPyConnection) -> None:
    """Moments are of the rows that are complete on all columns, those of structural equation models too."""
    connection.execute("alter table pupils add column z double; update pupils set z = w + x where half = 0")
    analysis = parse_analysis(ONE_LEVEL.replace("}}", "}, sem: {s: 'contextual: y ~ z'}}"))
    assert make_both(connection, analysis) is None
    assert frame(connection, polars_table(analysis)).height == 125
    assert "between_z" in frame(connection, polars_table(analysis)).columns


def test_a_name_that_the_rows_have_is_left_to_them(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("alter table pupils add column Between_Y double; update pupils set Between_Y = 7")
    analysis = parse_analysis(ONE_LEVEL)
    assert make_both(connection, analysis) is None
    rows = frame(connection, polars_table(analysis))
    assert rows.columns[6:] == ["Between_Y", "between_x", "within_x", "center_x", "within_y", "center_y"]
    assert rows["Between_Y"].unique().to_list() == [7.0]


@pytest.mark.parametrize("offset", [1e6, 1.7e9, -1e12])
def test_numbers_far_from_zero_lose_no_digits(connection: duckdb.DuckDBPyConnection, offset: float) -> None:
    connection.execute(f"update pupils set x = {offset}::double + x / 10")
    analysis = parse_analysis(ONE_LEVEL)
    make_both(connection, analysis)
    assert compare_steps(connection, analysis).largest < TOLERANCE
    for table in (centered_table(analysis), polars_table(analysis)):
        rows = frame(connection, table)
        exact = pl.Series(exact_means(rows, "x", ["school"]))
        # the spacing of doubles of this size
        assert (rows["between_x"] - exact).abs().max() <= math.ulp(offset)


NUMBERS = {
    "TINYINT": st.integers(-128, 127),
    "SMALLINT": st.integers(-32768, 32767),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "HUGEINT": st.integers(-(2**126), 2**126),
    "UTINYINT": st.integers(0, 255),
    "UBIGINT": st.integers(0, 2**64 - 1),
    "UHUGEINT": st.integers(0, 2**127),
    "FLOAT": st.floats(-1e6, 1e6, width=32) | st.just(math.nan),
    "DOUBLE": st.floats(-1e12, 1e12) | st.just(math.nan),
    "DECIMAL(4,1)": st.decimals(-99, 99, places=1),
    "DECIMAL(18,3)": st.decimals(-(10**14), 10**14, places=3),
    "DECIMAL(38,10)": st.decimals(-(10**20), 10**20, places=10),
}
KEYS = {
    "VARCHAR": st.sampled_from(["", " ", "a", "A", "null", "NaN", "größe", "it's", "a\nb"]),
    "INTEGER": st.integers(-2, 2),
    "UBIGINT": st.sampled_from([0, 2**64 - 1, 2**64 - 2]),
    "BOOLEAN": st.booleans(),
    "DATE": st.dates(),
    "TIMESTAMP": st.datetimes(),
    "DOUBLE": st.sampled_from([0.0, -0.0, 0.1, 0.30000000000000004, 0.3, math.nan]),
    "DECIMAL(9,2)": st.decimals(-1, 1, places=2),
    "UUID": st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2**127)]).map(str),
    "BLOB": st.sampled_from([b"", b"a", b"\xff"]),
    "ENUM('b', 'a')": st.sampled_from(["a", "b"]),
}
NAMES = st.sampled_from(
    [
        "x",
        "rowid",
        "select",
        "a.b",
        "größe",
        'x"; drop table rows; --',
        "^.*$",
        "*",
        "row",
        "value_0",
        "new_0",
        "key_0",
        " ",
    ]
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[str], list[tuple[object, ...]]]:
    """Names, types and rows of an outcome, a predictor, a class and a school."""
    types = [
        *(draw(st.sampled_from(list(NUMBERS))) for _ in range(2)),
        *(draw(st.sampled_from(list(KEYS))) for _ in range(2)),
    ]
    names = draw(st.lists(NAMES, min_size=4, max_size=4, unique=True))
    cells = [*(NUMBERS[t] for t in types[:2]), *(KEYS[t] for t in types[2:])]
    rows = draw(st.lists(st.tuples(*(st.none() | cell if i else cell for i, cell in enumerate(cells))), max_size=30))
    return names, types, rows


def check_world(world: tuple[list[str], list[str], list[tuple[object, ...]]]) -> None:
    names, types, rows = world
    connection = duckdb.connect()
    columns = ", ".join(f"{identifier(n)} {t}" for n, t in zip(names, types, strict=True))
    connection.execute(f"create table rows ({columns})")
    if rows:
        connection.executemany("insert into rows values (?, ?, ?, ?)", rows)
    y, x, low, high = ("`" + name.replace("`", "``") + "`" for name in names)
    analysis = parse_analysis(
        json.dumps(
            {
                "analysis": "a",
                "data": "rows",
                "levels": [low, high],
                "models": {"m": f"{y} ~ within({x}, {low}) + center({x}, at=0.1)"},
            }
        )
    )
    assert make_both(connection, analysis) is None
    difference = compare_steps(connection, analysis)
    assert difference.other_rows is None
    assert difference.largest <= TOLERANCE, difference
    before, after = (
        connection.sql(f"describe {t}").fetchall() for t in (centered_table(analysis), polars_table(analysis))
    )
    assert before == after


@settings(max_examples=25, deadline=None, derandomize=True)
@given(worlds())
def test_both_agree_on_any_rows(world: tuple[list[str], list[str], list[tuple[object, ...]]]) -> None:
    check_world(world)


@pytest.mark.fuzz
@settings(max_examples=1000, deadline=None, derandomize=True)
@given(worlds())
def test_both_agree_on_many_more_rows(world: tuple[list[str], list[str], list[tuple[object, ...]]]) -> None:
    check_world(world)


@pytest.mark.parametrize("value", ["1e-9", "null", "'nan'::double", "'inf'::double"])
@pytest.mark.parametrize("column", ["between_y", "within_x", "center_y"])
def test_one_wrong_cell_is_found(connection: duckdb.DuckDBPyConnection, column: str, value: str) -> None:
    analysis = parse_analysis(ONE_LEVEL)
    make_both(connection, analysis)
    changed = f"{column} + {value}" if value == "1e-9" else value
    connection.execute(f"update {polars_table(analysis)} set {column} = {changed} where rowid = 100")
    difference = compare_steps(connection, analysis)
    assert difference.column == column
    ((deviation, largest),) = connection.execute(
        f"select stddev_pop({column[-1]}), max(abs({column[-1]})) from pupils"
    ).fetchall()
    expected = 1e-9 / (deviation + largest / 1000) if value == "1e-9" else math.inf
    assert difference.largest == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "partition", "where"),
    [
        ("delete from {} where half = 1", "partition: half, ", " of half 1: 125 and 0"),
        ("delete from {} where school = 2", "", " of 1 groups of school: 42 and 0"),
        ("update {} set w = w + 1 where school > 3", "", " of 2 groups of school: 82 and 82"),
    ],
)
def test_other_rows_are_told(connection: duckdb.DuckDBPyConnection, change: str, partition: str, where: str) -> None:
    analysis = parse_analysis(ONE_LEVEL.replace("{analysis", f"{{{partition}analysis"))
    make_both(connection, analysis)
    connection.execute(change.format(polars_table(analysis)))
    difference = compare_steps(connection, analysis)
    assert (difference.largest, difference.column) == (math.inf, None)
    assert difference.other_rows == (
        f"The table that SQL made and that of Polars hold different rows{where}. Materialize both again."
    )


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("HUGEINT", "HUGEINT"),
        ("UHUGEINT", "UHUGEINT"),
        ("INTERVAL", "INTERVAL"),
        ("TIME WITH TIME ZONE", "TIME WITH TIME ZONE"),
    ],
)
def test_sql_centers_what_polars_cannot_read(
    connection: duckdb.DuckDBPyConnection, kind: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As doubles neighbouring huge numbers are one; Polars panics at intervals."""
    key = {"INTERVAL": "to_days(school::int)", "TIME WITH TIME ZONE": "('10:00:00+0' || school)::timetz"}
    connection.execute(f"create table odd as select {key.get(kind, 'school')}::{kind} as code, x, y from pupils")
    analysis = parse_analysis("{analysis: a, data: odd, models: {m: 'y ~ within(x, code)'}}")
    sentence = f"SQL centered the rows instead of Polars, which cannot read column 'code' of type {shown} without loss."
    with caplog.at_level(logging.INFO, "mlm_ops"):
        assert make_both(connection, analysis) == sentence
    assert [record.getMessage() for record in caplog.records] == [sentence]
    assert compare_steps(connection, analysis).largest < TOLERANCE
    assert frame(connection, f"(select between_x from {polars_table(analysis)})")["between_x"].n_unique() == 6


def test_columns_that_are_not_centered_are_passed_whatever_they_are(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        "create table odd as select *, 170141183460469231731687303715884105727::hugeint - school as huge, "
        "to_days(school::int) as period, '1010'::bit as bits, {'a': [school, null]} as nested, "
        "map {'k': school} as pairs, school::union(i bigint, t varchar) as either, '10:00:00+02'::timetz as clock, "
        "uuid() as id, null::variant as any, (half + 1)::varchar::enum('1', '2') as word from pupils"
    )
    analysis = parse_analysis(ONE_LEVEL.replace("pupils", "odd"))
    assert make_both(connection, analysis) is None
    difference = compare_steps(connection, analysis)
    assert difference.other_rows is None
    assert difference.largest < TOLERANCE
    types = [
        connection.sql(f"describe {t}").fetchall() for t in (centered_table(analysis), polars_table(analysis), "odd")
    ]
    assert types[0] == types[1]
    assert types[0][: len(types[2])] == types[2]


def test_nothing_is_left_beside_the_warehouse(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = parse_analysis(ONE_LEVEL)
    left = tmp_path / ".own.duckdb.a_centered_in_polars.polars"  # by a run that was killed
    left.mkdir()
    (left / "rows.parquet").write_text("half")
    assert make_both(connection, analysis) is None
    assert {path.name for path in tmp_path.iterdir()} <= {"own.duckdb", "own.duckdb.wal"}
    before = frame(connection, polars_table(analysis))

    def fail(*_: object) -> pl.LazyFrame:
        assert left.is_dir()
        raise pl.exceptions.ComputeError("no such luck")

    monkeypatch.setattr(centered_in_polars, "_center_lazily", fail)
    with pytest.raises(DataError) as error:
        create_centered_in_polars(connection, analysis, polars_table(analysis))
    assert str(error.value) == (
        "Polars cannot center the rows of table pupils: no such luck. Write steps: sql in the analysis file to center "
        "them by SQL."
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"own.duckdb", "own.duckdb.wal"}
    assert frame(connection, polars_table(analysis)).equals(before)
    assert connection.sql("select table_name from duckdb_tables() where temporary").fetchall() == []


def test_the_table_of_polars_takes_the_place_of_nothing_of_the_user(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table a_centered_in_polars as select 7 as mine")
    with pytest.raises(StoreError) as error:
        make_both(connection, parse_analysis(ONE_LEVEL))
    assert str(error.value) == (
        "main.a_centered_in_polars is a table that mlm-ops did not make, and the rows of the analysis a that Polars "
        "centered would take its place. Rename one of the two: the table, or the analysis."
    )


def test_a_file_in_the_place_of_the_folder_stays(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    place = tmp_path / ".own.duckdb.a_centered_in_polars.polars"
    place.write_text("mine")
    with pytest.raises(StoreError) as error:
        make_both(connection, parse_analysis(ONE_LEVEL))
    assert str(error.value) == (
        f"Polars has no folder for its files: cannot make {place} (File exists). Remove what is there, or write steps: "
        "sql in the analysis file."
    )
    assert place.read_text() == "mine"


def test_the_data_are_not_read_from_the_table_of_polars(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("create table a_centered_in_polars as from pupils")
    analysis = parse_analysis(ONE_LEVEL.replace("data: pupils", "data: select * from a_centered_in_polars"))
    with pytest.raises(
        StoreError, match=r"^main\.a_centered_in_polars is read by the data, and the rows of the analysis a "
    ):
        create_centered(connection, analysis, centered_table(analysis))


def test_the_two_steps_take_over_from_each_other(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = parse_analysis(ONE_LEVEL)
    for make in (create_centered, create_centered_in_polars, create_centered):
        make(connection, analysis, centered_table(analysis))
    assert connection.sql("select comment from duckdb_tables() where table_name = 'a_centered'").fetchall() == [
        ("mlm-ops: centered rows of the analysis a",)
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("steps: pandas", "Unknown steps. Got 'pandas'; expected one of sql, polars, both."),
        (
            "{form: moments, steps: polars, predictions: false}",
            "form: moments goes without steps, which needs rows; leave it out, or give the rows.",
        ),
    ],
)
def test_steps_that_there_are_not(line: str, sentence: str) -> None:
    keys = line.strip("{}")
    with pytest.raises(MlmError) as error:
        parse_analysis(f"{{analysis: a, data: t, models: {{m: y ~ x}}, {keys}}}")
    assert isinstance(error.value, AnalysisError)
    assert str(error.value).endswith(sentence)
