"""Moments by partition: what was added, corrected and taken out leaves the moments of the rows that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis, keep_moments
from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Model
from mlm_ops.language.request import Request
from mlm_ops.language.structures import parse_residual
from mlm_ops.moments import partitions as by_partition
from mlm_ops.moments import totals
from mlm_ops.moments.collect import collect
from mlm_ops.moments.partitions import Partitions
from mlm_ops.moments.record import Moments
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source

MODEL = parse_formula("y ~ x * w + f + (x | g)")
ROWS = """
create table t as
select i % 23 as g, date '2026-01-01' + (i % 5)::int as day, sin(i) * 3 + i % 23 as x, (i % 23) % 4 as w,
       case when i % 3 = 0 then 'a' else 'b' end as f, cos(i * i) + (i % 23) / 5 + sin(i) as y
from range(1000) rows(i)
"""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(ROWS)
        yield connection


@pytest.fixture(autouse=True, params=[0.0, 1e9], ids=["all units", "touched units"])
def most_touched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is exchanged, the totals are read and written whole, or only the units that the rows touch."""
    monkeypatch.setattr(totals, "MOST_TOUCHED", request.param)


def partitions(connection: duckdb.DuckDBPyConnection, model: Model = MODEL, column: str = "day") -> Partitions:
    return Partitions(connection, "main.m", open_source("t", connection), column, [model])


def assert_same(moments: Moments, connection: duckdb.DuckDBPyConnection, model: Model = MODEL) -> None:
    """Equal to those of one scan; 1e-10 relative to each row's largest number, the sums being of another order."""
    full = collect(open_source("t", connection), [model])
    assert [list(map(str, values)) for values in moments.labels] == [list(map(str, values)) for values in full.labels]
    assert moments.n.tolist() == full.n.tolist()
    assert (moments.n_rows, dict(moments.n_dropped)) == (full.n_rows, dict(full.n_dropped))
    # centers were fixed at the first build
    shift = [
        float(np.prod([moments.schema.centers[a] for a in m])) - float(np.prod([full.schema.centers[a] for a in m]))
        if len(m) == 1
        else 0.0
        for m in moments.schema.monomials
    ]
    order = [full.schema.monomials.index(m) for m in moments.schema.monomials]
    for i, monomial in enumerate(moments.schema.monomials):
        if len(monomial) == 1:
            ours, theirs = moments.mean[i] + shift[i], full.mean[order[i]]
            assert np.abs(ours - theirs).max() <= 1e-10 * max(np.abs(theirs).max(), 1.0)
            one, other = i * (i + 3) // 2, order[i] * (order[i] + 3) // 2
            assert np.abs(moments.scatter[one] - full.scatter[other]).max() <= 1e-10 * full.scatter[other].max()


def test_the_first_build_is_one_scan(connection: duckdb.DuckDBPyConnection) -> None:
    refresh = partitions(connection).refresh()
    assert refresh.scanned == tuple(f"2026-01-0{day}" for day in range(1, 6))
    assert (refresh.dropped, refresh.rebuild_reason) == ((), None)
    assert_same(refresh.moments, connection)


LOST = {
    "drop table main.m": "the stored tables cannot be read: Catalog Error: Table with name m does not exist!",
    "drop table m_description": "the stored moments have lost their description",
    "delete from m_description": "the stored moments have lost their description",
    "delete from m": '"main"."m" has other rows than "main"."m_parts"',
    "delete from m where g < 5": '"main"."m" has other rows than "main"."m_parts"',
    "delete from m_parts where u_0::int < 5": '"main"."m" has other rows than "main"."m_parts"',
    "delete from m where g < 5; delete from m_parts where u_0::int < 5": (
        '"main"."m_parts" has other rows than "main"."m_partitions" counts'
    ),
    "delete from m_partitions where part > '2026-01-02'": (
        '"main"."m_parts" has other rows than "main"."m_partitions" counts'
    ),
    "alter table m_parts drop n": "the stored tables cannot be read: Binder Error: ",
    "delete from m_origin": "the data, the row filter or the partition column are others",
    "drop table m_origin": "the data, the row filter or the partition column are others",
    "alter table m_partitions drop n_rows": "the stored tables cannot be read: ",
}


