"""poly(), sum coding and column types, against numpy's QR and columns made by hand; one scan serves them all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError, FormulaError
from mlm_ops.inference.prediction.rows import predict
from mlm_ops.moments import collect as collect_module
from mlm_ops.plugins.duckdb import register

N = 400


def _rows(offset: float = 1e6) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(20), 20)
    x = offset + rng.gamma(2, 1, N) + 0.1 * g
    kind = rng.choice(["a", "b", "c"], N)
    y = 0.4 * (x - offset) ** 2 + (kind == "b") + rng.normal(size=20)[g] + rng.normal(size=N)
    return pl.DataFrame({"y": y, "x": x, "kind": kind, "g": g, "w": (g * 7 % 5) * 1.0, "yes": rng.random(N) < 0.5})


ROWS = _rows()


def _poly(x: np.ndarray, degree: int) -> np.ndarray:
    """R's poly(): QR of the powers of x - mean(x), leading coefficients positive."""
    q, r = np.linalg.qr(np.vander(x - x.mean(), degree + 1, increasing=True))
    return (q * np.sign(np.diag(r)))[:, 1:]


def _columns(fit: mlm.Fit, rows: pl.DataFrame) -> np.ndarray:
    """(n, p) the fixed part's columns on rows: predictions where one coefficient is one and the others zero."""
    units = np.eye(len(fit.estimate.gamma))
    estimates = (replace(fit.estimate, gamma=unit) for unit in units)
    frames = (predict(fit.model, one, (), fit.method, fit.moments, rows, "marginal") for one in estimates)
    return np.column_stack([frame["prediction"] for frame in frames])


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("degree", [1, 2, 4])
def test_poly_equals_that_of_r(offset: float, degree: int) -> None:
    """To 1e-10 at 1e6: coefficients, and the columns themselves on new rows."""
    rows = _rows(offset)
    fit = mlm.fit(f"y ~ poly(x, {degree})", rows)
    columns = _poly(rows["x"].to_numpy(), degree)
    ours = _columns(fit, rows)[:, 1:]
    np.testing.assert_allclose(ours, columns, atol=1e-10)
    expected = columns.T @ rows["y"].to_numpy()
    np.testing.assert_allclose(fit.fixed_effects["estimate"][1:], expected, rtol=1e-9, atol=1e-9)
    assert list(fit.fixed_effects["term"][1:]) == [f"poly(x, {degree})[{k}]" for k in range(1, degree + 1)]


def test_poly_of_r_itself() -> None:
    """R 4.2: poly(1e6 + (1:6)^2, 2)[1:3, ]."""
    rows = pl.DataFrame({"x": 1e6 + np.arange(1, 7) ** 2.0, "y": [1.0, 3, 2, 5, 4, 6]})
    fit = mlm.fit("y ~ poly(x, 2)", rows)
    ours = _columns(fit, rows)[:3, 1:]
    expected = [
        [-0.4735835389339088, 0.4700383920289684],
        [-0.3732952601008456, 0.1504240757099397],
        [-0.2061481287124073, -0.2470059610286009],
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("notation", "by_hand"),
    [
        ("poly(x, 3) * kind", "(p1 + p2 + p3) * kind"),
        ("poly(x, 2, raw=True)", "center(x) + I((x - 1e6)**2)"),
        ("within(poly(x, 2))", "within(p1) + within(p2)"),
        ("between(poly(x, 2)) + within(poly(x, 2))", "between(p1) + between(p2) + within(p1) + within(p2)"),
        ("poly(w, 2):within(x)", "q1:within(x) + q2:within(x)"),
        ("poly(center(x), 2, raw=True) * within(kind)", "(center(x) + I((x - 1e6)**2)) * within(kind)"),
        ("C(kind, sum)", "s1 + s2"),
        ("C(kind, sum) * within(x)", "(s1 + s2) * within(x)"),
        ("C(kind, sum, ref='b')", "t1 + t2"),
        ("within(C(kind, sum)) + between(C(kind, sum))", "within(s1) + within(s2) + between(s1) + between(s2)"),
        ("yes * log(x)", "v * log(x)"),
    ],
)
def test_notations_equal_columns_by_hand(notation: str, by_hand: str) -> None:
    """The same span gives the same likelihood (ML) and predictions."""
    p, q = _poly(ROWS["x"].to_numpy(), 3), _poly(ROWS["w"].to_numpy(), 2)
    kind = pl.col("kind")
    rows = ROWS.with_columns(
        *(pl.Series(f"p{k + 1}", p[:, k]) for k in range(3)),
        *(pl.Series(f"q{k + 1}", q[:, k]) for k in range(2)),
        s1=(kind == "a").cast(pl.Float64) - (kind == "c"),
        s2=(kind == "b").cast(pl.Float64) - (kind == "c"),
        t1=(kind == "a").cast(pl.Float64) - (kind == "b"),
        t2=(kind == "c").cast(pl.Float64) - (kind == "b"),
        v=pl.col("yes").cast(pl.Float64),
    )
    ours, theirs = (mlm.fit(f"y ~ {f} + (1 | g)", rows, estimator="ml") for f in (notation, by_hand))
    expected = theirs.fit_statistics["log_likelihood"][0]
    assert ours.fit_statistics["log_likelihood"][0] == pytest.approx(expected, abs=1e-6)
    few = rows[:50]
    # x squared at 1e6 is 1e12, so a prediction by its coefficients keeps four decimals of a double's sixteen digits
    atol = 1e-3 if notation == "poly(x, 2, raw=True)" else 1e-5
    np.testing.assert_allclose(ours.predict(few)["prediction"], theirs.predict(few)["prediction"], rtol=0, atol=atol)


