"""Check what a fit rests on: influential units, outliers, normal random effects, equal residual variances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
from mlm_ops.inference.fixed.tests import holm
from mlm_ops.language.model import group_name
from mlm_ops.results.words import number

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord
    from mlm_ops.warehouse.source import Source

#: Units that are refitted without, and units that are told of as outliers.
REFITTED, OUTLIERS = 50, 10
#: A unit is flagged when its deletion moves a coefficient by more than this many standard errors.
MOVED = 1.0
#: Significant digits, less one, by which units are put in order: balanced data have many units alike but for rounding.
_DIGITS = 8


def diagnose(fitted: FitRecord, rows: Source | None = None, least: int = 1) -> list[Finding]:
    """What moments tell of a fit's soundness, nothing for single-level regression; and what its rows tell."""
    found: list[Finding] = []
    if fitted.result.design.levels:
        found += [*_influence(fitted), *_outliers(fitted), *_normality(fitted), *_heteroscedasticity(fitted)]
    if rows is not None:
        # twice as many rows a bin as needed: ties make bins unequal
        bins = max(min(BINS, fitted.moments.n_obs // (2 * least)), 2)
        checks = check_residuals(fitted.prediction_query, rows, bins)
        found += [] if checks is None else residual_findings(checks)
    return found


def _largest_first(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Places of the values, (J,), the largest first; those that rounding alone tells apart in their own order."""
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0))
    unit = 10.0 ** (np.floor(np.log10(size)) - _DIGITS)
    return np.argsort(-np.where(np.isfinite(values), np.round(values / unit) * unit, values), kind="stable")


def _influence(fitted: FitRecord) -> Iterator[Finding]:
    """Cook's distance of the most influential units, each from a refit without it where there is one."""
    deletions = one_step_deletions(fitted.result, fitted.moments)
    if deletions is None or not len(fitted.result.gamma):
        return
    names = [column.name for column in fitted.result.design.fixed.columns]
    errors = np.sqrt(np.diag(fitted.result.vcov))
    group = group_name(fitted.result.design.levels[-1].group)
    most = _largest_first(np.nan_to_num(deletions.cooks, nan=np.inf))[:REFITTED]
    for unit in most:
        refit = refit_without(fitted.model, fitted.moments, fitted.result, int(unit))
        label = str(deletions.labels[unit])
        if refit is None:
            yield Finding("influence", group, label, flagged=True, note=f"without {label} the model is not identified")
            continue
        change = refit.gamma - fitted.result.gamma
        moved = change / errors
        worst = int(_largest_first(np.abs(moved))[0])
        cooks = float(change @ np.linalg.solve(fitted.result.vcov, change)) / len(change)
        yield Finding(
            "influence",
            group,
            label,
            names[worst],
            estimate=cooks,
            statistic=float(moved[worst]),
            flagged=bool(abs(moved[worst]) > MOVED),
            note=f"without {label} the coefficient is {number(refit.gamma[worst])} instead of "
            f"{number(fitted.result.gamma[worst])}",
        )


def _outliers(fitted: FitRecord) -> Iterator[Finding]:
    """The units whose random effects lie farthest out, p values adjusted for the number of units."""
    levels = [level for level in fitted.result.design.levels for _ in level.blocks]
    for level, effects, tau in zip(levels, fitted.predictions, fitted.result.tau, strict=True):
        distance, rank, p = mahalanobis_distances(effects, tau)
        adjusted = holm(p)
        for unit in _largest_first(-p)[:OUTLIERS]:
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


def _normality(fitted: FitRecord) -> Iterator[Finding]:
    levels = [(level, block) for level in fitted.result.design.levels for block in level.blocks]
    for (level, block), effects, tau in zip(levels, fitted.predictions, fitted.result.tau, strict=True):
        for column, values in zip(block.columns, standardised(effects, tau), strict=True):
            found = normality(values)
            if found is None:
                continue
            yield Finding(
                "normality",
                group_name(level.group),
                None,
                column.name,
                estimate=found.kurtosis,
                expected=3.0,
                statistic=found.statistic,
                df=2.0,
                p_value=found.p_value,
                flagged=found.p_value < ALPHA,
                note=f"skewness {found.skewness:.2f}, kurtosis {found.kurtosis:.2f} (normal: 0 and 3)",
            )


def _heteroscedasticity(fitted: FitRecord) -> Iterator[Finding]:
    lowest = fitted.result.design.levels[0]
    codes, _ = fitted.moments.units_of(lowest.group)
    sizes = np.bincount(codes, fitted.moments.n, len(lowest.labels)).astype(float)
    found = heterogeneity(fitted.result, sizes)
    if found is not None:
        group = group_name(lowest.group)
        yield Finding(
            "heteroscedasticity",
            group,
            statistic=found.statistic,
            df=float(found.df),
            p_value=found.p_value,
            flagged=found.p_value < ALPHA,
            note=f"residual variances of {found.units} units of {group} with 10 degrees of freedom or more",
        )
