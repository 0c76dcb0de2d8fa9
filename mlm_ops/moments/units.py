"""Name units and levels of a data frame as a scan in SQL names them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl

from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import category


def names(values: pl.Series) -> pl.Series:
    """Return the values of a column as text, (n,), as a scan in DuckDB names units; null where one is missing.

    Raises
    ------
    DataError
        DuckDB has no such type.
    """
    if values.dtype == pl.String or values.dtype.is_integer():
        return values.cast(pl.String)  # as DuckDB has it, and twenty times as fast
    source = open_source(values.to_frame("value"))
    labels = source.query(f"select {category('value')} as name from {source.relation}").fetchnumpy()["name"]
    return pl.Series(np.ma.asarray(labels).tolist(), dtype=pl.String)


def names_in_fit(values: pl.Series, labels: pl.Series, fit_names: Iterable[str]) -> pl.Series:
    """Replace names of numbers by the fit's names of the same numbers: 7 of whole numbers is 7.0 of doubles.

    Parameters
    ----------
    values, labels
        (n,) a column, and the names of its values.
    fit_names
        Names of the units, or levels, of the fit.
    """
    fit_names = set(fit_names)
    if not values.dtype.is_numeric():
        return labels
    others = [name for name in labels.drop_nulls().unique() if name not in fit_names]
    numbers: dict[Decimal, list[str]] = {}
    for name in fit_names if others else ():
        if (number := _number(name)) is not None:
            numbers.setdefault(number, []).append(name)
    alike = {name: numbers.get(number, []) for name in others if (number := _number(name)) is not None}
    # where the fit has two names of one number, neither is its
    return labels.replace({name: own[0] for name, own in alike.items() if len(own) == 1})


def _number(name: str) -> Decimal | None:
    try:
        number = Decimal(name)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
