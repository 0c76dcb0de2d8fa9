"""Contextual effects: what a group's mean adds to its members' own values, and a correction for its sampling error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.design.basis import Basis
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.effect_sizes.variation import element_moments, unit_means
from mlm_ops.inference.fixed.tests import CoefficientMethod, CoefficientTests, combination_tests
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import (
    Centering,
    GroupingFactor,
    GroupMean,
    Model,
    Variable,
    Within,
    averages_groups,
    is_group_mean,
    label,
)
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments

#: A bias of more standard errors than this matters: Collins, Schafer and Kam (2001), Psychological Methods 6, 330-351.
_BIAS_THAT_MATTERS = 0.4
_REMARK = (
    "the correction assumes that the mean represents a construct of the group (reflective), or that few of the "
    "group's members were sampled; where all were, and the mean is meant as such, the uncorrected effect holds"
)


@dataclass(frozen=True)
class ContextualPair:
    """A group mean among the fixed effects, and the terms of the same variable that it is compared with.

    Attributes
    ----------
    predictor
        The variable whose mean it is.
    group
        Over whose units it is taken.
    mean
        Place of the group mean's coefficient.
    lower
        Places of the coefficients of the same variable below: of its deviations from this mean, or of the variable
        itself where it is not centered at it.
    centered
        Whether the deviations stand in the model: then the contextual effect is a difference of coefficients, and
        otherwise the coefficient of the mean.
    """

    predictor: Variable
    group: GroupingFactor
    mean: int
    lower: tuple[int, ...]
    centered: bool


@dataclass(frozen=True)
class ContextualEffect:
    """One contextual effect.

    Attributes
    ----------
    within, between
        Effects of the variable within groups and of its mean between them.
    test
        Of their difference, arrays of length one.
    reliability
        Of the group means; None where they are not means of rows.
    corrected, corrected_std_error
        See `corrected_effects`.
    matters
        Whether the predicted bias exceeds 0.4 standard errors, from where on intervals fail.
    """

    pair: ContextualPair
    within: float
    between: float
    test: CoefficientTests
    reliability: float | None
    corrected: float | None
    corrected_std_error: float | None
    matters: bool | None
    note: str | None


def contextual_effects(
    model: Model, moments: Moments, estimate: Estimate, method: CoefficientMethod
) -> list[ContextualEffect]:
    """Every contextual effect of a model, in either parameterisation.

    With ``within(x) + between(x)`` it is ``gamma_between - gamma_within``, with ``x + between(x)`` the coefficient of
    the mean: Raudenbush and Bryk (2002), Hierarchical Linear Models, chapter 5 (Table 5.11).

    Parameters
    ----------
    method
        By which fixed effects are tested.
    """
    pairs = list(find_pairs(model, moments, estimate))
    if not pairs:
        return []
    rows = np.array([_combination(pair, len(estimate.gamma)) for pair in pairs])
    effects = []
    corrections = corrected_effects(model, moments, estimate, method, pairs)
    for pair, row, correction in zip(pairs, rows, corrections, strict=True):
        test = combination_tests(estimate.gamma, method, row[None])
        within = float(estimate.gamma[list(pair.lower)].sum())
        effect, error = float(test.estimate[0]), float(test.std_error[0])
        reliability, corrected, corrected_error, reason = correction
        matters = None if corrected is None else bool(abs(effect - corrected) > _BIAS_THAT_MATTERS * error)
        notes = [reason, _REMARK if matters else None, _moderation_note(pair, estimate)]
        effects.append(
            ContextualEffect(
                pair,
                within,
                within + effect,
                test,
                reliability,
                corrected,
                corrected_error,
                matters,
                "; ".join(note for note in notes if note) or None,
            )
        )
    return effects


def find_pairs(model: Model, moments: Moments, estimate: Estimate) -> Iterator[ContextualPair]:
    """Group means among the fixed effects, each with the terms of the same variable below it."""
    meaning = meanings(model, moments)

    def grouping(variable: Variable) -> GroupingFactor | None:
        group = _mean(variable).group or model.default_group
        return meaning.get(group, group) if group is not None else None

    def size(group: GroupingFactor | None) -> int:
        return len(moments.units_of(group)[1]) if group is not None else 0

    columns = estimate.design.fixed.columns
    single = [(i, _uncentered(c.variables[0])) for i, c in enumerate(columns) if len(c.variables) == 1]
    for place, mean in single:
        if not is_group_mean(mean):
            continue
        group = grouping(mean)
        assert group is not None, "the formula was checked to name its groups"
        own = [(i, v) for i, v in single if i != place and _core(v) == _core(mean)]
        deviations = [(i, v) for i, v in own if averages_groups(v) and not is_group_mean(v)]
        same = [(i, v) for i, v in deviations if grouping(v) == group and _mean(v).over == _mean(mean).over]
        centered = tuple(i for i, _ in same)
        raw = tuple(
            i
            for i, v in own
            if (i, v) not in deviations and not (is_group_mean(v) and size(grouping(v)) <= size(group))
        )
        if centered or raw:
            yield ContextualPair(_core(mean), group, place, centered or raw, bool(centered))


BiasCorrection = tuple[float | None, float | None, float | None, str | None]


def corrected_effects(
    model: Model, moments: Moments, estimate: Estimate, method: CoefficientMethod, pairs: list[ContextualPair]
) -> list[BiasCorrection]:
    """Reliability of each pair's group means, the corrected effect with its standard error, or why there is none.

    A mean of n rows measures the group's expectation with the error sigma2_x / n, so that the estimate tends to
    ``lambda beta``, ``lambda = tau_x / (tau_x + sigma2_x / n)``: Luedtke, Marsh, Robitzsch, Trautwein, Asparouhov and
    Muthen (2008), Psychological Methods 13, 203-229. With several group means and level-2 covariates, S their
    covariance matrix over groups and E that of the errors (zero for covariates), the vector of contextual effects and
    covariates' coefficients tends to ``S^-1 (S - E)`` times the true one, so ``(S - E)^-1 S`` corrects it. E is the
    pooled covariance matrix within groups times the mean of 1 / n_j. The standard error takes E and S as known.
    """
    design = estimate.design
    usable = [
        [level.group for level in design.levels] == [pair.group] and _over(design.fixed.columns[pair.mean]) is None
        for pair in pairs
    ]
    usable_pairs = [pair for pair, is_usable in zip(pairs, usable, strict=True) if is_usable]
    corrected = iter(_correct(model, moments, estimate, method, usable_pairs) if usable_pairs else ())
    reason = "no correction: it is for two levels, and means over rows"
    return [next(corrected) if is_usable else (None, None, None, reason) for is_usable in usable]


def _correct(
    model: Model, moments: Moments, estimate: Estimate, method: CoefficientMethod, pairs: list[ContextualPair]
) -> list[BiasCorrection]:
    columns, p = estimate.design.fixed.columns, len(estimate.gamma)
    means = {pair.mean for pair in pairs}
    levels = estimate.design.variable_levels
    covariates = [
        i for i, c in enumerate(columns) if c.variables and i not in means and all(levels[v] > 1 for v in c.variables)
    ]
    places = [*(pair.mean for pair in pairs), *covariates]
    observed_covariance = np.atleast_2d(
        np.cov(unit_means(model, moments, [columns[i] for i in places], pairs[0].group))
    )
    k = len(pairs)
    errors = np.zeros_like(observed_covariance)
    errors[:k, :k] = _error_covariance(model, moments, pairs)
    true_covariance = observed_covariance - errors
    reliability = 1 - np.diag(errors)[:k] / np.diag(observed_covariance)[:k]
    if (
        np.linalg.eigvalsh(
            true_covariance / np.sqrt(np.outer(np.diag(observed_covariance), np.diag(observed_covariance)))
        ).min()
        <= 1e-6
    ):
        reason = "no correction: the group means vary no more than sampling error would have them"
        return [(max(float(value), 0.0), None, None, reason) for value in reliability]
    rows = np.zeros((len(places), p))
    for row, pair in zip(rows, pairs, strict=False):
        row[:] = _combination(pair, p)
    rows[np.arange(k, len(places)), covariates] = 1.0
    corrections = np.linalg.solve(true_covariance, observed_covariance) @ rows
    estimates = corrections @ estimate.gamma
    std_errors = np.sqrt(np.einsum("ki,ij,kj->k", corrections, method.vcov, corrections))
    return [(float(reliability[i]), float(estimates[i]), float(std_errors[i]), None) for i in range(k)]


def _error_covariance(model: Model, moments: Moments, pairs: list[ContextualPair]) -> Array:
    """Covariance matrix of the errors of the group means, averaged over groups."""
    group = pairs[0].group
    codes, labels = moments.units_of(group)
    columns = [DesignColumn((Within(pair.predictor, group),)) for pair in pairs]
    basis = Basis(Evaluator(moments, model.default_group, meanings(model, moments)), columns)
    g = basis.matrix(columns)
    pooled = element_moments(basis, [codes])[1][0] * (moments.n_obs - 1) / (moments.n_obs - len(labels))
    covariance: Array = g.T @ pooled @ g * np.mean(1 / np.bincount(codes, moments.n, len(labels)))
    return covariance


def _combination(pair: ContextualPair, p: int) -> Array:
    row = np.zeros(p)
    row[pair.mean] = 1.0
    if pair.centered:
        row[list(pair.lower)] = -1.0
    return row


def _moderation_note(pair: ContextualPair, estimate: Estimate) -> str | None:
    """The note on variables that the effect depends on."""
    columns = estimate.design.fixed.columns
    own = {columns[i].variables[0] for i in (pair.mean, *pair.lower)}
    others = dict.fromkeys(
        label(v)
        for c in columns
        if len(c.variables) > 1 and own & set(c.variables)
        for v in c.variables
        if v not in own
    )
    crossed = any(len(own & set(c.variables)) > 1 for c in columns)
    names = [*others, *(sorted(map(label, own)) if crossed else ())]
    if not names:
        return None
    verb, them = ("are", "them") if len(names) > 1 else ("is", "it")
    return f"where {', '.join(names)} {verb} zero, as the effect depends on {them}"


def _uncentered(variable: Variable) -> Variable:
    """The variable without grand-mean centering, which shifts it."""
    while isinstance(variable, Centering) and not averages_groups(variable):
        variable = variable.of
    return variable


def _core(variable: Variable) -> Variable:
    """The variable without any centering."""
    while isinstance(variable, Centering):
        variable = variable.of
    return variable


def _over(column: DesignColumn) -> GroupingFactor | None:
    variable = _uncentered(column.variables[0])
    return _mean(variable).over if is_group_mean(variable) else None


def _mean(variable: Variable) -> GroupMean:
    """The means that are taken off a variable, or that it is."""
    assert isinstance(variable, Centering)
    assert isinstance(variable.mean, GroupMean)
    return variable.mean
