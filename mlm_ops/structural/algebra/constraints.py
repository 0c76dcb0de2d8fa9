"""Hold parameters to equations: the surface of values that fulfil them, its tangent and curvature, and Wald tests.

The search moves along the tangent of the equations and back onto them, with the Hessian of the Lagrangian (Nocedal and
Wright 2006, Numerical Optimization, ch. 18); of linear equations the tangent is their null space, and nothing is
left to go back to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc, ndtr

from mlm_ops.errors import FormulaError, IdentificationError, MlmError
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import names_in
from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.structural.algebra.derived import evaluate_definitions, label_values
from mlm_ops.structural.language.model import Constraint, Definition
from mlm_ops.structural.language.parameters import ParameterTable

_STEP, _DIFFERENCE = 1e-30, 1e-5
#: Equations count as fulfilled below this share of what changes of their parameters by their own size would do.
_FULFILLED = 1e-12
_MOST_STEPS = 60
#: Singular values of the equations' derivatives below this share of the largest are zero.
_RANK = 1e-8


@dataclass(frozen=True)
class Equations:
    """Differences of the two sides of constraints, as functions of a table's free parameters.

    Attributes
    ----------
    table
        Whose labels and definitions the constraints name.
    constraints
        m of them; of an inequality the difference is positive where it holds.
    """

    table: ParameterTable
    constraints: tuple[Constraint, ...]

    def values(self, theta: Numbers) -> Numbers:
        """(m,) differences."""
        gaps = [Definition(f"= {i}", c.text, c.gap) for i, c in enumerate(self.constraints)]
        with np.errstate(all="ignore"):
            values = evaluate_definitions([*self.table.definitions, *gaps], label_values(self.table, theta))
        return np.array(values[len(self.table.definitions) :]).reshape(len(gaps))

    def jacobian(self, theta: Array) -> Array:
        """(m, k) derivatives by the complex step."""
        columns = []
        for i in range(len(theta)):
            shifted = theta.astype(complex)
            shifted[i] += _STEP * 1j
            columns.append(self.values(shifted).imag / _STEP)
        return np.array(columns).reshape(len(theta), len(self.constraints)).T

    def curvature(self, theta: Array, multipliers: Array) -> Array:
        """(k, k) second derivatives of the sum of the differences times these, by differences of exact first ones."""
        k = len(theta)
        result = np.zeros((k, k))
        for i in np.flatnonzero(self.jacobian(theta).any(axis=0)):
            step = np.zeros(k)
            step[i] = _DIFFERENCE * max(1.0, abs(theta[i]))
            rise = self.jacobian(theta + step) - self.jacobian(theta - step)
            result[i] = multipliers @ rise / (2 * step[i])
        return (result + result.T) / 2

    def tangent(self, theta: Array, scale: Array) -> Array:
        """(k, f) directions in which no difference changes, of unit length once divided by scale.

        Parameters
        ----------
        scale
            (k,) zero for parameters that do not move.
        """
        own = np.flatnonzero(scale)
        _, values, rows = np.linalg.svd(self.jacobian(theta)[:, own] * scale[own])
        rank = int((values > _RANK * values.max(initial=0.0)).sum())
        directions = np.zeros((len(theta), len(own) - rank))
        directions[own] = scale[own][:, None] * rows[rank:].T
        return directions

    def rank(self, theta: Array) -> int:
        """How many of the equations restrict the parameters there."""
        return int(len(theta) - self.tangent(theta, _scale(theta)).shape[1])

    def fulfil(self, theta: Array, free: Array, scale: Array | None = None) -> Array | None:
        """The parameters next to these that fulfil the equations, where only the free ones move; None without any."""
        scale = (_scale(theta) if scale is None else scale) * free
        for _ in range(_MOST_STEPS):
            gaps, slopes = self.values(theta), self.jacobian(theta) * scale
            if not (np.isfinite(gaps).all() and np.isfinite(slopes).all()):
                return None
            if (np.abs(gaps) <= _FULFILLED * (np.abs(slopes).sum(axis=1) + np.abs(self.sizes(theta)))).all():
                return theta
            theta = theta - scale * np.linalg.lstsq(slopes, gaps, rcond=_RANK)[0]
        return None

    def sizes(self, theta: Array) -> Array:
        """(m,) sums of the parts of the derivatives, which the rounding of the differences is a share of."""
        return np.abs(self.jacobian(theta)) @ np.abs(theta)

    def multipliers(self, theta: Array, gradient: Array, scale: Array) -> Array:
        """(m,) by which the differences' derivatives undo the gradient."""
        return np.asarray(np.linalg.lstsq((self.jacobian(theta) * scale).T, -gradient * scale, rcond=_RANK)[0])


