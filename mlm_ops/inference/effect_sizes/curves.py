"""Follow an interaction along its variables: the outcome along a predictor, and a slope along its moderator.

Each point is a combination of the coefficients, as `interactions.simple_slopes` makes and tests them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlm_ops.inference.effect_sizes.interactions import At, Point, Surface, derivative, values_of
from mlm_ops.inference.effect_sizes.johnson_neyman import is_number
from mlm_ops.inference.fixed.tests import CoefficientMethod, CoefficientTests, estimable_tests
from mlm_ops.language.model import Indicator, Variable, label
from mlm_ops.moments.arrays import Array

#: Standard deviations on either side of the mean that a curve reaches, and its points.
OUTCOME_REACH, OUTCOME_POINTS = 2.0, 21
SLOPE_REACH, SLOPE_POINTS = 2.5, 41


@dataclass(frozen=True)
class Curve:
    """A curve of k points.

    Attributes
    ----------
    kind
        ``simple_slope``: the outcome along a term; ``johnson_neyman``: the term's slope along its moderator.
    moderator, moderator_value
        What the outcome is held at, in words; the value is None where the moderator is what the curve goes along.
    x
        (k,) of the term or the moderator.
    tests
        Estimates and their intervals, (k,) each.
    """

    kind: str
    term: str
    moderator: str
    moderator_value: str | None
    x: Array
    tests: CoefficientTests


def interaction_curves(surface: Surface, method: CoefficientMethod, slope: str, at: At) -> list[Curve]:
    """The curves of one question, asked as `interactions.simple_slopes` takes it.

    The outcome along the predictor at each setting of the moderators, all else at its mean; of a factor along each of
    its indicators, and of what is 0 or 1 at these two points. Then the slope along its moderator, if that is a number
    and the only one.
    """
    focal = surface.moderated(slope, at)
    curves = []
    for setting in surface.settings(at):
        base = {**surface.typical, **setting.point, **dict.fromkeys(focal, 0.0)}
        for variable in focal:
            x = _outcome_grid(surface, variable)
            rows = [values_of(surface.columns, {**base, variable: value}) for value in x.tolist()]
            tests = estimable_tests(surface.estimate, method, np.array(rows))
            curves.append(Curve("simple_slope", label(variable), setting.moderator, setting.words, x, tests))
    if (moderator := region_moderator(surface, slope, at)) is not None:
        curves.append(_slope_curve(surface, method, focal[0], moderator))
    return curves


def region_moderator(surface: Surface, slope: str, at: At) -> str | None:
    """The moderator whose regions of significance a question has; None where it is not the only one, or no number."""
    names = [at] if isinstance(at, str) else list(at)
    has_regions = len(names) == 1 and len(surface.find(slope)) == 1 and is_number(surface, names[0])
    return names[0] if has_regions else None


def _slope_curve(surface: Surface, method: CoefficientMethod, focal: Variable, moderator: str) -> Curve:
    (variable,) = surface.find(moderator)
    spread = surface.spread(variable)
    x = spread.middle + spread.std_dev * np.linspace(-SLOPE_REACH, SLOPE_REACH, SLOPE_POINTS)
    base: Point = {**surface.typical, focal: 0.0}
    rows = [derivative(surface.columns, focal, {**base, variable: value}) for value in x.tolist()]
    tests = estimable_tests(surface.estimate, method, np.array(rows))
    return Curve("johnson_neyman", label(focal), moderator, None, x, tests)


def _outcome_grid(surface: Surface, variable: Variable) -> Array:
    spread = surface.spread(variable)
    if isinstance(variable, Indicator) or spread.binary:
        return np.array([0.0, 1.0])
    return np.asarray(spread.middle + spread.std_dev * np.linspace(-OUTCOME_REACH, OUTCOME_REACH, OUTCOME_POINTS))
