"""Run a model-building strategy step by step; every candidate is fitted from the same moments, without reading a row.

A fixed term is judged by the ML likelihood. A random term is judged by the REML likelihood where the analysis is fitted
by REML, because the two models compared then have the same fixed part (Pinheiro and Bates 2000, section 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import polars as pl

from mlm_ops.analyses.file.strategy import Candidate, Rule, Strategy
from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.build import constant_within
from mlm_ops.inference.comparison import NOTHING_MORE, Comparison
from mlm_ops.inference.effect_sizes.variation import split_variance
from mlm_ops.language.model import Model, group_name
from mlm_ops.language.options import Estimator
from mlm_ops.results.fit import Fit
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame
from mlm_ops.results.tables.whole_models import T_COLUMNS, t_columns

#: Shares of the model-implied variance whose gain is stored for each step: explained by fixed effects (f), by fixed
#: effects and random slopes (fv), and by these and the random intercepts (fvm). Rights and Sterba (2019).
SHARES = ("f", "fv", "fvm")
FitModel = Callable[[Model, Estimator, Fit | None], Fit]
CompareFits = Callable[[Fit, Fit], Comparison]


@dataclass(frozen=True)
class LadderStep:
    """One candidate term, and whether it was added or dropped.

    Attributes
    ----------
    name
        The name of the model with the candidate (build-up) or without it (tear-down).
    reference
        The name of the model that it was compared with.
    candidate
        The term.
    taken
        Whether the next step starts from the model of this step.
    reason
        The reason, as text for a person.
    fit
        The fit of this step's model by the estimator of the comparison; None where it was not fitted.
    larger, smaller
        The two models compared, with and without the term; None where there was no comparison.
    comparison
        The larger of the two models against the smaller.
    gain
        For each of `SHARES`, the gain of the term: larger model minus smaller. Rights and Sterba (2020), Multivariate
        Behavioral Research 55, 568-599.
    """

    name: str
    reference: str
    candidate: Candidate
    taken: bool
    reason: str
    fit: Fit | None = None
    larger: Fit | None = None
    smaller: Fit | None = None
    comparison: Comparison | None = None
    gain: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """All steps of a strategy, and the models that it passed through.

    Attributes
    ----------
    strategy
        The strategy.
    steps
        The steps, in order.
    path
        Models by name, from the start to the selected one, which is last.
    """

    strategy: Strategy
    steps: tuple[LadderStep, ...]
    path: dict[str, Model]

    @property
    def selected(self) -> str:
        """The name of the selected model."""
        return next(reversed(self.path))


def climb(strategy: Strategy, start: Model, estimator: Estimator, fit: FitModel, compare: CompareFits) -> Ladder:
    """Try every candidate once, in order, each against the model that the step before it ended with.

    Parameters
    ----------
    start
        The model that the strategy starts from.
    estimator
        The estimator by which random terms are compared.
    fit
        A function that fits a model from the analysis' moments, with a similar fit as its starting values.
    compare
        A function that gives the likelihood ratio test of a larger and a smaller fit.
    """
    adding = strategy.kind == "build_up"
    current_name, current_model = strategy.start, start
    fits: dict[Estimator, Fit] = {}
    path = {current_name: current_model}
    steps: list[LadderStep] = []
    for number, candidate in enumerate(strategy.candidates, start=1):
        name = f"{strategy.kind}_{number}"
        if (obstacle := _obstacle(candidate, current_model, adding)) is not None:
            steps.append(LadderStep(name, current_name, candidate, False, obstacle))
            continue
        next_model = candidate.added_to(current_model) if adding else candidate.dropped_from(current_model)
        step_estimator: Estimator = estimator if candidate.group is not None else "ml"
        if step_estimator not in fits:
            fits[step_estimator] = fit(current_model, step_estimator, next(iter(fits.values()), None))
        before = fits[step_estimator]
        after = fit(next_model, step_estimator, before)
        step = _judge(name, current_name, candidate, strategy.rule, before, after, compare)
        steps.append(step)
        if step.taken and step.fit is not None:
            current_name, current_model = name, next_model
            fits = {step_estimator: step.fit}
            path[current_name] = current_model
    return Ladder(strategy, tuple(steps), path)


def _obstacle(candidate: Candidate, current: Model, adding: bool) -> str | None:
    """Return the reason why a candidate cannot be tried; None where it can."""
    if adding and (missing := candidate.lacks(current)) is not None:
        return f"not tried: {missing.name}, a part of it, is not in the model"
    if not adding and (product := candidate.needed_by(current)) is not None:
        return f"not tried: {product.name}, of which it is a part, is in the model"
    return None


def _judge(
    name: str, reference: str, candidate: Candidate, rule: Rule, before: Fit, after: Fit, compare: CompareFits
) -> LadderStep:
    """Compare the models with and without the candidate, and decide by the strategy's rule."""
    adding = candidate.stands_in(after.model)
    larger, smaller = (after, before) if adding else (before, after)
    if adding and (aliased := _newly_aliased(larger, smaller)):
        return LadderStep(
            name, reference, candidate, False, f"left out: {aliased} is a combination of the other columns"
        )
    if adding and (term := _without_slope(candidate, larger, smaller)):
        return LadderStep(
            name,
            reference,
            candidate,
            False,
            f"left out: {term} does not vary within units of {group_name(candidate.group or ())}, so it has no slope "
            "there that could differ from unit to unit",
        )
    comparison = compare(larger, smaller)
    gain = _gain(larger, smaller)
    if comparison.note == NOTHING_MORE:
        reason = f"{'left out' if adding else 'dropped'}: the data determine no parameter more with it"
        return LadderStep(name, reference, candidate, not adding, reason, after, larger, smaller, comparison, gain)
    keeps, why = _verdict(rule, comparison, gain, larger)
    taken = keeps if adding else not keeps
    word = {(True, True): "added", (True, False): "left out", (False, True): "dropped", (False, False): "kept"}
    reason = f"{word[adding, taken]}: {why}"
    return LadderStep(name, reference, candidate, taken, reason, after, larger, smaller, comparison, gain)


