"""Regions of significance: for which values of a moderator a slope differs from zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mlm_ops.effect_sizes.points import Spread, Surface, derivative
from mlm_ops.errors import MlmError
from mlm_ops.inference.f_tests import DfMethod
from mlm_ops.language.model import Indicator, Variable, label

Array = NDArray[np.float64]

#: Points on the line at which a slope's significance is looked at, before the crossings between them are found.
_POINTS = 61


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


def johnson_neyman(surface: Surface, method: DfMethod, slope: str, moderator: str, level: float = 0.95) -> list[Region]:
    """The regions of a moderator in which a slope differs from zero, from minus to plus infinity.

    At w the slope is ``a + b w`` with variance ``l(w)' V l(w)``. Its statistic crosses the critical value of the t
    distribution at roots of ``(a + b w)^2 = t^2 l(w)' V l(w)``: Johnson and Neyman (1936), Statistical Research Memoirs
    1, 57-93; Bauer and Curran (2005), Multivariate Behavioral Research 40, 373-400. The degrees of freedom are the
    fit's own at each w, so t changes along the line and the roots, at most two for a constant t, are found numerically.

    Parameters
    ----------
    slope, moderator
        Predictors, the moderator one for which `is_number` holds.
    level
        Of confidence.
    """
    if not 0 < level < 1:
        raise MlmError(f"The level of an interval lies between 0 and 1. Got {level!r}; 0.95 is usual.")
    focal, by = _one(surface, slope), _number(surface, moderator)
    surface.require_product([focal], slope, moderator)
    spread = surface.spread(by)
    at_zero, at_one = (
        derivative(surface.columns, focal, {**surface.typical, focal: 0.0, by: value}) for value in (0.0, 1.0)
    )
    fixed = surface.fitted.design.fixed
    if not fixed.estimable(np.array([at_zero, at_one])).all():
        return [Region(None, None, None, None, None, "not estimable")]
    at_zero, at_one = at_zero[list(fixed.span.kept)], at_one[list(fixed.span.kept)]
    gamma, per_unit = surface.fitted.gamma, at_one - at_zero
    center, scale = spread.mean, spread.std_dev or 1.0

    def rows(w: Array) -> Array:
        combinations: Array = at_zero + w[:, None] * per_unit
        return combinations

    def beyond(w: Array) -> Array:
        """How far the statistic lies beyond its critical value."""
        from scipy.special import stdtrit

        critical = stdtrit(method.degrees(rows(w)), 0.5 + level / 2)
        excess: Array = np.abs(rows(w) @ gamma) / np.sqrt(method.variances(rows(w))) - critical
        return excess

    near = rows(center + scale * np.array([-1.0, 0.0, 1.0]))
    points = _points_to_look_at(near @ gamma, method.variances(near), center, scale, level)
    roots = _roots(beyond, points)
    ends = [-np.inf, *roots, np.inf]
    found = []
    for low, high in pairwise(ends):
        inside = np.array([_between(low, high, center, scale)])
        significant = bool(beyond(inside)[0] > 0)
        sign = "positive" if (rows(inside) @ gamma)[0] > 0 else "negative"
        share = None if spread.values is None else float(((spread.values > low) & (spread.values <= high)).mean())
        note = None if roots else "nowhere"
        found.append(Region(_end(low), _end(high), significant, sign if significant else None, share, note))
    return _noted(found, spread)


def _noted(regions: list[Region], spread: Spread) -> list[Region]:
    """Say of a region that it holds all values of the moderator that occur, or none of them."""
    low, high = spread.mean - 2 * spread.std_dev, spread.mean + 2 * spread.std_dev

    def note(region: Region) -> str | None:
        if len(regions) == 1:
            return region.note
        said = "everywhere" if region.significant else "nowhere"
        if region.share is not None:
            return f"{said} in the data" if region.share == 1 else "no unit lies here" if region.share == 0 else None
        reaches = (region.low is None or region.low < low) and (region.high is None or region.high > high)
        return f"{said} within two standard deviations of the moderator's mean" if reaches else None

    return [replace(region, note=note(region)) for region in regions]


def _one(surface: Surface, name: str) -> Variable:
    variables = surface.find(name)
    if len(variables) > 1:
        raise MlmError(
            f"Regions of significance are of one slope, and {name} is a factor with several. Got {name!r}; expected "
            f"one of {', '.join(map(label, variables))}."
        )
    return variables[0]


def _number(surface: Surface, name: str) -> Variable:
    variables = surface.find(name)
    if not is_number(surface, name):
        raise MlmError(
            f"Regions of significance are of numbers. Got {name!r}, which has a few values only; use simple_slopes() "
            "at each of them."
        )
    return variables[0]


def is_number(surface: Surface, name: str) -> bool:
    """Whether a moderator has regions: it is no factor, nor 0 or 1 throughout."""
    (first, *others) = surface.find(name)
    return not others and not isinstance(first, Indicator) and not surface.spread(first).binary


def _points_to_look_at(estimates: Array, variances: Array, center: float, scale: float, level: float) -> Array:
    """Points dense around the moderator's mean, and on either side of every root that some constant t would give.

    The tangent maps the line to an interval, so that the ends are looked at too.

    Parameters
    ----------
    estimates, variances
        (3,) of the slope at ``center + scale d``, d = -1, 0, 1: they determine a line and a parabola in d.
    """
    from scipy.special import stdtrit

    angles = np.linspace(-np.pi / 2, np.pi / 2, _POINTS + 2)[1:-1]
    points = [np.tan(angles), np.array([-1e4, 1e4])]
    rise = (estimates[2] - estimates[0]) / 2
    linear, bend = (variances[2] - variances[0]) / 2, (variances[2] + variances[0]) / 2 - variances[1]
    for df in (2.0, 5.0, 20.0, 100.0, np.inf):
        t2 = float(stdtrit(df, 0.5 + level / 2)) ** 2
        # a d^2 + 2 b d + c is zero where the statistic is t
        a = rise**2 - t2 * bend
        b = estimates[1] * rise - t2 * linear / 2
        c = estimates[1] ** 2 - t2 * variances[1]
        inner = b * b - a * c
        if a and inner > 0:
            first, second = sorted(((-b - np.sqrt(inner)) / a, (-b + np.sqrt(inner)) / a))
            gap = second - first
            points.append(np.array([first - gap, first, (first + second) / 2, second, second + gap]))
        if a:
            points.append(np.array([-b / a]))
    joined = np.unique(np.concatenate(points))
    placed: Array = center + scale * joined[np.isfinite(joined)]
    return placed


def _roots(excess: Callable[[Array], Array], points: Array) -> list[float]:
    from scipy.optimize import brentq

    signs = np.sign(excess(points))
    crossings = np.flatnonzero(signs[:-1] * signs[1:] < 0)

    def one(w: float) -> float:
        return float(excess(np.array([w]))[0])

    found = [float(brentq(one, points[i], points[i + 1], xtol=1e-12, rtol=1e-12)) for i in crossings]
    return sorted(found + [float(p) for p in points[signs == 0]])


def _end(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _between(low: float, high: float, center: float, scale: float) -> float:
    """A point inside an interval that may have no ends."""
    if np.isinf(low) and np.isinf(high):
        return center
    if np.isinf(low):
        return high - scale
    return low + scale if np.isinf(high) else (low + high) / 2
