"""Exchange the rows of partitions in the stored totals: only the units of these rows are read, computed and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.language.model import Factor
from mlm_ops.moments.record import Exchange, Moments, exchange
from mlm_ops.moments.storage import StoredMoments, moments_frame, moments_series, read_moments
from mlm_ops.moments.sums import packed_diagonal, packed_size
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import registered
from mlm_ops.warehouse.relation import quoted_table
from mlm_ops.warehouse.sql import identifier

if TYPE_CHECKING:
    import duckdb

#: Share of the units from which on all are read and the table is written anew, as that costs less than to find, delete
#: and insert them; and the moments are then at hand.
MOST_TOUCHED = 0.4


@dataclass(frozen=True)
class Totals:
    """The stored moments of all partitions together.

    Attributes
    ----------
    connection, stored
        The database, and the description of the moments.
    """

    connection: duckdb.DuckDBPyConnection
    stored: StoredMoments

    def are_better_rewritten(self, old: Moments, new: Moments) -> bool:
        """Tell whether to read all units and write the table anew: if many are touched, or its columns are of old."""
        ((n_units,),) = self.connection.execute(f"select count(*) from {self._table}").fetchall()
        return not self.stored.has_deviations or max(old.n_units, new.n_units) > MOST_TOUCHED * n_units

    def exchange(self, old: Moments, new: Moments) -> tuple[Exchange, Moments]:
        """Take the rows of `old` out of their units, and put those of `new` in; inside a transaction of the caller's.

        Deleting and inserting costs a third of an UPDATE, and for few units a tenth of writing the table anew.

        Returns
        -------
        tuple
            The units of these rows; and moments of all rows, in which the other units are together in one. Where no
            rows were taken out nothing can be lost, and the second are those of these units alone.

        Raises
        ------
        DataError
            As `mlm_ops.moments.record.exchange`.
        """
        # with their tables' aliases, as a key may be called u_0
        pairs = [f"stored.{identifier(key)} = touched.u_{k}" for k, key in enumerate(self.stored.schema.keys)]
        with registered(self.connection, ArrowStream(_units(old, new))) as units:
            is_touched = f"exists (select 1 from {units} as touched where {' and '.join(pairs) or 'true'})"
            deletion = f"delete from {self._table} as stored where {is_touched} returning *"
            touched = read_moments(self.connection, self.stored, deletion)
        others = self._other_units() if old.n_units else None
        result = exchange(touched, old, new, others)
        with registered(self.connection, ArrowStream(moments_frame(result.moments))) as rows:
            self.connection.execute(f"insert into {self._table} from {rows}")
        return result, result.moments if others is None else _with_others(result.moments, others)

    @property
    def _table(self) -> str:
        return quoted_table(self.stored.table)

    def _other_units(self) -> Moments:
        """Return the units that are stored at this moment as one unit; none if there are none.

        It has no scatter of different monomials. Of a constant it has the smallest and largest value; of a factor, all.
        """
        schema, names = self.stored.schema, self._columns()
        size = len(schema.monomials)
        n, first_scatter = identifier(names[len(schema.keys)]), len(schema.keys) + 1 + size
        first_constant = first_scatter + packed_size(size)
        constants = names[first_constant : first_constant + len(schema.constants)]
        means = [identifier(name) for name in names[first_constant + len(schema.constants) :]]
        scatters = [identifier(names[first_scatter + place]) for place in packed_diagonal(size)]
        sums = [f"sum({n})", *(f"sum({n} * {mean})" for mean in means)]
        sums += [f"sum({scatter} + {n} * {mean} * {mean})" for mean, scatter in zip(means, scatters, strict=True)]
        for constant, name in zip(schema.constants, map(identifier, constants), strict=True):
            sums.append(
                f"list(distinct {name})" if isinstance(constant, Factor) else f"list_value(min({name}), max({name}))"
            )
        ((total, *values),) = self.connection.execute(f"select {', '.join(sums)} from {self._table}").fetchall()
        empty = Moments(schema, (), np.zeros(0), np.zeros((size, 0)), np.zeros((packed_size(size), 0)), (), 0, {})
        if not total:
            return empty
        mean = np.array(values[:size], dtype=float) / total
        scatter = np.zeros(packed_size(size))
        scatter[packed_diagonal(size)] = np.array(values[size : 2 * size], dtype=float) - total * mean**2
        return replace(
            empty,
            n=np.array([total]),
            mean=mean[:, None],
            scatter=scatter[:, None],
            constants=tuple(np.array(texts, dtype=object) for texts in values[2 * size :]),
        )

    def _columns(self) -> list[str]:
        return [row[0] for row in self.connection.execute(f"describe {self._table}").fetchall()]


def _units(*parts: Moments) -> pl.DataFrame:
    """The keys of the units of some moments, a row each; one row where the moments have no keys."""
    keys = [np.concatenate(labels) for labels in zip(*(part.labels for part in parts), strict=True)]
    return pl.DataFrame([moments_series(f"u_{k}", values) for k, values in enumerate(keys)] or {"u": [0]})


def _with_others(touched: Moments, others: Moments) -> Moments:
    """Return moments of all rows: those of the touched units, and the others as one unit."""
    if not others.n_units:
        return touched
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]] = list(zip(touched.constants, others.constants, strict=True))
    return replace(
        touched,
        n=np.concatenate([touched.n, others.n]),
        mean=np.hstack([touched.mean, others.mean]),
        scatter=np.hstack([touched.scatter, others.scatter]),
        constants=tuple(np.concatenate(pair) for pair in pairs) if touched.n_units else others.constants,
    )
