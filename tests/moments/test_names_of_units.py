"""A unit has the same name everywhere: in fits, predictions, SQL and partitions; and NaN is no unit."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis, keep_moments
from mlm_ops.analyses.store.prediction_views import add_prediction_views, prediction_views
from mlm_ops.moments import arrays
from mlm_ops.moments.storage import load_moments
from mlm_ops.moments.units import names
from mlm_ops.plugins.duckdb import register

#: A key of each type from a whole number g of 0 to 5, and the name of the unit of g = 1.
KEYS = {
    "TINYINT": ("g::tinyint", "1"),
    "SMALLINT": ("g::smallint", "1"),
    "INTEGER": ("g::integer", "1"),
    "BIGINT": ("(g + 9007199254740992)::bigint", "9007199254740993"),
    "HUGEINT": ("(g + 170141183460469231731687303715884105721)::hugeint", "170141183460469231731687303715884105722"),
    "UTINYINT": ("g::utinyint", "1"),
    "USMALLINT": ("g::usmallint", "1"),
    "UINTEGER": ("g::uinteger", "1"),
    "UBIGINT": ("(g + 18446744073709551610)::ubigint", "18446744073709551611"),
    "UHUGEINT": ("(g + 9007199254740992)::uhugeint", "9007199254740993"),
    "BIGNUM": ("(g + 9007199254740992)::hugeint::varchar::bignum", "9007199254740993"),
    "FLOAT": ("(g + 0.1)::float", "1.1"),
    "DOUBLE": ("(g - 1)::double * -1", "0.0"),
    "DOUBLE of many digits": ("g / 3.0", "0.3333333333333333"),
    "DOUBLE of great numbers": ("g * 1e300", "1e+300"),
    "DECIMAL": ("(g + 0.5)::decimal(6, 2)", "1.50"),
    "DECIMAL of whole numbers": ("g::decimal(38, 0)", "1"),
    "BOOLEAN": ("(g % 2 = 1)", "true"),
    "VARCHAR": ("'unit ' || g", "unit 1"),
    "VARCHAR of 'nan'": ("['a', 'nan', 'NaN', 'b', 'Nan', '-0.0'][g + 1]", "nan"),
    "ENUM": ("('e' || g)::enum ('e5', 'e4', 'e3', 'e2', 'e1', 'e0')", "e1"),
    "UUID": ("('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1' || g)::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "BLOB": ("('\\xAA' || g)::blob", "\\xAA1"),
    "BIT": ("('10' || (g + 8)::utinyint::bit::varchar)::bit", "1000001001"),
    "DATE": ("date '2020-01-01' + g::integer", "2020-01-02"),
    "TIME": ("time '12:00:00' + to_seconds(g + 0.5)", "12:00:01.5"),
    "TIMETZ": ("('12:00:0' || g || '+01')::timetz", "12:00:01+01"),
    "TIMESTAMP": ("timestamp '2020-01-01' + to_seconds(g + 0.25)", "2020-01-01 00:00:01.25"),
    "TIMESTAMP at midnight": ("timestamp '2020-01-01' + to_days(g::integer)", "2020-01-02 00:00:00"),
    "TIMESTAMP_S": ("(timestamp '2020-01-01' + to_seconds(g))::timestamp_s", "2020-01-01 00:00:01"),
    "TIMESTAMP_MS": ("(timestamp '2020-01-01' + to_seconds(g))::timestamp_ms", "2020-01-01 00:00:01"),
    "TIMESTAMP_NS": ("('2020-01-01 00:00:00.12345678' || g)::timestamp_ns", "2020-01-01 00:00:00.123456781"),
    "TIMESTAMPTZ": ("timestamptz '2020-01-01 00:00:00+00' + to_hours(g::integer)", "2020-01-01 01:00:00+00"),
    "INTERVAL": ("to_months(g::integer) + to_days(3)", "1 month 3 days"),
    "LIST": ("[g, 7]", "[1, 7]"),
    "STRUCT": ("{'a': g, 'b': 'x'}", "{'a': 1, 'b': x}"),
}


def rows(key: str) -> duckdb.DuckDBPyConnection:
    """Six units of eight rows, t, in a session far from Greenwich."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'Asia/Kolkata'")
    connection.execute(
        f"create table t as select {key} as id, x, sin(7 * x + g) + g + x * cos(g) as y, "
        "case when x < 4 then 'p' else 'q' end as f from range(6) a(g), range(8) b(x)"
    )
    return connection


