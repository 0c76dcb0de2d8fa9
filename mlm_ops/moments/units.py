"""Name units and levels of a data frame as a scan in SQL names them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import category


def names(values: pl.Series) -> pl.Series:
    """What the values of a column are called, (n,) texts, as DuckDB writes them in a scan; null where one is missing.

    Raises
    ------
    DataError
        DuckDB has no such type.
    """
    if values.dtype == pl.String or values.dtype.is_integer():
        return values.cast(pl.String)  # as DuckDB has it, and twenty times as fast
    source = open_source(values.to_frame("value"))
    found = source.query(f"select {category('value')} as name from {source.relation}").fetchnumpy()["name"]
    return pl.Series(np.ma.asarray(found).tolist(), dtype=pl.String)


def known_names(values: pl.Series, called: pl.Series, known: Iterable[str]) -> pl.Series:
    """What a fit calls the values, where a number is written otherwise: 7 of whole numbers is 7.0 of doubles.

    Parameters
    ----------
    values, called
        (n,) a column, and what its values are called.
    known
        What units or levels are called in the fit.
    """
    known = set(known)
    if not values.dtype.is_numeric():
        return called
    others = [name for name in called.drop_nulls().unique() if name not in known]
    numbers: dict[Decimal, list[str]] = {}
    for name in known if others else ():
        if (number := _number(name)) is not None:
            numbers.setdefault(number, []).append(name)
    alike = {name: numbers.get(number, []) for name in others if (number := _number(name)) is not None}
    # of two names of one number neither is meant
    return called.replace({name: own[0] for name, own in alike.items() if len(own) == 1})


def texts(labels: NDArray[Any]) -> NDArray[Any]:
    """Names of units, as a scan returned them, as text; numpy writes whole numbers ten times as slowly as polars."""
    if np.issubdtype(labels.dtype, np.integer):
        return pl.Series(labels).cast(pl.String).to_numpy()
    return labels.astype(str)


def _number(name: str) -> Decimal | None:
    try:
        number = Decimal(name)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