@pytest.mark.parametrize("statement", LOST)
def test_moments_whose_tables_do_not_agree_are_read_again(
    statement: str, connection: duckdb.DuckDBPyConnection
) -> None:
    connection.execute("update t set x = null where g % 7 = 3 and day > '2026-01-03'")
    connection.execute("update t set y = null where g % 5 = 3 and day > '2026-01-04'")
    first = partitions(connection).refresh()
    assert partitions(connection).refresh().scanned == ()
    connection.execute(statement)
    again = partitions(connection).refresh()
    assert again.scanned == first.scanned
    assert again.rebuild_reason is not None
    assert again.rebuild_reason.startswith(LOST[statement])
    assert_same(again.moments, connection)
    last = partitions(connection).refresh()
    assert (last.scanned, last.rebuild_reason) == ((), None)
    assert last.moments.checksum == again.moments.checksum


def test_a_group_that_is_called_as_the_count_is_does_not_confuse_it(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("alter table t rename g to n")
    model = parse_formula("y ~ x + (1 | n)")
    partitions(connection, model).refresh()
    assert partitions(connection, model).refresh().rebuild_reason is None


@pytest.mark.parametrize("statement", ["drop table m_residual_0", "delete from m_residual_parts_0 where part > '2026'"])
def test_sums_of_residual_structures_that_are_gone_are_read_again(
    statement: str, connection: duckdb.DuckDBPyConnection
) -> None:
    model = parse_formula("y ~ x + f + (1 | g)", residual=parse_residual("by(f)", None))
    first = partitions(connection, model).refresh()
    assert partitions(connection, model).refresh().scanned == ()
    connection.execute(statement)
    again = partitions(connection, model).refresh()
    assert (again.scanned, again.rebuild_reason is None) == (first.scanned, False)
    assert again.moments.checksum == first.moments.checksum


def test_nothing_changed_reads_no_part(connection: duckdb.DuckDBPyConnection) -> None:
    first = partitions(connection).refresh()
    again = partitions(connection).refresh()
    assert again.scanned == ()
    assert again.moments.checksum == first.moments.checksum


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("change", "scanned", "dropped"),
    [
        ("insert into t select g, date '2026-02-01', x + 1, w, f, y from t where i7 = 0", ["2026-02-01"], []),
        ("update t set y = y * 2 where day = '2026-01-03'", ["2026-01-03"], []),
        ("update t set x = null where day = '2026-01-03' and g < 5", ["2026-01-03"], []),
        ("delete from t where day = '2026-01-02'", [], ["2026-01-02"]),
        ("delete from t where day = '2026-01-02' and g = 3", ["2026-01-02"], []),
        # a group that appears with a new partition, one that vanishes with an old one
        ("insert into t select 99, date '2026-02-01', x, 1, f, y from t where g = 2", ["2026-02-01"], []),
    ],
    ids=["added", "corrected", "missing values", "deleted", "rows deleted", "new group"],
)
def test_changes(
    change: str, scanned: list[str], dropped: list[str], by_name: bool, connection: duckdb.DuckDBPyConnection
) -> None:
    partitions(connection).refresh()
    connection.execute(change.replace("i7 = 0", "g % 7 = 0"))
    refresh = partitions(connection).refresh([*scanned, *dropped] if by_name else None)
    assert (refresh.scanned, refresh.dropped, refresh.rebuild_reason) == (tuple(scanned), tuple(dropped), None)
    assert_same(refresh.moments, connection)


def test_partitions_of_rows_without_groups(connection: duckdb.DuckDBPyConnection) -> None:
    model = parse_formula("y ~ x + f")
    partitions(connection, model).refresh()
    connection.execute("insert into t select g, day + 40, x + 1, w, f, y from t where g < 9")
    refresh = partitions(connection, model).refresh()
    assert (len(refresh.scanned), refresh.rebuild_reason) == (5, None)
    assert_same(refresh.moments, connection, model)


