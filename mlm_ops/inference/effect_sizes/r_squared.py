"""Explained variance: every R-squared of the field, each with its source, from moments.

All are functions of one fit, or of a fit and the model without predictors that it is measured against. Estimates may be
negative where a predictor moves variance from one level to another; they are reported as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.estimate import Estimate, estimate_design
from mlm_ops.inference.effect_sizes.variation import VarianceSplit, split_variance, unit_means
from mlm_ops.inference.random.variance import mean_residual_variance
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import INTERCEPT, Model, RandomBlock, group_name
from mlm_ops.moments.record import Moments

#: How the model without predictors is named where another is measured against it.
NULL = "(intercepts only)"
_CONSTANT = DesignColumn(())


@dataclass(frozen=True)
class Measure:
    """One measure of explained variance.

    Attributes
    ----------
    measure
        Its name: source, scope, and whose share it is.
    level
        The textbook's level whose variance is explained; None for the whole.
    estimate
        A share, or a difference of shares.
    group, term
        Whose random coefficient's variance is reduced.
    reference
        Name of the model that it is measured against.
    note
        What a reader of the number must know.
    """

    measure: str
    level: int | None
    estimate: float
    group: str | None = None
    term: str | None = None
    reference: str | None = None
    note: str | None = None


def null_estimate(model: Model, moments: Moments, estimate: Estimate) -> Estimate:
    """The model without predictors, by the same estimator: an intercept, which varies over each grouping factor."""
    random = tuple(RandomBlock((INTERCEPT,), group) for group in model.groups)
    null = replace(model, fixed=(INTERCEPT,), random=random)
    if null == model:
        return estimate
    reml = estimate.criterion.reml

    def fit() -> Estimate:
        return estimate_design(build_design(null, moments), reml=reml)

    return moments.derived("model without predictors", (null, reml), fit)


def r_squared(model: Model, moments: Moments, estimate: Estimate, split: Callable[[], VarianceSplit]) -> list[Measure]:
    """All measures of one fit.

    Parameters
    ----------
    split
        Makes `split_variance` of the fit, which it is asked for where the fit has levels.
    """
    if _models_part_of_outcome(estimate):
        return []  # the variance that the other part of the outcome has taken away is no part of a total
    null = null_estimate(model, moments, estimate)
    if not estimate.design.levels:
        return _regression_measures(estimate, null)
    parts = split()
    return [
        *nakagawa(parts),
        *rights_sterba(parts),
        *proportional_reduction(estimate, null, NULL),
        *snijders_bosker(model, moments, estimate, parts, null),
    ]


def shares(model: Model, moments: Moments, estimate: Estimate) -> list[Measure]:
    """The measures that need no other model; for single-level regression all."""
    if _models_part_of_outcome(estimate):
        return []
    if not estimate.design.levels:
        return _regression_measures(estimate, null_estimate(model, moments, estimate))
    parts = split_variance(model, moments, estimate)
    return [*nakagawa(parts), *rights_sterba(parts)]


def nakagawa(parts: VarianceSplit) -> list[Measure]:
    """Marginal ``F / (F + R + sigma2)`` and conditional ``(F + R) / (F + R + sigma2)``.

    F is the variance of the fixed part, R the mean over the rows of ``z' T z``. Nakagawa and Schielzeth (2013), Methods
    in Ecology and Evolution 4, 133-142; with random slopes Johnson (2014), ibid. 5, 944-946.
    """
    fixed = parts.of_kind("f")
    total = fixed + parts.random + parts.residual
    return [
        Measure("nakagawa_marginal", None, fixed / total),
        Measure("nakagawa_conditional", None, (fixed + parts.random) / total),
    ]


def rights_sterba(parts: VarianceSplit) -> list[Measure]:
    """Shares of the model-implied variance that fixed effects (f), slopes (v) and intercepts (m) account for.

    Rights and Sterba (2019), Psychological Methods 24, 309-338, Table 1: of the total variance ``f1 + f2 + v + m +
    sigma2``, of that within groups ``f1 + v + sigma2``, and of that between them ``f2 + m``. With more levels the
    same, level by level: ``v23`` are slopes of level-2 predictors that vary over level 3 (Rights and Sterba 2023,
    Multivariate Behavioral Research 58, 340-367). The shares of a scope sum to one.
    """
    two_levels = parts.n_levels == 2
    note = parts.undivided
    by_name: dict[str, float] = {}
    for part in parts.parts:
        # the two-level names are the paper's, without the levels of v and m that go without saying
        level = "" if part.level is None or (two_levels and part.kind != "f") else str(part.level)
        above = "" if two_levels or part.level is None or part.kind != "v" else str(part.group_level)
        name = f"{part.kind}{level}{above}"
        by_name[name] = by_name.get(name, 0.0) + part.variance
    sums = {kinds: parts.of_kind(kinds) for kinds in ("f", "fv", "fvm")} | {"residual": parts.residual}
    measures = [
        Measure(f"rights_sterba_total_{name}", None, value / parts.total, note=note)
        for name, value in (by_name | sums).items()
    ]
    if note is None:
        measures += _by_level(parts, two_levels)
    return measures


def _by_level(parts: VarianceSplit, two_levels: bool) -> Iterator[Measure]:
    """Shares of each level's own variance."""
    for level in range(1, parts.n_levels + 1):
        own = [part for part in parts.parts if part.level == level]
        residual = parts.residual if level == 1 else 0.0
        whole = sum(part.variance for part in own) + residual
        if whole <= 0:
            continue
        scope = ("within", "between")[level - 1] if two_levels else f"level{level}"
        shares: dict[str, float] = {}
        for part in own:
            above = "" if two_levels or part.kind != "v" else str(part.group_level)
            name = part.kind if two_levels and part.kind != "f" else f"{part.kind}{level}{above}"
            shares[name] = part.variance
        if level == 1:
            shares["f1v"] = sum(shares.values())
            shares["residual"] = residual
        for name, value in shares.items():
            yield Measure(f"rights_sterba_{scope}_{name}", level, value / whole)