@pytest.mark.parametrize("kind", KEYS)
def test_a_unit_has_one_name(kind: str) -> None:
    key, name = KEYS[kind]
    connection = rows(key)
    fit = mlm.fit("y ~ within(x, id) + f + (1 | id)", "t", connection=connection)
    (distinct,) = connection.execute("select count(distinct id) from t").fetchall()[0]
    units = fit.random_effects["unit"].to_list()
    assert name in units
    assert len(set(units)) == len(units) == distinct
    by_sql = connection.sql(f"select * from ({fit.prediction_sql('t')}) order by x, y")
    by_frame = fit.predict("t", connection=connection).sort("x", "y")
    assert by_frame["new_group"].sum() == 0
    assert not any(new for (new,) in by_sql.select("new_group").fetchall())
    expected = np.array(by_sql.select("prediction").fetchall(), float).ravel()
    np.testing.assert_allclose(by_frame["prediction"].to_numpy(), expected, rtol=0, atol=1e-12)
    register(connection)
    rows_of_sql = connection.sql(
        "select unit from mlm_random_effects('y ~ within(x, id) + f + (1 | id)', 't')"
    ).fetchall()
    assert sorted(unit for (unit,) in rows_of_sql) == sorted(units)


@pytest.mark.parametrize("kind", [kind for kind in KEYS if kind not in ("INTERVAL", "TIMETZ", "BIT", "BIGNUM")])
def test_frames_are_named_as_tables_are(kind: str) -> None:
    """Types that polars does not have are left out."""
    connection = rows(KEYS[kind][0])
    fit, frame = mlm.fit("y ~ x + (1 | id)", "t", connection=connection), connection.sql("from t").pl()
    assert fit.predict(frame)["new_group"].sum() == 0
    assert set(names(frame["id"]).unique()) == set(fit.random_effects["unit"])
    ours = mlm.fit("y ~ x + (1 | id)", frame)
    assert set(ours.random_effects["unit"]) == set(fit.random_effects["unit"])
    assert ours.predict(frame)["new_group"].sum() == 0


def test_views_and_partitions_have_the_same_names_in_every_zone() -> None:
    connection = rows(KEYS["TIMESTAMPTZ"][0])
    analysis = parse_analysis("analysis: a\ndata: t\npartition: id\nmodels:\n  m: y ~ x + (1 | id)\n")
    keep_moments(analysis, connection)
    add_prediction_views(connection, prediction_views(connection, analysis, fit_analysis(analysis, connection).fits))
    parts = connection.execute("select part from main.a_moments_partitions order by part").fetchall()
    assert parts[1] == ("2020-01-01 01:00:00+00",)
    connection.execute("set timezone = 'America/St_Johns'")
    assert connection.execute("select bool_or(new_group) from mlm.predicted_a__m").fetchall() == [(False,)]
    again = keep_moments(analysis, connection)
    assert (again.scanned, again.dropped, again.rebuild_reason) == ((), (), None)
    assert keep_moments(analysis, connection, ["2020-01-01 02:00:00+01"]).scanned == ("2020-01-01 01:00:00+00",)


