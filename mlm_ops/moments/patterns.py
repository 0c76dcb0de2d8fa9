"""Collect moments by pattern of missing cells, for full-information maximum likelihood: one more key of the GROUP BY.

The key is a text of 1 (a value) and 0 (missing), a character a column in the order of the columns' names. Missing cells
are filled with the column's mean, so that they have no scatter; whoever reads such moments leaves their means out. They
merge and are kept as other moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import Column, Model
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import Moments
from mlm_ops.moments.survey import run
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import has_value, identifier, literal, render

#: The key of the pattern.
PATTERN = "mlm_pattern"


def collect_patterns(source: Source, model: Model, columns: Sequence[str], complete: Sequence[str] = ()) -> Moments:
    """Collect the moments of a model's columns, all of them numbers, by its clusters and by pattern of missing cells.

    Parameters
    ----------
    columns
        The model's columns.
    complete
        Those of them that every row must have; rows that miss one are left out and counted.

    Raises
    ------
    DataError
        As `collect`; or a column without any value.
    """
    order = sorted(columns)
    names = {name: identifier(name) for name in order}
    keys = list(dict.fromkeys(key for block in model.random for key in block.group))
    averages = ", ".join(f"avg({names[name]}) filter (where {has_value(name)})" for name in order)
    averages_query = f"select {averages} from {source.relation}"
    (means,) = run(source, averages_query, "Means of the values that there are").fetchall()
    empty = [name for name, mean in zip(order, means, strict=True) if mean is None]
    if empty:
        raise DataError(f"{', '.join(map(repr, empty))} has no value in any row of {source.description}. Leave it out.")
    relation = render(
        "rows_by_pattern",
        relation=source.relation,
        keys=[identifier(key) for key in keys],
        columns=[
            {
                "name": names[name],
                "has_value": has_value(name),
                "filler": "null" if name in complete else literal(float(mean)),
            }
            for name, mean in zip(order, means, strict=True)
        ],
        pattern=identifier(PATTERN),
    )
    types = {key: source.types[key] for key in keys} | dict.fromkeys(order, "DOUBLE") | {PATTERN: "VARCHAR"}
    return collect(replace(source, relation=relation, types=types), [model], keys=(PATTERN,))


def has_patterns(moments: Moments) -> bool:
    """Whether moments are by pattern of missing cells."""
    return PATTERN in moments.schema.keys


def observed_cells(moments: Moments, columns: Sequence[str]) -> NDArray[np.bool_]:
    """(C, J) which of these columns each unit's rows have."""
    schema = moments.schema
    plain = {m[0].name for m in schema.monomials if len(m) == 1 and isinstance(m[0], Column)}
    order = sorted(plain | {c.name for c in schema.constants if isinstance(c, Column)})
    texts, codes = np.unique(moments.labels[schema.keys.index(PATTERN)].astype(str), return_inverse=True)
    at = [order.index(name) for name in columns]
    flags = np.array([[text[i] == "1" for i in at] for text in texts], dtype=bool).reshape(len(texts), len(at))
    return np.asarray(flags[codes].T)


def complete_units(moments: Moments) -> Moments:
    """The moments of the rows without a missing cell, as `collect` would find them around the same centers."""
    if not has_patterns(moments):
        return moments
    place = moments.schema.keys.index(PATTERN)
    whole = moments.select(np.array(["0" not in text for text in moments.labels[place].astype(str)], dtype=bool))
    keys = tuple(key for key in whole.schema.keys if key != PATTERN)
    labels = tuple(values for i, values in enumerate(whole.labels) if i != place)
    return replace(whole, schema=replace(whole.schema, keys=keys), labels=labels)
