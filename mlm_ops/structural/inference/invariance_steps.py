"""Fit the steps of invariance across levels, or across groups of rows, and test each against the previous one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language.options import GroupEqual
from mlm_ops.results.tables.columns import frame
from mlm_ops.results.words import LABELS
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

    `across` is what parameters are equal over: ``levels``, or ``groups`` of rows.
    """

    across: str
    name: str
    reference: str | None
    estimate: SemEstimate
    measures: FitMeasures
    ratio: Ratio | None


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
    restricts nothing, or whose search does not end at a worse fit, ends them.
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
    tables = ((name, parameter_table(parse_sem(invariance_text(model, name)))) for name in RESTRICTIONS)
    return _fit_steps("levels", tables, estimate, measures, by)


def _tables_of_groups(
    model: SemModel, grouping: Grouping, groups: tuple[str, ...]
) -> Iterator[tuple[str, ParameterTable]]:
    """The table of each step; without those that make nothing more equal.

    Means and residuals of a level without a factor measure nothing: there they are each group's own.
    """
    before = grouped_table(model, replace(grouping, equal=(), partial=()), groups)
    measured = [word for word, level in LEVELS.items() if before.variables(level).latent]
    equal: tuple[str, ...] = ()
    for name, kind in GROUP_RESTRICTIONS.items():
        equal = (*equal, *(f"{word}({kind})" for word in measured))
        table = grouped_table(model, replace(grouping, equal=equal, partial=(), free_scale=True), groups)
        if table.n_free < before.n_free:
            yield name, table
            before = table


def _fit_steps(
    across: str,
    tables: Iterator[tuple[str, ParameterTable]],
    estimate: SemEstimate,
    measures: FitMeasures,
    by: Yardsticks,
) -> tuple[InvarianceStep, ...]:
    steps = [InvarianceStep(across, CONFIGURAL, None, estimate, measures, None)]
    try:
        for name, table in tables:
            before = steps[-1]
            restricted = estimate_sem(table, estimate.statistics)
            ratio = likelihood_ratio(restricted, before.estimate)
            steps.append(InvarianceStep(across, name, before.name, restricted, fit_measures(restricted, by), ratio))
    except MlmError:
        pass
    return tuple(steps) if len(steps) > 1 else ()


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


def remarks(names: Collection[str], across: str | None) -> tuple[str, ...]:
    """What is to be known of steps of these names; those of earlier versions are all across levels."""
    return (REMARK_ON_SCALAR,) if "scalar" in names and across != "groups" else ()


def sem_invariance(steps: tuple[InvarianceStep, ...]) -> pl.DataFrame:
    """One row per step, with its test against the step before."""
    rows = list(_rows(steps))
    return frame(SEM_INVARIANCE, {name: [row.get(name) for row in rows] for name in SEM_INVARIANCE})


def _rows(steps: tuple[InvarianceStep, ...]) -> Iterator[dict[str, object]]:
    for number, step in enumerate(steps, start=1):
        measures, optimum = step.measures, step.estimate.optimum
        row: dict[str, object] = {"step": number, "across": step.across, "invariance": step.name}
        row["reference"] = step.reference
        for name in ("log_likelihood", "n_parameters", "aic", "bic"):
            row[name] = getattr(measures.joint, name)
        for name in ("chi_square", "cfi", "tli", "rmsea"):
            row[name] = getattr(measures.plain, name)
        row |= {f"{name}_scaled": getattr(measures.scaled, name) for name in ("chi_square", "cfi", "rmsea")}
        row |= {"chi_square_df": measures.plain.df, "converged": optimum.converged, "singular": optimum.singular}
        row |= {name: getattr(measures, name) for name in ("srmr_within", "srmr_between")}
        if step.ratio is not None:
            before = steps[number - 2].measures
            row |= {name: getattr(step.ratio, name) for name in RATIO}
            row |= {f"delta_{n}": getattr(measures.joint, n) - getattr(before.joint, n) for n in ("aic", "bic")}
            row["delta_cfi"] = measures.plain.cfi - before.plain.cfi
        yield row
