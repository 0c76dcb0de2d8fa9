"""Regions of significance against the closed form, the same on processors that round otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

import mlm_ops as mlm
from mlm_ops.inference.effect_sizes import johnson_neyman
from mlm_ops.inference.effect_sizes.interactions import Surface
from mlm_ops.inference.fixed.tests import CoefficientMethod
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

Array = NDArray[np.float64]
HSB = str(reference.HERE / "data" / "hsb.csv")
#: At 97.5%.
NORMAL = float(norm.ppf(0.975))


def regression(seed: int) -> tuple[Array, Array, Array]:
    """x, w and y of 104 rows: with the intercept and a product 100 degrees of freedom are left."""
    draw = np.random.default_rng(seed)
    x, w = draw.normal(size=104), draw.normal(size=104) + draw.integers(-3, 4)
    y = draw.normal(0, 0.3) * x + draw.normal(0, 0.4) * x * w + draw.normal(size=104)
    return x, w, y


def closed_form(x: Array, w: Array, y: Array) -> tuple[list[float], float]:
    """Roots of ``(a + b w)^2 = t^2 Var(a + b w)``, in 80 bits, and the relative error with which 64 bits know them.

    A root's error grows as the discriminant goes to zero, where the two become one.
    """
    one, w_long = np.ones_like(x, dtype=np.longdouble), w - w.mean().astype(np.longdouble)
    design = np.column_stack((one, x, w_long, x * w_long))
    gram, right = design.T @ design, design.T @ y
    joined = np.column_stack((gram, right, np.eye(4)))
    for i in range(4):
        joined[i] /= joined[i, i]
        others = np.arange(4) != i
        joined[others] -= joined[others, i : i + 1] * joined[i]
    gamma, inverse = joined[:, 4], joined[:, 5:]
    rest = y - design @ gamma
    v = inverse * (rest @ rest) / 100
    t2 = np.longdouble(student.ppf(0.975, 100)) ** 2
    a, b, c = (
        gamma[3] ** 2 - t2 * v[3, 3],
        gamma[1] * gamma[3] - t2 * v[1, 3],
        gamma[1] ** 2 - t2 * v[1, 1],
    )
    inner = b * b - a * c
    if inner <= 0:
        return [], 0.0
    roots = sorted(float((-b + sign * np.sqrt(inner)) / a) for sign in (-1, 1))
    size = b * b + abs(a * c)
    return [root + float(w.mean()) for root in roots], float(np.sqrt(size / inner) * size / inner)


@pytest.mark.parametrize("first", range(0, 150, 30))
def test_roots_of_constant_degrees_are_those_of_the_quadratic(first: int) -> None:
    """A closed form that asks for no sign of rounding: the regions, and their ends to 1e-12 of the roots' condition."""
    several = 0
    for seed in range(first, first + 30):
        x, w, y = regression(seed)
        table = mlm.fit("y ~ x * w", pl.DataFrame({"x": x, "w": w, "y": y})).johnson_neyman("x", "w")
        roots, condition = closed_form(x, w, y)
        ends = table["high"].drop_nulls().to_list()
        assert len(ends) == len(roots), seed
        # products of 104 rows, inverses of condition below 100: 1e-13; as angles, as an end may lie near infinity
        ours, theirs = (np.arctan(np.array(found) - w.mean()) for found in (ends, roots))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * (1 + condition))
        outside = table["significant"][0]
        assert table["significant"].to_list() == [outside, not outside, outside][: len(ends) + 1]
        several += len(ends) == 2
    assert several > 10


@dataclass(frozen=True)
class OtherProcessor:
    """A fit's tests with other last digits: other ones too for one contrast than for the same among several.

    So products of matrices are on some processors, which multiply one row by another sequence of operations.
    """

    method: CoefficientMethod
    ulps: int

    @property
    def vcov(self) -> Array:
        return self.method.vcov

    def _noise(self, contrasts: Array) -> float:
        return 1.0 + float(np.finfo(float).eps) * (self.ulps if len(contrasts) == 1 else -self.ulps)

    def variances(self, contrasts: Array) -> Array:
        return self.method.variances(contrasts) * self._noise(contrasts)

    def degrees(self, contrasts: Array) -> Array:
        return self.method.degrees(contrasts) * self._noise(contrasts)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        return self.method.reference(contrasts)


