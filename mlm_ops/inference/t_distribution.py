"""Student's t distribution, two-sided p values and critical values, and critical values of F, by numpy alone.

``scipy.special`` has them, and its import takes as long as all the rest of a first fit. The tests compare the two.
With ``s = sqrt(df) sinh(v)`` the tail beyond t is the integral of ``cosh(v) ** -df``, whose logarithm is concave: the
p value is the tail's integral over that from zero on, so that no gamma function is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mlm_ops.moments.arrays import Array

#: Half a 95% interval in standard errors, by the normal distribution.
NORMAL_975 = 1.959963984540054
#: Beyond these the distribution is the normal one in every digit of a double.
_NORMAL = 1e20
#: Step and points of the trapezoidal rule after ``w = exp(u - exp(-u))``, which makes it exact in double precision:
#: Takahasi and Mori (1974), Publications of the Research Institute for Mathematical Sciences 9, 721-741.
_STEP = 0.1
_POINTS = np.arange(-40, 61) * _STEP
_PLACES = np.exp(_POINTS - np.exp(-_POINTS))
_WEIGHTS = _STEP * _PLACES * (1 + np.exp(-_POINTS))
#: Where the density of F's z is zero in double precision.
_FAR = 300.0
#: The density of F's z with few degrees of freedom falls more steeply, and takes half the step.
_F_POINTS = np.arange(-80, 121) * _STEP / 2
_F_PLACES = np.exp(_F_POINTS - np.exp(-_F_POINTS))
_F_WEIGHTS = _STEP / 2 * _F_PLACES * (1 + np.exp(-_F_POINTS))
#: Newton's method takes about six steps: one that changes the value by less doubles the digits that agree.
_LAST_CHANGE, _MOST_STEPS = 1e-9, 60


def two_sided_p(df: ArrayLike, statistic: ArrayLike) -> Array:
    """Probability that ``|T|`` is at least a statistic's size, of any shape; not a number where df is not positive.

    Parameters
    ----------
    df
        Degrees of freedom, need not be whole; infinite for the normal distribution.
    statistic
        Finite or infinite; its sign does not count.
    """
    degrees, sizes = np.broadcast_arrays(_degrees(df), np.abs(np.asarray(statistic, dtype=np.float64)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values = np.arcsinh(sizes / np.sqrt(degrees))
        p = np.exp(-degrees * _log_cosh(values)) * _tail(degrees, values) / _tail(degrees, np.zeros_like(values))
    return np.asarray(p)


def critical_value(df: ArrayLike, confidence: ArrayLike) -> Array:
    """The statistic that ``|T|`` stays below with a probability: ``qt((1 + confidence) / 2, df)``, of any shape.

    Parameters
    ----------
    df
        As `two_sided_p` takes them.
    confidence
        Between 0 and 1.
    """
    degrees, level = np.broadcast_arrays(_degrees(df), np.asarray(confidence, dtype=np.float64))
    values = np.zeros(degrees.shape)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        whole, log_alpha = _tail(degrees, values), np.log1p(-level)
        for _ in range(_MOST_STEPS):
            # the logarithm of p is concave in v: from the second step on Newton's method comes down to the root
            tail = _tail(degrees, values)
            change = (np.log(tail / whole) - degrees * _log_cosh(values) - log_alpha) * tail
            values = values + change
            if not (np.abs(change) > _LAST_CHANGE * values).any():
                break
        return np.asarray(np.sqrt(degrees) * np.sinh(values))


def f_critical_value(df1: float, df2: float, alpha: float) -> float:
    """The statistic that F exceeds with a probability of at most a half: ``qf(1 - alpha, df1, df2)``.

    The logarithm of F's tail is concave in ``z = log(F) / 2``, whose density is highest at zero: Fisher (1924),
    Proceedings of the International Congress of Mathematics, Toronto, 805-813.
    """
    z, whole = 0.0, _f_tail(df1, df2, 0.0) + _f_tail(df2, df1, 0.0)
    for _ in range(_MOST_STEPS):
        # the density relative to that at zero
        log_height = float(_f_log_density(df1, df2, 0.0, np.array(z)))
        tail = _f_tail(df1, df2, z)
        change = (log_height + np.log(tail / whole) - np.log(alpha)) * tail
        z += float(change)
        if abs(change) <= _LAST_CHANGE * abs(z):
            break
    return float(np.exp(2 * z))


def _f_tail(df1: float, df2: float, z: float) -> float:
    """The density of z at ``z + s`` relative to that at z, integrated over s from zero on."""
    slope = df1 * df2 * np.expm1(2 * z) / (df1 * np.exp(2 * z) + df2)
    step = 1 / (slope + np.sqrt(df1 * df2 / (df1 + df2)))
    with np.errstate(under="ignore"):
        return float(step * (np.exp(_f_log_density(df1, df2, z, step * _F_PLACES)) @ _F_WEIGHTS))


def _f_log_density(df1: float, df2: float, z: float, distances: Array) -> Array:
    """The logarithm of the density at ``z + s`` relative to that at z, (...,), each s being zero or more."""
    odds = df1 / df2 * np.exp(2 * z)
    # of two forms that are equal the one whose logarithm is the smaller
    if odds < 1:
        s = np.minimum(distances, _FAR)
        return np.asarray(df1 * s - (df1 + df2) / 2 * np.log1p(odds / (1 + odds) * np.expm1(2 * s)))
    return np.asarray(-df2 * distances - (df1 + df2) / 2 * np.log1p(np.expm1(-2 * distances) / (1 + odds)))


def _degrees(df: ArrayLike) -> Array:
    degrees = np.asarray(df, dtype=np.float64)
    return np.asarray(np.where(degrees > 0, np.minimum(degrees, _NORMAL), np.nan))


def _log_cosh(values: Array) -> Array:
    """``log(cosh(v))``, (...,), for v of zero or more."""
    near = np.log1p(np.sinh(np.minimum(values, 1.0)) ** 2) / 2
    return np.asarray(np.where(values < 1, near, values + np.log1p(np.exp(-2 * values)) - np.log(2)))


def _tail(degrees: Array, values: Array) -> Array:
    """``(cosh(v) / cosh(v + b)) ** df`` integrated over b from zero on, (...,)."""
    slope = np.tanh(values)
    step = 1 / (degrees * slope + np.sqrt(degrees))
    slope, distances = slope[..., None], step[..., None] * _PLACES
    near_distances = np.minimum(distances, 1.0)
    near = np.log1p(2 * np.sinh(near_distances / 2) ** 2 + slope * np.sinh(near_distances))
    far = distances + np.log1p((1 - slope) / 2 * np.expm1(-2 * distances))
    return np.asarray(step * (np.exp(-degrees[..., None] * np.where(distances < 1, near, far)) @ _WEIGHTS))