def _scale(theta: Array) -> Array:
    return np.where(theta != 0, np.abs(theta), 1.0)


def equations_of(table: ParameterTable, active: Sequence[Constraint] = ()) -> Equations | None:
    """The equalities of a table, and inequalities that hold as equations; None without any."""
    chosen = tuple(c for c in table.constraints if c.relation == "==" or c in active)
    return Equations(table, chosen) if chosen else None


def check_names(table: ParameterTable, constraints: Sequence[Constraint]) -> None:
    """Refuse constraints of unknown names.

    Raises
    ------
    FormulaError
        A name that is no label and no definition.
    """
    names = {row.label for row in table.rows if row.label} | {d.name for d in table.definitions}
    for constraint in constraints:
        for name in names_in(constraint.gap):
            if name not in names:
                raise FormulaError(
                    f"The constraint {constraint.text!r} names {name!r}, which is no label and no definition of the "
                    f"model.{did_you_mean(name, sorted(names))} Names: {', '.join(sorted(names)) or 'none'}."
                )


def check_constraints(table: ParameterTable) -> None:
    """Refuse constraints that nothing fulfils, or that say nothing.

    Raises
    ------
    FormulaError
        A name that is no label and no definition.
    IdentificationError
        An equation that no free parameter stands in, that follows from the others, or that contradicts them.
    """
    check_names(table, table.constraints)
    equalities = [c for c in table.constraints if c.relation == "=="]
    for constraint in table.constraints:
        if (
            not Equations(table, (constraint,))
            .jacobian(random_point(table, np.random.default_rng(RANDOM_SEED + 1)))
            .any()
        ):
            raise IdentificationError(
                f"The constraint {constraint.text!r} restricts no free parameter. Leave it out, or free what it names."
            )
    for i, constraint in enumerate(equalities):
        equations = Equations(table, tuple(equalities[: i + 1]))
        points = [
            equations.fulfil(random_point(table, np.random.default_rng(RANDOM_SEED + i)), np.ones(table.n_free))
            for i in range(1, 5)
        ]
        fulfilled = [point for point in points if point is not None]
        if not fulfilled:
            others = " together with those before it" if i else ""
            raise IdentificationError(
                f"No values fulfil the constraint {constraint.text!r}{others}. Leave one out, or change it."
            )
        if all(equations.rank(point) <= i for point in fulfilled):
            raise IdentificationError(
                f"The constraint {constraint.text!r} follows from those before it. Leave it out."
                if i
                else f"The constraint {constraint.text!r} restricts no free parameter. Leave it out, or free what it "
                "names."
            )


def random_point(table: ParameterTable, rng: np.random.Generator) -> Array:
    """(k,) parameters of the order of one, where what holds by the model's structure alone is seen."""
    return rng.uniform(0.2, 0.8, table.n_free)


@dataclass(frozen=True)
class WaldTest:
    """Statistic, degrees of freedom and p; NaN where a parameter has no standard error."""

    statistic: float
    df: int
    p_value: float


def wald_test(table: ParameterTable, constraints: Sequence[Constraint], theta: Array, vcov: Array) -> WaldTest:
    """Test equalities at once, or one inequality (one-sided, against its opposite).

    Raises
    ------
    FormulaError, MlmError
        Unknown names; several inequalities; equalities of which one follows from the others.
    """
    if not constraints:
        raise MlmError("A Wald test needs at least one constraint, as in a == 2*b. Got none.")
    check_names(table, constraints)
    is_one_sided = any(c.relation != "==" for c in constraints)
    if is_one_sided and len(constraints) > 1:
        raise MlmError("A Wald test takes equalities, or one inequality alone. Test them one after the other.")
    equations = Equations(replace(table, constraints=()), tuple(constraints))
    slopes, gaps = equations.jacobian(theta), equations.values(theta)
    covariance = slopes @ np.where(np.isnan(vcov), 0.0, vcov) @ slopes.T
    if (slopes[:, np.isnan(np.diag(vcov))] != 0).any() or not np.isfinite(gaps).all():
        return WaldTest(np.nan, len(constraints), np.nan)
    if np.linalg.matrix_rank(covariance, hermitian=True) < len(constraints):
        raise MlmError(
            "A Wald test needs constraints that the data could break, none of which follows from the others. Leave out "
            "those that hold already."
        )
    statistic = float(gaps @ np.linalg.solve(covariance, gaps))
    if is_one_sided:
        z = float(gaps[0] / np.sqrt(covariance[0, 0]))
        return WaldTest(statistic, 1, float(ndtr(z)))
    return WaldTest(statistic, len(constraints), float(chdtrc(len(constraints), statistic)))
