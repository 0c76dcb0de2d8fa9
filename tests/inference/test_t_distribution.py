"""Student's t distribution and F's critical values against SciPy's, and closed forms where SciPy's lose digits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import fdtrc, fdtri, stdtr, stdtrit

from mlm_ops.inference.t_distribution import critical_value, f_critical_value, two_sided_p

DEGREES = np.array([0.05, 0.3, 0.7, 1.5, 2, 3, 5, 10, 19.3, 50, 300, 1e3, 1e5, 1e8, 1e12, np.inf])[:, None]


def test_p_values_are_those_of_scipy_over_all_degrees():
    statistics = np.array([0, 1e-8, 0.01, 0.3, 1, 2, 4.2, 8, 20, 37, 100, 1e6])
    expected = 2 * stdtr(DEGREES, -statistics)
    found = two_sided_p(DEGREES, -statistics)
    # a p value of 1e-290 is exp(-667), whose rounding alone is of this size
    assert_allclose(found[expected > 1e-290], expected[expected > 1e-290], rtol=2e-13)
    assert (found[expected < 1e-300] < 1e-299).all()


def test_critical_values_are_those_of_scipy():
    levels = np.array([0.1, 0.5, 0.9, 0.95, 0.99, 0.999])
    # 1 - 0.999 is known to 1e-13, which with 0.05 degrees of freedom is twenty times as much in the critical value
    assert_allclose(critical_value(DEGREES, levels), stdtrit(DEGREES, 0.5 + levels / 2), rtol=3e-12)
    assert_allclose(two_sided_p(DEGREES, critical_value(DEGREES, levels)), np.broadcast_to(1 - levels, (16, 6)), 2e-14)


@pytest.mark.parametrize("df1", [1, 2, 3, 19, 159, 19_999, 1e6])
@pytest.mark.parametrize("df2", [1, 3, 20, 300, 980_000, 2e7])
def test_critical_values_of_f_are_those_of_scipy(df1, df2):
    for alpha in (0.5, 0.025, 0.005):
        found = f_critical_value(df1, df2, alpha)
        # with one degree of freedom the density falls most steeply, which the trapezoidal rule follows to this digit;
        # with millions SciPy's own p value has thirteen digits
        assert_allclose(found, fdtri(df1, df2, 1 - alpha), rtol=1e-11 if df1 == 1 else 1e-14)
        assert_allclose(fdtrc(df1, df2, found), alpha, rtol=1e-11 if df1 == 1 else 1e-12)


@pytest.mark.parametrize("df1", [1, 2, 30, 1e5])
@pytest.mark.parametrize("df2", [2, 100, 1000, 1e6])
@pytest.mark.parametrize("alpha", [5e-4, 1e-8, 1e-12])
def test_critical_values_of_f_far_out(df1, df2, alpha):
    """The first step goes so far that a double cannot hold the density there; SciPy's own inverse has six digits."""
    assert_allclose(fdtrc(df1, df2, f_critical_value(df1, df2, alpha)), alpha, rtol=1e-9)


def test_one_degree_of_freedom_is_cauchys_distribution():
    statistics = np.array([1e-8, 0.3, 5.0, 1e10, 1e200])
    expected = [1 - 2e-8 / np.pi, *2 / np.pi * np.arctan(1 / statistics[1:])]
    # 6e-201 is exp(-461), whose rounding alone is of this size
    assert_allclose(two_sided_p(1, statistics), expected, rtol=1e-13)
    assert_allclose(critical_value(1, 0.95), np.tan(0.95 * np.pi / 2), rtol=1e-14)


def test_without_an_answer_it_is_not_a_number():
    assert np.isnan(two_sided_p([np.nan, 0, -1, 5], [1, 1, 1, np.nan])).all()
    assert np.isnan(critical_value([np.nan, 0, -1], 0.95)).all()
    assert two_sided_p(5, -np.inf) == 0
