"""Fit the steps of invariance across levels, or across groups of rows, and test each against the previous one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language.options import GroupEqual
from mlm_ops.results.tables.columns import frame
from mlm_ops.results.words import LABELS, cell
from mlm_ops.structural.estimation.estimate import SemEstimate, estimate_sem
from mlm_ops.structural.inference.comparison import Ratio, likelihood_ratio
from mlm_ops.structural.inference.fit_measures import FitMeasures, Yardsticks, fit_measures
from mlm_ops.structural.inference.level_fit import crosses_levels
from mlm_ops.structural.language.grouping import LEVELS, Grouping, grouped_table
from mlm_ops.structural.language.invariance import RESTRICTIONS, common_factors, invariance_text
from mlm_ops.structural.language.model import SemModel
from mlm_ops.structural.language.parameters import ParameterTable, parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.table_columns import RATIO, SEM_INVARIANCE

#: Said below the steps where the last of them stands.
REMARK_ON_SCALAR = "variances of zero are on their bound: p of the scalar step is too large"
#: Steps across groups of rows, each with the restrictions of those before, as `group_equal` names them.
GROUP_RESTRICTIONS: dict[str, GroupEqual] = {"metric": "loadings", "scalar": "intercepts", "strict": "residuals"}
#: The first step, the model as it is.
CONFIGURAL = "configural"


@dataclass(frozen=True)
class InvarianceStep:
    """One step: its model's estimate and fit, and its test against the step before, which the first has not.

    Attributes
    ----------
    across
        What parameters are equal over: ``levels``, or ``groups`` of rows.
    estimate, measures
        None of a step that could not be fitted.
    ratio
        None of the first step, and of one that could not be fitted or tested.
    fault
        Why a step could not be fitted, or its test not be made; None of the others.
    """

    across: str
    name: str
    reference: str | None
    estimate: SemEstimate | None
    measures: FitMeasures | None
    ratio: Ratio | None
    fault: str | None = None

    @property
    def note(self) -> str | None:
        """A sentence on a step that has no numbers, or no test; None of the others."""
        if self.fault is None:
            return None
        what = "could not be fitted" if self.estimate is None else f"could not be tested against {self.reference}"
        return (
            f"the {self.name} step of invariance across {self.across} {what}, and the steps end there: "
            f"{self.fault.rstrip('.')}"
        )


#: The table of a step; made when its turn comes, as it too may be at fault.
_MakeTable = Callable[[], ParameterTable]


def invariance_steps(
    model: SemModel,
    estimate: SemEstimate,
    measures: FitMeasures,
    by: Yardsticks,
    grouping: Grouping | None = None,
) -> tuple[InvarianceStep, ...]:
    """The model, with equal loadings of the factors that both levels have, and without residuals between clusters.

    Of several groups of rows: with equal loadings in all groups, equal intercepts too, and equal residuals. None of
    models without such factors, with random slopes, or whose levels, or groups, share parameters already. A step that
    restricts nothing is left out; one that cannot be fitted, or tested, ends them and says why.
    """
    table = estimate.table
    if table.slopes:
        return ()
    if grouping is not None:
        if table.crosses_groups or not (table.within.latent or table.between.latent):
            return ()
        return _fit_steps("groups", _tables_of_groups(model, grouping, table.groups), estimate, measures, by)
    if crosses_levels(table) or not common_factors(model):
        return ()
    tables = ((name, partial(_table_of_levels, model, name)) for name in RESTRICTIONS)
    return _fit_steps("levels", tables, estimate, measures, by)


def _table_of_levels(model: SemModel, name: str) -> ParameterTable:
    return parameter_table(parse_sem(invariance_text(model, name)))


def _tables_of_groups(model: SemModel, grouping: Grouping, groups: tuple[str, ...]) -> Iterator[tuple[str, _MakeTable]]:
    """The table of each step.

    Means and residuals of a level without a factor measure nothing: there they are each group's own.
    """
    configural = grouped_table(model, replace(grouping, equal=(), partial=()), groups)
    measured = [word for word, level in LEVELS.items() if configural.variables(level).latent]
    equal: tuple[str, ...] = ()
    for name, kind in GROUP_RESTRICTIONS.items():
        equal = (*equal, *(f"{word}({kind})" for word in measured))
        yield name, partial(grouped_table, model, replace(grouping, equal=equal, partial=(), free_scale=True), groups)


def _fit_steps(
    across: str,
    tables: Iterator[tuple[str, _MakeTable]],
    estimate: SemEstimate,
    measures: FitMeasures,
    by: Yardsticks,
) -> tuple[InvarianceStep, ...]:
    steps = [InvarianceStep(across, CONFIGURAL, None, estimate, measures, None)]
    before = estimate
    for name, make in tables:
        reference = steps[-1].name
        try:
            table = make()
            if table.n_free >= before.table.n_free:
                continue
            restricted = estimate_sem(table, estimate.statistics)
            own = fit_measures(restricted, by)
        except MlmError as error:
            steps.append(InvarianceStep(across, name, reference, None, None, None, str(error)))
            break
        try:
            ratio = likelihood_ratio(restricted, before)
        except MlmError as error:
            fault = _worse(reference, before, restricted) or str(error)
            steps.append(InvarianceStep(across, name, reference, restricted, own, None, fault))
            break
        steps.append(InvarianceStep(across, name, reference, restricted, own, ratio))
        before = restricted
    return tuple(steps) if len(steps) > 1 else ()


def _worse(reference: str, before: SemEstimate, restricted: SemEstimate) -> str | None:
    """What it means that a restriction fits better, which at the best fit of both it cannot; None where it does not."""
    if restricted.log_likelihood <= before.log_likelihood:
        return None
    return (
        f"it fits better, with a log-likelihood of {cell('log_likelihood', restricted.log_likelihood)} against "
        f"{cell('log_likelihood', before.log_likelihood)}, so that the search for the {reference} model has ended "
        "short of its best fit"
    )


#: Columns that are shown to people, as there are more than go into a line, and what heads them.
SHOWN = {
    "invariance": "",
    "chi_square": LABELS["chi_square"],
    "chi_square_df": "df",
    "cfi": LABELS["cfi"],
    "rmsea": LABELS["rmsea"],
    "aic": LABELS["aic"],
    "statistic": "difference",
    "df": "df",
    "p_value": "p",
    "statistic_scaled": "scaled",
    "p_value_scaled": "p",
}


def notes_of_steps(steps: tuple[InvarianceStep, ...]) -> list[str]:
    """Which step could not be fitted, or tested, and why."""
    return [step.note for step in steps if step.note is not None]


def remarks(names: Collection[str], across: str | None) -> tuple[str, ...]:
    """What is to be known of steps of these names; those of earlier versions are all across levels."""
    return (REMARK_ON_SCALAR,) if "scalar" in names and across != "groups" else ()


def sem_invariance(steps: tuple[InvarianceStep, ...]) -> pl.DataFrame:
    """One row per step, with its test against the step before."""
    rows = list(_rows(steps))
    return frame(SEM_INVARIANCE, {name: [row.get(name) for row in rows] for name in SEM_INVARIANCE})


def _rows(steps: tuple[InvarianceStep, ...]) -> Iterator[dict[str, object]]:
    for number, step in enumerate(steps, start=1):
        row: dict[str, object] = {"step": number, "across": step.across, "invariance": step.name}
        row["reference"] = step.reference
        if step.estimate is not None and step.measures is not None:
            row |= _fit_of(step.estimate, step.measures)
            if step.ratio is not None:
                row |= {name: getattr(step.ratio, name) for name in RATIO}
            if number > 1 and (before := steps[number - 2].measures) is not None:
                row |= _changes(step.measures, before)
        yield row


def _fit_of(estimate: SemEstimate, measures: FitMeasures) -> dict[str, object]:
    """The columns of a step's own fit."""
    row: dict[str, object] = {
        name: getattr(measures.joint, name) for name in ("log_likelihood", "n_parameters", "aic", "bic")
    }
    row |= {name: getattr(measures.plain, name) for name in ("chi_square", "cfi", "tli", "rmsea")}
    row |= {f"{name}_scaled": getattr(measures.scaled, name) for name in ("chi_square", "cfi", "rmsea")}
    row |= {"chi_square_df": measures.plain.df}
    row |= {"converged": estimate.optimum.converged, "singular": estimate.optimum.singular}
    return row | {name: getattr(measures, name) for name in ("srmr_within", "srmr_between")}


def _changes(measures: FitMeasures, before: FitMeasures) -> dict[str, object]:
    """The columns of what changed since the step before."""
    row: dict[str, object] = {
        f"delta_{name}": getattr(measures.joint, name) - getattr(before.joint, name) for name in ("aic", "bic")
    }
    return row | {"delta_cfi": measures.plain.cfi - before.plain.cfi}