def _gain(larger: Fit, smaller: Fit) -> dict[str, float]:
    with_it, without = (split_variance(fit.model, fit.moments, fit.estimate) for fit in (larger, smaller))
    return {kinds: with_it.of_kind(kinds) / with_it.total - without.of_kind(kinds) / without.total for kinds in SHARES}


def _newly_aliased(larger: Fit, smaller: Fit) -> str:
    before = set(smaller.estimate.design.fixed.aliased)
    return ", ".join(column for column in larger.estimate.design.fixed.aliased if column not in before)


def _without_slope(candidate: Candidate, larger: Fit, smaller: Fit) -> str:
    """The columns of a random candidate that do not vary within its units, which have no slope there; none else."""
    if candidate.group is None:
        return ""
    with_it, before = (
        [
            c
            for level in fit.estimate.design.levels
            if level.group == candidate.group
            for b in level.blocks
            for c in b.columns
        ]
        for fit in (larger, smaller)
    )
    columns = [column for column in with_it if column.variables and column not in before]
    constant = constant_within(columns, candidate.group, larger.model, larger.moments)
    return ", ".join(column.name for column in constant) if len(constant) == len(columns) else ""


def _verdict(rule: Rule, comparison: Comparison, gain: Mapping[str, float], larger: Fit) -> tuple[bool, str]:
    """Return whether the larger model is kept, and the reason."""
    if not larger.converged:
        return False, "the model with it did not converge"
    if rule.criterion == "p":
        p = comparison.p_value if comparison.p_value_mixture is None else comparison.p_value_mixture
        if p is None:
            raise MlmError(f"No likelihood ratio judges this term: {comparison.note}. Use keep: aic.")
        return p < rule.bound, f"p = {p:.2g} is {'below' if p < rule.bound else 'not below'} {rule.bound:g}"
    if rule.criterion == "r_squared":
        # the variance of the intercepts is unexplained variance
        explained = gain["fv"]
        return explained > rule.bound, (
            f"the explained share gains {explained:.2g}, {'' if explained > rule.bound else 'not '}above {rule.bound:g}"
        )
    change = comparison.delta_aic if rule.criterion == "aic" else comparison.delta_bic
    direction = "lower" if change < 0 else "higher"
    return change < 0, f"{rule.criterion.upper()} is {direction} by {abs(change):.1f} with it"


