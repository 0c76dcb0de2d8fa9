"""Tables that answer a call and are not stored: tests and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.tables.columns import COUNT, REAL, TEXT

if TYPE_CHECKING:
    from mlm_ops.inference.f_tests import FTest
    from mlm_ops.inference.parameters import Intervals, Parameter


def contrast_test(test: FTest) -> pl.DataFrame:
    """One row: an F test of several coefficients; df2 is null where the distribution is chi-square."""
    return pl.DataFrame(
        {
            "statistic": [_known(test.statistic)],
            "df1": [test.df1],
            "df2": [_known(test.df2)],
            "p_value": [_known(test.p_value)],
        },
        schema={"statistic": REAL, "df1": COUNT, "df2": REAL, "p_value": REAL},
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def intervals(parameters: Sequence[Parameter], found: Intervals) -> pl.DataFrame:
    """One row a parameter; limits that do not exist are null."""
    texts = {name: [getattr(p, name) for p in parameters] for name in ("kind", "group", "term", "other", "scale")}
    numbers = {"estimate": found.estimate, "conf_low": found.low, "conf_high": found.high}
    return pl.DataFrame({**texts, **numbers}, schema_overrides=dict.fromkeys(texts, TEXT)).fill_nan(None)