FEW_A_DAY = """
create table t as
select 'g' || (i * 7 % 60) as u_1, i * 7 % 60 // 20 as u_0, date '2026-01-01' + (i * 7 % 60 // 6)::int as day,
       sin(i) * 3 + i % 7 as x, (i * 7 % 60) % 4 as w, case when i * 7 % 60 < 6 then 'a' else 'b' end as f,
       cos(i * i) + i * 7 % 60 / 50 + sin(i) as y
from range(1200) rows(i)
"""
FEW = parse_formula("y ~ x * w + f + (x | u_0/u_1)")


@pytest.mark.parametrize(
    "change",
    [
        "update t set y = y * 2, x = x - 1 where day = '2026-01-03'",
        "insert into t select 'new', 2, date '2026-01-03', x, 3, 'b', y from t where u_1 = 'g7'",
        "insert into t select u_1, u_0, date '2026-03-01', x + 1, w, f, y from t where u_1 in ('g7', 'g31', 'g59')",
        "delete from t where day = '2026-01-03'",
        "delete from t where day = '2026-01-03' and u_1 = 'g13'",
    ],
    ids=["corrected", "new group", "added", "deleted", "group deleted"],
)
def test_groups_without_rows_in_the_partition_stay_as_they_are(
    change: str, connection: duckdb.DuckDBPyConnection
) -> None:
    """To the last bit; and their keys may have the names that our queries give to keys."""
    connection.execute(f"drop table t; {FEW_A_DAY}")
    partitions(connection, FEW).refresh()
    connection.execute("create table before as from m")
    connection.execute(change)
    touched = (
        "select u_1 from t where day in ('2026-01-03', '2026-03-01') union select 'g' || (12 + i) from range(6) r(i)"
    )
    refresh = partitions(connection, FEW).refresh()
    assert refresh.rebuild_reason is None
    assert_same(refresh.moments, connection, FEW)
    others = f"u_1 not in ({touched})"
    query = f"select count(*) from (from before where {others} intersect from m where {others})"
    assert (
        connection.execute(query).fetchall()
        == connection.execute(f"select count(*) from before where {others}").fetchall()
    )
    assert connection.execute("select count(*) from m").fetchall() == [(refresh.moments.n_units,)]


def test_the_totals_of_few_groups_are_changed_and_of_many_written_anew(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two fifths of the groups divide the two; 6 of 60, and 30 of 60."""
    monkeypatch.setattr(totals, "MOST_TOUCHED", 0.4)
    connection.execute(f"drop table t; {FEW_A_DAY}")
    partitions(connection, FEW).refresh()
    numbers = []
    for days in (["2026-01-03"], [f"2026-01-0{day}" for day in range(1, 6)]):
        connection.execute("update t set y = y + 1")
        partitions(connection, FEW).refresh(days)
        # a table that is replaced gets another number
        numbers += connection.execute("select table_oid from duckdb_tables() where table_name = 'm'").fetchall()
        assert connection.execute("select count(*) from duckdb_tables() where temporary").fetchall() == [(0,)]
    assert numbers[0] != numbers[1]
    partitions(connection, FEW).refresh(["2026-01-04"])
    assert connection.execute("select table_oid from duckdb_tables() where table_name = 'm'").fetchall() == numbers[1:]


def test_a_hundred_refreshes_of_few_groups_keep_their_digits(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"drop table t; {FEW_A_DAY}")
    partitions(connection, FEW).refresh()
    for round_ in range(100):
        day = f"2026-01-0{1 + round_ % 5}"
        connection.execute(f"update t set y = y * {1.5 if round_ // 5 % 2 else 1 / 1.5} where day = '{day}'")
        refresh = partitions(connection, FEW).refresh([day])
    assert_same(refresh.moments, connection, FEW)


@pytest.mark.parametrize("wrong", [1e6, 1e9, 1e12])
def test_a_wrong_value_in_few_groups_leaves_no_trace(wrong: float, connection: duckdb.DuckDBPyConnection) -> None:
    """What is left in its unit is compared with a row's share of all units, of those too that were not read."""
    connection.execute(f"drop table t; {FEW_A_DAY}")
    # the unit keeps rows of another day, whose sum the square of the wrong value would spoil
    connection.execute("insert into t select u_1, u_0, date '2026-03-01', x + 1, w, f, y from t where u_1 = 'g13'")
    partitions(connection, FEW).refresh()
    connection.execute("create table right_rows as from t")
    connection.execute(f"update t set x = {wrong} where day = '2026-01-03' and u_1 = 'g13'")
    partitions(connection, FEW).refresh(["2026-01-03"])
    connection.execute("delete from t; insert into t from right_rows")
    refresh = partitions(connection, FEW).refresh(["2026-01-03"])
    assert refresh.rebuild_reason is None
    assert_same(refresh.moments, connection, FEW)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("delete from t where day = '2026-01-01'", "f has lost the level a"),
        ("update t set w = 1 where day = '2026-01-03'", None),
    ],
)
def test_what_few_groups_take_away_is_judged_by_all(
    change: str, reason: str | None, connection: duckdb.DuckDBPyConnection
) -> None:
    """The levels and values that the other groups have count: only those that none has are lost."""
    connection.execute(f"drop table t; {FEW_A_DAY}")
    if reason is None:
        # w differs in the groups of one other day alone
        connection.execute("update t set w = 1 where day not in ('2026-01-03', '2026-01-09')")
    else:
        connection.execute("insert into t select u_1, u_0, day, x + 2, w, 'c', y from t where day = '2026-01-09'")
        connection.execute("delete from t where day = '2026-01-09' and f = 'b'")
    partitions(connection, FEW).refresh()
    connection.execute(change)
    refresh = partitions(connection, FEW).refresh()
    assert refresh.rebuild_reason == reason
    assert_same(refresh.moments, connection, FEW)