@pytest.fixture(scope="module")
def fits() -> dict[str, Fit]:
    formula = "mathach ~ within(ses)*sector + within(ses)*between(ses) + (within(ses)|school)"
    first = mlm.fit(formula, HSB)
    return {
        df: replace(first, request=replace(first.request, df=df)) for df in ("none", "satterthwaite", "kenward-roger")
    }


@pytest.mark.parametrize("ulps", [-16, -1, 1, 16])
@pytest.mark.parametrize("df", ["none", "satterthwaite", "kenward-roger"])
def test_regions_are_the_same_on_a_processor_that_rounds_otherwise(fits: dict[str, Fit], df: str, ulps: int) -> None:
    fit = fits[df]
    surface = Surface(fit.model, fit.moments, fit.estimate)
    ours, theirs = (
        johnson_neyman.johnson_neyman(surface, method, "within(ses)", "between(ses)")
        for method in (fit.method, OtherProcessor(fit.method, ulps))
    )
    assert [r.significant for r in theirs] == [r.significant for r in ours] == [True, False, True]
    # 16 units in the last place of the variance and of df, by the condition of the roots, which is 20
    np.testing.assert_allclose([r.high for r in theirs[:2]], [r.high for r in ours[:2]], rtol=1e-13)


def test_the_roots_of_the_normal_distribution(fits: dict[str, Fit]) -> None:
    """By hand: the slope where the moderator is zero, at the share of public schools, and its change."""
    fit = fits["none"]
    names = fit.fixed_effects["term"].to_list()
    here, change = np.zeros(len(names)), np.zeros(len(names))
    here[names.index("within(ses)")] = 1
    here[names.index("within(ses):sector[Public]")] = 90 / 160
    change[names.index("within(ses):between(ses)")] = 1
    gamma, v, t2 = fit.estimate.gamma, fit.vcov, NORMAL**2
    roots = np.roots(
        [
            (change @ gamma) ** 2 - t2 * change @ v @ change,
            2 * (here @ gamma * (change @ gamma) - t2 * here @ v @ change),
            (here @ gamma) ** 2 - t2 * here @ v @ here,
        ]
    )
    table = fit.johnson_neyman("within(ses)", "between(ses)")
    np.testing.assert_allclose(table["high"].to_list()[:2], sorted(roots.real), rtol=1e-11)


@dataclass(frozen=True)
class Independent:
    """Two coefficients with errors of one, and degrees of freedom by the angle of the contrast; or infinite ones."""

    by_angle: Callable[[Array], Array] | None = None
    vcov: Array = field(default_factory=lambda: np.eye(2))

    def variances(self, contrasts: Array) -> Array:
        return np.einsum("ki,ij,kj->k", contrasts, self.vcov, contrasts)

    def degrees(self, contrasts: Array) -> Array:
        angles = np.arctan(contrasts[:, 1] / contrasts[:, 0])
        return np.full(len(angles), np.inf) if self.by_angle is None else self.by_angle(angles)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        return 1.0, np.inf


