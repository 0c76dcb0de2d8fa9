"""within(y) and between(y) as outcomes, against numpy on the rows and on the aggregated rows.

The same least squares by another route: 1e-8 relative covers the condition of a predictor at 1e6.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError, IdentificationError

RTOL = 1e-8
J, N = 30, 600


def _rows(balanced: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(J), N // J) if balanced else np.sort(rng.integers(0, J, N))
    w, u = rng.normal(size=J)[g], rng.normal(size=J)[g]
    x = 1e6 + rng.gamma(2, 1, N) + 0.1 * g
    z = rng.normal(size=N)
    y = 0.5 * (x - 1e6) + w + u + rng.normal(size=N)
    return pl.DataFrame({"y": y, "x": x, "z": z, "w": w, "g": g, "district": g // 5})


ROWS = _rows()
MEANS = ROWS.group_by("g", maintain_order=True).mean()


def _least_squares(x: np.ndarray, y: np.ndarray, degrees: int) -> tuple[np.ndarray, np.ndarray, float]:
    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ x.T @ y
    residual = y - x @ beta
    rss = float(residual @ residual)
    return beta, np.sqrt(np.diag(inverse) * rss / degrees), rss


def test_within_is_regression_with_a_constant_for_each_group() -> None:
    """Frisch, Waugh and Lovell: deviations from group means give what J indicators beside the predictors give."""
    fit = mlm.fit("within(y, g) ~ within(x) + z + z:center(x, at=1e6) + w", ROWS)
    x, z, g = ROWS["x"].to_numpy() - 1e6, ROWS["z"].to_numpy(), ROWS["g"].to_numpy()
    indicators = (g[:, None] == np.arange(J)).astype(float)
    beta, error, rss = _least_squares(np.column_stack([x, z, x * z, indicators]), ROWS["y"].to_numpy(), N - J - 3)
    assert list(fit.fixed_effects["term"]) == ["within(x)", "z", "z:center(x, at=1000000)"]
    np.testing.assert_allclose(fit.fixed_effects["estimate"], beta[:3], rtol=1e-6)
    np.testing.assert_allclose(fit.fixed_effects["std_error"], error[:3], rtol=1e-6)
    assert list(fit.fixed_effects["df"]) == [N - J - 3] * 3
    assert fit.fit_statistics["n_obs"][0] == N
    assert fit.variance_components["estimate"][0] == pytest.approx(rss / (N - J - 3), rel=1e-6)
    assert any("which leaves nothing of (Intercept), w" in note for note in fit.notes)


@pytest.mark.parametrize("estimator", ["ml", "reml"])
def test_within_likelihood_is_that_of_its_independent_deviations(estimator: str) -> None:
    """N - J contrasts within the groups, orthonormal (Helmert's), are the observations of within(y)."""
    contrasts = []
    for size in ROWS.group_by("g", maintain_order=True).len()["len"]:
        q = np.linalg.qr(np.column_stack([np.ones(size), np.eye(size)[:, 1:]]))[0][:, 1:]
        contrasts.append(q)
    at = np.cumsum([0, *(len(q) for q in contrasts)])

    def contrast_values(name: str) -> np.ndarray:
        values = ROWS[name].to_numpy() - ROWS[name].mean()
        return np.concatenate([q.T @ values[a : a + len(q)] for q, a in zip(contrasts, at, strict=False)])

    rows = pl.DataFrame({name: contrast_values(name) for name in ("y", "x", "z")})
    ours = mlm.fit("within(y, g) ~ within(x) + within(z)", ROWS, estimator=estimator)
    theirs = mlm.fit("y ~ 0 + x + z", rows, estimator=estimator)
    assert len(rows) == N - J
    for name in ("estimate", "std_error", "df"):
        np.testing.assert_allclose(ours.fixed_effects[name], theirs.fixed_effects[name], rtol=RTOL)
    expected = theirs.fit_statistics["log_likelihood"][0]
    assert ours.fit_statistics["log_likelihood"][0] == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("estimator", ["ml", "reml"])
def test_between_is_regression_on_the_group_means(estimator: str) -> None:
    ours = mlm.fit("between(y, g) ~ between(x) + w", ROWS, estimator=estimator)
    theirs = mlm.fit("y ~ x + w", MEANS, estimator=estimator)
    for name in ("estimate", "std_error", "df", "conf_low"):
        np.testing.assert_allclose(ours.fixed_effects[name], theirs.fixed_effects[name], rtol=1e-6)
    for name in ("n_obs", "log_likelihood", "aic", "bic"):
        assert ours.fit_statistics[name][0] == pytest.approx(theirs.fit_statistics[name][0], rel=RTOL)
    assert ours.fit_statistics["n_obs"][0] == J


def test_between_takes_random_effects_of_higher_units() -> None:
    ours = mlm.fit("between(y, g) ~ between(x) + w + (1 | district)", ROWS)
    theirs = mlm.fit("y ~ x + w + (1 | district)", MEANS)
    np.testing.assert_allclose(ours.fixed_effects["estimate"], theirs.fixed_effects["estimate"], rtol=1e-5)
    expected = theirs.fit_statistics["log_likelihood"][0]
    assert ours.fit_statistics["log_likelihood"][0] == pytest.approx(expected, rel=RTOL)


def test_balanced_likelihood_is_the_product_of_its_parts() -> None:
    """With n rows in each group the multilevel model is a within and a between regression side by side.

    sqrt(n) times the group mean is the J-th part's observation, hence J / 2 log n.
    """
    rows = _rows(balanced=True)
    whole = mlm.fit("y ~ within(x) + between(x) + w + (1 | g)", rows, estimator="ml")
    within = mlm.fit("within(y, g) ~ within(x)", rows, estimator="ml")
    between = mlm.fit("between(y, g) ~ between(x) + w", rows, estimator="ml")
    parts = sum(f.fit_statistics["log_likelihood"][0] for f in (within, between))
    whole_log_likelihood = whole.fit_statistics["log_likelihood"][0]
    assert whole_log_likelihood == pytest.approx(parts - J / 2 * np.log(N / J), rel=RTOL)
    slopes = dict(zip(whole.fixed_effects["term"], whole.fixed_effects["estimate"], strict=True))
    assert slopes["within(x)"] == pytest.approx(within.fixed_effects["estimate"][0], rel=1e-6)
    assert slopes["between(x)"] == pytest.approx(between.fixed_effects["estimate"][1], rel=1e-6)


def test_random_slopes_within() -> None:
    """A slope that varies over the groups lives within them; REML of the deviations is REML with J constants."""
    rows = ROWS.with_columns(y=pl.col("y") + (pl.col("g") % 4) * (pl.col("x") - 1e6))
    ours = mlm.fit("within(y) ~ within(x) + (0 + within(x) | g)", rows)
    constants = mlm.fit("y ~ 0 + C(g) + within(x, g) + (0 + within(x, g) | g)", rows)
    assert ours.fixed_effects["estimate"][0] == pytest.approx(constants.fixed_effects["estimate"][-1], rel=1e-5)
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(ours.variance_components[name], constants.variance_components[name], rtol=1e-4)


@pytest.mark.parametrize("kind", ["CR0", "CR1"])
def test_robust_errors_within(kind: str) -> None:
    """Sandwich of the deviations over groups; CR1 multiplies by J / (J - 1), as in clubSandwich."""
    fit = mlm.fit("within(y, g) ~ within(x) + within(z)", ROWS, robust=kind, cluster="g")
    deviations = ROWS.select(pl.col("x", "z", "y") - pl.col("x", "z", "y").mean().over("g")).to_numpy()
    x, y = deviations[:, :2], deviations[:, 2]
    bread = np.linalg.inv(x.T @ x)
    e = y - x @ bread @ x.T @ y
    scores = np.array([x[ROWS["g"].to_numpy() == j].T @ e[ROWS["g"].to_numpy() == j] for j in range(J)])
    vcov = bread @ scores.T @ scores @ bread * (J / (J - 1) if kind == "CR1" else 1)
    np.testing.assert_allclose(fit.vcov, vcov, rtol=1e-6)


def test_robust_errors_between() -> None:
    """One observation a cluster: CR0 is White's HC0."""
    fit = mlm.fit("between(y, g) ~ w", ROWS, robust="CR0", cluster="g")
    x, y = np.column_stack([np.ones(J), MEANS["w"]]), MEANS["y"].to_numpy()
    bread = np.linalg.inv(x.T @ x)
    e = y - x @ bread @ x.T @ y
    np.testing.assert_allclose(fit.vcov, bread @ (x.T * e**2) @ x @ bread, rtol=1e-8)


def test_weighted_by_size_between_is_the_regression_of_rows_on_means() -> None:
    """What weights of group means would mean: with their sizes, ``y ~ between(x)`` without a random part."""
    size = ROWS.group_by("g", maintain_order=True).len()["len"].to_numpy()
    root = np.sqrt(size)
    x = np.column_stack([np.ones(J), MEANS["x"] - 1e6, MEANS["w"]])
    beta = np.linalg.lstsq(x * root[:, None], MEANS["y"].to_numpy() * root, rcond=None)[0]
    fit = mlm.fit("y ~ between(x, g) + w", ROWS)
    np.testing.assert_allclose(fit.fixed_effects["estimate"][1:], beta[1:], rtol=1e-6)


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        (
            "within(y) ~ within(x) + (1 | g)",
            "has no differences between units of g left, so the random effects of (Int",
        ),
        ("between(y) ~ between(x) + (1 | g)", "between(y) has one observation for each unit of g, so random effects"),
        ("between(y, g) ~ x", "x varies within 30 of 30 units of g, and between(y, g) has one observation for each."),
        ("between(y, district) ~ w + (1 | g)", "takes the units of district whole, and those of g cut through them."),
    ],
)
def test_what_makes_no_sense_is_refused(formula: str, sentence: str) -> None:
    with pytest.raises(IdentificationError) as error:
        mlm.fit(formula, ROWS)
    assert sentence in str(error.value)


def test_weights_of_rows_are_refused() -> None:
    with pytest.raises(FormulaError, match="Weights and residual structures apply to rows"):
        mlm.fit("between(y, g) ~ w", ROWS.with_columns(v=1.0), weights="v")


def test_a_group_variable_that_varies_in_some_groups_is_counted() -> None:
    rows = ROWS.with_columns(w=pl.when(pl.int_range(N).is_in([0, 300])).then(5.0).otherwise("w"))
    with pytest.raises(IdentificationError, match="w varies within 2 of 30 units of g"):
        mlm.fit("between(y, g) ~ w", rows)