def described(connection: duckdb.DuckDBPyConnection, table: str) -> list[int]:
    """The versions in a table of descriptions; none where it is not there."""
    if not connection.execute("select 1 from duckdb_tables() where table_name = ?", [table]).fetchall():
        return []
    texts = connection.execute(f"select description from {table}").fetchall()
    return [json.loads(text)["version"] for (text,) in texts]


def test_an_earlier_mlm_ops_refuses_units_in_no_order_and_reads_all_others(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the row of m_description, whatever its version, and without one says: The description of m is empty."""
    connection.execute(f"drop table t; {FEW_A_DAY}")
    versions = []
    for most_touched in (0.4, 0.4, 0.4, 0.0, 0.4):
        monkeypatch.setattr(totals, "MOST_TOUCHED", most_touched)
        connection.execute("update t set y = y + 1 where day = '2026-01-03'")
        refresh = partitions(connection, FEW).refresh()
        assert refresh.rebuild_reason is None
        versions.append((described(connection, "m_description"), described(connection, "m_description_3")))
        assert_same(refresh.moments, connection, FEW)
        assert load_moments(connection, "main.m").checksum == refresh.moments.checksum
    # written whole at first, then twice by exchange, whole, and by exchange once more
    assert versions == [([2], []), ([], [3]), ([], [3]), ([2], []), ([], [3])]
    comments = connection.execute("select comment from duckdb_tables() where table_name = 'm_description_3'").fetchall()
    assert comments == [("mlm-ops: moments kept as main.m",)]


def test_moments_that_an_earlier_mlm_ops_collected_again_are_those_that_count(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know of the other description, and leaves it."""
    monkeypatch.setattr(totals, "MOST_TOUCHED", 0.4)
    connection.execute(f"drop table t; {FEW_A_DAY}")
    partitions(connection, FEW).refresh()
    connection.execute("update t set y = y + 1 where day = '2026-01-03'")
    partitions(connection, FEW).refresh()
    connection.execute("create table of_version_3 as from m_description_3; drop table m_description_3")
    whole = collect(open_source("t", connection), [parse_formula("y ~ x + (x | u_0)")])
    save_moments(connection, whole, "main.m")
    connection.execute("create table m_description_3 as from of_version_3")
    connection.execute("comment on table m_description_3 is 'mlm-ops: moments kept as main.m'")
    assert load_moments(connection, "main.m").checksum == whole.checksum


def test_moments_of_a_later_mlm_ops_are_refused(connection: duckdb.DuckDBPyConnection) -> None:
    partitions(connection).refresh()
    connection.execute(
        """update m_description set description = replace(description, '"version": 2', '"version": 4')"""
    )
    with pytest.raises(DataError) as error:
        load_moments(connection, "main.m")
    assert str(error.value) == (
        "The moments in table 'main.m' were written by a later mlm-ops. Got version 4; expected at most 3. Use that "
        "mlm-ops, or drop the table and collect them again."
    )


def temporary_relations(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, ...]]:
    return connection.execute(
        "select table_name from duckdb_tables() where temporary union all"
        " select view_name from duckdb_views() where temporary and not internal order by 1"
    ).fetchall()


