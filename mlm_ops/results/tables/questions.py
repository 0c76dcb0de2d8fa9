"""Draw up the tables that a user asks for by name: slopes, Johnson-Neyman regions, contrasts, tests, intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.inference.effect_sizes import interactions
from mlm_ops.inference.effect_sizes import johnson_neyman as regions
from mlm_ops.inference.effect_sizes.curves import interaction_curves, region_moderator
from mlm_ops.inference.fixed import contrasts as linear_contrasts
from mlm_ops.inference.fixed.tests import f_test, not_estimable
from mlm_ops.inference.intervals.methods import find_intervals
from mlm_ops.language.model import label
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame

if TYPE_CHECKING:
    from mlm_ops.language.options import IntervalMethod
    from mlm_ops.results.record import FitRecord

_TESTS: ColumnTypes = dict.fromkeys(
    ("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high"), REAL
)

SIMPLE_SLOPES: ColumnTypes = {
    "kind": TEXT,
    "predictor": TEXT,
    "setting": TEXT,
    "moderator": TEXT,
    "value": REAL,
    "level": TEXT,
    **_TESTS,
    "range_low": REAL,
    "range_high": REAL,
    "at": TEXT,
}
CURVES: ColumnTypes = {
    "kind": TEXT,
    "term": TEXT,
    "moderator": TEXT,
    "moderator_value": TEXT,
    "x": REAL,
    "estimate": REAL,
    "std_error": REAL,
    "df": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
}
JOHNSON_NEYMAN: ColumnTypes = {
    "predictor": TEXT,
    "moderator": TEXT,
    "low": REAL,
    "high": REAL,
    "significant": FLAG,
    "direction": TEXT,
    "share": REAL,
    "note": TEXT,
}
CONTRASTS: ColumnTypes = {"contrast": TEXT, "combination": TEXT, **_TESTS, "p_adjusted": REAL}


def simple_slopes(record: FitRecord, slope: str, at: interactions.At) -> pl.DataFrame:
    """One row per slope and one an intercept at each combination of the moderators' values."""
    slopes = interactions.simple_slopes(surface_of(record), record.method, slope, at)
    names = ("kind", "predictor", "range_low", "range_high")
    texts = [one.text for one in slopes.settings]
    values = {name: [getattr(one, name) for one in slopes.settings] for name in ("moderator", "value", "level")}
    values |= {"setting": texts, "at": texts}
    values |= {name: getattr(slopes, name) for name in names} | {name: getattr(slopes.tests, name) for name in _TESTS}
    return frame(SIMPLE_SLOPES, values)


def curves(record: FitRecord, slope: str, at: interactions.At) -> pl.DataFrame:
    """One row per point: the outcome along the predictor at each setting, then the slope along its one moderator."""
    lines = interaction_curves(surface_of(record), record.method, slope, at)
    tests = ("estimate", "std_error", "df", "conf_low", "conf_high")
    return pl.concat(
        frame(
            CURVES,
            {name: [getattr(one, name)] * len(one.x) for name in ("kind", "term", "moderator", "moderator_value")}
            | {"x": one.x}
            | {name: getattr(one.tests, name) for name in tests},
        )
        for one in lines
    )


def johnson_neyman(record: FitRecord, slope: str, moderator: str, level: float = 0.95) -> pl.DataFrame:
    """One row per region of the moderator; a region without an end has null there."""
    ranges = regions.johnson_neyman(surface_of(record), record.method, slope, moderator, level)
    columns = ("low", "high", "significant", "direction", "share", "note")
    names = {"predictor": [slope] * len(ranges), "moderator": [moderator] * len(ranges)}
    return frame(JOHNSON_NEYMAN, names | {name: [getattr(one, name) for one in ranges] for name in columns})


