"""Fit a structural equation model: parse its text, collect moments, estimate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import DataError, MlmError
from mlm_ops.language import options
from mlm_ops.language.model import INTERCEPT, Between, Column, GroupingFactor, Model, RandomBlock, Term, label
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.moments.coverage import moments_for
from mlm_ops.moments.patterns import collect_patterns, complete_units, has_patterns
from mlm_ops.moments.record import Moments
from mlm_ops.results.fitting import fit_model
from mlm_ops.structural.algebra.constraints import check_constraints
from mlm_ops.structural.algebra.identification import check_identified
from mlm_ops.structural.algebra.matrices import structure_of
from mlm_ops.structural.estimation.estimate import estimate_sem
from mlm_ops.structural.language.grouping import grouped_table
from mlm_ops.structural.language.model import BETWEEN, WITHIN, SemModel
from mlm_ops.structural.language.parameters import ParameterTable, parameter_table
from mlm_ops.structural.language.ready_models import CONTEXTUAL
from mlm_ops.structural.language.request import SemRequest, sem_request
from mlm_ops.structural.results.fit import SemFit
from mlm_ops.structural.results.record import SemContextualEffect
from mlm_ops.structural.statistics.cluster_sums import Statistics
from mlm_ops.structural.statistics.from_moments import check_columns, two_level_statistics
from mlm_ops.structural.statistics.grouped import AnyStatistics, grouped_statistics, lost_groups, moments_by_group
from mlm_ops.structural.statistics.missing import check_information, statistics_of_patterns
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.source import Source, open_source

if TYPE_CHECKING:
    import duckdb


@checked(
    text=options.SEM_TEXT,
    cluster=options.SEM_CLUSTER,
    connection=options.CONNECTION,
    robust=options.SEM_ROBUST,
    slopes=options.SLOPES,
    missing=options.MISSING,
    group=options.SEM_GROUP,
    group_equal=options.GROUP_EQUAL,
    group_partial=options.GROUP_PARTIAL,
)
def sem(
    text: str,
    data: Any,
    cluster: str,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    robust: bool = False,
    slopes: options.SlopeCentering = "latent",
    missing: options.Missing = "listwise",
    group: str | None = None,
    group_equal: str | Sequence[str] = (),
    group_partial: str | Sequence[str] = (),
) -> SemFit:
    r"""Fit a two-level structural equation model by maximum likelihood.

    Parameters
    ----------
    text
        lavaan's two-level syntax: blocks ``level: 1`` and ``level: 2`` of ``~``, ``~~``, ``=~``, ``~1``, and ``:=``,
        ``==``, ``<``, ``>`` of labels. A
        variable of both levels is split into latent within and between parts; one of level 2 only is constant within
        clusters; one of level 1 only has no between part. Or one line of a ready model: ``contextual: y ~ x``,
        ``mediation 1-1-1: x -> m -> y`` (a level for each variable), ``cfa: f =~ y1 + y2 + y3``,
        ``growth: y ~ time``; with covariates behind ``|``.
    data, connection
        As `mlm_ops.fit` takes them; rows that miss a value of the model are left out and counted, unless `missing`
        says otherwise.
    cluster
        The column of the clusters, or several joined by ``:``.
    robust
        Cluster-robust standard errors instead of those by the observed information.
    slopes
        Of what a random slope ``y ~ rv("s")*x`` is where x has a part at level 2 too: of x around its ``latent`` mean,
        by quadrature, for one or two slopes; or of x as it is ``observed``. Elsewhere x is taken as it is.
    missing
        ``listwise`` leaves rows out that miss a value; ``ml`` takes all that there is of every row and cluster, by
        full-information maximum likelihood. Rows that miss the predictor of a random slope are left out either way.
    group
        The column whose values are groups of rows, or several joined by ``:``; sorted by value. Every parameter has its
        own value in each group; equal labels are equal, ``c(a1, a2)*x`` labels each. Clusters lie inside groups.
    group_equal, group_partial
        What is equal in all groups, in lavaan's words: ``loadings``, ``intercepts``, ``means``, ``regressions``,
        ``residuals``, ``residual.covariances``, ``lv.variances``, ``lv.covariances``, each also of one level, as
        ``between(intercepts)``; and which parameters of these are not, as ``f=~y2``. With intercepts equal, and means
        not, latent means are free in all groups but the first.

    Raises
    ------
    FormulaError, DataError, IdentificationError
        One sentence each. Variances of zero and searches that do not end are results with notes.

    Examples
    --------
    >>> import polars as pl, mlm_ops as mlm
    >>> data = pl.DataFrame({"y": [1.0, 2, 4, 5, 7, 9], "g": ["a", "a", "b", "b", "c", "c"]})
    >>> fit = mlm.sem("level: 1\n y ~~ w*y\nlevel: 2\n y ~~ b*y\nicc := b / (b + w)", data, cluster="g")
    >>> round(fit.parameters.filter(pl.col("lhs") == "icc")["estimate"][0], 4)
    0.8676
    """
    request = sem_request(
        text,
        cluster,
        robust=robust,
        slopes=slopes,
        missing=missing,
        group=group,
        group_equal=group_equal,
        group_partial=group_partial,
    )
    if isinstance(data, Moments):
        return fit_sem(request, moments_for(data, [request.columns_model]))
    return fit_rows(request, open_source(data, connection))


def fit_rows(request: SemRequest, source: Source) -> SemFit:
    """Fit a model to rows.

    Raises
    ------
    FormulaError, DataError, IdentificationError
        As `collect_sem` and `fit_sem`.
    """
    moments = collect_sem(request, source)
    grouping = request.grouping
    lost = () if grouping is None else tuple(lost_groups(source, moments, grouping.columns))
    return fit_sem(request, moments, lost)


def collect_sem(request: SemRequest, source: Source) -> Moments:
    """Collect the moments of a model's columns, by pattern of missing cells where these are asked for.

    Raises
    ------
    DataError
        Columns that are no numbers, and as `collect`.
    """
    table, model = request.columns_table, request.columns_model
    check_columns(table, request.cluster, source, request.group)
    if request.missing == "listwise":
        return collect(source, [model])
    return collect_patterns(source, model, table.columns, [slope.predictor for slope in table.slopes])


def fit_sem(request: SemRequest, moments: Moments, lost: tuple[str, ...] = ()) -> SemFit:
    """Fit a model to moments that were collected for it (and perhaps for others): no rows are touched.

    Parameters
    ----------
    lost
        Groups of rows that the moments have nothing of, as `lost_groups` finds them.

    Raises
    ------
    DataError
        ``missing="ml"`` with moments that are not by pattern of missing cells.
    """
    start = time.perf_counter()
    model, cluster, grouping, missing = request.model, request.cluster, request.grouping, request.missing
    whole = _whole(moments, missing)
    groups = None if grouping is None else moments_by_group(whole, grouping.columns, cluster, lost)
    if grouping is None or groups is None:
        table = parameter_table(model, request.slopes)
    else:
        table = grouped_table(model, grouping, groups[0], request.slopes)
    structure = structure_of(table)
    check_constraints(table)
    check_identified(table, structure)
    statistics: AnyStatistics
    if grouping is None or groups is None:
        statistics = _statistics(table, whole, cluster, missing)
    else:
        make = partial(_statistics, table.by_group[0][0], cluster=cluster, missing=missing, whole=whole)
        statistics = grouped_statistics(*groups, grouping.name, make)
    check_information(table, structure, statistics)
    estimate = estimate_sem(table, statistics)
    seconds = time.perf_counter() - start
    observed, fault = None, None
    if grouping is None:
        observed, fault = _observed_means(model, complete_units(moments), cluster)
    return SemFit(
        request=request,
        estimate=estimate,
        seconds=seconds,
        n_rows=moments.n_rows,
        n_dropped=dict(moments.n_dropped),
        moments=moments,
        observed=observed,
        observed_fault=fault,
        lost=lost,
    )


def _statistics(
    table: ParameterTable,
    moments: Moments,
    cluster: GroupingFactor,
    missing: options.Missing,
    whole: Moments | None = None,
) -> Statistics:
    make = two_level_statistics if missing == "listwise" else statistics_of_patterns
    return make(table, moments, cluster, whole)


def _whole(moments: Moments, missing: options.Missing) -> Moments:
    """The moments that a model is fitted to: of complete rows, or by pattern of missing cells."""
    if missing == "listwise":
        return complete_units(moments)
    if not has_patterns(moments):
        raise DataError(
            'missing="ml" needs the rows, or moments by pattern of missing cells. Got moments of complete rows; give '
            "the rows, or drop missing."
        )
    return moments


def _observed_means(
    model: SemModel, moments: Moments, cluster: GroupingFactor
) -> tuple[SemContextualEffect | None, str | None]:
    """The ready model ``contextual`` with observed cluster means, a mixed model of the same moments; or why it fails.

    Neither of other models, nor of that of a latent variable, which has no observed means.
    """
    if model.ready != CONTEXTUAL or any(item.op == "=~" for item in model.items):
        return None, None
    within, between = ([item for item in model.at(level) if item.op == "~"] for level in (WITHIN, BETWEEN))
    outcome, first = Column(within[0].lhs), Column(within[0].rhs)
    inside, outside = ([Column(item.rhs) for item in items] for items in (within, between))
    both = [column for column in inside if column in outside]
    variables = [variable for column in both for variable in (column, Between(column))]
    variables += [column for column in dict.fromkeys((*inside, *outside)) if column not in both]
    terms = (INTERCEPT, *(Term((variable,)) for variable in variables))
    mixed = Model(outcome, terms, (RandomBlock((INTERCEPT,), cluster),), default_group=cluster)
    try:
        fixed_effects = fit_model(Request(mixed, "ml", "none"), moments).fixed_effects
    except MlmError as error:
        # it stands beside the structural model, which has its numbers without it
        return None, str(error)
    slopes = {row["term"]: row for row in fixed_effects.iter_rows(named=True)}
    pooled, effect = slopes[label(first)], slopes[label(Between(first))]
    mean_slope = pooled["estimate"] + effect["estimate"]
    return SemContextualEffect(pooled["estimate"], mean_slope, effect["estimate"], effect["std_error"]), None
