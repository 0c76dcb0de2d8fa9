"""What is asked after a fit: simple slopes, regions of significance, linear contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.effect_sizes import johnson_neyman as regions
from mlm_ops.effect_sizes import linear_contrasts, points
from mlm_ops.effect_sizes import simple_slopes as effects
from mlm_ops.tables.columns import FLAG, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit
    from mlm_ops.language.questions import SlopeQuestion

_TESTS: Schema = dict.fromkeys(("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high"), REAL)

SIMPLE_SLOPES: Schema = {
    "kind": TEXT,
    "predictor": TEXT,
    "at": TEXT,
    **_TESTS,
    "range_low": REAL,
    "range_high": REAL,
}
JOHNSON_NEYMAN: Schema = {
    "predictor": TEXT,
    "moderator": TEXT,
    "low": REAL,
    "high": REAL,
    "significant": FLAG,
    "direction": TEXT,
    "share": REAL,
    "note": TEXT,
}
CONTRASTS: Schema = {"contrast": TEXT, "combination": TEXT, **_TESTS, "p_adjusted": REAL}


def simple_slopes(fitted: Fit, slope: str, at: points.At) -> pl.DataFrame:
    """One row a slope and one an intercept at each combination of the moderators' values."""
    found = effects.simple_slopes(_surface(fitted), fitted.method, slope, at)
    own = ("kind", "predictor", "at", "range_low", "range_high")
    return frame(
        SIMPLE_SLOPES,
        {name: getattr(found, name) for name in own} | {name: getattr(found.tests, name) for name in _TESTS},
    )


def johnson_neyman(fitted: Fit, slope: str, moderator: str, level: float = 0.95) -> pl.DataFrame:
    """One row a region of the moderator; an end that is null is none."""
    found = regions.johnson_neyman(_surface(fitted), fitted.method, slope, moderator, level)
    own = ("low", "high", "significant", "direction", "share", "note")
    names = {"predictor": [slope] * len(found), "moderator": [moderator] * len(found)}
    return frame(JOHNSON_NEYMAN, names | {name: [getattr(one, name) for one in found] for name in own})


def contrasts(fitted: Fit, wanted: linear_contrasts.Contrasts) -> pl.DataFrame:
    """One row a contrast."""
    found = linear_contrasts.linear_contrasts(fitted.result, fitted.method, fitted.model.fixed, wanted)
    texts = [" ".join(f"{float(w):+g} {term}" for term, w in weights.items()) for weights in found.weights]
    values = {"contrast": found.names, "combination": texts, "p_adjusted": found.p_adjusted}
    return frame(CONTRASTS, values | {name: getattr(found.tests, name) for name in _TESTS})


def answers(
    fitted: Fit, slopes: Sequence[SlopeQuestion], named: linear_contrasts.Contrasts | None
) -> dict[str, pl.DataFrame]:
    """What an analysis file asks of a fit; regions of significance where the one moderator is a number."""
    surface = _surface(fitted)
    made = {"simple_slopes": [simple_slopes(fitted, one.slope, one.at) for one in slopes]}
    pairs = [(one.slope, next(iter(one.at))) for one in slopes if len(one.at) == 1]
    made["johnson_neyman"] = [
        johnson_neyman(fitted, slope, moderator)
        for slope, moderator in pairs
        if len(surface.find(slope)) == 1 and regions.is_number(surface, moderator)
    ]
    made["contrasts"] = [contrasts(fitted, named)] if named else []
    return {table: pl.concat(frames) for table, frames in made.items() if frames}


def _surface(fitted: Fit) -> points.Surface:
    return points.Surface(fitted.model, fitted.moments, fitted.result)
