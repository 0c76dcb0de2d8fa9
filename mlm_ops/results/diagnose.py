"""Check the assumptions of a fit: influential units, outliers, normality, equal variances, collinear predictors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlm_ops.inference.diagnostics.collinearity import collinearity
from mlm_ops.inference.diagnostics.deletion import one_step_deletions, refit_without
from mlm_ops.inference.diagnostics.findings import ALPHA, Finding, residual_findings
from mlm_ops.inference.diagnostics.residuals import (
    BINS,
    check_residuals,
    heterogeneity,
    mahalanobis_distances,
    normality,
    standardised,
)
from mlm_ops.inference.effect_sizes.variation import column_moments
from mlm_ops.inference.fixed.tests import holm
from mlm_ops.language.model import group_name
from mlm_ops.results.words import number

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord
    from mlm_ops.warehouse.source import Source

#: At most so many units are left out in turn, the model refitted without each, and so many are listed as outliers.
MOST_REFITS, MOST_OUTLIERS = 50, 10
#: A unit is flagged when a coefficient changes by more than this many standard errors without it.
LARGE_CHANGE = 1.0
#: Residual standard deviations of units that differ by less beyond chance, as a share, are near enough to equal.
SPREAD_OF_UNITS = 0.05
#: Variance inflation that is flagged, and a condition number to think about: Belsley, Kuh and Welsch (1980), chapter 3.
MOST_INFLATION, MOST_CONDITION = 10.0, 30.0
#: Units are put in order by so many significant digits, and one: in balanced data many differ by rounding alone.
_DIGITS = 8
_IN_PRODUCT = "it is part of a product, so its own effect holds where the others are zero: centering changes both"


def diagnose(record: FitRecord, rows: Source | None = None, least: int = 1) -> list[Finding]:
    """List the findings about a fit: from its moments, of groups if it has any, and from rows if given.

    Parameters
    ----------
    least
        Rows that a bin of a predictor needs.
    """
    findings: list[Finding] = []
    if record.estimate.design.levels:
        findings += [*_influence(record), *_outliers(record), *_normality(record), *_heteroscedasticity(record)]
    findings += _collinearity(record)
    if rows is not None:
        # twice as many rows a bin as needed: ties make bins unequal
        bins = max(min(BINS, record.moments.n_obs // (2 * least)), 2)
        checks = check_residuals(record.prediction_query, rows, bins)
        findings += [] if checks is None else residual_findings(checks)
    return findings


def _largest_first(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the values, (J,), the largest first; values that differ by rounding alone keep their order."""
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0))
    unit = 10.0 ** (np.floor(np.log10(size)) - _DIGITS)
    return np.argsort(-np.where(np.isfinite(values), np.round(values / unit) * unit, values), kind="stable")


def _influence(record: FitRecord) -> Iterator[Finding]:
    """Cook's distance of the most influential units, each from a refit without it where there is one."""
    deletions = one_step_deletions(record.estimate, record.moments)
    if deletions is None or not len(record.estimate.gamma):
        return
    names = [column.name for column in record.estimate.design.fixed.columns]
    errors = np.sqrt(np.diag(record.estimate.vcov))
    group = group_name(record.estimate.design.levels[-1].group)
    for unit in _largest_first(np.nan_to_num(deletions.cooks, nan=np.inf))[:MOST_REFITS]:
        refit = refit_without(record.model, record.moments, record.estimate, int(unit))
        label = str(deletions.labels[unit])
        if refit is None:
            yield Finding("influence", group, label, flagged=True, note=f"without {label} the model is not identified")
            continue
        change = refit.gamma - record.estimate.gamma
        change_in_errors = change / errors
        largest = int(_largest_first(np.abs(change_in_errors))[0])
        cooks = float(change @ np.linalg.solve(record.estimate.vcov, change)) / len(change)
        yield Finding(
            "influence",
            group,
            label,
            names[largest],
            estimate=cooks,
            statistic=float(change_in_errors[largest]),
            flagged=bool(abs(change_in_errors[largest]) > LARGE_CHANGE),
            note=f"without {label} the coefficient is {number(refit.gamma[largest])} instead of "
            f"{number(record.estimate.gamma[largest])}",
        )


