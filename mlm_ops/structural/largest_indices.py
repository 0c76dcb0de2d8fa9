"""Take the largest modification indices out of a table of score tests, for those who read it."""

from __future__ import annotations

import polars as pl

#: Columns that are shown to people.
SHOWN = (
    *("population", "level", "lhs", "op", "rhs", "restriction", "statistic", "p_value"),
    *("statistic_scaled", "p_value_scaled", "epc", "epc_std_all"),
)
#: Rows of a model that are shown to people.
MOST_SHOWN = 10


def largest_indices(tests: pl.DataFrame) -> pl.DataFrame:
    """The largest rows of ``sem_score_tests``, of one model or of each of several, with the columns to read."""
    keys = ["model"] if "model" in tests.columns else []
    return _largest(tests).select(*keys, *SHOWN)


def remarks_on_indices(tests: pl.DataFrame) -> list[str]:
    """What is to be known of the largest rows."""
    remarks = [
        "modification indices explore: of many some are large by chance, and a model that follows them needs a reason, "
        "and other data to test it"
    ]
    if _largest(tests)["at_bound"].any():
        remarks.append("for variances of zero, and covariances of such variables, p is not that of chi-square")
    return remarks


def _largest(tests: pl.DataFrame) -> pl.DataFrame:
    keys = ["model"] if "model" in tests.columns else []
    # whatever order the rows come in; equal ones by what they are of
    names = ["population", "level", "lhs", "op", "rhs", "restriction"]
    by_size = tests.sort(*keys, -pl.col("statistic"), *names, nulls_last=True, maintain_order=True)
    return by_size.group_by(keys, maintain_order=True).head(MOST_SHOWN) if keys else by_size.head(MOST_SHOWN)
