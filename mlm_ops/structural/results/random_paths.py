"""Drop the zero of a path with a random slope from a table of parameters, for readers."""

from __future__ import annotations

import polars as pl


def without_random_paths(parameters: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``sem_parameters``, of one model or of several, with no numbers on paths that have a random slope.

    Such a path is fixed to zero, which in a table reads as no effect; the slope's mean is the intercept of the variable
    between clusters that the path's label names.

    Parameters
    ----------
    parameters
        With at least ``level``, ``lhs``, ``op``, ``label`` and ``estimate``; all other columns stay.
    """
    keys = ["model"] if "model" in parameters.columns else []
    between = parameters.filter(pl.col("level") == 2).select(*keys, label="lhs").unique().with_columns(is_random=True)
    marked = parameters.join(between, on=[*keys, "label"], how="left", maintain_order="left")
    is_path = (pl.col("level") == 1) & (pl.col("op") == "~") & (pl.col("estimate") == 0) & pl.col("is_random")
    numbers = [name for name in ("estimate", "conf_low", "conf_high") if name in parameters.columns]
    blank = [pl.when(is_path.fill_null(value=False)).then(None).otherwise(pl.col(n)).alias(n) for n in numbers]
    return marked.with_columns(blank).drop("is_random")
