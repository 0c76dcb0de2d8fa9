"""Draw up the tables of units: their sizes and means, each variable's variance within and between, each unit's line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.effect_sizes.decomposition import decompose, unit_statistics
from mlm_ops.inference.random import lines
from mlm_ops.language.model import Model, group_name
from mlm_ops.results.tables.columns import COUNT, REAL, TEXT, ColumnTypes, empty, frame, names_of_units, repeated

if TYPE_CHECKING:
    from mlm_ops.moments.record import Moments
    from mlm_ops.results.record import FitRecord

GROUPS: ColumnTypes = {
    "group": TEXT,
    "unit": TEXT,
    "n": COUNT,
    "variable": TEXT,
    "mean": REAL,
    "std_dev": REAL,
}
DECOMPOSITION: ColumnTypes = {
    "variable": TEXT,
    "group": TEXT,
    "n_obs": COUNT,
    "n_units": COUNT,
    "mean": REAL,
    "total_variance": REAL,
    "within_variance": REAL,
    "between_variance": REAL,
    "icc": REAL,
    "reliability": REAL,
}
UNIT_LINES: ColumnTypes = {
    "group": TEXT,
    "unit": TEXT,
    "n": COUNT,
    "term": TEXT,
    "x_low": REAL,
    "x_high": REAL,
    "intercept": REAL,
    "slope": REAL,
    "own_intercept": REAL,
    "own_slope": REAL,
}


def groups(models: Sequence[Model], moments: Moments) -> pl.DataFrame:
    """One row per grouping factor of the models, unit and numeric variable."""
    frames = []
    for one in unit_statistics(models, moments):
        units = names_of_units(moments, one.group)
        size = len(units)
        values = {"group": repeated(group_name(one.group), size), "unit": units, "n": one.n}
        values |= {"variable": repeated(one.variable, size), "mean": one.mean, "std_dev": one.std_dev}
        frames.append(frame(GROUPS, values))
    return pl.concat(frames) if frames else empty(GROUPS)


def decomposition(models: Sequence[Model], moments: Moments) -> pl.DataFrame:
    """One row per numeric variable of the models and grouping factor."""
    parts = decompose(models, moments)
    return frame(DECOMPOSITION, {c: [getattr(one, c) for one in parts] for c in DECOMPOSITION})


def unit_lines(record: FitRecord) -> pl.DataFrame:
    """One row per unit of the lowest grouping factor and term that has a line."""
    by_term = lines.unit_lines(record.model, record.moments, record.estimate, record.block_effects)
    if not by_term:
        return empty(UNIT_LINES)
    lowest = record.estimate.design.levels[0]
    labels = names_of_units(record.moments, lowest.group)
    numbers = ("n", "x_low", "x_high", "intercept", "slope", "own_intercept", "own_slope")
    return pl.concat(
        frame(
            UNIT_LINES,
            {
                "group": repeated(group_name(lowest.group), len(labels)),
                "unit": labels,
                "term": repeated(one.term, len(labels)),
                **{name: getattr(one, name) for name in numbers},
            },
        )
        for one in by_term
    )