LADDER_STEPS: ColumnTypes = {
    "step": COUNT,
    "strategy": TEXT,
    "phase": TEXT,
    "term": TEXT,
    "group": TEXT,
    "taken": FLAG,
    "reason": TEXT,
    "reference_model": TEXT,
    "estimator": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "statistic": REAL,
    "df": COUNT,
    "p_value": REAL,
    "p_value_mixture": REAL,
    "log_likelihood": REAL,
    "aic": REAL,
    "bic": REAL,
    "aic_ml": REAL,
    "bic_ml": REAL,
    "delta_aic": REAL,
    "delta_bic": REAL,
    "gain_f": REAL,
    "gain_fv": REAL,
    "gain_fvm": REAL,
    "n_parameters": COUNT,
    "n_covariances": COUNT,
    "converged": FLAG,
    "singular": FLAG,
    **T_COLUMNS,
}


def ladder_steps(ladder: Ladder) -> pl.DataFrame:
    """Make table ``ladder_steps``: one row per candidate, with the model that has it (build-up) or not (tear-down)."""
    rows = [_step_row(number, ladder.strategy.kind, step) for number, step in enumerate(ladder.steps, start=1)]
    schema = {"model": TEXT, **LADDER_STEPS}
    return frame(schema, {column: [row.get(column) for row in rows] for column in schema})


def _step_row(number: int, strategy: str, step: LadderStep) -> dict[str, object]:
    candidate = step.candidate
    row: dict[str, object] = {
        "model": step.name,
        "step": number,
        "strategy": strategy,
        "phase": candidate.phase,
        "term": candidate.term.name,
        "group": group_name(candidate.group) if candidate.group else None,
        "taken": step.taken,
        "reason": step.reason,
        "reference_model": step.reference,
    }
    if step.fit is not None:
        estimate = step.fit.estimate
        row |= {
            "estimator": step.fit.estimator,
            "log_likelihood": estimate.log_likelihood,
            "aic": estimate.aic,
            "bic": estimate.bic,
            "aic_ml": None if step.fit.without_ml is not None else step.fit.by_ml.aic,
            "bic_ml": None if step.fit.without_ml is not None else step.fit.by_ml.bic,
            "n_parameters": estimate.n_parameters,
            "n_covariances": estimate.n_covariance,
            "converged": step.fit.converged,
            "singular": step.fit.singular,
            **t_columns(step.fit),
        }
    if step.comparison is not None:
        names = ("statistic", "df", "p_value", "p_value_mixture", "delta_aic", "delta_bic")
        row |= {name: getattr(step.comparison, name) for name in names}
    row |= {f"gain_{kinds}": gain for kinds, gain in step.gain.items()}
    return row | _coefficient(step)


def _coefficient(step: LadderStep) -> dict[str, object]:
    """Return the estimate and standard error of the tested parameter, where it is one coefficient or one variance."""
    if step.larger is None or step.smaller is None:
        return {}
    if step.candidate.group is None:
        rows = step.larger.fixed_effects.join(step.smaller.fixed_effects, on="term", how="anti")
    else:
        keys = ["group", "term"]
        variances = step.larger.variance_components.filter(pl.col("other").is_null())
        rows = variances.join(step.smaller.variance_components, on=keys, how="anti")
    return rows.select("estimate", "std_error").row(0, named=True) if rows.height == 1 else {}
