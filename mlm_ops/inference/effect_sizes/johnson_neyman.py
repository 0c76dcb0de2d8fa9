"""Regions of significance: for which values of a moderator a slope differs from zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.inference.effect_sizes.interactions import Spread, Surface, derivative
from mlm_ops.inference.fixed.tests import CoefficientMethod
from mlm_ops.inference.root import find_root
from mlm_ops.inference.t_distribution import critical_value
from mlm_ops.language.model import Indicator, Variable, label
from mlm_ops.moments.arrays import Array

#: Angles at which a critical value that changes along the moderator is computed, before crossings are bracketed.
_ANGLES = 181
#: A statistic beyond its critical value by a smaller share than this touches it: slopes and errors are sums of some
#: hundred products, each right to 2e-16 of its size, and at the place of least error little of that cancels.
_TOUCHING = 1e-12
#: Degrees of freedom are the same everywhere where they differ by a smaller share.
_CONSTANT = 1e-9
#: An error below this share of another has no part in the root of their summed squares.
_UNSEEN = 1e-8
#: An end at a smaller cosine of its angle lies so far away that only rounding keeps it from infinity.
_LEAST_COSINE = 1e-12


@dataclass(frozen=True)
class Region:
    """An interval of the moderator in which a slope differs from zero, or does not; None where it has no end.

    A slope that the data do not determine has one region, of which nothing is known but its note, ``not estimable``.

    Attributes
    ----------
    direction
        ``positive`` or ``negative`` where the slope differs from zero.
    share
        Of the units whose moderator lies in it; None for a moderator that varies within units.
    note
        ``nowhere`` where there is no crossing. A line that is not flat crosses zero, so that ``everywhere in the data``
        is said of the region that holds all units, and ``no unit lies here`` of one that holds none.
    """

    low: float | None
    high: float | None
    significant: bool | None
    direction: str | None
    share: float | None
    note: str | None


def johnson_neyman(
    surface: Surface, method: CoefficientMethod, slope: str, moderator: str, level: float = 0.95
) -> list[Region]:
    """The regions of a moderator in which a slope differs from zero, from minus to plus infinity.

    At w the slope is ``a + b w`` with variance ``l(w)' V l(w)``. Its statistic crosses the critical value of the t
    distribution at roots of ``(a + b w)^2 = t^2 l(w)' V l(w)``: Johnson and Neyman (1936), Statistical Research Memoirs
    1, 57-93; Bauer and Curran (2005), Multivariate Behavioral Research 40, 373-400. The degrees of freedom are the
    fit's own at each w. Where they are the same everywhere the roots have a closed form; elsewhere t changes along the
    line, and they are found between brackets (`Slopes`).

    Parameters
    ----------
    slope, moderator
        Predictors, the moderator one for which `is_number` holds.
    level
        Of confidence, between 0 and 1.
    """
    focal, moderator_variable = _slope_variable(surface, slope), _moderator_variable(surface, moderator)
    surface.require_product([focal], slope, moderator)
    spread = surface.spread(moderator_variable)
    at_zero, at_one = (
        derivative(surface.columns, focal, {**surface.typical, focal: 0.0, moderator_variable: value})
        for value in (0.0, 1.0)
    )
    fixed = surface.estimate.design.fixed
    if not fixed.estimable(np.array([at_zero, at_one])).all():
        return [Region(None, None, None, None, None, "not estimable")]
    at_zero, at_one = at_zero[list(fixed.span.independent)], at_one[list(fixed.span.independent)]
    slopes = _slopes(surface.estimate.gamma, method, at_zero + spread.mean * (at_one - at_zero), at_one - at_zero)
    ends = slopes.crossings(level)
    places = [-np.inf, *(spread.mean + slopes.distance(angle) for angle in ends), np.inf]
    regions = []
    for (low, high), (first, last) in zip(pairwise(places), pairwise((-np.pi / 2, *ends, np.pi / 2)), strict=True):
        inside = (first + last) / 2
        significant = bool(slopes.excess(np.array([inside - slopes.steepest]), level)[0] > 0)
        sign = "positive" if np.cos(inside - slopes.steepest) > 0 else "negative"
        share = None if spread.values is None else float(((spread.values > low) & (spread.values <= high)).mean())
        note = None if ends or significant else "nowhere"
        regions.append(Region(_end(low), _end(high), significant, sign if significant else None, share, note))
    return _with_notes(regions, spread)


def _with_notes(regions: list[Region], spread: Spread) -> list[Region]:
    """Say of a region that it holds all values of the moderator that occur, or none of them."""
    low, high = spread.mean - 2 * spread.std_dev, spread.mean + 2 * spread.std_dev

    def note(region: Region) -> str | None:
        if len(regions) == 1:
            return region.note
        word = "everywhere" if region.significant else "nowhere"
        if region.share is not None:
            return f"{word} in the data" if region.share == 1 else "no unit lies here" if region.share == 0 else None
        reaches = (region.low is None or region.low < low) and (region.high is None or region.high > high)
        return f"{word} within two standard deviations of the moderator's mean" if reaches else None

    return [replace(region, note=note(region)) for region in regions]


def _slope_variable(surface: Surface, name: str) -> Variable:
    variables = surface.find(name)
    if len(variables) > 1:
        raise MlmError(
            f"Regions of significance need one slope, and {name} is a factor with several. Got {name!r}; expected "
            f"one of {', '.join(map(label, variables))}."
        )
    return variables[0]


def _moderator_variable(surface: Surface, name: str) -> Variable:
    variables = surface.find(name)
    if not is_number(surface, name):
        raise MlmError(
            f"Regions of significance need a moderator that is a number. Got {name!r}, which has a few values only; "
            "use simple_slopes() at each of them."
        )
    return variables[0]


def is_number(surface: Surface, name: str) -> bool:
    """Whether a moderator has regions: it is no factor, nor 0 or 1 throughout."""
    (first, *others) = surface.find(name)
    return not others and not isinstance(first, Indicator) and not surface.spread(first).binary


@dataclass(frozen=True)
class Slopes:
    """A slope and its error all along a moderator, as directions of a plane.

    ``l(w)`` combines two contrasts whose estimates are uncorrelated: the slope where its error is least, and the
    slope's change. In units of their errors it points at an angle from -90 to 90 degrees as w goes from minus to plus
    infinity, and the statistic is ``length * |cos(angle - steepest)|``. Nothing cancels in it, and a constant critical
    value is crossed where the cosine is ``critical / length``.

    Attributes
    ----------
    method
        Whose degrees of freedom.
    contrasts
        (2, p) of the two slopes, each divided by its standard error.
    length, steepest
        Largest statistic on the line, and the angle at which it is reached.
    center, scale
        The moderator's distance from the value that the contrasts were taken at is ``center + scale * tan(angle)``.
    """

    method: CoefficientMethod
    contrasts: Array
    length: float
    steepest: float
    center: float
    scale: float

    def distance(self, angle: float) -> float:
        """Distance of the moderator at an angle from the value that the contrasts were taken at."""
        return float(self.center + self.scale * np.tan(angle))

    def excess(self, turns: Array, level: float) -> Array:
        """By how much the statistic exceeds its critical value, so many radians from the `steepest` angle."""
        critical = critical_value(self._degrees(turns), level) * (1 + _TOUCHING)
        excess: Array = self.length * np.abs(np.cos(turns)) - critical
        return excess

    def crossings(self, level: float) -> list[float]:
        """Angles at which the statistic crosses its critical value, in the moderator's order; none where it touches."""
        turns = np.linspace(-np.pi / 2, np.pi / 2, _ANGLES)
        df = self._degrees(turns)
        if np.isinf(df).all() or np.ptp(df) <= _CONSTANT * df.min():
            critical = float(critical_value(df[0], level))
            turns = np.arccos([critical / self.length]) if critical * (1 + _TOUCHING) < self.length else np.array([])
            crossing_turns = [*-turns, *turns]
        else:
            crossing_turns = _roots(lambda at: self.excess(at, level), turns)
        # a line has no direction: angles half a turn apart are one
        angles = (np.array(crossing_turns) + self.steepest + np.pi / 2) % np.pi - np.pi / 2
        return sorted(float(angle) for angle in angles if np.cos(angle) > _LEAST_COSINE)

    def _degrees(self, turns: Array) -> Array:
        angles = self.steepest + turns
        return self.method.degrees(np.column_stack((np.cos(angles), np.sin(angles))) @ self.contrasts)


