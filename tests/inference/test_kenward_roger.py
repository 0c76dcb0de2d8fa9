"""Kenward-Roger against pbkrtest's numbers, against the definition with N x N matrices, and by simulation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import AnalysisError, MlmError
from mlm_ops.estimation.blocks import Block
from mlm_ops.inference.fixed import information as information_dense
from mlm_ops.inference.fixed.information import crossed_sums
from mlm_ops.inference.fixed.kenward_roger import covariance_directions, information_sums, linear_directions, scaled_f
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import Moments
from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit, fit_model
from mlm_ops.warehouse.source import open_source
from tests.specification.reference import reference

Array = NDArray[np.float64]

CASES = [n for n in reference.names("lmer") if reference.case(n)["fixed"][0].get("df_kr") is not None]


def _kenward_roger(formula: str, data: Any, **options: Any) -> Fit:
    return fit(formula, data, df="kenward-roger", **options)


@pytest.mark.parametrize("name", CASES)
def test_numbers_of_pbkrtest(name: str) -> None:
    """Also the singular cases: the expected information is a function of T, and does not mind that it is singular."""
    case = reference.case(name)
    ours = _kenward_roger(case["formula"], reference.table(name), connection=reference.connection())
    table, rows = ours.fixed_effects, case["fixed"]
    np.testing.assert_allclose(table["df"], [row["df_kr"] for row in rows], rtol=1e-6)
    np.testing.assert_allclose(table["std_error"], [row["se_kr"] for row in rows], rtol=1e-6)
    scale = np.outer(table["std_error"], table["std_error"])
    np.testing.assert_allclose(ours.vcov / scale, np.array(case["vcov_kr"]) / scale, rtol=1e-5, atol=1e-8)
    for value, row in zip(table["p_value"], rows, strict=True):
        assert math.isclose(value, row["p_kr"], rel_tol=1e-4)


class Oracle:
    """Kenward and Roger (1997) by the book: V and its derivatives as N x N matrices, on the user's scale.

    Parameters
    ----------
    x
        (N, p) fixed columns.
    parts
        For every random block its columns (N, q), its codes (N,) and its T (q, q).
    sigma2
        The residual variance, or for each stratum its rows (N,) and its variance.
    """

    def __init__(
        self,
        x: Array,
        parts: list[tuple[Array, NDArray[np.int64], Array]],
        sigma2: float | list[tuple[NDArray[np.bool_], float]],
    ) -> None:
        derivatives = []
        strata = sigma2 if isinstance(sigma2, list) else [(np.ones(len(x), dtype=bool), sigma2)]
        v = sum(variance * np.diag(rows) for rows, variance in strata)
        for z, codes, tau in parts:
            same = codes[:, None] == codes[None, :]
            v += same * (z @ tau @ z.T)
            for i in range(len(tau)):
                for j in range(i + 1):
                    e = np.zeros_like(tau)
                    e[i, j] = e[j, i] = 1.0
                    derivatives.append(same * (z @ e @ z.T))
        derivatives += [np.diag(rows.astype(float)) for rows, _ in strata]
        inverse = np.linalg.inv(v)
        n = len(derivatives)
        self.phi = np.linalg.inv(x.T @ inverse @ x)
        self.p = [-x.T @ inverse @ d @ inverse @ x for d in derivatives]
        q = [[x.T @ inverse @ d @ inverse @ e @ inverse @ x for e in derivatives] for d in derivatives]
        information = np.empty((n, n))
        for i, d in enumerate(derivatives):
            for j, e in enumerate(derivatives):
                information[i, j] = np.trace(inverse @ d @ inverse @ e) - 2 * np.trace(self.phi @ q[i][j])
                information[i, j] += np.trace(self.phi @ self.p[i] @ self.phi @ self.p[j])
        self.w = 2 * np.linalg.inv(information)
        middle = sum(self.w[i, j] * (q[i][j] - self.p[i] @ self.phi @ self.p[j]) for i in range(n) for j in range(n))
        self.adjusted = self.phi + 2 * self.phi @ middle @ self.phi

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """Scaling and degrees of freedom."""
        theta = contrasts.T @ np.linalg.inv(contrasts @ self.phi @ contrasts.T) @ contrasts
        u = [theta @ self.phi @ p @ self.phi for p in self.p]
        n = range(len(u))
        a1 = sum(self.w[i, j] * np.trace(u[i]) * np.trace(u[j]) for i in n for j in n)
        a2 = sum(self.w[i, j] * np.trace(u[i] @ u[j]) for i in n for j in n)
        return scaled_f(len(contrasts), float(a1), float(a2))


def _simulated(seed: int, codes: dict[str, NDArray[np.int64]], slopes: tuple[str, ...]) -> pl.DataFrame:
    """Unbalanced data with an effect of every grouping factor, and with a slope of x for some."""
    rng = np.random.default_rng(seed)
    n = len(next(iter(codes.values())))
    x = rng.normal(size=n) + 0.5
    first = next(iter(codes.values()))
    w = rng.normal(size=first.max() + 1)[first]
    y = 1 + 0.5 * x - 0.3 * w + rng.normal(size=n)
    for name, code in codes.items():
        y += rng.normal(size=code.max() + 1)[code]
        if name in slopes:
            y += 0.7 * rng.normal(size=code.max() + 1)[code] * x
    return pl.DataFrame({"y": y, "x": x, "w": w, **codes})


def _two_level() -> tuple[str, pl.DataFrame, list[tuple[str, bool]]]:
    code = np.repeat(np.arange(14), np.random.default_rng(1).integers(2, 9, size=14))
    return "y ~ x + w + (x | g)", _simulated(2, {"g": code}, ("g",)), [("g", True)]


def _three_level() -> tuple[str, pl.DataFrame, list[tuple[str, bool]]]:
    rng = np.random.default_rng(3)
    school_of_class = np.repeat(np.arange(9), rng.integers(2, 6, size=9))
    klass = np.repeat(np.arange(len(school_of_class)), rng.integers(2, 7, size=len(school_of_class)))
    data = _simulated(4, {"school": school_of_class[klass], "class": klass}, ("school",))
    return "y ~ x + w + (1 | class) + (x | school)", data, [("class", False), ("school", True)]


def _four_level() -> tuple[str, pl.DataFrame, list[tuple[str, bool]]]:
    rng = np.random.default_rng(5)
    c = np.repeat(np.arange(7), rng.integers(2, 4, size=7))
    b = np.repeat(np.arange(len(c)), rng.integers(2, 4, size=len(c)))
    a = np.repeat(np.arange(len(b)), rng.integers(3, 6, size=len(b)))
    data = _simulated(6, {"c": c[b[a]], "b": b[a], "a": a}, ("b",))
    return "y ~ x + w + (1 | a) + (x | b) + (1 | c)", data, [("a", False), ("b", True), ("c", False)]


def _crossed() -> tuple[str, pl.DataFrame, list[tuple[str, bool]]]:
    rng = np.random.default_rng(7)
    codes = {"rater": rng.integers(0, 17, size=150), "item": rng.integers(0, 9, size=150)}
    return "y ~ x + w + (x | rater) + (1 | item)", _simulated(8, codes, ("rater",)), [("rater", True), ("item", False)]


def _partly_nested() -> tuple[str, pl.DataFrame, list[tuple[str, bool]]]:
    """Classes in schools, crossed with raters."""
    rng = np.random.default_rng(9)
    klass = rng.integers(0, 15, size=160)
    codes = {"class": klass, "school": klass // 3, "rater": rng.integers(0, 8, size=160)}
    formula = "y ~ x + w + (1 | class) + (1 | school) + (x | rater)"
    return formula, _simulated(10, codes, ("rater",)), [("class", False), ("school", False), ("rater", True)]


DESIGNS = {"two": _two_level, "three": _three_level, "four": _four_level, "crossed": _crossed, "partly": _partly_nested}


def _oracle(fitted: Fit, data: pl.DataFrame, blocks: list[tuple[str, bool]]) -> Oracle:
    x = np.column_stack([np.ones(len(data)), data["x"], data["w"]])
    levels = fitted.estimate.design.levels
    by_group = {level.group[0]: tau for level, tau in zip(levels, fitted.estimate.tau, strict=True)}
    parts = [(x[:, : 1 + slope], data[name].to_numpy(), by_group[name]) for name, slope in blocks]
    return Oracle(x, parts, fitted.estimate.sigma2)


@pytest.mark.parametrize("design", DESIGNS)
def test_equals_the_definition_with_rows(design: str) -> None:
    formula, data, blocks = DESIGNS[design]()
    fitted = _kenward_roger(formula, data)
    assert not fitted.singular
    oracle = _oracle(fitted, data, blocks)
    np.testing.assert_allclose(fitted.vcov, oracle.adjusted, rtol=1e-8, atol=1e-10)
    degrees = [oracle.reference(row[None])[1] for row in np.eye(3)]
    np.testing.assert_allclose(fitted.fixed_effects["df"], degrees, rtol=1e-8)
    for contrasts in (np.eye(3)[1:], np.eye(3), np.array([[1.0, 3, 0], [0, 1, -1]])):
        factor, df2 = oracle.reference(contrasts)
        estimate = contrasts @ fitted.estimate.gamma
        wald = estimate @ np.linalg.solve(contrasts @ oracle.adjusted @ contrasts.T, estimate) / len(contrasts)
        test = fitted.test(contrasts).row(0, named=True)
        assert test["df2"] == pytest.approx(df2, rel=1e-8)
        assert test["statistic"] == pytest.approx(factor * wald, rel=1e-8)


@pytest.mark.parametrize("design", ["two", "three", "four"])
def test_level_by_level_equals_the_dense_sums(design: str) -> None:
    """The sums by units and by the nest's derivatives are those of one big unit."""
    formula, data, _ = DESIGNS[design]()
    fitted = _kenward_roger(formula, data).estimate
    directions, _ = covariance_directions(fitted)
    fast = information_sums(fitted, directions)
    lams, codes = fitted.criterion.factors(fitted.optimum.theta), [level.codes for level in fitted.design.levels]
    slow = crossed_sums(fitted.products, codes, lams, directions, len(fitted.gamma))
    for name in ("traces", "pairs", "precision", "first", "second"):
        ours, theirs = getattr(fast, name), getattr(slow, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11 * np.abs(theirs).max())