@pytest.mark.parametrize("fails", [False, True], ids=["kept", "fails in the middle"])
def test_what_the_user_has_on_the_connection_stays(
    fails: bool, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary tables and frames of the names that were ours once; and nothing of ours is left behind."""
    connection.execute(f"drop table t; {FEW_A_DAY}")
    connection.execute("create temp table mlm_units as select 'units' as mine")
    connection.execute("create temp table mlm_frame_0 as select 1 as mine")
    connection.register("mlm_frame", pl.DataFrame({"mine": ["frame"]}))
    partitions(connection, FEW).refresh()
    assert connection.execute("from mlm_frame").fetchall() == [("frame",)]
    connection.execute("update t set y = y * 2 where day = '2026-01-03'")
    if fails:

        def fail(*arguments: object) -> None:
            connection.execute("select error('The disk is full.')")

        monkeypatch.setattr(totals, "exchange", fail)
        monkeypatch.setattr(by_partition, "exchange", fail)
        with pytest.raises(duckdb.Error, match="The disk is full"):
            partitions(connection, FEW).refresh()
    else:
        assert partitions(connection, FEW).refresh().scanned == ("2026-01-03",)
    assert connection.execute("from mlm_units").fetchall() == [("units",)]
    assert connection.execute("from mlm_frame").fetchall() == [("frame",)]
    assert temporary_relations(connection) == [("mlm_frame",), ("mlm_frame_0",), ("mlm_units",)]


def test_a_partition_that_never_had_rows_changes_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"drop table t; {FEW_A_DAY}")
    before = partitions(connection, FEW).refresh().moments.checksum
    refresh = partitions(connection, FEW).refresh(["2030-01-01"])
    assert (refresh.scanned, refresh.dropped, refresh.rebuild_reason) == ((), ("2030-01-01",), None)
    assert refresh.moments.checksum == before


def test_rows_of_which_none_is_complete_change_no_moments(connection: duckdb.DuckDBPyConnection) -> None:
    before = partitions(connection).refresh().moments
    connection.execute("insert into t select g, date '2026-02-01', null, w, f, y from t where g = 2")
    refresh = partitions(connection).refresh()
    assert refresh.scanned == ("2026-02-01",)
    assert refresh.moments.checksum == before.checksum
    assert (refresh.moments.n_rows, refresh.moments.n_dropped["x"]) == (1044, 44)


def test_missing_partitions_are_counted_whatever_stands_for_them(connection: duckdb.DuckDBPyConnection) -> None:
    """NaN and null are two values to put rows together by, and the same to a reader."""
    connection.execute(
        "alter table t add column wave double; update t set wave = case when g = 1 then 'nan'::double end"
    )
    connection.execute("update t set wave = 1 where g > 5")
    with pytest.raises(DataError, match=r"^264 rows have no value of 'wave', the partition\. Fill or filter them\.$"):
        partitions(connection, column="wave").refresh()


def test_a_hundred_refreshes_keep_their_digits(connection: duckdb.DuckDBPyConnection) -> None:
    partitions(connection).refresh()
    for round_ in range(50):
        day = f"2026-01-0{1 + round_ % 5}"
        connection.execute(f"update t set y = y * {1.5 if round_ % 2 else 1 / 1.5} where day = '{day}'")
        refresh = partitions(connection).refresh([day])
    assert_same(refresh.moments, connection)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update t set w = w + 10 where day = '2026-01-04' and g = 1", "w no longer has one value in each unit"),
        # one row of many, whose unit keeps its smallest value; and two new partitions that agree with no old one
        (
            "update t set w = w + 10 where rowid = (select min(rowid) from t where day = '2026-01-04' and g = 1)",
            "w no longer has one value in each unit",
        ),
        (
            "insert into t select 99, day + 40, x, day - date '2026-01-01', f, y from t where g = 2",
            "w no longer has one value in each unit",
        ),
        ("update t set f = 'c' where day = '2026-01-04' and g = 1", "f has the new level c"),
    ],
)
def test_what_the_parts_cannot_hold_is_rebuilt_with_a_reason(
    change: str, reason: str, connection: duckdb.DuckDBPyConnection
) -> None:
    partitions(connection).refresh()
    connection.execute(change)
    refresh = partitions(connection).refresh()
    assert refresh.rebuild_reason is not None
    assert refresh.rebuild_reason.startswith(reason)
    assert connection.execute("select count(distinct day) from t").fetchall() == [(len(refresh.scanned),)]
    assert_same(refresh.moments, connection)


def test_other_models_ask_for_other_moments(connection: duckdb.DuckDBPyConnection) -> None:
    partitions(connection).refresh()
    larger = parse_formula("y ~ x * w + f + I(x**2) + (x | g)")
    refresh = partitions(connection, larger).refresh()
    assert refresh.rebuild_reason == "the models ask for other moments"
    assert_same(refresh.moments, connection, larger)


def test_a_failed_refresh_leaves_everything(connection: duckdb.DuckDBPyConnection) -> None:
    before = partitions(connection).refresh().moments.checksum
    connection.execute("delete from t")
    with pytest.raises(DataError, match=r"No rows are left after day .*The moments are as they were\."):
        partitions(connection).refresh()
    connection.execute("insert into t select * from (" + ROWS.split(" as\n", 1)[1] + ")")
    again = partitions(connection).refresh()
    assert (again.scanned, again.moments.checksum) == ((), before)


def test_rows_without_a_partition(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("update t set day = null where g = 4")
    with pytest.raises(DataError, match=r"44 rows have no value of 'day', the partition\. Fill or filter them\."):
        partitions(connection).refresh()


@pytest.mark.parametrize(
    ("formula", "residual", "weights"),
    [
        ("y ~ x + (x | g)", "by(f)", None),
        ("y ~ x * w + (1 | g)", None, "z"),
        ("y ~ within(x) + (1 | g)", "by(f) + fixed(z)", None),
    ],
)
def test_strata_and_weights_add_up(
    formula: str, residual: str | None, weights: str | None, connection: duckdb.DuckDBPyConnection
) -> None:
    connection.execute("alter table t add column z double; update t set z = 1 + abs(sin(i * 7))".replace("i *", "x *"))
    model = parse_formula(formula, residual=parse_residual(residual, weights))
    partitions(connection, model).refresh()
    for change in (
        "update t set y = y * 1.5, z = z + 1 where day = '2026-01-03'",
        "delete from t where day = '2026-01-02'",
        "insert into t select g, date '2026-02-01', x + 1, w, f, y, 2 * z from t where g % 7 = 0",
    ):
        connection.execute(change)
        refresh = partitions(connection, model).refresh()
        assert refresh.rebuild_reason is None
        whole = collect(open_source("t", connection), [model])
        ours, theirs = (fit_model(Request(model), moments) for moments in (refresh.moments, whole))
        # the same sums in another order; the search ends within 1e-9 of the optimum
        assert ours.estimate.log_likelihood == pytest.approx(theirs.estimate.log_likelihood, abs=1e-8)
        assert ours.fixed_effects["estimate"].to_list() == pytest.approx(
            theirs.fixed_effects["estimate"].to_list(), rel=1e-8
        )


def test_residual_structures_that_are_kept_are_those_that_are_asked_for(connection: duckdb.DuckDBPyConnection) -> None:
    partitions(connection, parse_formula("y ~ x + (1 | g)")).refresh()
    by_f = parse_formula("y ~ x + f + (1 | g)", residual=parse_residual("by(f)", None))
    assert partitions(connection, by_f).refresh().rebuild_reason == "the models ask for other moments"
    assert partitions(connection, by_f).refresh().scanned == ()


def test_autocorrelation_does_not_merge(connection: duckdb.DuckDBPyConnection) -> None:
    model = parse_formula("y ~ x + (1 | g)", residual=parse_residual("ar1(w)", None))
    with pytest.raises(DataError, match=r"ar1\(w\), whose sums do not merge"):
        partitions(connection, model).refresh()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("'inf'", r"day 2026-02-01: log\(x\) holds infinite values\."),
        ("-1", r"day 2026-02-01: log\(x\) is undefined in 44 of 44 rows"),
    ],
)
def test_values_that_would_spoil_the_total_are_refused_and_leave_it(
    value: str, sentence: str, connection: duckdb.DuckDBPyConnection
) -> None:
    model = parse_formula("y ~ log(x) + x + (1 | g)")
    connection.execute("update t set x = 1 + abs(x)")
    before = partitions(connection, model).refresh().moments.checksum
    connection.execute(f"insert into t select g, date '2026-02-01', {value}, w, f, y from t where g = 1")
    with pytest.raises(DataError, match=sentence):
        partitions(connection, model).refresh()
    connection.execute("delete from t where day = '2026-02-01'")
    assert partitions(connection, model).refresh().moments.checksum == before


def test_a_group_that_moves_to_another_parent_is_another_unit_as_in_a_rebuild(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute("alter table t add column parent varchar; update t set parent = 'p' || g // 6")
    model = parse_formula("y ~ x + (1 | parent/g)")
    partitions(connection, model).refresh()
    connection.execute("insert into t select g, date '2026-02-01', x, w, f, y, 'p9' from t where g = 2")
    refresh = partitions(connection, model).refresh()
    assert refresh.scanned == ("2026-02-01",)
    assert_same(refresh.moments, connection, model)
    assert {"p0:2", "p9:2"} <= set(refresh.moments.units_of(("parent", "g"))[1])


def test_hostile_names(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("""alter table t rename day to "d""'; drop table t; --" """)
    connection.execute("""update t set "d""'; drop table t; --" = '2026-01-01' where g = 3""")
    refresh = partitions(connection, column="""d"'; drop table t; --""").refresh()
    assert refresh.moments.n_obs == 1000
    connection.execute("alter table t add column s varchar")
    connection.execute("update t set s = case when g % 2 = 0 then 'it''s' else 'x); drop table t; --' end")
    refresh = Partitions(connection, "m2", open_source("t", connection), "s", [MODEL]).refresh()
    refresh = Partitions(connection, "m2", open_source("t", connection), "s", [MODEL]).refresh(["it's"])
    assert refresh.scanned == ("it's",)
    assert_same(refresh.moments, connection)