def test_names() -> None:
    fit = mlm.fit("y ~ C(kind, sum) * poly(within(x), 2) + yes + (1 | g)", ROWS)
    assert list(fit.fixed_effects["term"]) == [
        "(Intercept)",
        "kind[S.a]",
        "kind[S.b]",
        "poly(within(x), 2)[1]",
        "poly(within(x), 2)[2]",
        "yes[true]",
        "kind[S.a]:poly(within(x), 2)[1]",
        "kind[S.a]:poly(within(x), 2)[2]",
        "kind[S.b]:poly(within(x), 2)[1]",
        "kind[S.b]:poly(within(x), 2)[2]",
    ]
    assert fit.test("poly(within(x), 2)")["df1"][0] == 2
    assert fit.test("C(kind, sum)")["df1"][0] == 2


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["c", "a", "b"])])
def test_categorical_columns_of_polars(dtype: Any) -> None:
    """They come as text, in the order of their code points: the reference is named by C(x, ref=) or by an ENUM."""
    fit = mlm.fit("y ~ kind + (1 | g)", ROWS.with_columns(pl.col("kind").cast(dtype)))
    assert list(fit.fixed_effects["term"][1:]) == ["kind[b]", "kind[c]"]


def test_enum_of_duckdb_keeps_its_order() -> None:
    connection = duckdb.connect()
    connection.register("rows", ROWS.to_arrow())
    connection.execute("create table t as select * replace (kind::enum('b', 'a', 'c') as kind) from rows")
    fit = mlm.fit("y ~ kind + C(kind, sum):x", "t", connection=connection)
    assert list(fit.fixed_effects["term"][1:3]) == ["kind[a]", "kind[c]"]


@pytest.mark.parametrize("kind", ["bigint", "ubigint", "hugeint", "decimal(38, 0)", "decimal(30, 3)"])
def test_levels_of_long_numbers_have_an_order(kind: str) -> None:
    """As doubles they are equal: 1541815603606036480 and the next five."""
    expected = [f"id[154181560360603648{i}{'.000' if kind.endswith('3)') else ''}]" for i in range(1, 6)]
    with duckdb.connect() as connection:
        register(connection)
        made = "(1541815603606036480 + (i * 7919) % 13 % 6)"
        rows = (
            f"select {made}::{kind} as id, i % 20 as g, i * 37 % 11 + (i * 7919) % 13 % 6 as y from range(600) as r(i)"
        )
        for order in ("i", "-i", "hash(i)"):
            connection.execute(f"create or replace table rows as {rows} order by {order}")
            fit = mlm.fit("y ~ C(id) + (1 | g)", "rows", connection=connection).fixed_effects
            assert fit["term"].to_list()[1:] == expected
            # the reference is the smallest number: the mean of its rows is 5 in every order
            assert fit["estimate"][0] == pytest.approx(5.0, abs=0.05)
            by_sql = connection.execute("select term, estimate from mlm('y ~ C(id) + (1 | g)', 'rows')").fetchall()
            assert [term for term, _ in by_sql[1:]] == expected
            assert [estimate for _, estimate in by_sql] == pytest.approx(fit["estimate"].to_list(), rel=1e-9)


def test_dates_are_refused() -> None:
    rows = ROWS.with_columns(day=pl.date(2024, 1, 1))
    with pytest.raises(DataError, match=r"Column 'day' is neither numeric nor text. Got DATE; make a number of it in"):
        mlm.fit("y ~ day + (1 | g)", rows)


