"""Profile intervals against lme4's confint, and against its deviance where its spline is not exact; Wald limits."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.inference.intervals.parameters import find_parameters
from mlm_ops.inference.intervals.profile import profile_intervals
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

CASES = [name for name in reference.names("lmer") if reference.case(name)["profile_ci"]]


@pytest.mark.parametrize("name", CASES)
def test_limits_are_those_of_lme4(name: str) -> None:
    ours = reference.fitted(name).intervals("profile")
    rows = reference.case(name)["profile_ci"]["rows"]
    assert len(ours) == len(rows)
    # lme4 interpolates its profiles by splines; the worst of these is off by 1e-5, at a limit near the boundary
    for limit, bound in (("conf_low", "lower"), ("conf_high", "upper")):
        np.testing.assert_allclose(ours[limit], [row[bound] for row in rows], rtol=2e-5, atol=1e-12)


def test_refitting_by_ml_is_all_the_estimator_changes() -> None:
    reml, ml = (reference.fitted(name).intervals("profile") for name in ("sleep_rs", "sleep_rs_ml"))
    np.testing.assert_allclose(reml["conf_low"], ml["conf_low"], rtol=1e-6)
    assert (reml["estimate"] != ml["estimate"]).any()


def test_a_limit_on_the_boundary_is_the_boundary() -> None:
    null = reference.fitted("dyestuff2_reml").intervals("profile")
    # lme4: sd 0 to 2.084043, sigma 2.892831 to 4.815833
    assert null["conf_low"][0] == 0.0
    np.testing.assert_allclose(null["conf_high"][:2], [2.084043489, 4.815832552], rtol=1e-5)
    slopes = reference.fitted("hsb_random_slope_raw").intervals("profile")
    assert slopes["scale"][1] == "correlation"
    assert slopes["conf_low"][1] == -1.0
    # minimised over the other parameters, lme4's own ML deviance has risen by 3.841468 (chi-square: 3.841459) at this
    # limit, and by 3.81757 at 0.08492, where its bad spline puts it
    assert slopes["conf_low"][2] == pytest.approx(0.0785209, rel=1e-5)


def test_the_deviance_at_a_limit_has_risen_by_the_quantile() -> None:
    """The fixed slope held at its limit by hand: its column leaves the design, and the outcome is shifted."""
    fitted = reference.fitted("orthodont_ri")
    limits = fitted.intervals("profile", 0.9).filter(pl.col("term") == "age")
    rows = reference.connection().sql(f"select * from {reference.table('orthodont_ri')}").pl()
    whole = fit("distance ~ age + Sex + (1 | Subject)", rows, estimator="ml")
    for limit in (limits["conf_low"][0], limits["conf_high"][0]):
        held = fit(
            "rest ~ Sex + (1 | Subject)",
            rows.with_columns(rest=pl.col("distance") - limit * pl.col("age")),
            estimator="ml",
        )
        rise = 2 * (whole.estimate.log_likelihood - held.estimate.log_likelihood)
        assert rise == pytest.approx(2.705543454095404, abs=1e-6)


def test_limits_follow_the_scale_of_the_data() -> None:
    rows = reference.connection().sql("select * from sleep_rs").pl()
    plain = profile_intervals(reference.fitted("sleep_rs").estimate)
    scaled = rows.with_columns(pl.col("Reaction") * 1e6, pl.col("Days") * 1e-3)
    there = profile_intervals(fit("Reaction ~ Days + (Days | Subject)", scaled).estimate)
    factors = np.array([1e6, 1, 1e9, 1e6, 1e6, 1e9])
    np.testing.assert_allclose(there.low, plain.low * factors, rtol=1e-5)
    np.testing.assert_allclose(there.high, plain.high * factors, rtol=1e-5)


def test_least_squares_has_closed_forms() -> None:
    """With one variance the deviance rises by N log(1 + t^2 / (N - p)) for a coefficient t errors away."""
    fitted = reference.fitted("ols_hsb")
    intervals = fitted.intervals("profile").filter(pl.col("kind") == "fixed")
    result = fitted.estimate
    n, p = result.design.n_obs, len(result.gamma)
    t = np.sqrt((n - p) * np.expm1(3.841458820694124 / n))
    margin = t * np.sqrt(np.diag(result.vcov))
    np.testing.assert_allclose(intervals["conf_low"], result.gamma - margin, rtol=1e-7)
    np.testing.assert_allclose(intervals["conf_high"], result.gamma + margin, rtol=1e-7)


def test_more_than_one_block_and_level() -> None:
    fitted = reference.fitted("sim3_nested")
    intervals = fitted.intervals("profile")
    named = [(p.group, p.scale) for p in find_parameters(fitted.estimate)]
    assert named[:3] == [("school:class", "std_dev"), ("school:class", "correlation"), ("school:class", "std_dev")]
    assert (intervals["conf_low"] < intervals["estimate"]).all()
    assert (intervals["estimate"] < intervals["conf_high"]).all()


@pytest.mark.parametrize("method", ["wald", "profile"])
def test_a_diagonal_block_is_two_blocks(method: str) -> None:
    table, connection = reference.table("sleep_uncorr"), reference.connection()
    formula = "Reaction ~ Days + (Days | Subject)"
    diagonal = fit(formula, table, connection=connection, covariance={"Subject": "diagonal"}).intervals(method)
    blocks = reference.fitted("sleep_uncorr").intervals(method)
    for limit in ("conf_low", "conf_high"):
        np.testing.assert_allclose(diagonal[limit], blocks[limit], rtol=1e-6)


@pytest.mark.parametrize("structure", ["compound", "identity"])
def test_effects_that_are_alike(structure: str) -> None:
    """At every limit the dense ML deviance, minimised over the rest, has risen by chi-square's quantile."""
    table, connection = reference.table("machines_ri"), reference.connection()
    options = {"connection": connection, "covariance": {"worker": structure}}
    fitted = fit("score ~ machine + (0 + machine | worker)", table, estimator="ml", **options)
    profile = fitted.intervals("profile")
    deviations = profile.filter(pl.col("scale") == "std_dev")
    assert (deviations["conf_low"].n_unique(), deviations["conf_high"].n_unique(), len(deviations)) == (1, 1, 3)
    rows = connection.sql(f"select * from {table}").pl()
    y, worker, machine = rows["score"].to_numpy(), rows["worker"].to_numpy(), rows["machine"].to_numpy()
    x = np.stack([machine == level for level in np.unique(machine)], axis=1).astype(float)
    same, alike = worker[:, None] == worker, (worker[:, None] == worker) & (machine[:, None] == machine)

    def deviance(scale: float, z: float, sigma: float) -> float:
        v = scale**2 * (np.tanh(z) * same + (1 - np.tanh(z)) * alike) + sigma**2 * np.eye(len(y))
        inverse = np.linalg.inv(v)
        rest = y - x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
        return float(np.linalg.slogdet(v)[1] + rest @ inverse @ rest + len(y) * np.log(2 * np.pi))

    tau = fitted.estimate.tau[0]
    there = np.array([np.sqrt(tau[0, 0]), np.arctanh(tau[0, 1] / tau[0, 0]), np.sqrt(fitted.estimate.sigma2)])

    def lowest(held: dict[int, float]) -> float:
        free = [i for i in range(3) if i not in held]

        def objective(rest: np.ndarray) -> float:
            full = there.copy()
            full[free], full[list(held)] = rest, list(held.values())
            return deviance(*full)

        return float(minimize(objective, there[free], method="BFGS", options={"gtol": 1e-7}).fun)

    independent = {1: 0.0} if structure == "identity" else {}
    assert deviance(*there) == pytest.approx(-2 * fitted.estimate.log_likelihood, abs=1e-8)
    for place, scale in enumerate(("std_dev", "correlation", "sigma")):
        for row in profile.filter(pl.col("scale") == scale).head(1).iter_rows(named=True):
            for limit in (row["conf_low"], row["conf_high"]):
                rise = lowest({place: np.arctanh(limit) if scale == "correlation" else limit} | independent)
                assert rise + 2 * fitted.estimate.log_likelihood == pytest.approx(3.841458820694124, abs=1e-5)


