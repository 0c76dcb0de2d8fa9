"""Pick the largest modification indices from a table of score tests, for readers."""

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


def by_size(tests: pl.DataFrame) -> pl.DataFrame:
    """The rows of one model, the largest first whatever order they come in; equal ones by what they are of."""
    names = ["population", "level", "lhs", "op", "rhs", "restriction"]
    return tests.sort(-pl.col("statistic"), *names, nulls_last=True, maintain_order=True)


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
    if "model" not in tests.columns:
        return by_size(tests).head(MOST_SHOWN)
    of_models = tests.sort("model", nulls_last=True).partition_by("model", maintain_order=True)
    return pl.concat([tests.clear(), *(by_size(rows).head(MOST_SHOWN) for rows in of_models)])