def interaction_tables(record: FitRecord, slopes: Iterable[tuple[str, interactions.At]]) -> dict[str, pl.DataFrame]:
    """The tables of slopes at values of their moderators, by name; regions only if the single moderator is a number."""
    slopes = list(slopes)
    moderators = [(slope, region_moderator(surface_of(record), slope, at)) for slope, at in slopes]
    frames = {
        "simple_slopes": [simple_slopes(record, slope, at) for slope, at in slopes],
        "johnson_neyman": [johnson_neyman(record, slope, name) for slope, name in moderators if name is not None],
        "curves": [curves(record, slope, at) for slope, at in slopes],
    }
    return {table: pl.concat(parts) for table, parts in frames.items() if parts}


def slopes_in_products(record: FitRecord, slope: str | None = None) -> list[tuple[str, str]]:
    """The slopes that products of two predictors change, each with its moderator.

    Parameters
    ----------
    slope
        Whose slopes; by default of each product that of the predictor of the lower level, or the first of one level.
    """
    surface = surface_of(record)
    levels, pairs = record.estimate.design.variable_levels, dict[tuple[str, str], None]()
    for term in record.model.fixed:
        names = [label(variable) for variable in term.variables]
        try:
            by_level = sorted(names, key=lambda name: levels.get(surface.find(name)[0], 1))
        except MlmError:  # a curve has no slope
            continue
        if len(set(names)) == 2:
            first, second = by_level
            pairs |= dict.fromkeys([(first, second)] if slope is None else [(first, second), (second, first)])
    return [pair for pair in pairs if slope is None or slope == pair[0] or slope.startswith(f"{pair[0]}[")]


def contrasts(record: FitRecord, combinations: linear_contrasts.Contrasts) -> pl.DataFrame:
    """One row per contrast."""
    estimates = linear_contrasts.linear_contrasts(record.estimate, record.method, record.model.fixed, combinations)
    texts = [" ".join(f"{float(w):+g} {term}" for term, w in weights.items()) for weights in estimates.weights]
    values = {"contrast": estimates.names, "combination": texts, "p_adjusted": estimates.p_adjusted}
    return frame(CONTRASTS, values | {name: getattr(estimates.tests, name) for name in _TESTS})


def surface_of(record: FitRecord) -> interactions.Surface:
    """The fitted outcome as a function of the predictors, from which slopes are computed."""
    return interactions.Surface(record.model, record.moments, record.estimate)


def contrast_test(record: FitRecord, contrasts: linear_contrasts.Hypothesis) -> pl.DataFrame:
    """One row: an F test of several coefficients, by the fit's df method.

    df2 is null where the distribution is chi-square, and all but df1 where the data do not determine a combination.
    """
    fixed = record.estimate.design.fixed
    matrix = linear_contrasts.contrast_matrix(contrasts, record.model.fixed, fixed)
    test = f_test(record.estimate.gamma, record.method, matrix)
    if not fixed.estimable(fixed.widened(matrix)).all():
        test = not_estimable(test)
    return pl.DataFrame(
        {
            "statistic": [_number_or_null(test.statistic)],
            "df1": [test.df1],
            "df2": [_number_or_null(test.df2)],
            "p_value": [_number_or_null(test.p_value)],
        },
        schema={"statistic": REAL, "df1": COUNT, "df2": REAL, "p_value": REAL},
    )


def _number_or_null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def intervals(record: FitRecord, method: IntervalMethod, level: float, samples: int, seed: int | None) -> pl.DataFrame:
    """One row per parameter, arguments as `find_intervals` takes them; limits that do not exist are null."""
    parameters, limits = find_intervals(record.estimate, method, level, record.method, samples, seed)
    texts = {name: [getattr(p, name) for p in parameters] for name in ("kind", "group", "term", "other", "scale")}
    numbers = {"estimate": limits.estimate, "conf_low": limits.low, "conf_high": limits.high}
    return pl.DataFrame({**texts, **numbers}, schema_overrides=dict.fromkeys(texts, TEXT)).fill_nan(None)
