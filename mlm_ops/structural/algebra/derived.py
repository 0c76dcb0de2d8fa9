"""Parameters defined by ``:=``: values, errors by the delta method, intervals by Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.language.syntax import Call, Group, Name, Number, Operation, Syntax
from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.structural.algebra.matrices import LevelMoments, SemStructure, Structure
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Definition
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter

DRAWS = 20_000
_OPERATORS: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "**": np.power,
}
#: Not np.abs, whose derivative a complex step does not see.
_FUNCTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": lambda value: np.where(np.real(value) < 0, -value, value),
}
_STEP = 1e-30
#: A definition whose parts along a flat direction cancel to this share does not change with it.
_CANCELS = 1e-3


@dataclass(frozen=True)
class Defined:
    """Values (d,), and standard errors (d,) by the delta method; NaN where nothing determines them."""

    estimate: Array
    std_error: Array


def label_values(table: ParameterTable, theta: Numbers) -> dict[str, Numbers]:
    """Each label's value at parameters of shape (k,) or (k, draws)."""
    values: dict[str, Numbers] = {}
    for row in table.rows:
        if row.label:
            values[row.label] = np.full(theta.shape[1:], row.value) if row.index is None else theta[row.index]
    return values


def evaluate_definitions(definitions: Sequence[Definition], labels: Mapping[str, Numbers]) -> list[Numbers]:
    """Values of the definitions, each of which may use those before it."""
    values = dict(labels)
    for definition in definitions:
        values[definition.name] = _value(definition.expression, values)
    return [values[definition.name] for definition in definitions]


def undetermined_definitions(
    table: ParameterTable, theta: Array, missing: NDArray[np.bool_], flat: Array
) -> list[bool]:
    """Whether each definition needs a parameter without a value, or changes along a flat direction.

    Parameters
    ----------
    missing
        (k,) parameters without any value of their own.
    flat
        (k, f) directions in which the likelihood does not change; the total of a collinear pair does not either.
    """
    with np.errstate(all="ignore"):
        values = evaluate_definitions(table.definitions, label_values(table, np.where(missing, np.nan, theta)))
        flags = np.array([not np.isfinite(value) for value in values], dtype=bool)
        gradient = _gradient(table, theta)
    for direction in flat.T:
        parts = gradient * direction
        flags |= np.abs(parts.sum(axis=1)) > _CANCELS * np.abs(parts).sum(axis=1)
    return [bool(one) for one in flags]


def delta_method(table: ParameterTable, theta: Array, vcov: Array) -> Defined:
    """Values and first-order standard errors, with derivatives by the complex step."""
    size = len(table.definitions)
    with np.errstate(all="ignore"):
        estimate = np.array(evaluate_definitions(table.definitions, label_values(table, theta)), dtype=float)
        gradient = _gradient(table, theta)
    nonzero = gradient != 0
    covariance = np.where(np.isnan(vcov), 0.0, vcov)
    variance = np.einsum("di,ij,dj->d", gradient, covariance, gradient)
    variance[(nonzero & np.isnan(np.diag(vcov))).any(axis=1)] = np.nan
    return Defined(estimate.reshape(size), np.sqrt(np.maximum(variance, 0.0)))


def _gradient(table: ParameterTable, theta: Array) -> Array:
    """(d, k) derivatives of the definitions by the complex step."""
    gradient = np.empty((len(table.definitions), len(theta)))
    for i in range(len(theta)):
        shifted = theta.astype(complex)
        shifted[i] += _STEP * 1j
        values = evaluate_definitions(table.definitions, label_values(table, shifted))
        gradient[:, i] = np.array([complex(m).imag for m in values]) / _STEP
    return gradient