def _slopes(gamma: Array, method: CoefficientMethod, slope: Array, change: Array) -> Slopes:
    """The slopes ``slope + d change`` at distances d.

    Parameters
    ----------
    gamma
        (p,) coefficients.
    slope, change
        (p,) contrasts: the slope at some value of the moderator, and its change by one unit of it.
    """
    across_error = _error(method, change)
    center = 0.0
    # the distance of least error; the second pass mends what rounding left of the first, if that was far away
    for _ in range(2):
        at = slope + center * change
        error = _error(method, at) or across_error
        unit = change * (error / across_error)
        plus, minus = method.variances(np.array([at + unit, at - unit]))
        center -= float(plus - minus) / (4 * error * across_error)
    at = slope + center * change
    # an error of zero, as robust ones of few clusters can be somewhere, is one too small to be seen at any end
    error = _error(method, at) or _UNSEEN * abs(float(at @ gamma)) or across_error
    contrasts = np.array([at / error, change / across_error])
    along, across = contrasts @ gamma
    length, steepest = float(np.hypot(along, across)), float(np.arctan2(across, along))
    return Slopes(method, contrasts, length, steepest, center, error / across_error)


def _error(method: CoefficientMethod, contrast: Array) -> float:
    return float(np.sqrt(max(method.variances(contrast[None, :])[0], 0.0)))


def _roots(excess: Callable[[Array], Array], points: Array) -> list[float]:
    """Places where a function changes its sign, from values at points dense enough to see all but the narrowest turns.

    A turn that brings it near zero between two points is looked at more closely. Zero counts as below, so that a
    root that is only touched is none; and every value is asked for once, so that no root is lost to its rounding.
    """
    from scipy.optimize import minimize_scalar

    values: dict[float, float] = dict(zip(points.tolist(), excess(points).tolist(), strict=True))

    def value(at: float) -> float:
        if at not in values:
            values[at] = float(excess(np.array([at]))[0])
        return values[at]

    for low, middle, high in zip(points[:-2].tolist(), points[1:-1].tolist(), points[2:].tolist(), strict=True):
        sign = 1.0 if value(middle) > 0 else -1.0
        if 0 < sign * value(middle) <= min(sign * value(low), sign * value(high)):
            minimize_scalar(lambda at, sign=sign: sign * value(float(at)), bounds=(low, high), method="bounded")
    places = sorted(values)
    return [
        find_root(value, low, high, 1e-14, 1e-14)
        for low, high in pairwise(places)
        if (values[low] > 0) != (values[high] > 0)
    ]


def _end(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
