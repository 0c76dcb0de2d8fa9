"""Find where a function of one number changes its sign, without scipy.optimize, whose import takes longer than a fit.

Brent (1973), Algorithms for Minimization without Derivatives, chapter 4: interpolation through the last two or three
values, and halves of the bracket where that does not shrink it fast enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: More than halving takes for any bracket of doubles, thrice.
_MOST_STEPS = 3_300
_ROUNDING = 2.0**-51


def find_root(function: Callable[[float], float], low: float, high: float, tolerance: float, relative: float) -> float:
    """Return a root between two places where a function has different signs, to half of both tolerances together.

    Parameters
    ----------
    function
        Continuous; one of its values at the ends may be zero.
    tolerance, relative
        How far the root may be from the place that is returned, and as a share of that place.

    Raises
    ------
    ValueError
        The function has one sign at both ends, or is not a number there.
    """
    before, best, other = low, high, low
    at_before, at_best = function(low), function(high)
    at_other = at_before
    if not min(at_before, at_best) <= 0 <= max(at_before, at_best):
        raise ValueError(f"The function has one sign at both ends. Got {at_before} at {low} and {at_best} at {high}.")
    step = last_step = best - before
    for _ in range(_MOST_STEPS):
        if at_best != 0 and (at_best > 0) == (at_other > 0):
            # the bracket is between the best place and the other one
            other, at_other = before, at_before
            step = last_step = best - before
        if abs(at_other) < abs(at_best):
            before, best, other = best, other, best
            at_before, at_best, at_other = at_best, at_other, at_best
        close = _ROUNDING * abs(best) + 0.5 * (tolerance + relative * abs(best))
        half = 0.5 * (other - best)
        if abs(half) <= close or at_best == 0:
            return best
        aim = _aim((before, best, other), (at_before, at_best, at_other)) if abs(last_step) >= close else None
        if aim is not None and 2 * abs(aim) < min(3 * abs(half) - close, abs(last_step)) and aim * half > 0:
            last_step, step = step, aim
        else:
            last_step = step = half
        before, at_before = best, at_best
        best += step if abs(step) > close else math.copysign(close, half)
        at_best = function(best)
    return best


def _aim(places: tuple[float, float, float], values: tuple[float, float, float]) -> float | None:
    """The step from the best place, the second, to the zero of the line or inverse parabola through the values."""
    before, best, other = places
    at_before, at_best, at_other = values
    if abs(at_before) <= abs(at_best):
        return None
    share = at_best / at_before
    if before == other:
        return (best - other) * share / (1 - share)
    q, r = at_before / at_other, at_best / at_other
    over = share * ((other - best) * q * (q - r) - (best - before) * (r - 1))
    under = (q - 1) * (r - 1) * (share - 1)
    return -over / under if under else None
