"""A T that is given and not estimated: against the free fit, the dense normal likelihood, and comparisons."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis_model
from mlm_ops.errors import AnalysisError, FormulaError, MlmError
from mlm_ops.inference.comparison import compare_estimates
from tests.specification.reference import reference

Array = NDArray[np.float64]
GIVEN = np.array([[1.5, 0.2], [0.2, 0.3]])


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Classes in schools, crossed with raters; 160 rows of unequal groups."""
    rng = np.random.default_rng(5)
    school = np.sort(rng.integers(0, 12, 160))
    klass, rater = school * 3 + rng.integers(0, 3, 160), rng.integers(0, 9, 160)
    x = rng.normal(size=160) + 2
    y = 1 + x + rng.normal(size=12)[school] * (1 + 0.5 * x) + 0.7 * rng.normal(size=36)[klass]
    y += 0.5 * rng.normal(size=9)[rater] + 1.2 * rng.normal(size=160)
    return pl.DataFrame({"y": y, "x": x, "school": school, "class": klass, "rater": rater})


def _deviance(y: Array, x: Array, v: Array, *, reml: bool) -> tuple[float, Array, Array]:
    """-2 log-likelihood of ``y ~ N(X beta, V)`` at the best beta; beta and its covariance matrix."""
    inverse = np.linalg.inv(v)
    precision = x.T @ inverse @ x
    beta = np.linalg.solve(precision, x.T @ inverse @ y)
    rest = y - x @ beta
    deviance = np.linalg.slogdet(v)[1] + rest @ inverse @ rest + (len(y) - reml * x.shape[1]) * np.log(2 * np.pi)
    return deviance + reml * np.linalg.slogdet(precision)[1], beta, np.linalg.inv(precision)


@pytest.mark.parametrize("estimator", ["reml", "ml"])
@pytest.mark.parametrize("name", ["sleep_rs", "sim3_nested", "penicillin_reml"])
def test_a_t_given_at_the_estimate_has_the_free_fit(name: str, estimator: Any) -> None:
    """Nested, several levels, crossed: likelihood, coefficients, errors, predictions; only what is known differs."""
    formula, table, connection = reference.case(name)["formula"], reference.table(name), reference.connection()
    free = mlm.fit(formula, table, connection=connection, estimator=estimator)
    levels = free.estimate.design.levels
    given = {":".join(level.group): tau.tolist() for level, tau in zip(levels, free.estimate.tau, strict=True)}
    fixed = mlm.fit(formula, table, connection=connection, estimator=estimator, covariance=given)
    assert fixed.converged
    assert fixed.estimate.log_likelihood == pytest.approx(free.estimate.log_likelihood, abs=1e-8)
    np.testing.assert_allclose(fixed.estimate.gamma, free.estimate.gamma, rtol=1e-8)
    np.testing.assert_allclose(np.diag(fixed.vcov), np.diag(free.vcov), rtol=1e-7)
    assert fixed.estimate.sigma2 == pytest.approx(free.estimate.sigma2, rel=1e-6)
    assert fixed.equations() == free.equations()
    assert fixed.estimate.n_parameters == len(free.estimate.gamma) + 1
    for ours, theirs in zip(fixed.block_effects, free.block_effects, strict=True):
        np.testing.assert_allclose(ours.estimate, theirs.estimate, atol=1e-6 * np.abs(theirs.estimate).max())
        np.testing.assert_allclose(ours.variance, theirs.variance, atol=1e-6 * np.abs(theirs.variance).max())
    table = fixed.variance_components.filter(pl.col("group") != "residual")
    assert table["std_error"].null_count() == len(table)
    assert set(fixed.intervals()["group"].to_list()) == {"residual", None}


