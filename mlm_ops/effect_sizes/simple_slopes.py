"""Simple slopes and intercepts: an interaction looked at where its moderators have given values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.effect_sizes.points import At, Surface, derivative, values_of
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.f_tests import DfMethod
from mlm_ops.inference.fixed_effects import CoefficientTests, estimable_tests
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Variable, label

Array = NDArray[np.float64]

_NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class SimpleEffects:
    """Simple slopes and intercepts, k of them; arrays are (k,).

    Attributes
    ----------
    kind
        ``slope`` or ``intercept`` each.
    predictor, at
        Whose slope, and at which values of the moderators.
    tests
        Estimates and tests.
    range_low, range_high
        Between which the effects of 95% of groups lie; not a number where the effect does not vary.
    """

    kind: tuple[str, ...]
    predictor: tuple[str, ...]
    at: tuple[str, ...]
    tests: CoefficientTests
    range_low: Array
    range_high: Array


def simple_slopes(surface: Surface, method: DfMethod, slope: str, at: At) -> SimpleEffects:
    """The effect of a predictor, and the outcome where it is zero, at chosen values of its moderators.

    A simple slope is the derivative of the fixed part by the predictor, a linear combination ``l' gamma`` with variance
    ``l' V l``: Preacher, Curran and Bauer (2006), Journal of Educational and Behavioral Statistics 31, 437-448. All
    other variables are at their means, indicators at their shares. The effects of 95% of groups lie within ``l' gamma
    +- 1.96 sqrt(z' T z)``, z the derivative of the random part: the plausible value range of Raudenbush and Bryk
    (2002), chapter 4.

    What the data do not determine, as in an interaction's empty cell, is not a number.

    Parameters
    ----------
    slope
        A predictor; for a factor each of its indicators.
    at
        As `Surface.settings` takes it.
    """
    focal = surface.find(slope)
    names = [at] if isinstance(at, str) else list(at)
    for name in names:
        surface.require_product(focal, slope, name)
    zero = dict.fromkeys(focal, 0.0)
    rows, kinds, predictors, texts, variances = [], [], [], [], []
    for kind in ("slope", "intercept"):
        for setting in surface.settings(at):
            point = {**surface.typical, **setting.point, **zero}
            for variable in focal if kind == "slope" else focal[:1]:
                change = _by(variable) if kind == "slope" else values_of
                rows.append(change(surface.columns, point))
                variances.append(_variance(surface.fitted, change, point))
                kinds.append(kind)
                predictors.append(label(variable) if kind == "slope" else slope)
                texts.append(setting.text)
    tests = estimable_tests(surface.fitted, method, np.array(rows))
    margin = _NORMAL_975 * np.sqrt(np.array(variances))
    margin[margin == 0] = np.nan
    return SimpleEffects(
        tuple(kinds), tuple(predictors), tuple(texts), tests, tests.estimate - margin, tests.estimate + margin
    )


Change = Callable[[Sequence[DesignColumn], dict[Variable, float]], Array]


def _by(variable: Variable) -> Change:
    return lambda columns, point: derivative(columns, variable, point)


def _variance(fitted: Estimate, change: Change, point: dict[Variable, float]) -> float:
    """Variance over groups of a slope or intercept, those of several grouping factors added."""
    total = 0.0
    for block, tau in zip(fitted.blocks, fitted.tau, strict=True):
        z = change(block.columns, point)
        total += float(z @ tau @ z)
    return total
