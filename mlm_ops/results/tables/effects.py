"""Draw up the tables of effects: fixed effects, variance components, random effects, influence of units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.inference.diagnostics.deletion import one_step_deletions
from mlm_ops.inference.random.effects import least_squares_reliability
from mlm_ops.inference.random.variance import intraclass_correlation
from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.language.model import group_name
from mlm_ops.language.symbols import coefficient_symbol
from mlm_ops.results.effect_columns import fixed_effect_columns, variance_component_columns
from mlm_ops.results.tables.columns import (
    COUNT,
    REAL,
    REALS,
    TEXT,
    ColumnTypes,
    empty,
    frame,
    names_of_units,
    repeated,
)

if TYPE_CHECKING:
    from mlm_ops.moments.arrays import Array
    from mlm_ops.results.record import FitRecord

FIXED_EFFECTS: ColumnTypes = {
    "term": TEXT,
    "symbol": TEXT,
    "level": COUNT,
    "estimate": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
}
RANDOM_EFFECTS: ColumnTypes = {
    "group": TEXT,
    "unit": TEXT,
    "term": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "reliability": REAL,
}


def fixed_effects(record: FitRecord) -> pl.DataFrame:
    """One row per fixed effect."""
    return frame(FIXED_EFFECTS, fixed_effect_columns(record))


def random_effects(record: FitRecord) -> pl.DataFrame:
    """One row per unit and random effect; null where the data do not determine its variance."""
    undetermined = record.estimate.undetermined
    blocks = [(level, block) for level in record.estimate.design.levels for block in level.blocks]
    if not blocks:
        return empty(RANDOM_EFFECTS)
    frames = []
    for (level, block), effects, flags in zip(blocks, record.block_effects, undetermined.tau, strict=True):
        units = names_of_units(record.moments, level.group)
        for i, column in enumerate(block.columns):
            mask = np.nan if undetermined.sigma2 or flags[i].any() else 1.0
            std_error = mask * np.sqrt(effects.variance[i, i])
            margin = NORMAL_975 * std_error
            values = {
                "group": repeated(group_name(level.group), len(units)),
                "unit": units,
                "term": repeated(column.name, len(units)),
                "estimate": mask * effects.estimate[i],
                "std_error": std_error,
                "conf_low": effects.estimate[i] - margin,
                "conf_high": effects.estimate[i] + margin,
                "reliability": mask * effects.reliability[i],
            }
            frames.append(frame(RANDOM_EFFECTS, values))
    return pl.concat(frames)


#: With more units the table stays empty: it would have a row for every unit and parameter.
MOST_UNITS = 20_000

#: What is between the symbols of a row.
SEPARATOR = ", "

#: As they are read: a view takes the lists apart.
INFLUENCE: ColumnTypes = {"group": TEXT, "unit": TEXT, "symbol": TEXT, "change": REAL}
#: As they are stored: a row for each parameter too, a million in a run of ten models, would take six times as long.
INFLUENCE_LISTS: ColumnTypes = {"group": TEXT, "unit": TEXT, "symbols": TEXT, "changes": REALS}


def influence_lists(record: FitRecord) -> pl.DataFrame:
    """One row per unit: all estimates minus those without the unit, by one Newton step.

    No rows for crossed factors, estimated residual structures, single-level regression and over `MOST_UNITS` units.
    """
    design = record.estimate.design
    few = bool(design.levels) and len(design.levels[-1].labels) <= MOST_UNITS
    deletions = one_step_deletions(record.estimate, record.moments) if few else None
    if deletions is None:
        return empty(INFLUENCE_LISTS)
    index = record.equation_structure.indices
    changes = {
        coefficient_symbol(index[column]): record.estimate.gamma[i] - deletions.gamma[i]
        for i, column in enumerate(record.equation_structure.fixed)
    }
    values_without = [tau[i, j] for tau in deletions.tau for i in range(len(tau)) for j in range(i, len(tau))] + [
        deletions.sigma2
    ]
    for component, values in zip(record.components, values_without, strict=True):
        changes[component.symbol] = component.estimate - values
    icc = intraclass_correlation(record.estimate)
    if icc is not None and np.isfinite(icc):
        between = np.sum([tau[0, 0] for tau in deletions.tau], axis=0)
        changes["icc"] = icc - between / (between + deletions.sigma2)
    units = names_of_units(record.moments, design.levels[-1].group)
    return pl.DataFrame(
        [
            repeated(group_name(design.levels[-1].group), len(units)).alias("group"),
            units.alias("unit"),
            repeated(SEPARATOR.join(changes), len(units)).alias("symbols"),
            _rows_of_numbers(np.column_stack(list(changes.values()))).alias("changes"),
        ]
    )


def _rows_of_numbers(values: Array) -> pl.Series:
    """(J, S) as a column of J lists; infinities and NaN become null."""
    flat = np.where(np.isfinite(values), values, np.nan).ravel()
    return pl.Series(flat, nan_to_null=True).reshape(values.shape).cast(pl.List(REAL))


VARIANCE_COMPONENTS: ColumnTypes = {
    "group": TEXT,
    "term": TEXT,
    "other": TEXT,
    "symbol": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "std_dev": REAL,
    "correlation": REAL,
    "reliability_hlm": REAL,
    "reliability_units": COUNT,
}


def variance_components(record: FitRecord) -> pl.DataFrame:
    """One row per variance and a covariance of each T, lower triangle by columns; the residual last."""
    values = variance_component_columns(record)
    reliabilities = _reliabilities(record)
    keys = zip(values["group"], values["term"], values["other"], strict=True)
    pairs = [
        reliabilities.get((group, term), (None, None)) if other is None else (None, None) for group, term, other in keys
    ]
    mean, units = zip(*pairs, strict=True)
    return frame(VARIANCE_COMPONENTS, {**values, "reliability_hlm": mean, "reliability_units": units})


def _reliabilities(record: FitRecord) -> dict[tuple[str, str | None], tuple[float, int]]:
    """By group and term: the mean reliability of units' own least squares, and how many units that is."""
    design = record.estimate.design
    blocks = [(group_name(level.group), block) for level in design.levels for block in level.blocks]
    return {
        (group, column.name): (float(mean), reliability.units)
        for (group, block), reliability in zip(blocks, least_squares_reliability(record.estimate), strict=True)
        if reliability is not None
        for column, mean in zip(block.columns, reliability.mean, strict=True)
    }