def test_numbers_are_the_same_numbers_in_other_types() -> None:
    """7 of whole numbers, 7.0 of doubles and 7.00 of decimals; two texts that are one number stay two."""
    fit = mlm.fit("y ~ C(x, ref='0.0') + (1 | id)", rows("g::double").sql("select * replace (x::double as x) from t"))
    for kind in ("bigint", "decimal(9, 2)", "float", "hugeint"):
        frame = rows(f"g::{kind}").sql("select * replace (x::bigint as x) from t").pl()
        assert fit.predict(frame)["new_group"].sum() == 0
    texts = mlm.fit("y ~ x + (1 | id)", rows("['1', '1.0', '2', '3', '4', '5'][g + 1]").sql("from t"))
    frame = pl.DataFrame({"x": [1.0, 1.0, 1.0], "id": [1.0, 2.0, 1.5]})
    assert texts.predict(frame)["new_group"].to_list() == [False, False, True]
    assert texts.predict(frame.cast({"id": pl.Decimal(6, 3)}))["new_group"].to_list() == [True, False, True]


NAN = float("nan")
#: Eight units of twelve rows, numbered by doubles; NaN and null are no unit.
MISSING = pl.DataFrame(
    {
        "g": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -0.0, 0.0][i // 12] if i % 12 else None for i in range(96)],
        "h": [NAN if i % 11 == 0 else float(i % 5) for i in range(96)],
        "w": [NAN if i % 13 == 0 else 1.0 + i % 3 for i in range(96)],
        "x": [float(i * 7 % 10) for i in range(96)],
        "y": [float(i * 5 % 17 + 3 * (i // 12) + i % 5) for i in range(96)],
    }
).with_columns(g=pl.when(pl.col("g") == 6.0).then(NAN).otherwise("g"))

OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "group": ("y ~ x + (1 | g)", {}, "g"),
    "nested groups": ("y ~ x + (1 | g/h)", {}, "gh"),
    "factor": ("y ~ x + C(h) + (1 | x)", {}, "h"),
    "strata": ("y ~ x + (1 | x)", {"residual": "by(h)"}, "h"),
    "weights": ("y ~ x + (1 | x)", {"weights": "w"}, "w"),
    "known variances": ("y ~ x + (1 | x)", {"residual": "fixed(w)"}, "w"),
    "cluster": ("y ~ x", {"robust": "CR1", "cluster": "g"}, "g"),
    "within a group": ("y ~ within(x, g) + between(x, g)", {}, "g"),
}


@pytest.mark.parametrize("role", OPTIONS)
@pytest.mark.parametrize("door", ["polars", "table", "parquet", "csv", "relation", "SQL"])
def test_nan_is_missing_in_every_role(role: str, door: str, tmp_path: Any) -> None:
    formula, options, columns = OPTIONS[role]
    complete = MISSING.filter([pl.col(c).is_not_null() & pl.col(c).is_not_nan() for c in columns])
    # the same units under names that are no numbers; -0.0 and 0.0 are one unit
    named_units = complete.with_columns(pl.format("u{}", (pl.col("g") + 0.0).cast(pl.Int64, strict=False)).alias("g"))
    expected = mlm.fit(formula, named_units, **options)
    connection = duckdb.connect()
    connection.register("frame", MISSING.to_arrow())
    connection.execute("create table t as from frame")
    if door == "SQL":
        register(connection)
        arguments = "".join(f", {name} := '{value}'" for name, value in options.items())
        table = connection.sql(f"select term, estimate, std_error from mlm('{formula}', 't'{arguments})").pl()
    else:
        MISSING.write_parquet(tmp_path / "t.parquet")
        MISSING.write_csv(tmp_path / "t.csv")
        data = {
            "polars": MISSING,
            "table": "t",
            "relation": connection.sql("from t"),
            "parquet": tmp_path / "t.parquet",
            "csv": tmp_path / "t.csv",
        }
        fit = mlm.fit(formula, data[door], connection=connection if door == "table" else None, **options)
        assert fit.moments.n_rows == 96
        assert fit.moments.n_obs == complete.height < 96
        assert {name for name, n in fit.moments.n_dropped.items() if n} - {"1 / w"} == set(columns)
        table = fit.fixed_effects.select("term", "estimate", "std_error")
        assert not any("nan" in str(unit) for unit in fit.random_effects["unit"])
        assert fit.predict(MISSING)["prediction"].is_not_null().sum() >= complete.height
    assert table["term"].to_list() == expected.fixed_effects["term"].to_list()
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(table[column], expected.fixed_effects[column], rtol=1e-7)


def test_zero_and_minus_zero_are_one() -> None:
    """One unit, one level, one stratum, one partition."""
    data = MISSING.filter(pl.col("g").is_not_null() & pl.col("g").is_not_nan())
    assert len(set(map(str, data["g"]))) == 7  # six numbers, and minus zero
    fit = mlm.fit("y ~ x + C(g) + (1 | g)", data, residual="by(g)")
    assert fit.random_effects["unit"].to_list() == ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"]
    assert sum(term.startswith("g[") for term in fit.fixed_effects["term"]) == 5
    assert fit.variance_components.filter(pl.col("group") == "residual").height == 6
    connection = duckdb.connect()
    connection.register("frame", data.to_arrow())
    connection.execute("create table t as from frame")
    analysis = parse_analysis("analysis: a\ndata: t\npartition: g\nmodels:\n  m: y ~ x + (1 | g)\n")
    keep_moments(analysis, connection)
    parts = connection.execute("select part, n_rows from main.a_moments_partitions order by part limit 1").fetchall()
    assert parts == [("0.0", 22)]
    assert keep_moments(analysis, connection, ["-0.0"]).scanned == ("0.0",)
    moments = load_moments(connection, "main.a_moments")
    assert mlm.fit("y ~ x + (1 | g)", moments).random_effects["unit"].to_list()[0] == "0.0"


@pytest.mark.parametrize("formula", ["y ~ log(w) + x + (1 | x)", "y ~ I(w * x) + x + (1 | x)"])
def test_what_is_missing_inside_a_function_is_missing_in_sql(formula: str) -> None:
    """Such rows are left out; to say that the function is undefined there would be wrong."""
    connection = duckdb.connect()
    connection.register("frame", MISSING.to_arrow())
    connection.execute("create table t as from frame")
    register(connection)
    estimates = connection.sql(f"select estimate from mlm('{formula}', 't')").pl()["estimate"]
    np.testing.assert_allclose(estimates, mlm.fit(formula, MISSING).fixed_effects["estimate"], rtol=1e-10)


def test_names_of_whole_numbers_are_the_same_few_or_many(monkeypatch):
    numbers = np.array([7, -3, 0, 2**62, 7])
    few = arrays.texts(numbers)
    monkeypatch.setattr(arrays, "_MANY", 2)
    many = arrays.texts(numbers)
    assert few.dtype == many.dtype
    assert few.tolist() == many.tolist() == ["7", "-3", "0", "4611686018427387904", "7"]


#: Labels of two columns; the names of their units, in order.
JOINED = {
    "a colon in both": ((["1:2", "1", "4"], ["3", "2:3", "5"]), ["1\\:2:3", "1:2:3", "4:5"]),
    "and a backslash": ((["a:", "a\\"], ["b:", ":b"]), ["a\\::b:", "a\\\\::b"]),
    "a colon in one": ((["x:1", "y"], ["3", "4"]), ["x\\:1:3", "y:4"]),
    "a time": ((["x", "y"], ["10:00", "10:30"]), ["x:10:00", "y:10:30"]),
}


@pytest.mark.parametrize("what", JOINED)
def test_units_of_several_columns_have_names_of_their_own(what: str) -> None:
    (first, second), expected = JOINED[what]
    g, h = first * 4, second * 4
    y = [float(i % 7 + i % 3) for i in range(len(g))]
    rows = pl.DataFrame({"g": g, "h": h, "y": y})
    fit = mlm.fit("y ~ 1 + (1 | g:h)", rows)
    assert sorted(fit.random_effects["unit"]) == sorted(expected)
    # each row's prediction has its own unit's effect
    effects = dict(fit.random_effects.select("unit", "estimate").iter_rows())
    predicted = fit.predict(pl.DataFrame({"g": first, "h": second}))["prediction"]
    intercept = fit.fixed_effects["estimate"][0]
    assert predicted.to_list() == pytest.approx([intercept + effects[name] for name in expected], abs=1e-12)