def test_an_analysis_with_a_partition_reads_what_is_new(connection: duckdb.DuckDBPyConnection) -> None:
    text = "{analysis: odd name, data: t, partition: day, models: {slope: y ~ x * w + f + (x | g)}}"
    analysis = parse_analysis(text)
    first = fit_analysis(analysis, connection)
    connection.execute("insert into t select g, date '2026-02-01', x + 1, w, f, y from t where g < 9")
    assert keep_moments(analysis, connection).scanned == ("2026-02-01",)
    second = fit_analysis(analysis, connection)
    assert second.moments.n_obs > first.moments.n_obs
    direct = fit_model(Request(MODEL), collect(open_source("t", connection), [MODEL]))
    # the same optimum from sums around other centers
    assert second.fits["slope"].estimate.gamma == pytest.approx(direct.estimate.gamma, rel=1e-6)
    assert second.fits["slope"].estimate.log_likelihood == pytest.approx(direct.estimate.log_likelihood, abs=1e-7)


@pytest.mark.parametrize("wrong", [1e6, 1e9, 1e12])
def test_a_wrong_value_that_was_corrected_leaves_no_trace(wrong: float, connection: duckdb.DuckDBPyConnection) -> None:
    """Taking the square of 1e9 out of a sum leaves its rounding, a hundred times the square of 1."""
    partitions(connection).refresh()
    connection.execute("create table right_rows as from t")
    connection.execute(f"update t set x = {wrong} where day = '2026-01-03' and g < 3")
    partitions(connection).refresh(["2026-01-03"])
    connection.execute("delete from t; insert into t from right_rows")
    refresh = partitions(connection).refresh(["2026-01-03"])
    assert refresh.rebuild_reason is None
    assert_same(refresh.moments, connection)


