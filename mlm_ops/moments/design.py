"""Model + Moments -> Design: what the engine takes. Here the model meets the data, and nowhere else.

Which changes of basis leave the likelihood alone: any for the fixed part (REML adds the logarithm of the determinant);
any for an unstructured random block; only scaling for every other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.language.columns import DesignColumn, expand
from mlm_ops.language.model import PLAIN, GroupingFactor, Model, Variable, group_name
from mlm_ops.moments.basis import Basis, Change, center_outcome, change_of_basis, element_products, independent
from mlm_ops.moments.clusters import Clusters, make_clusters
from mlm_ops.moments.moments import Codes, Moments
from mlm_ops.moments.polynomial import Evaluator, Polynomial
from mlm_ops.moments.residual import ResidualDesign, design_residual

Array = NDArray[np.float64]


#: How a random block's columns may be changed without changing the model; by one common factor where it is not said.
FREEDOM = {"unstructured": "rotate", "diagonal": "scale"}


@dataclass(frozen=True)
class FixedDesign:
    """The fixed part.

    Attributes
    ----------
    columns
        The p estimated columns.
    aliased
        Names of columns that were dropped because they lie in the span of those before them.
    transform
        (p, p): user's coefficients = transform @ engine's + offset.
    offset
        (p,): what the outcome's shift adds.
    log_determinant
        log |det| of the change of basis, which the REML criterion needs.
    """

    columns: tuple[DesignColumn, ...]
    aliased: tuple[str, ...]
    transform: Array
    offset: Array
    log_determinant: float


@dataclass(frozen=True)
class BlockDesign:
    """One random block of q columns: user's random effects = transform @ engine's, transform (q, q)."""

    columns: tuple[DesignColumn, ...]
    covariance: str
    transform: Array


@dataclass(frozen=True)
class LevelDesign:
    """The random part of one grouping factor.

    Attributes
    ----------
    labels
        (J,) names of its units.
    codes
        (cells,) the unit that each cell lies in.
    """

    group: GroupingFactor
    labels: NDArray[Any]
    codes: Codes
    blocks: tuple[BlockDesign, ...]

    @property
    def size(self) -> int:
        """Random effects q of a unit."""
        return sum(len(block.columns) for block in self.blocks)


@dataclass(frozen=True)
class Design:
    """Cross-products of one model's columns, per cell, in the engine's basis.

    A cell is a combination of units of all the model's grouping factors; where these are nested, a unit of the lowest.

    Attributes
    ----------
    levels
        Grouping factors, the one with most units first; none for single-level regression.
    products
        (m, m, cells): cross-products of ``[Z_1 | Z_2 | … | X y]`` in each cell.
    n_obs
        Rows N.
    outcome_scale
        The engine's outcome is (y - shift) / outcome_scale.
    variable_levels
        The textbook's level of every variable: 1 if it varies within the lowest units, 2 if it varies between them but
        within the next, ….
    clusters
        For robust errors, where they were asked for; every cell lies in one.
    """

    fixed: FixedDesign
    levels: tuple[LevelDesign, ...]
    products: Array
    n_obs: int
    outcome_scale: float
    variable_levels: dict[Variable, int]
    residual: ResidualDesign | None = None
    clusters: Clusters | None = None

    @property
    def nested(self) -> bool:
        """Whether every unit of each grouping factor lies in one unit of the next."""
        return all(_lies_in(lower, upper) for lower, upper in pairwise(self.levels))


@dataclass(frozen=True)
class _Factor:
    """A grouping factor: codes (J,) of its units over the moments' units."""

    group: GroupingFactor
    codes: Codes
    labels: NDArray[Any]


