"""The textbook's laws, and invariances that any fitter must have."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.source import open_source
from tests.specification.reference import reference


@pytest.fixture(scope="module")
def hsb() -> pl.DataFrame:
    return pl.read_csv(reference.HERE / "data" / "hsb.csv")


def _tau(fit: mlm.Fit) -> Any:
    return fit.estimate.tau[0]


def test_grand_mean_centering_is_a_shift(hsb: pl.DataFrame) -> None:
    """Same likelihood, slopes and sigma2; intercept and T transformed by H = [[1, -c], [0, 1]]."""
    raw = mlm.fit("mathach ~ ses + (ses | school)", hsb)
    centered = mlm.fit("mathach ~ center(ses, at=0.7) + (center(ses, at=0.7) | school)", hsb)
    shift = np.array([[1.0, 0.7], [0.0, 1.0]])
    assert centered.estimate.log_likelihood == pytest.approx(raw.estimate.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(centered.estimate.gamma, shift @ raw.estimate.gamma, rtol=1e-8)
    np.testing.assert_allclose(_tau(centered), shift @ _tau(raw) @ shift.T, rtol=1e-6)
    assert centered.estimate.sigma2 == pytest.approx(raw.estimate.sigma2, rel=1e-8)


def test_within_and_between_is_raw_and_between(hsb: pl.DataFrame) -> None:
    """With a random intercept: between effect minus within effect is the contextual effect."""
    split = mlm.fit("mathach ~ within(ses) + between(ses) + (1 | school)", hsb)
    added_back = mlm.fit("mathach ~ ses + between(ses) + (1 | school)", hsb)
    assert split.estimate.log_likelihood == pytest.approx(added_back.estimate.log_likelihood, abs=1e-8)
    _, within, between = split.estimate.gamma
    _, slope, contextual = added_back.estimate.gamma
    assert slope == pytest.approx(within, rel=1e-9)
    assert contextual == pytest.approx(between - within, rel=1e-9)


def test_within_group_centering_is_another_model(hsb: pl.DataFrame) -> None:
    """Kreft, de Leeuw and Aiken (1995): with random slopes group-mean centering is no reparametrisation."""
    raw = mlm.fit("mathach ~ ses + (ses | school)", hsb).estimate.log_likelihood
    within = mlm.fit("mathach ~ within(ses) + (within(ses) | school)", hsb).estimate.log_likelihood
    assert abs(raw - within) > 1.0


def test_between_and_within_variation_sum_to_the_total(hsb: pl.DataFrame) -> None:
    """Sums of squares: total = within + between, from the moments of one scan."""
    moments = collect(open_source(hsb), [parse_formula("mathach ~ ses + (1 | school)")])
    y = hsb["mathach"].to_numpy()
    row = [m[0].name for m in moments.schema.monomials].index("mathach")  # type: ignore[union-attr]
    within = moments.scatter[row * (row + 3) // 2].sum()
    grand = (moments.n * moments.mean[row]).sum() / moments.n_obs
    between = (moments.n * (moments.mean[row] - grand) ** 2).sum()
    assert within + between == pytest.approx(((y - y.mean()) ** 2).sum(), rel=1e-12)


def test_slope_of_the_within_part_is_that_of_regression_on_deviations(hsb: pl.DataFrame) -> None:
    """Group-mean centered, the within slope of a random-intercept model is the pooled within-group regression."""
    deviation = pl.col("ses", "mathach") - pl.col("ses", "mathach").mean().over("school")
    x, y = hsb.select(deviation).get_columns()
    fitted = mlm.fit("mathach ~ within(ses) + (1 | school)", hsb)
    assert fitted.estimate.gamma[1] == pytest.approx((x * y).sum() / (x * x).sum(), rel=1e-9)


@pytest.mark.parametrize(
    "formula", ["y ~ x * w + (x | g)", "y ~ x + w + (1 | g)", "y ~ within(x) + between(x) + (within(x) | g)"]
)
@pytest.mark.parametrize("estimator", ["reml", "ml"])
def test_a_predictor_at_a_million(formula: str, estimator: Any) -> None:
    """The test that every other fitter fails: mean 1e6, standard deviation 1."""
    data = _simulated(rows=900, groups=45)
    near = mlm.fit(formula, data, estimator=estimator)
    far = mlm.fit(formula, data.with_columns(x=pl.col("x") + 1e6), estimator=estimator)
    assert far.estimate.log_likelihood == pytest.approx(near.estimate.log_likelihood, abs=1e-6)
    # x itself has lost its digits beyond the tenth at 1e6, so slopes agree to nine
    slopes = [i for i, name in enumerate(near.fixed_effects["term"]) if "x" in name]
    np.testing.assert_allclose(far.estimate.gamma[slopes], near.estimate.gamma[slopes], rtol=1e-7)
    assert far.estimate.tau[0][-1, -1] == pytest.approx(near.estimate.tau[0][-1, -1], rel=1e-6)


@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e4, 1e4), seed=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_shifting_and_scaling_the_outcome(scale: float, shift: float, seed: int) -> None:
    data = _simulated(rows=200, groups=20, seed=seed)
    plain = mlm.fit("y ~ x + (x | g)", data)
    moved = mlm.fit("y ~ x + (x | g)", data.with_columns(y=scale * (pl.col("y") + shift)))
    free = plain.estimate.design.n_obs - 2
    # digits of y that the shift has pushed out limit the agreement
    lost = max(1.0, abs(shift)) * 1e-10
    assert moved.estimate.log_likelihood + free * np.log(scale) == pytest.approx(
        plain.estimate.log_likelihood, abs=1e-5 + lost
    )
    assert moved.estimate.gamma[1] / scale == pytest.approx(plain.estimate.gamma[1], rel=1e-6, abs=1e-7)
    assert moved.estimate.sigma2 / scale**2 == pytest.approx(plain.estimate.sigma2, rel=1e-6)


@given(seed=st.integers(0, 50))
@settings(max_examples=10, deadline=None)
def test_row_order_and_group_labels_do_not_matter(seed: int) -> None:
    data = _simulated(rows=150, groups=15)
    shuffled = data.sample(fraction=1.0, shuffle=True, seed=seed).with_columns(
        g=pl.format("unit {}", 1000 - pl.col("g"))
    )
    first, second = (mlm.fit("y ~ x + w + (x | g)", d) for d in (data, shuffled))
    assert second.estimate.log_likelihood == pytest.approx(first.estimate.log_likelihood, abs=1e-9)
    np.testing.assert_allclose(second.estimate.gamma, first.estimate.gamma, rtol=1e-8)
    np.testing.assert_allclose(second.fixed_effects["df"], first.fixed_effects["df"], rtol=1e-6)


def test_likelihoods_of_nested_models_are_ordered() -> None:
    data = _simulated(rows=400, groups=30)
    formulas = [
        "y ~ 1",
        "y ~ 1 + (1 | g)",
        "y ~ x + (1 | g)",
        "y ~ x + (x || g)",
        "y ~ x + (x | g)",
        "y ~ x * w + (x | g)",
    ]
    likelihoods = [mlm.fit(f, data, estimator="ml").estimate.log_likelihood for f in formulas]
    assert all(b >= a - 1e-9 for a, b in pairwise(likelihoods))


def test_likelihood_is_that_of_the_normal_density() -> None:
    """The slow, obvious version: the N x N covariance matrix and its determinant."""
    data = _simulated(rows=60, groups=8)
    formula = parse_formula("y ~ x + w + (x | g)")
    moments = collect(open_source(data), [formula])
    x = np.column_stack([np.ones(60), data["x"], data["w"]])
    z = np.hstack([x[:, :2] * (data["g"].to_numpy() == g)[:, None] for g in sorted(data["g"].unique())])
    y = data["y"].to_numpy()
    for estimator in ("ml", "reml"):
        fit = fit_model(Request(formula, estimator), moments)  # type: ignore[arg-type]
        v = z @ np.kron(np.eye(8), _tau(fit)) @ z.T + fit.estimate.sigma2 * np.eye(60)
        inverse = np.linalg.inv(v)
        vcov = np.linalg.inv(x.T @ inverse @ x)
        gamma = vcov @ x.T @ inverse @ y
        residual = y - x @ gamma
        deviance = np.linalg.slogdet(v)[1] + residual @ inverse @ residual + 60 * np.log(2 * np.pi)
        if estimator == "reml":
            deviance += -np.linalg.slogdet(vcov)[1] - 3 * np.log(2 * np.pi)
        np.testing.assert_allclose(fit.estimate.gamma, gamma, rtol=1e-9)
        np.testing.assert_allclose(fit.vcov, vcov, rtol=1e-9, atol=1e-12)
        assert fit.estimate.log_likelihood == pytest.approx(-deviance / 2, abs=1e-9)


ANALYSIS = """
analysis: counted
data: students
levels: school
models:
  regression: mathach ~ ses
  anova: mathach ~ 1 + (1 | school)
  slopes: mathach ~ within(ses) * sector + between(ses) + sex + (within(ses) | school)
