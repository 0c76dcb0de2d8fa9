"""Build a model's design from moments: the only place where the model meets the data.

Changes of basis that leave the likelihood the same: any for the fixed part (REML adds the logarithm of the
determinant); for a random block what its covariance structure says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.covariance import freedom, n_parameters
from mlm_ops.estimation.design.basis import Basis, Change, center_outcome, change_of_basis, element_products
from mlm_ops.estimation.design.checks import (
    check_given,
    check_identified,
    check_outcome,
    check_parameters,
    check_stated,
)
from mlm_ops.estimation.design.groups import FactorUnits, cells_of, grouping_factors, make_clusters, meanings
from mlm_ops.estimation.design.observations import Observations, check_split, observations_of
from mlm_ops.estimation.design.polynomial import Evaluator, Polynomial
from mlm_ops.estimation.design.record import BlockDesign, Design, FixedDesign, LevelDesign
from mlm_ops.estimation.design.residual import ResidualDesign, design_residual
from mlm_ops.estimation.threads import one_thread
from mlm_ops.language.columns import DesignColumn, expand
from mlm_ops.language.model import PLAIN, GroupingFactor, Model, Variable, is_group_mean
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.rank import ColumnSpan, independent_columns
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import check_squares


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
    with one_thread(moments.n_units):
        return _build(model, moments, cluster)


def _build(model: Model, moments: Moments, cluster: GroupingFactor | None) -> Design:
    schema = moments.schema
    fixed = expand(model.fixed, schema.levels, schema.text_columns)
    random = [expand(block.terms, schema.levels, schema.text_columns) for block in model.random]
    outcome = DesignColumn((model.outcome,))
    evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
    basis = Basis(evaluator, [*fixed, *(c for columns in random for c in columns), outcome])

    factors = grouping_factors(model.groups, moments)
    cluster_factors = [FactorUnits(cluster, *moments.units_of(cluster))] if cluster else []
    observations = observations_of(model, evaluator)
    check_split(model, observations, evaluator, [*factors, *cluster_factors], fixed)
    check_outcome(model, evaluator, factors)
    check_stated(model, evaluator, [fixed, *random])
    factors, cluster_factors = observations.of(factors), observations.of(cluster_factors)
    cells, first = cells_of([*factors, *cluster_factors], len(observations.units))
    cross, n_obs = element_products(basis, observations, cells, len(first)), observations.n_obs
    totals = cross.total
    for i, square in enumerate(np.diag(totals)):
        check_squares(basis.owners(i), np.array([n_obs]), np.zeros(1), np.array([square]))
    present = np.diag(totals) > 0

    fixed_g = basis.matrix(fixed, present)
    # the longest running total: of rows in a unit of the moments, or of these units in a cell
    additions = max(float(moments.n.max()), float(np.bincount(cells).max()))
    span = independent_columns(fixed_g, totals, additions)
    estimated_columns = tuple(fixed[i] for i in span.independent)
    check_given(model, random)
    n_random = sum(n_parameters(b.covariance, len(c)) for b, c in zip(model.random, random, strict=True))
    check_parameters(len(span.independent) + n_random + 1, n_obs)
    change = change_of_basis(basis.matrix(estimated_columns, present), totals, n_obs)
    outcome_combination, offset, scale = center_outcome(basis.matrix([outcome], present)[:, 0], change, totals, n_obs)
    changes = [
        change_of_basis(basis.matrix(columns, present), totals, n_obs, freedom(block.covariance))
        for block, columns in zip(model.random, random, strict=True)
    ]
    order = [i for factor in factors for i, block in enumerate(model.random) if block.group == factor.group]
    combination = np.column_stack([*(changes[i].combination for i in order), change.combination, outcome_combination])
    levels = _levels(model, factors, first, random, changes, scale)
    design = Design(
        fixed=_fixed(fixed, span, fixed_g, change, offset, scale, observations),
        levels=levels,
        cross=replace(cross, combination=combination),
        n_obs=n_obs,
        split=observations.split,
        outcome_scale=scale,
        residual=_residual(model, moments, evaluator, basis.elements, combination, cells),
        variable_levels=_variable_levels([*fixed, *(c for cs in random for c in cs)], evaluator, model, moments),
        clusters=next((make_clusters(f.group, f.codes[first], f.labels, levels) for f in cluster_factors), None),
    )
    check_identified(design)
    return design


def _fixed(
    columns: Sequence[DesignColumn],
    span: ColumnSpan,
    products: Array,
    change: Change,
    offset: Array,
    scale: float,
    observations: Observations,
) -> FixedDesign:
    """The fixed part: which columns are estimated, which are not and why, and the way back to the user's scale.

    Parameters
    ----------
    products
        (e, p) the columns in the basis of the elements; zero where nothing is left of one.
    offset, scale
        What the outcome was centered at, and divided by.
    """
    return FixedDesign(
        columns=tuple(columns[i] for i in span.independent),
        aliased=tuple(c.name for i, c in enumerate(columns) if i not in span.independent),
        absorbed=tuple(c.name for i, c in enumerate(columns) if not products[:, i].any()),
        asked=tuple(columns),
        span=span,
        centered=observations.split is not None and observations.split.part == "within",
        transform=change.transform * scale,
        offset=change.transform @ offset,
        log_determinant=float(np.linalg.slogdet(change.transform)[1]) if span.independent else 0.0,
    )


def _levels(
    model: Model,
    factors: list[FactorUnits],
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
    # group means are the lowest level there is
    own = (model.default_group,) if model.default_group and not is_group_mean(model.outcome) else ()
    factors = grouping_factors(model.groups or own, moments)
    levels: dict[Variable, int] = {}
    for variable in {v for column in columns for v in column.variables}:
        levels[variable] = 1
        values = _values_of_units(variable, evaluator)
        for height, factor in enumerate(factors if values is not None else ()):
            if values is not None and _is_constant(values, factor):
                levels[variable] = height + 2
    return levels


def constant_within(
    columns: Sequence[DesignColumn], group: GroupingFactor, model: Model, moments: Moments
) -> list[DesignColumn]:
    """Those of the columns whose variables are all constant within the units of a grouping factor."""
    evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
    (factor,) = grouping_factors((group,), moments)
    values = {v: _values_of_units(v, evaluator) for column in columns for v in column.variables}
    constant = {v for v, own in values.items() if own is not None and _is_constant(own, factor)}
    return [column for column in columns if constant.issuperset(column.variables)]


def _values_of_units(variable: Variable, evaluator: Evaluator) -> Array | None:
    """A variable's values in the moments' units, (J,), less its constant; None where it varies within them."""
    part = evaluator.part(variable)
    polynomial = part.polynomial
    values = evaluator.mean(polynomial)
    deviations = {**polynomial, (): polynomial.get((), 0.0) - values}
    return values if not any(atoms for atoms in polynomial) or evaluator.is_rounding(deviations, part) else None


def _is_constant(values: Array, factor: FactorUnits) -> bool:
    first = np.unique(factor.codes, return_index=True)[1]
    spread = np.abs(values - values[first][factor.codes]).max()
    return bool(spread <= 1e-10 * np.abs(values).max())