def monte_carlo(
    table: ParameterTable, theta: Array, vcov: Array, level: float, draws: int = DRAWS, seed: int | None = RANDOM_SEED
) -> tuple[Array, Array]:
    """Percentiles of the definitions over normal draws of the estimates (MacKinnon, Lockwood and Williams 2004).

    Returns
    -------
    low, high
        (d,) limits; NaN where the definition rests on what has no standard error.
    """
    determined = ~np.isnan(np.diag(vcov))
    values, vectors = np.linalg.eigh(vcov[np.ix_(determined, determined)])
    normal = np.random.default_rng(seed).standard_normal((int(determined.sum()), draws))
    thetas = np.full((len(theta), draws), np.nan)
    # the symmetric root: eigenvectors have signs that change with the last digit, and the draws would with them
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    thetas[determined] = theta[determined][:, None] + root @ normal
    with np.errstate(all="ignore"):
        results = evaluate_definitions(table.definitions, label_values(table, thetas))
    tails = [(1 - level) / 2, (1 + level) / 2]
    limits = np.array([np.quantile(f, tails) if np.ndim(f) else [f, f] for f in results]).reshape(-1, 2)
    return limits[:, 0], limits[:, 1]


def _value(expression: Syntax, values: Mapping[str, Numbers]) -> Numbers:
    match expression:
        case Name(name, _):
            return values[name]
        case Number(value, _):
            return np.asarray(value)
        case Group(inner, _):
            return _value(inner, values)
        case Operation(operator, left, right, _):
            second = _value(right, values)
            if left is None:
                return -second if operator == "-" else second
            return _OPERATORS[operator](_value(left, values), second)
        case Call(function, (argument,), _, _):
            return _FUNCTIONS[function](_value(argument, values))
        case _:
            raise AssertionError(expression)


@dataclass(frozen=True)
class Omega:
    """Composite reliability of one latent variable's indicators at one level."""

    level: int
    latent: str
    estimate: float
    std_error: float


def omegas(table: ParameterTable, structure: SemStructure, theta: Array, vcov: Array) -> list[Omega]:
    """Reliabilities with errors by the delta method, of latent variables whose indicators are all observed."""
    reliabilities = []
    covariance = np.where(np.isnan(vcov), 0.0, vcov)
    for level in (WITHIN, BETWEEN):
        variables = table.variables(level)
        for latent in variables.latent:
            indicators = [r.rhs for r in table.at(level) if r.op == "=~" and r.lhs == latent]
            if not set(indicators) <= set(variables.observed):
                continue
            at = variables.all.index(latent)
            rows = np.array([variables.all.index(name) for name in indicators])
            gradient = np.empty(len(theta))
            for i in range(len(theta)):
                shifted = theta.astype(complex)
                shifted[i] += _STEP * 1j
                gradient[i] = complex(_omega(structure, level, at, rows, shifted)).imag / _STEP
            estimate = float(_omega(structure, level, at, rows, theta))
            reliabilities.append(Omega(level, latent, estimate, float(np.sqrt(gradient @ covariance @ gradient))))
    return reliabilities


def _omega(structure: SemStructure, level: int, latent: int, rows: NDArray[np.int64], theta: Numbers) -> Numbers:
    """``(sum lambda)^2 phi / ((sum lambda)^2 phi + sum of the residuals' covariances)``."""
    moments = structure.moments(theta)[level - 1]
    common = moments.arrows[rows, latent].sum() ** 2 * moments.covariance[latent, latent]
    with np.errstate(invalid="ignore"):
        return np.asarray(common / (common + moments.spread[np.ix_(rows, rows)].sum()))


def standardized(table: ParameterTable, structure: Structure, theta: Array) -> tuple[Array, Array]:
    """Standardise by the standard deviations that the model implies at each level.

    Covariances of residuals become correlations of residuals. What would be divided by a variance of zero is NaN.

    Returns
    -------
    rows, definitions
        One value a row of the table, and one a definition: of the standardised labels.
    """
    labels: dict[str, Array] = {}
    parts = zip(table.by_group, structure.parts, strict=True)
    values = [_standardized_rows(own, part, theta[places], labels) for (own, places), (part, _) in parts]
    with np.errstate(all="ignore"):
        definitions = [float(value) for value in evaluate_definitions(table.definitions, labels)]
    return np.concatenate(values), np.array(definitions)


