"""Explained variance against R's numbers, against the rows themselves, and against simulated truth.

r2_nakagawa is performance's and agrees to 1e-8, which is how closely two optimisers agree on the variances. No package
for the partition of Rights and Sterba (r2mlm) is at hand; it is checked against a computation from the rows with
numpy's covariances, to rounding, and against variances drawn in a simulation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

CASES = [
    name
    for name in reference.names("lmer")
    if not name.startswith("weights") and reference.case(name).get("r2_nakagawa") is not None
]
#: performance drops the random part of a singular fit altogether; then its numbers answer another question.
REGULAR = [name for name in CASES if reference.case(name)["r2_nakagawa"]["conditional"] is not None]


def of(fitted: Fit) -> dict[str, float]:
    """Measures that need no reference model, by name."""
    return {
        m: e for m, e, r in fitted.r_squared().select("measure", "estimate", "reference_model").iter_rows() if not r
    }


@pytest.mark.parametrize("name", REGULAR)
def test_nakagawa_is_that_of_performance(name: str) -> None:
    found, expected = of(reference.fitted(name)), reference.case(name)["r2_nakagawa"]
    for kind in ("marginal", "conditional"):
        assert found[f"nakagawa_{kind}"] == pytest.approx(expected[kind], abs=1e-8)


@pytest.mark.parametrize(("name", "estimator"), [("weights_ri", "reml"), ("weights_ri_ml", "ml")])
def test_with_weights_the_residual_variance_is_that_of_weight_one(name: str, estimator: Any) -> None:
    data = str(reference.HERE / "data" / "sim_w.csv")
    found = of(mlm.fit("y ~ x + (1 | g)", data, weights="w", estimator=estimator))
    for kind, expected in reference.case(name)["r2_nakagawa"].items():
        assert found[f"nakagawa_{kind}"] == pytest.approx(expected, abs=1e-8)


@pytest.fixture(scope="module")
def students() -> pl.DataFrame:
    path = reference.HERE / "data" / "hsb.csv"
    mean = pl.col("ses").mean().over("school")
    return pl.read_csv(path).with_columns(mean=mean, deviation=pl.col("ses") - mean)


def test_the_partition_is_that_of_the_rows(students: pl.DataFrame) -> None:
    fitted = mlm.fit("mathach ~ within(ses) * sector + between(ses) + (1 + within(ses) | school)", students)
    found = of(fitted)
    w, b = students["deviation"].to_numpy(), students["mean"].to_numpy()
    public = (students["sector"] == "Public").to_numpy().astype(float)
    columns = {
        "(Intercept)": np.ones_like(w),
        "within(ses)": w,
        "sector[Public]": public,
        "between(ses)": b,
        "within(ses):sector[Public]": w * public,
    }
    gamma = dict(zip(fitted.fixed_effects["term"], fitted.fixed_effects["estimate"], strict=True))
    inside = gamma["within(ses)"] * w + gamma["within(ses):sector[Public]"] * w * public
    outside = gamma["between(ses)"] * b + gamma["sector[Public]"] * public
    assert set(gamma) == set(columns)
    (tau,) = fitted.estimate.tau
    sigma = np.cov(np.column_stack((columns["(Intercept)"], w)).T)
    f1, f2, v, m = inside.var(ddof=1), outside.var(ddof=1), np.trace(tau @ sigma), tau[0, 0]
    total = f1 + f2 + v + m + fitted.estimate.sigma2
    for name, part in {"f1": f1, "f2": f2, "v": v, "m": m, "residual": fitted.estimate.sigma2}.items():
        assert found[f"rights_sterba_total_{name}"] == pytest.approx(part / total, rel=1e-9)
    assert found["rights_sterba_within_f1"] == pytest.approx(f1 / (f1 + v + fitted.estimate.sigma2), rel=1e-9)
    assert found["rights_sterba_between_f2"] == pytest.approx(f2 / (f2 + m), rel=1e-9)
    assert found["rights_sterba_total_fvm"] == pytest.approx(1 - found["rights_sterba_total_residual"], rel=1e-12)


def test_uncentered_predictors_have_totals_alone_and_a_reason(students: pl.DataFrame) -> None:
    fitted = mlm.fit("mathach ~ ses + (1 + ses | school)", students)
    table = fitted.r_squared().filter(pl.col("measure").str.starts_with("rights_sterba"))
    assert set(table["measure"].str.slice(14)) == {"total_" + k for k in ("f", "v", "m", "fv", "fvm", "residual")}
    assert "ses varies at more than one level" in table["note"][0]
    x = np.column_stack((np.ones(len(students)), students["ses"].to_numpy()))
    (tau,) = fitted.estimate.tau
    v, m = np.trace(tau @ np.cov(x.T)), x.mean(axis=0) @ tau @ x.mean(axis=0)
    total = (x @ fitted.estimate.gamma).var(ddof=1) + v + m + fitted.estimate.sigma2
    assert of(fitted)["rights_sterba_total_v"] == pytest.approx(v / total, rel=1e-9)
    assert of(fitted)["rights_sterba_total_m"] == pytest.approx(m / total, rel=1e-9)


def test_a_shifted_predictor_changes_nothing(students: pl.DataFrame) -> None:
    """Slopes vary with ses at a mean of 1e6: row-level sums would have lost the digits."""
    shifted = students.with_columns(ses=pl.col("ses") + 1e6)
    formula = "mathach ~ within(ses) + between(ses) + (1 + within(ses) | school)"
    first, second = of(mlm.fit(formula, students)), of(mlm.fit(formula, shifted))
    for name, value in first.items():
        assert second[name] == pytest.approx(value, abs=1e-7)


def simulated(seed: int) -> pl.DataFrame:
    """400 groups of 25: f1 = 1, f2 = 0.5, v = 0.25, m = 0.75, residual 2.5, in expectation."""
    draw = np.random.default_rng(seed)
    groups, size = 400, 25
    x = draw.normal(size=(groups, size))
    x -= x.mean(axis=1, keepdims=True)
    x /= x.std()
    w = draw.normal(size=groups)
    w = (w - w.mean()) / w.std()
    u = draw.normal(size=(groups, 2)) * np.sqrt((0.75, 0.25))
    y = x * (1 + u[:, 1:]) + np.sqrt(0.5) * w[:, None] + u[:, :1] + draw.normal(size=x.shape) * np.sqrt(2.5)
    unit = np.repeat(np.arange(groups), size)
    return pl.DataFrame({"y": y.ravel(), "x": x.ravel(), "w": w[unit], "g": unit})


def test_the_partition_recovers_simulated_shares() -> None:
    found = of(mlm.fit("y ~ within(x) + w + (1 + within(x) | g)", simulated(1)))
    # 0.03 is three standard errors of the largest share in 400 groups
    for name, variance in {"f1": 1, "f2": 0.5, "v": 0.25, "m": 0.75, "residual": 2.5}.items():
        assert found[f"rights_sterba_total_{name}"] == pytest.approx(variance / 5, abs=0.03)


def test_three_levels_are_told_apart() -> None:
    """By hand from the rows: x within classes, its class means within schools, and school means."""
    data = pl.read_csv(reference.HERE / "data" / "sim_3lev.csv")
    formula = (
        "y ~ within(x, class) + within(between(x, class), school) + between(x, school)"
        " + (1 + within(x, class) | school/class)"
    )
    fitted = mlm.fit(formula, data)
    found = of(fitted)
    data = data.with_columns(c=pl.col("x").mean().over("school", "class"), s=pl.col("x").mean().over("school"))
    pieces = [(data["x"] - data["c"]).to_numpy(), (data["c"] - data["s"]).to_numpy(), data["s"].to_numpy()]
    fixed = [g**2 * piece.var(ddof=1) for g, piece in zip(fitted.estimate.gamma[1:], pieces, strict=True)]
    inner, outer = fitted.estimate.tau
    v12, v13 = inner[1, 1] * pieces[0].var(ddof=1), outer[1, 1] * pieces[0].var(ddof=1)
    expected = dict(zip(("f1", "f2", "f3"), fixed, strict=True))
    expected |= {"v12": v12, "v13": v13, "m2": inner[0, 0], "m3": outer[0, 0], "residual": fitted.estimate.sigma2}
    for name, value in expected.items():
        assert found[f"rights_sterba_total_{name}"] == pytest.approx(value / sum(expected.values()), rel=1e-9)
    level1 = fixed[0] + v12 + v13 + fitted.estimate.sigma2
    assert found["rights_sterba_level1_v13"] == pytest.approx(v13 / level1, rel=1e-9)
    assert found["rights_sterba_level3_f3"] == pytest.approx(fixed[2] / (fixed[2] + outer[0, 0]), rel=1e-9)


def test_raudenbush_and_bryk_by_their_book(students: pl.DataFrame) -> None:
    """Their chapter 4: 39.15 to 36.70 within schools, 8.61 to 2.64 between them; slopes by hand."""
    anova = mlm.fit("mathach ~ 1 + (1 | school)", students)
    means = mlm.fit("mathach ~ between(ses) + (1 | school)", students)
    slopes = mlm.fit("mathach ~ within(ses) + (1 + within(ses) | school)", students)
    rows = means.r_squared().filter(measure="raudenbush_bryk", level=2)
    assert rows["estimate"][0] == pytest.approx((8.614 - 2.639) / 8.614, abs=1e-3)
    rows = slopes.r_squared(anova).filter(measure="raudenbush_bryk", level=1)
    assert rows["estimate"][0] == pytest.approx((39.148 - 36.700) / 39.148, abs=1e-4)
    predicted = mlm.fit(
        "mathach ~ within(ses) * between(ses) + within(ses) * sector + (1 + within(ses) | school)", students
    )
    slope = predicted.r_squared(slopes).filter(measure="raudenbush_bryk", term="within(ses)")
    before, after = (fit.estimate.tau[0][1, 1] for fit in (slopes, predicted))
    assert slope["estimate"][0] == pytest.approx((before - after) / before, rel=1e-12)


def test_snijders_and_bosker_by_hand(students: pl.DataFrame) -> None:
    fitted, null = (mlm.fit(f"mathach ~ {fixed} + (1 | school)", students) for fixed in ("ses", "1"))
    n = 160 / (1 / students.group_by("school").len()["len"]).sum()
    (tau,), (before,) = fitted.estimate.tau, null.estimate.tau
    s, s0 = fitted.estimate.sigma2, null.estimate.sigma2
    found = fitted.r_squared().filter(measure="snijders_bosker").sort("level")["estimate"]
    assert found[0] == pytest.approx(1 - (s + tau[0, 0]) / (s0 + before[0, 0]), rel=1e-9)
    assert found[1] == pytest.approx(1 - (s / n + tau[0, 0]) / (s0 / n + before[0, 0]), rel=1e-9)


def test_snijders_and_bosker_with_a_random_slope_from_the_rows(students: pl.DataFrame) -> None:
    """Mean squared errors of predicting a row, and a group's mean, with z' T z written out row by row."""
    fitted = mlm.fit("mathach ~ ses + (1 + ses | school)", students)
    null = mlm.fit("mathach ~ 1 + (1 | school)", students)
    (tau,), (before,) = fitted.estimate.tau, null.estimate.tau
    groups = students.group_by("school").agg(pl.col("ses").mean(), pl.len())
    n = groups.height / (1 / groups["len"]).sum()
    rows, means = (np.column_stack((np.ones(len(x)), x)) for x in (students["ses"], groups["ses"]))
    row, mean = (np.einsum("nq,qr,nr->n", z, tau, z).mean() for z in (rows, means))
    s, s0 = fitted.estimate.sigma2, null.estimate.sigma2
    found = fitted.r_squared().filter(measure="snijders_bosker").sort("level")["estimate"]
    assert found[0] == pytest.approx(1 - (s + row) / (s0 + before[0, 0]), rel=1e-8)
    assert found[1] == pytest.approx(1 - (s / n + mean) / (s0 / n + before[0, 0]), rel=1e-8)


def test_regression_has_the_ordinary_r_squared(students: pl.DataFrame) -> None:
    found = of(mlm.fit("mathach ~ ses", students))
    r = np.corrcoef(students["ses"], students["mathach"])[0, 1]
    assert found["ordinary"] == pytest.approx(r**2, rel=1e-10)
    assert found["ordinary_adjusted"] == pytest.approx(1 - (1 - r**2) * 7184 / 7183, rel=1e-10)


def test_a_within_outcome_has_its_own_r_squared(students: pl.DataFrame) -> None:
    found = of(mlm.fit("within(mathach, school) ~ within(ses, school)", students))
    deviation = students.select(pl.col("mathach") - pl.col("mathach").mean().over("school")).to_series()
    r = np.corrcoef(students["deviation"], deviation)[0, 1]
    assert found["ordinary"] == pytest.approx(r**2, rel=1e-10)


def test_changes_are_differences(students: pl.DataFrame) -> None:
    smaller, larger = (
        mlm.fit(f"mathach ~ {fixed} + (1 | school)", students) for fixed in ("within(ses)", "within(ses) + sector")
    )
    found = larger.r_squared(smaller)
    change: dict[str, Any] = dict(found.select("measure", "estimate").iter_rows())
    expected = of(larger)["rights_sterba_between_f2"] - of(smaller)["rights_sterba_between_f2"]
    assert change["rights_sterba_between_f2_change"] == pytest.approx(expected, rel=1e-12)
    assert set(found["reference_model"]) == {"mathach ~ within(ses) + (1 | school)"}


def test_strata_count_by_their_rows() -> None:
    data = pl.read_csv(reference.HERE / "data" / "orthodont.csv")
    fitted = mlm.fit("distance ~ age + Sex + (1 | Subject)", data, residual="by(Sex)")
    variances = dict(fitted.variance_components.filter(group="residual").select("term", "estimate").iter_rows())
    rows = dict(data.group_by("Sex").len().iter_rows())
    mean = sum(variances[s] * rows[s] for s in rows) / data.height
    found = of(fitted)
    m = fitted.estimate.tau[0][0, 0]
    assert found["rights_sterba_total_residual"] / found["rights_sterba_total_m"] == pytest.approx(mean / m, rel=1e-9)