def proportional_reduction(estimate: Estimate, reference: Estimate, name: str) -> list[Measure]:
    """Share of a reference model's variance component that is gone: ``(tau_reference - tau) / tau_reference``.

    Raudenbush and Bryk (2002), Hierarchical Linear Models, chapter 4: of sigma2, of the intercepts' variance
    of every grouping factor, and of the variance of each slope that varies in both models.

    Parameters
    ----------
    name
        Of the reference model.
    """
    before, now = mean_residual_variance(reference), mean_residual_variance(estimate)
    measures = [Measure("raudenbush_bryk", 1, (before - now) / before, reference=name)]
    ours, theirs = _variances(estimate), _variances(reference)
    for (group, column), variance in ours.items():
        reference_variance = theirs.get((group, column), 0.0)
        if reference_variance > 0:
            level, varying = _level_and_columns(estimate, group)
            measures.append(
                Measure(
                    "raudenbush_bryk",
                    level,
                    (reference_variance - variance) / reference_variance,
                    group,
                    column.name,
                    name,
                    _at_zero(column, varying, {c for g, c in theirs if g == group}),
                )
            )
    return measures


def _at_zero(column: DesignColumn, varying: Sequence[DesignColumn], theirs: set[DesignColumn]) -> str | None:
    """An intercept's variance is that at zero of the predictors whose slopes vary."""
    extra = [c.name for c in varying if c not in theirs]
    if column != _CONSTANT or not extra:
        return None
    return f"variance where {', '.join(extra)} is zero: comparable if centered at group means"