@pytest.mark.parametrize(
    ("make", "again"),
    [
        (("t", "day", None), ("t", "day", "x > 0")),
        (("t", "day", None), ("other", "day", None)),
        (("t", "day", None), ("t", "label", None)),
    ],
    ids=["row filter", "data", "partition column"],
)
def test_parts_of_other_rows_are_not_mixed(
    make: tuple[str, str, str | None], again: tuple[str, str, str | None], connection: duckdb.DuckDBPyConnection
) -> None:
    connection.execute("alter table t add column label varchar; update t set label = 'on ' || day")
    connection.execute("create view other as select * replace (y + 5 as y) from t")

    def parts(data: str, column: str, where: str | None) -> Partitions:
        return Partitions(connection, "main.m", open_source(data, connection, where), column, [MODEL])

    parts(*make).refresh()
    first = connection.execute(f"select min({again[1]})::varchar from t").fetchall()[0][0]
    refresh = parts(*again).refresh([first])
    assert refresh.rebuild_reason == "the data, the row filter or the partition column are others"
    full = collect(open_source(again[0], connection, again[2]), [MODEL])
    assert (refresh.moments.n_rows, refresh.moments.n.tolist()) == (full.n_rows, full.n.tolist())
    # equal sums around centers that are equal too, as all rows were read again
    assert np.abs(refresh.moments.mean - full.mean).max() <= 1e-10 * np.abs(full.mean).max()