compare: [anova, slopes]
"""


class _CountingConnection:
    """Passes everything on and keeps the SQL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection, self.queries = connection, []  # type: ignore[var-annotated]

    def execute(self, sql: str) -> Any:
        self.queries.append(sql)
        return self.connection.execute(sql)


@pytest.mark.parametrize("models", [1, 3])
def test_one_scan_serves_all_models(hsb: pl.DataFrame, models: int) -> None:
    """However many models an analysis has, its rows are surveyed once and grouped once."""
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(hsb))
    connection.execute("create table students as from frame")
    analysis = parse_analysis(ANALYSIS)
    if models == 1:
        analysis = analysis.model_copy(update={"models": {"slopes": analysis.models["slopes"]}, "compare": ()})
    counting = _CountingConnection(connection)
    result = fit_analysis(analysis, counting)  # type: ignore[arg-type]
    assert len(result.fits) == models
    of_the_catalog = ("describe", "select 1 from pragma_table_info")
    touching = [sql for sql in counting.queries if "students" in sql and not sql.startswith(of_the_catalog)]
    grouping = [sql for sql in touching if "sum(" in sql]
    assert len(touching) == 2
    assert len(grouping) == 1


def test_all_models_of_an_analysis_see_the_same_rows() -> None:
    """A row that lacks a value in one model's column is left out of all of them, and counted."""
    data = _simulated(rows=100, groups=10).with_columns(
        w=pl.when(pl.int_range(100) < 7).then(None).otherwise(pl.col("w"))
    )
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(data))
    analysis = parse_analysis("{analysis: a, data: frame, models: {one: 'y ~ 1 + (1 | g)', two: 'y ~ w + (1 | g)'}}")
    result = fit_analysis(analysis, connection)
    assert [f.estimate.design.n_obs for f in result.fits.values()] == [93, 93]
    assert run_facts(analysis, result.moments)["n_dropped"] == '{"w": 7}'


def _simulated(rows: int, groups: int, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.sort(rng.permutation(np.arange(rows) % groups))
    w = rng.normal(size=groups)[g]
    x = rng.normal(size=rows) + 0.5 * w
    u = rng.normal(size=(2, groups)) * [[0.8], [0.4]]
    y = 1 + u[0][g] + (0.5 + u[1][g]) * x + 0.3 * w + rng.normal(size=rows)
    return pl.DataFrame({"g": g, "w": w, "x": x, "y": y})