def _outliers(record: FitRecord) -> Iterator[Finding]:
    """The units whose random effects lie farthest out, p values adjusted for the number of units."""
    levels = [level for level in record.estimate.design.levels for _ in level.blocks]
    for level, effects, tau in zip(levels, record.block_effects, record.estimate.tau, strict=True):
        distance, rank, p = mahalanobis_distances(effects, tau)
        adjusted = holm(p)
        for unit in _largest_first(-p)[:MOST_OUTLIERS]:
            label = str(level.labels[unit])
            yield Finding(
                "outlier",
                group_name(level.group),
                label,
                statistic=float(distance[unit]),
                df=float(rank[unit]),
                p_value=float(adjusted[unit]),
                flagged=bool(adjusted[unit] < ALPHA),
                note=f"squared distance of the random effects; p adjusted for {len(p)} units by Holm",
            )


def _normality(record: FitRecord) -> Iterator[Finding]:
    levels = [(level, block) for level in record.estimate.design.levels for block in level.blocks]
    for (level, block), effects, tau in zip(levels, record.block_effects, record.estimate.tau, strict=True):
        for column, values in zip(block.columns, standardised(effects, tau), strict=True):
            test = normality(values)
            if test is None:
                continue
            yield Finding(
                "normality",
                group_name(level.group),
                None,
                column.name,
                estimate=test.kurtosis,
                skewness=test.skewness,
                expected=3.0,
                statistic=test.statistic,
                df=2.0,
                p_value=test.p_value,
                flagged=test.p_value < ALPHA,
                note=test.note,
            )


def _heteroscedasticity(record: FitRecord) -> Iterator[Finding]:
    lowest = record.estimate.design.levels[0]
    codes, _ = record.moments.units_of(lowest.group)
    sizes = np.bincount(codes, record.moments.n, len(lowest.labels)).astype(float)
    test = heterogeneity(record.estimate, sizes)
    if test is not None:
        group = group_name(lowest.group)
        yield Finding(
            "heteroscedasticity",
            group,
            statistic=test.statistic,
            df=float(test.df),
            p_value=test.p_value,
            estimate=test.spread,
            expected=0.0,
            bound=SPREAD_OF_UNITS,
            flagged=bool(test.p_value < ALPHA and test.spread > SPREAD_OF_UNITS),
            note=f"residual variances of {test.units} units of {group} with 10 degrees of freedom or more; beyond "
            f"chance their standard deviations differ by {test.spread:.0%}",
        )


def _collinearity(record: FitRecord) -> Iterator[Finding]:
    """Variance inflation of each predictor at its levels, and the condition number of each level's predictors."""
    design = record.estimate.design
    if design.split is not None:
        return
    columns = design.fixed.columns
    levels = collinearity(design, column_moments(record.model, record.moments, design))
    uses = Counter(variable for column in columns for variable in set(column.variables))
    for one in levels:
        for place, inflation in zip(one.columns, one.inflation, strict=True):
            column = columns[place]
            in_product = len(column.variables) > 1 or any(uses[v] > 1 for v in column.variables)
            yield Finding(
                "vif",
                term=column.name,
                level=one.level,
                estimate=float(inflation),
                expected=1.0,
                bound=MOST_INFLATION,
                flagged=bool(inflation > MOST_INFLATION and not in_product),
                note=_IN_PRODUCT if in_product else None,
            )
        yield Finding(
            "condition_number",
            level=one.level,
            estimate=one.condition if np.isfinite(one.condition) else None,
            expected=1.0,
            bound=MOST_CONDITION,
            note="of the predictors scaled to length one, deviations within units"
            if one.level == 1 and design.levels and design.nested
            else "of the constant and the predictors scaled to length one; a mean far from zero raises it too",
        )