def test_a_column_of_another_type_names_other_parts(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("alter table t add column wave integer; update t set wave = day - date '2025-12-31'")
    assert partitions(connection, column="wave").refresh().scanned == ("1", "2", "3", "4", "5")
    connection.execute("alter table t alter column wave type double")
    refresh = partitions(connection, column="wave").refresh(["1.0"])
    assert refresh.rebuild_reason is not None
    assert refresh.moments.n_rows == 1000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("update t set f = 'c' where day = '2026-01-05'", "f has lost the level c"),
        ("update t set f = 'a0' where day = '2026-01-05'", "f has lost the level a0"),
    ],
)
def test_a_level_that_goes_with_its_rows(change: str, reason: str, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(change)
    partitions(connection).refresh()
    connection.execute("delete from t where day = '2026-01-05'")
    refresh = partitions(connection).refresh(["2026-01-05"])
    assert refresh.rebuild_reason == reason
    assert_same(refresh.moments, connection)
    terms = fit_model(Request(MODEL), refresh.moments).fixed_effects["term"].to_list()
    assert [term for term in terms if term.startswith("f[")] == ["f[b]"]


def test_variation_that_goes_with_its_rows_is_refused_as_at_a_first_build(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute("update t set x = 7 where day <> '2026-01-05'")
    before = partitions(connection).refresh().moments.checksum
    connection.execute("create table last as from t where day = '2026-01-05'; delete from t where day = '2026-01-05'")
    with pytest.raises(DataError, match=r"'x' has no variation: every row holds 7\."):
        partitions(connection).refresh(["2026-01-05"])
    connection.execute("insert into t from last")
    assert partitions(connection).refresh().moments.checksum == before


@pytest.mark.parametrize(
    ("kind", "key", "scanned"),
    [("integer", "02", ("2",)), ("decimal(6, 2)", "2", ("2.00",)), ("double", "2", ("2.0",))],
)
def test_a_key_is_read_as_the_columns_own_type(
    kind: str, key: str, scanned: tuple[str, ...], connection: duckdb.DuckDBPyConnection
) -> None:
    connection.execute(f"alter table t add column wave {kind}; update t set wave = day - date '2025-12-31'")
    partitions(connection, column="wave").refresh()
    connection.execute("update t set y = y + 1 where wave = 2")
    refresh = partitions(connection, column="wave").refresh([key])
    assert refresh.scanned == scanned
    assert_same(refresh.moments, connection)


@pytest.mark.parametrize("key", ["1.4", "x", "nan"])
def test_a_key_that_is_no_value_is_refused(key: str, connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("alter table t add column wave integer; update t set wave = day - date '2025-12-31'")
    partitions(connection, column="wave").refresh()
    with pytest.raises(DataError, match=rf"no values of the column 'wave'\. Got {key}; expected INTEGER\."):
        partitions(connection, column="wave").refresh([key])
