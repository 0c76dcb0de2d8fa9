"""Find intervals of all parameters by a named method."""

from __future__ import annotations

from collections.abc import Callable

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.tests import CoefficientMethod
from mlm_ops.inference.intervals.bootstrap import bootstrap
from mlm_ops.inference.intervals.parameters import IntervalParameter, Intervals, find_parameters
from mlm_ops.inference.intervals.profile import profile_intervals
from mlm_ops.inference.intervals.wald import wald_intervals


def find_intervals(
    estimate: Estimate, method: str, level: float, tests: CoefficientMethod, samples: int, seed: int | None
) -> tuple[tuple[IntervalParameter, ...], Intervals]:
    """Intervals of all parameters.

    Parameters
    ----------
    method
        One of `options.IntervalMethod`.
    level
        Coverage, between 0 and 1.
    tests
        How fixed effects are tested, for their Wald intervals.
    samples, seed
        Of the bootstrap.

    Raises
    ------
    MlmError
        A model that the method cannot take.
    """
    methods: dict[str, Callable[[], Intervals]] = {
        "wald": lambda: wald_intervals(estimate, tests, level),
        "profile": lambda: profile_intervals(estimate, level),
        "bootstrap": lambda: bootstrap(estimate, samples, seed).percentile(level),
        "bootstrap-basic": lambda: bootstrap(estimate, samples, seed).basic(level),
    }
    return find_parameters(estimate), methods[method]()