@pytest.mark.parametrize(
    ("formula", "error", "sentence"),
    [
        ("y ~ poly(x)", FormulaError, "write poly(x, 2)"),
        ("y ~ poly(x, 9)", FormulaError, "whole number from 1 to 8"),
        ("y ~ poly(x, 1.5)", FormulaError, "whole number from 1 to 8"),
        ("y ~ poly(x, 2, raw=3)", FormulaError, "raw=True or raw=False"),
        ("y ~ poly(poly(x, 2), 2)", FormulaError, "cannot be inside another"),
        ("y ~ C(kind, helmert)", FormulaError, "is one of treatment, sum"),
        ("y ~ poly(kind, 2)", DataError, "poly(kind, 2) needs numbers. Got text in column 'kind'"),
        ("y ~ poly(w, 5)", DataError, "poly(w, 5) needs more different values of w than its degree. Got 5 or fewer"),
    ],
)
def test_refused(formula: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as fault:
        mlm.fit(formula, ROWS)
    assert sentence in str(fault.value)


def test_one_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A survey and one GROUP BY, whatever the notation."""
    scans: list[str] = []
    query = collect_module.moments_query

    def counting_query(*arguments: Any, **options: Any) -> Any:
        scans.append("scan")
        return query(*arguments, **options)

    monkeypatch.setattr(collect_module, "moments_query", counting_query)
    mlm.fit("y ~ poly(x, 3) * C(kind, sum) + within(log(x)):yes + between(poly(x, 2)) + (within(x) | g)", ROWS)
    assert scans == ["scan"]


@pytest.mark.parametrize(
    "term", ["poly(x, 2)", "within(x)", "C(kind, sum):x", "kind", "I(x / w)", "exp(x - 1e6)", "abs(x)"]
)
def test_missing_values_are_counted_whatever_the_notation(term: str) -> None:
    """Null and NaN; each row once in the rows left out, each column by its own gaps."""
    at = pl.int_range(N)
    rows = ROWS.with_columns(
        x=pl.when(at % 50 == 0).then(None).when(at % 50 == 1).then(np.nan).otherwise("x"),
        kind=pl.when(at % 40 != 0).then("kind"),
        w=pl.col("w") + 1.0,
    )
    fit = mlm.fit(f"y ~ {term} + (1 | g)", rows)
    complete = rows.drop_nulls(["kind"] * ("kind" in term) + ["x"] * ("x" in term))
    complete = complete.filter(pl.col("x").is_not_nan()) if "x" in term else complete
    assert fit.fit_statistics["n_obs"][0] == complete.height
    assert fit.n_rows == N
    again = mlm.fit(f"y ~ {term} + (1 | g)", complete)
    np.testing.assert_allclose(fit.fixed_effects["estimate"], again.fixed_effects["estimate"], rtol=1e-6)


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ("log(w)", "log(w) is undefined in 80 of 400 rows"),
        ("sqrt(w - 1)", "sqrt(w - 1) is undefined in 80 of 400 rows"),
        ("I(x / w)", "I(x / w) is undefined in 80 of 400 rows"),
        ("I((w - 2)**0.5)", "is undefined in 160 of 400 rows"),
        ("exp(x)", "exp(x) holds infinite values"),
    ],
)
def test_functions_out_of_their_domain_are_refused(term: str, sentence: str) -> None:
    """Rows where a function of the formula is undefined are not dropped silently."""
    with pytest.raises(DataError) as fault:
        mlm.fit(f"y ~ {term} + (1 | g)", ROWS)
    assert sentence in str(fault.value)


def test_a_model_cannot_see_other_rows_than_its_siblings() -> None:
    """Moments hold the rows complete on all columns of the analysis; a model of other columns finds no moments."""
    from mlm_ops.language.formula import parse_formula
    from mlm_ops.language.request import Request
    from mlm_ops.moments.collect import collect
    from mlm_ops.results.fitting import fit_model
    from mlm_ops.warehouse.source import open_source

    rows = ROWS.with_columns(x=pl.when(pl.int_range(N) % 4 != 0).then("x"))
    models = [parse_formula(f) for f in ("y ~ 1 + (1 | g)", "y ~ poly(x, 2) + (1 | g)")]
    moments = collect(open_source(rows), models)
    assert [fit_model(Request(m), moments).fit_statistics["n_obs"][0] for m in models] == [300, 300]
    with pytest.raises(DataError, match="The moments have no sums of w"):
        fit_model(Request(parse_formula("y ~ w + (1 | g)")), moments)
    with pytest.raises(DataError, match="The moments have no sums of"):
        fit_model(Request(parse_formula("y ~ poly(x, 3) + (1 | g)")), moments)


def test_a_stray_word_in_a_column_of_numbers_is_told() -> None:
    """The column is text then, and each of its values a coefficient."""
    ages = [str(age) for age in range(20, 30)] * 4
    data = pl.DataFrame({"y": np.arange(40.0) % 7, "g": np.arange(40) % 8, "age": ["k.A.", *ages[1:]]})
    fit = mlm.fit("y ~ age + (1 | g)", data)
    assert fit.notes[0] == (
        "age is text, with a coefficient for each value, though 10 of its 11 values are numbers; if it is to be one "
        "predictor, make 'k.A.' missing"
    )
    kinds = data.with_columns(age=pl.Series(["a1", "a2", "3", "4"] * 10))
    assert not any("is text" in note for note in mlm.fit("y ~ age + (1 | g)", kinds).notes)