@pytest.mark.parametrize("reml", [True, False])
def test_a_t_given_elsewhere_against_the_dense_likelihood(rows: pl.DataFrame, reml: bool) -> None:
    """A T far from the estimate; sigma2 and its standard error from a dense likelihood, minimised by scipy."""
    options: dict[str, Any] = {"estimator": "reml" if reml else "ml", "covariance": {"school": GIVEN.tolist()}}
    ours = mlm.fit("y ~ x + (x | school)", rows, **options)
    y, x = rows["y"].to_numpy(), np.column_stack((np.ones(len(rows)), rows["x"]))
    same = rows["school"].to_numpy()[:, None] == rows["school"].to_numpy()

    def deviance(sigma2: float) -> tuple[float, Array, Array]:
        return _deviance(y, x, same * (x @ GIVEN @ x.T) + sigma2 * np.eye(len(y)), reml=reml)

    found = minimize(lambda log: deviance(np.exp(log[0]))[0], [0.0], method="Nelder-Mead", options={"xatol": 1e-10})
    sigma2 = float(np.exp(found.x[0]))
    lowest, beta, vcov = deviance(sigma2)
    assert ours.estimate.log_likelihood == pytest.approx(-lowest / 2, abs=1e-8)
    assert ours.estimate.sigma2 == pytest.approx(sigma2, rel=1e-6)
    np.testing.assert_allclose(ours.estimate.gamma, beta, rtol=1e-6)
    np.testing.assert_allclose(ours.vcov, vcov, rtol=1e-6)
    np.testing.assert_allclose(ours.estimate.tau[0], GIVEN, rtol=1e-12)
    h = 1e-3 * sigma2
    curvature = (deviance(sigma2 + h)[0] - 2 * lowest + deviance(sigma2 - h)[0]) / h**2
    # second differences: 1e-5
    assert ours.variance_components["std_error"][-1] == pytest.approx(np.sqrt(2 / curvature), rel=1e-4)
    # Satterthwaite: 2 v^2 / (dv/dsigma2)^2 Var(sigma2)
    slope = (deviance(sigma2 + h)[2] - deviance(sigma2 - h)[2]) / (2 * h)
    df = 2 * np.diag(vcov) ** 2 / (np.diag(slope) ** 2 * 2 / curvature)
    np.testing.assert_allclose(ours.fixed_effects["df"], df, rtol=1e-4)