def crossings(method: CoefficientMethod, gamma: Array) -> list[float]:
    slopes = johnson_neyman._slopes(gamma, method, np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    return [slopes.distance(angle) for angle in slopes.crossings(0.95)]


@pytest.mark.parametrize("beyond", [-1e-9, -4e-16, 0.0, 4e-16, 1e-13])
def test_a_statistic_that_touches_its_critical_value_crosses_it_nowhere(beyond: float) -> None:
    """The largest statistic on the line is |gamma| here: whether it lies a rounding below or above must not matter."""
    assert crossings(Independent(), NORMAL * (1 + beyond) * np.array([0.6, 0.8])) == []


def test_a_statistic_just_beyond_its_critical_value_crosses_it_twice() -> None:
    """1e-9 beyond: at angles of arccos(1 / (1 + 1e-9)) = 4.472e-5 around the steepest, whose tangent is 4/3."""
    low, high = crossings(Independent(), NORMAL * (1 + 1e-9) * np.array([0.6, 0.8]))
    turn = np.sqrt(2e-9)
    # the share that touches, 1e-12, moves the ends by 5e-4 of their distance
    assert low == pytest.approx(np.tan(np.arctan2(0.8, 0.6) - turn), abs=1e-6 * turn)
    assert high == pytest.approx(np.tan(np.arctan2(0.8, 0.6) + turn), abs=1e-6 * turn)


def test_changing_degrees_of_freedom_have_their_crossings() -> None:
    """Where degrees of freedom are many in a range of a third of a degree alone, the statistic exceeds t only there."""

    def degrees(angles: Array) -> Array:
        return 4 + 1e4 * np.exp(-((angles / 0.02) ** 2))

    gamma = np.array([2.2, 0.0])
    low, high = crossings(Independent(degrees), gamma)
    assert low == pytest.approx(-high, rel=1e-9)
    critical = student.ppf(0.975, degrees(np.arctan([high])))
    assert 2.2 * np.cos(np.arctan(high)) == pytest.approx(critical[0], rel=1e-9)
    assert crossings(Independent(lambda angles: degrees(angles) / 1e3), gamma) == []


def test_a_slope_without_error_somewhere_has_ends_around_it() -> None:
    """Robust errors of few clusters are zero at some value: (1 + d)^2 = t^2 d^2 has its roots beside it."""
    singular = Independent(vcov=np.array([[0.0, 0.0], [0.0, 1.0]]))
    found = crossings(singular, np.array([1.0, 1.0]))
    expected = sorted((-1 / (1 - NORMAL), -1 / (1 + NORMAL)))
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_a_far_moderator_keeps_its_digits() -> None:
    x, w, y = regression(3)
    near, far = (
        mlm.fit("y ~ x * w", pl.DataFrame({"x": x, "w": w + shift, "y": y})).johnson_neyman("x", "w")
        for shift in (0.0, 1e8)
    )
    # 1e8 takes eight of sixteen digits
    np.testing.assert_allclose(far["high"].drop_nulls() - 1e8, near["high"].drop_nulls(), atol=1e-7)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_no_crossing_is_missed_where_degrees_of_freedom_vary(df: str) -> None:
    """With 6 groups they change much along the moderator: t tests at 2,000 values say the same as the regions."""
    several = 0
    for seed in range(12):
        draw = np.random.default_rng(seed)
        g = np.repeat(np.arange(6), 10)
        x, w = draw.normal(size=(2, 60))
        u = draw.normal(size=(2, 6))[:, g]
        y = draw.normal(0, 0.7) * x + draw.normal(0, 0.7) * x * w + u[0] + 0.5 * u[1] * x + draw.normal(size=60)
        fit = mlm.fit("y ~ x * w + (x | g)", pl.DataFrame({"g": g, "x": x, "w": w, "y": y}), df=df)  # type: ignore[arg-type]
        table = fit.johnson_neyman("x", "w")
        at = np.concatenate((np.tan(np.linspace(-1.57, 1.57, 2000)), [-1e5, 1e5]))
        rows = np.column_stack((np.zeros_like(at), np.ones_like(at), np.zeros_like(at), at))
        statistic = np.abs(rows @ fit.estimate.gamma) / np.sqrt(fit.method.variances(rows))
        significant = statistic > student.ppf(0.975, fit.method.degrees(rows))
        ends = np.array(table["high"].to_list()[:-1], dtype=float)
        region = np.searchsorted(ends, at)
        clear = np.abs(at[:, None] - ends).min(axis=1, initial=np.inf) > 1e-8 * (1 + np.abs(at))
        assert (significant == table["significant"].to_numpy()[region])[clear].all(), seed
        several += len(ends) > 1
    assert several > 4