def _level_and_columns(estimate: Estimate, group: str) -> tuple[int, list[DesignColumn]]:
    """The level of a grouping factor, and the columns that vary over it."""
    for height, level in enumerate(estimate.design.levels):
        if group_name(level.group) == group:
            columns = [c for block in level.blocks for c in block.columns]
            return (height + 2 if estimate.design.nested else 2), columns
    raise KeyError(group)


def _variances(estimate: Estimate) -> dict[tuple[str, DesignColumn], float]:
    """Variance of every random coefficient, where the data determine it."""
    variances = {}
    blocks = [(level, block) for level in estimate.design.levels for block in level.blocks]
    for (level, block), tau, unknown in zip(blocks, estimate.tau, estimate.undetermined.tau, strict=True):
        for i, column in enumerate(block.columns):
            if not unknown[i, i]:
                variances[group_name(level.group), column] = float(tau[i, i])
    return variances


def snijders_bosker(
    model: Model, moments: Moments, estimate: Estimate, parts: VarianceSplit, null: Estimate
) -> list[Measure]:
    """Proportional reduction of the error of predicting a row, and the mean of a group, by the fixed part alone.

    Snijders and Bosker (1994), Sociological Methods & Research 22, 342-363, and (2012), Multilevel Analysis, section
    7.1: ``R1 = 1 - (sigma2 + tau) / (same of the null model)`` and ``R2 = 1 - (sigma2 / n + tau) / (same)``, n the
    harmonic mean of the group sizes. With random slopes tau is the mean of ``z' T z`` over rows for R1, and over
    groups at their means of z for R2. For two levels.
    """
    if len(estimate.design.levels) != 1:
        return []
    (level,) = estimate.design.levels
    codes, _ = moments.units_of(level.group)
    size = 1 / np.mean(1 / np.bincount(codes, moments.n, len(level.labels)))

    means = unit_means(model, moments, [c for block in estimate.blocks for c in block.columns], level.group)
    between, first = 0.0, 0
    for block, tau in zip(estimate.blocks, estimate.tau, strict=True):
        own = means[first : first + len(block.columns)]
        between += float(np.einsum("qj,qr,rj->j", own, tau, own).mean())
        first += len(block.columns)
    # of intercepts alone z' T z is the same number everywhere
    residual, intercepts = mean_residual_variance(null), sum(float(tau[0, 0]) for tau in null.tau)
    of_row = 1 - (parts.residual + parts.random) / (residual + intercepts)
    of_mean = 1 - (parts.residual / size + between) / (residual / size + intercepts)
    return [
        Measure("snijders_bosker", 1, of_row, reference=NULL),
        Measure("snijders_bosker", 2, float(of_mean), reference=NULL),
    ]


def changes(ours: Sequence[Measure], theirs: Sequence[Measure], name: str) -> list[Measure]:
    """Differences of the `shares` that two models have in common.

    Rights and Sterba (2020), Multivariate Behavioral Research 55, 568-599: the gain of adding terms, kind by kind.

    Parameters
    ----------
    name
        Of the model whose measures are `theirs`.
    """
    by_measure = {m.measure: m for m in theirs}
    return [
        replace(m, measure=f"{m.measure}_change", estimate=m.estimate - by_measure[m.measure].estimate, reference=name)
        for m in ours
        if m.measure in by_measure
    ]


def _models_part_of_outcome(estimate: Estimate) -> bool:
    """Whether a part of the outcome is modelled that has levels itself: its observations are no rows."""
    return estimate.design.split is not None and bool(estimate.design.levels)


def _regression_measures(estimate: Estimate, null: Estimate) -> list[Measure]:
    """``1 - RSS / TSS``, and the same with unbiased variances; none where residuals have a structure."""
    if estimate.design.residual is not None:
        return []
    n, p, p_null = estimate.design.n_obs, len(estimate.gamma), len(null.gamma)
    ratio = estimate.sigma2 / null.sigma2
    return [
        Measure("ordinary", None, 1 - ratio * (n - p) / (n - p_null)),
        Measure("ordinary_adjusted", None, 1 - ratio),
    ]