@pytest.mark.parametrize("random", ["(1 | g)", "(1 | g) + (1 | district)", "(1 | g) + (1 | h)"])
def test_no_fixed_effects_are_no_error(random: str) -> None:
    data = _two_level()[1].with_columns((pl.col("g") // 4).alias("district"), (pl.int_range(pl.len()) % 5).alias("h"))
    assert len(_kenward_roger(f"y ~ 0 + {random}", data).fixed_effects) == 0


def test_shift_and_scale_of_a_predictor_leave_its_test_alone() -> None:
    formula, data, _ = _two_level()
    moved = data.with_columns(pl.col("x") * 1e-3 + 1e6, pl.col("y") * 1e5)
    here, there = (
        _kenward_roger(formula, d).fixed_effects.filter(pl.col("term") != "(Intercept)") for d in (data, moved)
    )
    for column in ("df", "statistic"):
        np.testing.assert_allclose(there[column], here[column], rtol=1e-6)


def test_equal_weights_change_nothing() -> None:
    """Equal weights change sigma2 alone: df and errors stay."""
    formula, data, _ = _two_level()
    plain = _kenward_roger(formula, data).fixed_effects
    weighted = _kenward_roger(formula, data.with_columns(pl.lit(4.0).alias("k")), weights="k").fixed_effects
    np.testing.assert_allclose(weighted["df"], plain["df"], rtol=1e-7)
    np.testing.assert_allclose(weighted["std_error"], plain["std_error"], rtol=1e-7)


class _Compound:
    """Equal variances and equal covariances, as a structure that lme4 does not have: T = a I + b 11'."""

    def factor(self, theta: NDArray[Any], q: int) -> NDArray[Any]:
        square = theta[0] ** 2 * np.eye(q) + theta[1] ** 2
        factor = np.zeros((q, q), dtype=theta.dtype)
        for i in range(q):
            for j in range(i + 1):
                rest = square[i, j] - factor[i, :j] @ factor[j, :j]
                factor[i, j] = np.sqrt(rest) if i == j else rest / factor[j, j]
        return factor


def test_directions_of_a_linear_structure_span_it() -> None:
    structure: Any = _Compound()
    block = Block(0, slice(0, 3), slice(0, 2), structure)
    found = linear_directions(block, np.array([1.0, 0.3])).reshape(-1, 9)
    assert len(found) == 2
    wanted = np.stack((np.eye(3).ravel(), np.ones(9)))
    np.testing.assert_allclose(wanted @ found.T @ found, wanted, atol=1e-10)


FILE = "analysis: t\ndata: d\ndf: kenward-roger\n"


def test_ml_is_refused() -> None:
    with pytest.raises(MlmError, match=r"Kenward-Roger's method is for REML. Got estimator 'ml'"):
        _kenward_roger("y ~ x + (1 | g)", _two_level()[1], estimator="ml")
    with pytest.raises(AnalysisError, match=r"Model 'a': Kenward-Roger's method is for REML. Got"):
        _ = parse_analysis(FILE + "models: {a: {formula: y ~ x, estimator: ml}}").requests


@pytest.mark.parametrize("design", ["none", "two", "three", "four"])
def test_strata_of_different_variance(design: str) -> None:
    """By the book, with the variance of each stratum as a parameter; also where T is singular."""
    formula, data, blocks = DESIGNS["two" if design == "none" else design]()
    if design == "none":
        formula, blocks = "y ~ x + w", []
    rng = np.random.default_rng(11)
    data = data.with_columns(s=rng.choice(["a", "b", "c"], len(data)))
    data = data.with_columns(y=pl.col("y") + 1.5 * (pl.col("s") == "b") * rng.normal(size=len(data)))
    fitted = _kenward_roger(formula, data, residual="by(s)")
    x = np.column_stack([np.ones(len(data)), data["x"], data["w"]])
    by_group = {v.group[0]: t for v, t in zip(fitted.estimate.design.levels, fitted.estimate.tau, strict=True)}
    parts = [(x[:, : 1 + slope], data[name].to_numpy(), by_group[name]) for name, slope in blocks]
    residual = fitted.variance_components.filter(pl.col("group") == "residual")
    strata = [(data["s"].to_numpy() == r["term"], r["estimate"]) for r in residual.iter_rows(named=True)]
    oracle = Oracle(x, parts, strata)
    np.testing.assert_allclose(fitted.vcov, oracle.adjusted, rtol=1e-8, atol=1e-10)
    degrees = [oracle.reference(row[None])[1] for row in np.eye(3)]
    np.testing.assert_allclose(fitted.fixed_effects["df"], degrees, rtol=1e-8)
    test = fitted.test(np.eye(3)[1:]).row(0, named=True)
    assert test["df2"] == pytest.approx(oracle.reference(np.eye(3)[1:])[1], rel=1e-8)


def test_strata_of_two_groups_are_welchs_test() -> None:
    """Two samples of unequal variance: Welch's (1947) statistic, and Satterthwaite's degrees of freedom of it."""
    rng = np.random.default_rng(12)
    y, g = np.concatenate((rng.normal(size=9), 1 + 3 * rng.normal(size=14))), np.repeat(["a", "b"], [9, 14])
    row = _kenward_roger("y ~ g", pl.DataFrame({"y": y, "g": g}), residual="by(g)").fixed_effects.row(1, named=True)
    first, second = y[:9].var(ddof=1) / 9, y[9:].var(ddof=1) / 14
    assert row["statistic"] == pytest.approx((y[9:].mean() - y[:9].mean()) / np.sqrt(first + second), rel=1e-7)
    assert row["df"] == pytest.approx((first + second) ** 2 / (first**2 / 8 + second**2 / 13), rel=1e-7)


def test_residual_structures_that_moments_cannot_adjust_for_are_refused() -> None:
    data = _two_level()[1].with_columns(t=pl.int_range(pl.len()), s=(pl.int_range(pl.len()) % 2).cast(pl.String))
    with pytest.raises(MlmError, match="not available for autocorrelated residuals"):
        _ = _kenward_roger("y ~ x + (1 | g)", data, residual="ar1(t)").fixed_effects
    crossed = data.with_columns(h=pl.int_range(pl.len()) % 5)
    with pytest.raises(MlmError, match=r"is for nested grouping factors\. Got crossed ones"):
        _ = _kenward_roger("y ~ x + (1 | g) + (1 | h)", crossed, residual="by(s)").fixed_effects


def test_too_many_crossed_effects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information_dense, "MOST_EFFECTS", 40)
    formula, data, _ = _crossed()
    with pytest.raises(MlmError, match="Got 43 random effects; at most 40 fit"):
        _ = _kenward_roger(formula, data).fixed_effects


def test_intervals_cover() -> None:
    """1,000 data sets of 30 groups of 4: 95% intervals cover 93-97%, for a predictor of either level and the intercept.

    The data sets are scanned as one; each is then its own groups' moments. In some of them the variance between groups
    is estimated as zero, as happens in practice.
    """
    rng, sets, groups = np.random.default_rng(20), 1000, 30
    unit = np.repeat(np.arange(sets * groups), 4)
    w, x = rng.normal(size=sets * groups)[unit], rng.normal(size=len(unit))
    effects = 0.6 * rng.normal(size=sets * groups)[unit]
    y = 2 + 0.4 * w + 0.2 * x + effects + rng.normal(size=len(unit))
    request = Request(parse_formula("y ~ w + x + (1 | g)"), df="kenward-roger")
    everything = collect(open_source(pl.DataFrame({"y": y, "w": w, "x": x, "g": unit}), None), [request.model])
    truth, covered = np.array([2.0, 0.4, 0.2]), np.zeros(3)
    for k in range(sets):
        tests = fit_model(request, _units(everything, slice(k * groups, (k + 1) * groups))).tests
        covered += (tests.conf_low <= truth) & (truth <= tests.conf_high)
    assert (covered >= 930).all()
    assert (covered <= 970).all()


def _units(moments: Moments, chosen: slice) -> Moments:
    """The moments of some units alone."""
    return replace(
        moments,
        labels=tuple(label[chosen] for label in moments.labels),
        n=moments.n[chosen],
        mean=moments.mean[:, chosen],
        scatter=moments.scatter[..., chosen],
        constants=tuple(values[chosen] for values in moments.constants),
    )