def test_wald_limits_of_variances() -> None:
    """Logarithms and Fisher's z, from a numerical Hessian of lme4's ML deviance at its polished minimum."""
    wald = reference.fitted("sleep_rs_ml").intervals("wald")
    low = [15.01709067655, -0.505579968059, 3.80546782143, 22.80045776118]
    high = [37.65811754131, 0.616769367839, 8.58822060414, 28.72490693154]
    np.testing.assert_allclose(wald["conf_low"][:4], low, rtol=1e-6)
    np.testing.assert_allclose(wald["conf_high"][:4], high, rtol=1e-6)
    fixed = reference.fitted("sleep_rs_ml").fixed_effects
    np.testing.assert_array_equal(wald["conf_low"][4:], fixed["conf_low"])


def test_wald_limits_on_the_boundary_are_null() -> None:
    wald = reference.fitted("dyestuff2_reml").intervals("wald")
    assert wald["conf_low"].is_null().to_list() == [True, False, False]


def test_faults_are_refused_in_a_sentence() -> None:
    fitted = reference.fitted("sleep_ri")
    with pytest.raises(MlmError, match=r"Unknown method\. Got 'exact'; expected one of wald, profile"):
        fitted.intervals("exact")
    with pytest.raises(
        MlmError, match=r"level is not understood. Got 95; expected a number between 0 and 1, such as 0.95"
    ):
        fitted.intervals("profile", 95)


def test_an_estimate_from_any_start_has_the_same_limits() -> None:
    result = reference.fitted("pastes_nested").estimate
    again = estimate_design(result.design, reml=True, start=np.array([3.0, 3.0]))
    np.testing.assert_allclose(profile_intervals(again).high, profile_intervals(result).high, rtol=1e-6)
