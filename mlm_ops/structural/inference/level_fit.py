"""Test each level's part of a model with the other level unrestricted (Ryu and West 2009).

One chi-square of both levels hides misfit between clusters, of which there are few, behind the fit of the rows (Ryu and
West 2009, Structural Equation Modeling 16). RMSEA counts rows within clusters, and clusters between them.
"""

from __future__ import annotations

from dataclasses import replace

from mlm_ops.errors import IdentificationError
from mlm_ops.structural.algebra.identification import check_identified
from mlm_ops.structural.algebra.matrices import structure_of
from mlm_ops.structural.estimation.estimate import SemEstimate, estimate_sem
from mlm_ops.structural.inference.indices import NO_INDICES, FitIndices, fit_indices
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable, join_levels


def crosses_levels(table: ParameterTable) -> bool:
    """Whether no level can be left unrestricted alone: for parameters of both, constraints, or means within."""
    within, between = ({row.index for row in table.at(level)} - {None} for level in (WITHIN, BETWEEN))
    means = (row for row in table.at(WITHIN) if row.op == "~1" and row.lhs in (*table.both, *table.within.latent))
    return bool(table.constraints) or bool(within & between) or any(row.index is not None or row.value for row in means)


def level_indices(
    estimate: SemEstimate, unrestricted: SemEstimate, baseline: SemEstimate
) -> tuple[dict[int, FitIndices], dict[int, str]]:
    """Chi-square and indices of each level, and why a level has none.

    They are empty, without a reason, where labels cross levels; and of a level that cannot be fitted alone.
    """
    indices, faults = dict.fromkeys((WITHIN, BETWEEN), NO_INDICES), {}
    if not crosses_levels(estimate.table):
        for level in indices:
            try:
                indices[level] = _of_level(estimate, unrestricted, baseline, level)
            except IdentificationError as error:
                faults[level] = str(error)
    return indices, faults


def _of_level(estimate: SemEstimate, unrestricted: SemEstimate, baseline: SemEstimate, level: int) -> FitIndices:
    ours, df = _ratio(estimate, unrestricted, level)
    independence, baseline_df = _ratio(baseline, unrestricted, level)
    n = estimate.statistics.n_obs if level == WITHIN else float(estimate.statistics.n_clusters)
    return fit_indices(ours, df, independence, baseline_df, n / len(estimate.by_group))


def _ratio(estimate: SemEstimate, unrestricted: SemEstimate, level: int) -> tuple[float, int]:
    """Twice the log-likelihood that a model of one level, the other unrestricted, lacks, and its df."""
    table = _with_starts(estimate, unrestricted, level)
    df = unrestricted.n_parameters - table.n_free
    if df == 0:
        return 0.0, 0
    check_identified(table, structure_of(table))
    partial = estimate_sem(table, estimate.statistics)
    return max(0.0, 2 * (unrestricted.log_likelihood - partial.log_likelihood)), df


def _with_starts(estimate: SemEstimate, unrestricted: SemEstimate, level: int) -> ParameterTable:
    """One level of a model beside the unrestricted other one, each of which begins at its estimates."""
    own, other = _from_estimate(estimate), _from_estimate(unrestricted)
    return join_levels(own, other) if level == WITHIN else join_levels(other, own)


def _from_estimate(estimate: SemEstimate) -> ParameterTable:
    """The table with the estimates as starting values; as it is on a bound, where no barrier can begin."""
    if estimate.optimum.singular:
        return estimate.table
    theta = estimate.optimum.theta
    rows = (r if r.index is None else replace(r, start=float(theta[r.index])) for r in estimate.table.rows)
    return replace(estimate.table, rows=tuple(rows))