def build_design(model: Model, moments: Moments, cluster: GroupingFactor | None = None) -> Design:
    """Express a model in moments.

    Parameters
    ----------
    cluster
        Columns whose clusters robust errors will be asked for; cells are refined so that each lies in one.

    Raises
    ------
    IdentificationError
        One group or cluster, as many parameters as rows, random effects that cannot be told apart.
    DataError
        A centered variable that is zero everywhere, a reference level that does not occur.
    """
    schema = moments.schema
    fixed = expand(model.fixed, schema.levels, schema.text_columns)
    random = [expand(block.terms, schema.levels, schema.text_columns) for block in model.random]
    outcome = DesignColumn((model.outcome,))
    evaluator = Evaluator(moments, model.default_group, _meaning(model, moments))
    basis = Basis(evaluator, [*fixed, *(c for columns in random for c in columns), outcome])

    factors = _factors(model.groups, moments)
    clustered = [_Factor(cluster, *moments.units_of(cluster))] if cluster else []
    cells, first = _cells([*factors, *clustered], moments.n_units)
    elements = element_products(basis, cells, len(first))
    totals = elements.sum(axis=2)
    _check_outcome(model, evaluator, factors)

    kept = independent(basis.matrix(fixed), totals)
    estimated = tuple(fixed[i] for i in kept)
    _check_rows(len(kept) + sum(len(c) * (len(c) + 1) // 2 for c in random) + 1, moments.n_obs)
    change = change_of_basis(basis.matrix(estimated), totals, moments.n_obs)
    outcome_combination, offset, scale = center_outcome(basis.matrix([outcome])[:, 0], change, totals, moments.n_obs)
    changes = [
        change_of_basis(basis.matrix(columns), totals, moments.n_obs, FREEDOM.get(block.covariance, "common"))
        for block, columns in zip(model.random, random, strict=True)
    ]
    order = [i for factor in factors for i, block in enumerate(model.random) if block.group == factor.group]
    combination = np.column_stack([*(changes[i].combination for i in order), change.combination, outcome_combination])
    levels = _levels(model, factors, first, random, changes, scale)
    design = Design(
        fixed=FixedDesign(
            columns=estimated,
            aliased=tuple(c.name for i, c in enumerate(fixed) if i not in kept),
            transform=change.transform * scale,
            offset=change.transform @ offset,
            log_determinant=float(np.linalg.slogdet(change.transform)[1]) if kept else 0.0,
        ),
        levels=levels,
        products=_combine(elements, combination),
        n_obs=moments.n_obs,
        outcome_scale=scale,
        residual=_residual(model, moments, evaluator, basis.elements, combination, cells),
        variable_levels=_variable_levels([*fixed, *(c for cs in random for c in cs)], evaluator, model, moments),
        clusters=next((make_clusters(f.group, f.codes[first], f.labels, levels) for f in clustered), None),
    )
    _check_identified(design)
    return design


def _meaning(model: Model, moments: Moments) -> dict[GroupingFactor, GroupingFactor]:
    """Which grouping factors that centering names stand for others.

    A column whose labels repeat across the units of a grouping factor of the model means ``parent/column`` if the model
    has that factor; to pool the different units of one label would be an error that nobody sees.
    """
    found: dict[GroupingFactor, GroupingFactor] = {}
    for group in model.all_groups:
        if len(group) > 1 or group in model.groups:
            continue
        longer = [other for other in model.groups if len(other) > 1 and other[-1] == group[0]]
        if longer:
            found[group] = longer[0]
            continue
        labels = len(moments.units_of(group)[1])
        for parent in model.groups:
            codes, _ = _cells([_Factor(g, *moments.units_of(g)) for g in (group, parent)], moments.n_units)
            pairs = int(codes.max()) + 1
            if pairs > max(labels, len(moments.units_of(parent)[1])):
                name, above = group_name(group), group_name(parent)
                raise IdentificationError(
                    f"The labels of {name} repeat across the units of {above}: {labels} labels, {pairs} combinations. "
                    f"Write {above}/{name} where {name} stands in the centering, or make the labels unique."
                )
    return found


def _check_outcome(model: Model, evaluator: Evaluator, factors: list[_Factor]) -> None:
    """Refuse an outcome that does not vary within any unit of a grouping factor: nothing is left for level 1."""
    outcome = evaluator.part(model.outcome).polynomial
    mean, n = evaluator.mean(outcome), evaluator.moments.n
    total = float(np.sum(evaluator.scatter(outcome, outcome)) + n @ mean**2)
    for factor in factors:
        by_unit = np.bincount(factor.codes, n * mean) / np.bincount(factor.codes, n)
        within = float(np.sum(evaluator.scatter(outcome, outcome)) + n @ (mean - by_unit[factor.codes]) ** 2)
        if within <= 1e-14 * total and len(factor.labels) < evaluator.moments.n_obs:
            raise IdentificationError(
                f"The outcome {model.outcome_name!r} does not vary within {group_name(factor.group)}, so it has no "
                f"level-1 variance. Fit it on a table with one row for each unit of {group_name(factor.group)}."
            )


def _factors(groups: tuple[GroupingFactor, ...], moments: Moments) -> list[_Factor]:
    """Grouping factors, the one with most units first, which is the order of a nest."""
    factors = [_Factor(group, *moments.units_of(group)) for group in groups]
    return sorted(factors, key=lambda factor: -len(factor.labels))


def _cells(factors: list[_Factor], n_units: int) -> tuple[Codes, NDArray[np.int64]]:
    """The cell of each of the moments' units, and the first unit of each cell."""
    codes: Codes = np.zeros(n_units, dtype=np.int64)
    for factor in factors:
        codes = np.unique(codes * len(factor.labels) + factor.codes, return_inverse=True)[1].astype(np.int64)
    return codes, np.unique(codes, return_index=True)[1]


def _lies_in(lower: LevelDesign, upper: LevelDesign) -> bool:
    return len(np.unique(lower.codes * len(upper.labels) + upper.codes)) == len(lower.labels)


def _levels(
    model: Model,
    factors: list[_Factor],
    first: NDArray[np.int64],
    random: list[tuple[DesignColumn, ...]],
    changes: list[Change],
    scale: float,
) -> tuple[LevelDesign, ...]:
    levels = []
    for factor in factors:
        blocks = tuple(
            BlockDesign(columns, block.covariance, change.transform * scale)
            for block, columns, change in zip(model.random, random, changes, strict=True)
            if block.group == factor.group
        )
        levels.append(LevelDesign(factor.group, factor.labels, factor.codes[first], blocks))
    return tuple(levels)


def _combine(elements: Array, combination: Array) -> Array:
    """(elements, elements, J) -> (m, m, J); a column that is one element is copied, not multiplied out."""
    m = combination.shape[1]
    terms = [[(int(a), combination[a, i]) for a in np.flatnonzero(combination[:, i])] for i in range(m)]
    result = np.empty((m, m, elements.shape[2]))
    for i in range(m):
        for j in range(i + 1):
            pairs = [(left * right, elements[a, b]) for a, left in terms[i] for b, right in terms[j]]
            np.multiply(pairs[0][1], pairs[0][0], out=result[i, j])
            for weight, element in pairs[1:]:
                result[i, j] += weight * element
            result[j, i] = result[i, j]
    return result


def _residual(
    model: Model,
    moments: Moments,
    evaluator: Evaluator,
    elements: Sequence[Polynomial],
    combination: Array,
    cells: Codes,
) -> ResidualDesign | None:
    """The products that the model's residual structure weights."""
    if model.residual == PLAIN:
        return None
    place = {(): 0, **{m: i + 1 for m, i in evaluator.row.items()}}
    columns = [
        [
            (place[factors], combination[e, i] * coefficient)
            for e in np.flatnonzero(combination[:, i])
            for factors, coefficient in elements[int(e)].items()
        ]
        for i in range(combination.shape[1])
    ]
    return design_residual(moments.residuals[model.residual], model.residual.time is not None, columns, cells)


def _variable_levels(
    columns: list[DesignColumn], evaluator: Evaluator, model: Model, moments: Moments
) -> dict[Variable, int]:
    groups = model.groups or ((model.default_group,) if model.default_group else ())
    factors = _factors(groups, moments)
    found: dict[Variable, int] = {}
    for variable in {v for column in columns for v in column.variables}:
        polynomial = evaluator.part(variable).polynomial
        found[variable] = 1
        if not any(atoms for atoms in polynomial):
            values = evaluator.mean(polynomial)
            for height, factor in enumerate(factors):
                if _is_constant(values, factor):
                    found[variable] = height + 2
    return found


def _is_constant(values: Array, factor: _Factor) -> bool:
    first = np.unique(factor.codes, return_index=True)[1]
    spread = np.abs(values - values[first][factor.codes]).max()
    return bool(spread <= 1e-10 * np.abs(values).max())


def _check_rows(n_parameters: int, n_obs: int) -> None:
    if n_parameters >= n_obs:
        raise IdentificationError(
            f"The model has as many parameters as rows or more. Got {n_parameters} parameters and {n_obs} rows."
        )


def _check_identified(design: Design) -> None:
    """Refuse what the rows cannot determine, with the numbers."""
    start = 0
    for level in design.levels:
        units, name = len(level.labels), group_name(level.group)
        if units < 2:
            raise IdentificationError(
                f"The grouping factor {name} has one unit, {level.labels[0]!s}; a variance between units needs two."
            )
        for block in level.blocks:
            q = len(block.columns)
            if units * q >= design.n_obs:
                raise IdentificationError(
                    f"The random part ({', '.join(c.name for c in block.columns)} | {name}) has {units * q} random "
                    f"effects for {design.n_obs} rows, so they cannot be told from the residuals. Use fewer random "
                    "terms or a grouping factor with more rows in each unit."
                )
            here = slice(start, start + q)
            z = design.products[here, here].sum(axis=2)
            if block.covariance == "unstructured" and np.linalg.eigvalsh(z)[0] < 1e-12 * design.n_obs:
                names = ", ".join(c.name for c in block.columns)
                raise IdentificationError(
                    f"The random terms of {name} cannot be told apart. Got {names}, of which some are combinations of "
                    "others; remove one."
                )
            start = here.stop