MIXED = {
    "a block beside an estimated one": ("y ~ x + (1 | school) + (0 + x | school)", {"0 + x | school": 0.3}),
    "an upper level": ("y ~ x + (1 | class) + (1 | school)", {"school": 2.0}),
    "a lower level": ("y ~ x + (1 | class) + (1 | school)", {"class": "0.4"}),
    "crossed": ("y ~ x + (1 | school) + (1 | rater)", {"rater": 0.4}),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_given_t_beside_an_estimated_one(rows: pl.DataFrame, name: str) -> None:
    """REML over the other variance and sigma2, dense, by scipy."""
    formula, covariance = MIXED[name]
    ours = mlm.fit(formula, rows, covariance=covariance)
    y, x = rows["y"].to_numpy(), np.column_stack((np.ones(len(rows)), rows["x"]))
    parts = []
    for level in ours.estimate.design.levels:
        codes = rows[level.group[0]].to_numpy()
        for block in level.blocks:
            z = np.ones(len(y)) if block.columns[0].name == "(Intercept)" else x[:, 1]
            known = None if isinstance(block.covariance, str) else block.covariance[0][0]
            parts.append(((codes[:, None] == codes) * np.outer(z, z), known))

    def deviance(logs: Array) -> float:
        v = np.exp(logs[0]) * np.eye(len(y))
        for matrix, known in parts:
            v += matrix * (np.exp(logs[1]) if known is None else known)
        return _deviance(y, x, v, reml=True)[0]

    there = [np.log(ours.estimate.sigma2)]
    there += [np.log(t[0, 0]) for t, (_, known) in zip(ours.estimate.tau, parts, strict=True) if known is None]
    assert ours.estimate.log_likelihood == pytest.approx(-deviance(np.array(there)) / 2, abs=1e-8)
    found = minimize(deviance, np.zeros(2), method="BFGS", options={"gtol": 1e-6})
    assert ours.estimate.log_likelihood == pytest.approx(-found.fun / 2, abs=1e-6)
    np.testing.assert_allclose(there, found.x, atol=1e-4)


def test_kenward_roger_takes_it_as_known(rows: pl.DataFrame) -> None:
    """Kenward and Roger (1997) with sigma2 as the only parameter, by the book with N x N matrices."""
    ours = mlm.fit("y ~ x + (x | school)", rows, df="kenward-roger", covariance={"school": GIVEN.tolist()})
    x, codes = np.column_stack((np.ones(len(rows)), rows["x"])), rows["school"].to_numpy()
    inverse = np.linalg.inv((codes[:, None] == codes) * (x @ GIVEN @ x.T) + ours.estimate.sigma2 * np.eye(len(x)))
    phi = np.linalg.inv(x.T @ inverse @ x)
    p, q = -x.T @ inverse @ inverse @ x, x.T @ inverse @ inverse @ inverse @ x
    w = 2 / (np.trace(inverse @ inverse) - 2 * np.trace(phi @ q) + np.trace(phi @ p @ phi @ p))
    np.testing.assert_allclose(ours.vcov, phi + 2 * phi @ (w * (q - p @ phi @ p)) @ phi, rtol=1e-8)
    df = 2 * np.diag(phi) ** 2 / (w * np.diag(phi @ p @ phi) ** 2)
    np.testing.assert_allclose(ours.fixed_effects["df"], df, rtol=1e-8)


def test_a_given_t_of_zero_is_no_random_effect(rows: pl.DataFrame) -> None:
    """A variance given as zero: regression, to the last digit, and no singular fit."""
    zero = mlm.fit("y ~ x + (1 | school)", rows, covariance={"school": 0}, df="kenward-roger")
    plain = mlm.fit("y ~ x", rows)
    assert not zero.singular
    assert zero.estimate.log_likelihood == pytest.approx(plain.estimate.log_likelihood, abs=1e-9)
    for column in ("estimate", "std_error", "df", "p_value"):
        np.testing.assert_allclose(zero.fixed_effects[column], plain.fixed_effects[column], rtol=1e-8)


def test_scale_and_shift(rows: pl.DataFrame) -> None:
    """T moves with the units of the data; a predictor at a million loses nothing."""
    here = mlm.fit("y ~ x + (x | school)", rows, covariance={"school": GIVEN.tolist()})
    moved = rows.with_columns(pl.col("x") + 1e6, pl.col("y") * 1e3)
    back = np.array([[1.0, -1e6], [0.0, 1.0]])
    given = 1e6 * back @ GIVEN @ back.T
    there = mlm.fit("y ~ x + (x | school)", moved, covariance={"school": given.tolist()})
    # T's own entries carry 1e12 times the intercept's variance, so it is known to a ten-thousandth
    assert there.estimate.sigma2 == pytest.approx(1e6 * here.estimate.sigma2, rel=1e-3)
    scaled = rows.with_columns(pl.col("x") * 1e-3, pl.col("y") * 1e3)
    units = np.diag([1e3, 1e6])
    there = mlm.fit("y ~ x + (x | school)", scaled, covariance={"school": (units @ GIVEN @ units).tolist()})
    assert there.estimate.sigma2 == pytest.approx(1e6 * here.estimate.sigma2, rel=1e-9)


def test_only_estimated_parameters_have_intervals(rows: pl.DataFrame) -> None:
    """Only what is estimated has rows; profile limits are where the dense ML deviance has risen enough."""
    ours = mlm.fit("y ~ x + (1 | class) + (1 | school)", rows, covariance={"class": 0.4}, estimator="ml")
    for method in ("wald", "profile", "bootstrap"):
        table = ours.intervals(method, samples=20)
        assert table["group"].to_list() == ["school", "residual", None, None]
        assert (table["conf_low"] < table["estimate"]).all()
        assert (table["estimate"] < table["conf_high"]).all()
    profile = ours.intervals("profile")
    y, x = rows["y"].to_numpy(), np.column_stack((np.ones(len(rows)), rows["x"]))
    klass, school = (rows[g].to_numpy()[:, None] == rows[g].to_numpy() for g in ("class", "school"))

    def deviance(tau: float, sigma: float, outcome: Array, columns: Array) -> float:
        v = 0.4 * klass + tau**2 * school + sigma**2 * np.eye(len(y))
        return _deviance(outcome, columns, v, reml=False)[0]

    start, lowest = np.sqrt([ours.estimate.tau[1][0, 0], ours.estimate.sigma2]), -2 * ours.estimate.log_likelihood
    for limit in ("conf_low", "conf_high"):
        tau, sigma, _, slope = profile[limit]
        over = {
            "tau": minimize(lambda s, t=tau: deviance(t, s[0], y, x), start[1:]).fun,
            "sigma": minimize(lambda t, s=sigma: deviance(t[0], s, y, x), start[:1]).fun,
            "slope": minimize(lambda p, b=slope: deviance(p[0], p[1], y - b * x[:, 1], x[:, :1]), start).fun,
        }
        for rise in over.values():
            assert rise - lowest == pytest.approx(3.841458820694124, abs=1e-4)


def test_ratio_against_the_free_model(rows: pl.DataFrame) -> None:
    """Three elements of T are freed: chi-square of three degrees of freedom, as they are no boundary."""
    free = mlm.fit("y ~ x + (x | school)", rows, estimator="ml")
    given = mlm.fit("y ~ x + (x | school)", rows, estimator="ml", covariance={"school": GIVEN.tolist()})
    found = compare_estimates(free.model, free.estimate, given.model, given.estimate)
    assert found.df == 3
    assert found.note is None
    assert found.p_value_mixture is None
    assert found.statistic == pytest.approx(2 * (free.estimate.log_likelihood - given.estimate.log_likelihood))
    other = mlm.fit("y ~ x + (x | school)", rows, estimator="ml", covariance={"school": np.eye(2).tolist()})
    assert compare_estimates(given.model, given.estimate, other.model, other.estimate).statistic is None
    assert compare_estimates(other.model, other.estimate, free.model, free.estimate).statistic is None
    wider = mlm.fit("y ~ x + I(x**2) + (x | school)", rows, estimator="ml", covariance={"school": GIVEN.tolist()})
    assert compare_estimates(wider.model, wider.estimate, given.model, given.estimate).df == 1


def test_one_row_a_group_is_enough_where_t_is_known() -> None:
    """Sampling variances of a meta-analysis and the like: T and sigma2 need not be told apart."""
    rng = np.random.default_rng(0)
    data = pl.DataFrame({"y": rng.normal(size=40) * 2, "g": np.arange(40)})
    known = mlm.fit("y ~ 1 + (1 | g)", data, covariance={"g": 1.0})
    assert known.estimate.sigma2 == pytest.approx(np.var(data["y"].to_numpy(), ddof=1) - 1.0, rel=1e-6)


def test_analysis_files_give_numbers_as_text(rows: pl.DataFrame) -> None:
    text = """
analysis: given
data: rows
covariance: {school: [[1.5, 0.2], [0.2, 0.3]]}
models:
  slopes: y ~ x + (x | school)
  raters: {formula: y ~ x + (1 | rater), covariance: {rater: 0.4}}
  free: {formula: y ~ x + (x | school), covariance: {school: unstructured}}
"""
    import duckdb

    connection = duckdb.connect()
    connection.register("rows", rows)
    analysis = parse_analysis(text)
    moments = collect_analysis(analysis, connection)
    fits = {name: fit_analysis_model(analysis, name, moments) for name in analysis.models}
    np.testing.assert_allclose(fits["slopes"].estimate.tau[0], GIVEN, rtol=1e-12)
    assert fits["raters"].estimate.tau[0][0, 0] == pytest.approx(0.4)
    assert fits["free"].estimate.n_parameters == fits["slopes"].estimate.n_parameters + 3


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("(x | school)", {"school": -1}, r"without a negative variance in any direction\. Got -1"),
    ("(x | school)", {"school": [[1, 2], [3, 4]]}, r"symmetric matrix"),
    ("(x | school)", {"school": [[1, 2], [2, 1]]}, r"without a negative variance in any direction"),
    ("(x | school)", {"school": [[1, 2], [2]]}, r"one variance, or a symmetric matrix"),
    (
        "(x | school)",
        {"school": float("nan")},
        r"covariance is not understood\. Got \{'school': nan\}; expected for each grouping factor",
    ),
    ("(x | school)", {"school": 1.0}, r"Got a matrix of 1 rows; expected 2, in the order \(Intercept\), x"),
    ("(x || school)", {"school": 1.0}, r"2 random blocks of school\. Name them one by one: '1 \| school', '0 \+ x"),
    ("(x | school)", {"0 + x | school": 1.0}, r"Got '0 \+ x \| school'; expected one of school\."),
    ("(x || school)", {"x | school": 1.0}, r"expected one of school, 1 \| school, 0 \+ x \| school\."),
]


@pytest.mark.parametrize(("random", "covariance", "sentence"), FAULTS)
def test_faults_are_refused_in_a_sentence(
    rows: pl.DataFrame, random: str, covariance: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(FormulaError, match=sentence):
        mlm.fit(f"y ~ x + {random}", rows, covariance=covariance)


def test_faults_of_analysis_files() -> None:
    head = "analysis: a\ndata: d\nmodels: {m: y ~ x + (1 | g)}\ncovariance: "
    with pytest.raises(AnalysisError, match="Model 'm': covariance of g is a structure's name"):
        _ = parse_analysis(head + "{g: {a: b}}").compiled_models
    with pytest.raises(AnalysisError, match="Model 'm': covariance of g is a structure's name"):
        _ = parse_analysis(head + "{g: [[-1]]}").compiled_models
    with pytest.raises(MlmError, match="Unknown covariance structure"):
        mlm.fit(
            "y ~ x + (1 | g)",
            pl.DataFrame({"y": [1.0, 2, 4], "x": [1.0, 3, 2], "g": [1, 1, 2]}),
            covariance={"g": "one"},
        )