def _standardized_rows(table: ParameterTable, structure: SemStructure, theta: Array, labels: dict[str, Array]) -> Array:
    """The values of one group's rows; those of labels that are new are put among the others."""
    estimates = np.array([row.value if row.index is None else theta[row.index] for row in table.rows])
    values = estimates * standardizing_factors(table, table.rows, structure, theta)
    for row, value in zip(table.rows, values, strict=True):
        if row.label:
            # a random slope is in units of the outcome by the predictor: in its own deviations no product has it
            of_slope = not {row.lhs, row.rhs}.isdisjoint(table.between.slopes) and row.level == BETWEEN
            labels.setdefault(row.label, np.asarray(np.nan if of_slope else value))
    return values


def standardizing_factors(
    table: ParameterTable, rows: Sequence[SemParameter], structure: SemStructure, theta: Array
) -> Array:
    """By what parameters of one group's variables are multiplied to be standardised; NaN by a variance of zero."""
    factors = np.full(len(rows), np.nan)
    for level, moments in zip((WITHIN, BETWEEN), average_moments(structure, theta), strict=True):
        at = {name: i for i, name in enumerate(table.variables(level).all)}
        deviation, residual = _roots(np.diag(moments.covariance)), _roots(np.diag(moments.spread))
        for number, row in enumerate(rows):
            if row.level != level or row.slope is not None:
                continue
            left, right = at[row.lhs], at.get(row.rhs, at[row.lhs])
            if row.op == "=~":
                factors[number] = deviation[left] / deviation[right]
            elif row.op == "~":
                factors[number] = deviation[right] / deviation[left]
            elif row.op == "~1":
                factors[number] = 1 / deviation[left]
            elif row.is_variance:
                factors[number] = 1 / deviation[left] ** 2
            else:
                factors[number] = 1 / (residual[left] * residual[right])
    return factors


def r_squared(table: ParameterTable, structure: SemStructure, theta: Array) -> list[tuple[int, str, float]]:
    """Level, variable and explained share of every variable that has predictors or factors there."""
    rows = []
    for level, moments in zip((WITHIN, BETWEEN), average_moments(structure, theta), strict=True):
        names = table.variables(level).all
        explained = {row.rhs if row.op == "=~" else row.lhs for row in table.at(level) if row.op in {"=~", "~"}}
        for i, name in enumerate(names):
            if name in explained:
                rows.append((level, name, _share(moments, i)))
    return rows


def average_moments(structure: SemStructure, theta: Array) -> tuple[LevelMoments, LevelMoments]:
    """The moments of each level; those of level 1 averaged over the clusters, where slopes are random.

    Given its slopes s a cluster's rows have covariance E(s) S E(s)', a polynomial of degree 2 K in K slopes, which
    K + 1 Gauss-Hermite nodes in each of the K directions of their normal distribution average exactly.
    """
    within, between = structure.moments(theta)
    count = len(structure.slopes)
    if not count:
        return within, between
    implied = structure.implied(theta)
    values, vectors = np.linalg.eigh(implied.between[-count:, -count:])
    nodes, weights = np.polynomial.hermite_e.hermegauss(count + 1)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * count, indexing="ij")], axis=1)
    shares = np.prod(np.meshgrid(*[weights / weights.sum()] * count, indexing="ij"), axis=0).ravel()
    slopes = implied.mean[-count:] + (grid * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    rows = [outcome for outcome, _ in structure.slopes]
    cols = [structure.levels[0].position.tolist().index(predictor) for _, predictor in structure.slopes]
    covariance = np.zeros_like(within.covariance)
    for share, slope in zip(shares, slopes, strict=True):
        arrows = within.arrows.copy()
        arrows[rows, cols] += slope
        effects = np.linalg.inv(np.eye(len(arrows)) - arrows)
        covariance += share * (effects @ within.spread @ effects.T)
    return replace(within, covariance=covariance), between


def _share(moments: LevelMoments, i: int) -> float:
    total = float(moments.covariance[i, i])
    return 1 - float(moments.spread[i, i]) / total if total > 0 else float("nan")


def _roots(variances: Array) -> Array:
    return np.asarray(np.where(variances > 0, np.sqrt(np.maximum(variances, 0.0)), np.nan))
