"""Store moments in a table of the warehouse, one row per unit, beside a table that describes its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language import model as nodes
from mlm_ops.language.model import Factor, Residual, Variable, label
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.stored_tables import RESIDUAL_COLUMNS, claim_tables, sibling, table_claim
from mlm_ops.moments.sums import lower_by_rows, packed_size
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import registered
from mlm_ops.warehouse.ownership import drop, find_relations, replace_table, with_schema
from mlm_ops.warehouse.relation import quoted_table, table_parts
from mlm_ops.warehouse.sql import literal, qualified

if TYPE_CHECKING:
    import duckdb

_NODES = {
    cls.__name__: cls
    for cls in (
        nodes.Column,
        nodes.Constant,
        nodes.Function,
        nodes.Factor,
        nodes.Indicator,
        *nodes.CENTERINGS.values(),
        nodes.Residual,
    )
}

#: Version of a table that is written whole. In version 1, whose description has no version, ``mean_x`` was the
#: deviation from the center.
VERSION = 2
#: Version of a table some of whose units were exchanged, so that its units are in no order. The mlm-ops before this
#: version look at no number, but for the description: it stands in a table that they do not know, and where they look
#: there is none, which they refuse.
UNORDERED = 3
_UNORDERED_DESCRIPTION = f"description_{UNORDERED}"


class AbsentMomentsError(DataError):
    """A table of moments, or what describes it, is not there; they can be collected again."""


def save_moments(connection: duckdb.DuckDBPyConnection, moments: Moments, table: str) -> None:
    """Write moments to `table`, and their description to ``<table>_description``, in one transaction.

    The columns are named for people: ``mean_ses`` is the unit's mean, as in the macro ``group_moments``, and
    ``scatter_ses_mathach`` around it; ``deviation_ses`` is the mean minus the center, to the last bit. They are
    read by their order. A table may be named with its schema.

    Raises
    ------
    StoreError
        A table or view of one of these names exists that mlm-ops did not make. Nothing is then changed.
    """
    claim_tables(connection, table)
    with transaction(connection):
        write_moments(connection, moments, table)


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Write all inside in one transaction, or nothing if it fails."""
    import duckdb

    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        # a commit that fails, as on a full disk, has rolled back already: its own error is the one to raise
        with suppress(duckdb.Error):
            connection.execute("rollback")
        raise


def write_moments(connection: duckdb.DuckDBPyConnection, moments: Moments, table: str) -> None:
    """`save_moments` inside a transaction of the caller's."""
    description = pl.DataFrame({"description": [json.dumps(_describe(moments))]})
    parts = {"": moments_frame(moments), "description": description}
    for i, residual in enumerate(moments.residuals.values()):
        parts[f"residual_{i}"] = _residual_frame(residual)
    *place, own_schema, name = with_schema(connection, table_parts(table))
    relations = find_relations(connection, own_schema, *place)
    for suffix, content in parts.items():
        claim = table_claim(connection, qualified(*place, own_schema, name), suffix)
        with registered(connection, ArrowStream(content)) as frame:
            replace_table(connection, claim, f"as from {frame}", relations)
    if f"{name}_{_UNORDERED_DESCRIPTION}".lower() in relations:
        drop(connection, table_claim(connection, qualified(*place, own_schema, name), _UNORDERED_DESCRIPTION))


def moments_frame(moments: Moments) -> pl.DataFrame:
    """Make the table of moments, a row a unit."""
    schema = moments.schema
    names = ["*".join(label(a) for a in m) for m in schema.monomials]
    # products are of deviations already: their center is 0
    centers = [schema.centers[m[0]] if len(m) == 1 else 0.0 for m in schema.monomials]
    columns: list[tuple[str, Any]] = list(zip(schema.keys, moments.labels, strict=True))
    columns.append(("n", moments.n))
    columns += [(f"mean_{name}", moments.mean[i] + centers[i]) for i, name in enumerate(names)]
    rows, cols = lower_by_rows(len(names))
    columns += [
        (f"scatter_{names[i]}_{names[j]}", moments.scatter[k]) for k, (i, j) in enumerate(zip(rows, cols, strict=True))
    ]
    columns += [
        (f"value_{_constant_name(c)}", values) for c, values in zip(schema.constants, moments.constants, strict=True)
    ]
    columns += [(f"deviation_{name}", moments.mean[i]) for i, name in enumerate(names)]
    distinct = _distinct_names([name for name, _ in columns])
    return pl.DataFrame([moments_series(name, values) for name, (_, values) in zip(distinct, columns, strict=True)])


def moments_series(name: str, values: NDArray[Any]) -> pl.Series:
    """Make a column of labels, sums or constants."""
    if values.dtype == object:
        # of no texts polars would make a column of a type that DuckDB takes for whole numbers
        return pl.Series(name, values.tolist(), dtype=None if len(values) else pl.String)
    return pl.Series(name, values)


def _distinct_names(names: Sequence[str]) -> list[str]:
    """Make names of columns distinct without regard to letter case, as DuckDB compares them: later ones get a number.

    Without it the sums of a column n, or of columns a_b, c, a and b_c, would share names with others.
    """
    originals = {name.lower() for name in names}
    by_lower_case: dict[str, str] = {}
    for name in names:
        own, number = name, 1
        while own.lower() in by_lower_case or (number > 1 and own.lower() in originals):
            number += 1
            own = f"{name} ({number})"
        by_lower_case[own.lower()] = own
    return list(by_lower_case.values())


@dataclass(frozen=True)
class StoredMoments:
    """The description of stored moments.

    Attributes
    ----------
    table
        Their table.
    schema
        Of the moments.
    text
        The description as it is stored, as JSON.
    """

    table: str
    schema: Schema
    text: Mapping[str, Any]

    @property
    def version(self) -> int:
        """The version of the table."""
        return int(self.text.get("version", 1))

    @property
    def has_deviations(self) -> bool:
        """Whether the deviations from the centers stand beside the means; in the first version they are the means."""
        return self.version > 1

    @property
    def in_order(self) -> bool:
        """Whether the units are in the order of their keys."""
        return self.version < UNORDERED and bool(self.text.get("in_order", True))

    @property
    def residuals(self) -> dict[Residual, dict[str, Any]]:
        """The residual structures, each with the facts of its sums."""
        return {_node(key): facts for key, facts in self.text["residuals"]}


def read_description(connection: duckdb.DuckDBPyConnection, table: str) -> StoredMoments:
    """Read what describes stored moments.

    Raises
    ------
    DataError
        There is no such table, or it was not written by `save_moments`.
    """
    rows = _read_text(connection, table, "description")
    if rows is None:
        raise _no_moments(table)
    # an mlm-ops before version 3 that collects the moments again leaves the other table as it is
    rows = rows or _read_text(connection, table, _UNORDERED_DESCRIPTION)
    if not rows:
        raise AbsentMomentsError(f"The description of {table} is empty. Collect the moments again.")
    text = json.loads(rows[0][0])
    if (version := text.get("version", 1)) > UNORDERED:
        raise DataError(
            f"The moments in table {table!r} were written by a later mlm-ops. Got version {version}; expected at most "
            f"{UNORDERED}. Use that mlm-ops, or drop the table and collect them again."
        )
    schema = Schema(
        keys=tuple(text["keys"]),
        centers={_node(n): c for n, c in text["centers"]},
        monomials=tuple(tuple(_node(n) for n in factors) for factors in text["monomials"]),
        constants=tuple(_node(n) for n in text["constants"]),
        levels={name: tuple(levels) for name, levels in text["levels"].items()},
        text_columns=frozenset(text["text_columns"]),
    )
    return StoredMoments(table, schema, text)


def describe_update(
    connection: duckdb.DuckDBPyConnection, stored: StoredMoments, n_rows: int, n_dropped: Mapping[str, int]
) -> None:
    """Describe moments some of whose units were exchanged: their counts, and that the units are in no order."""
    text = {**stored.text, "version": UNORDERED, "n_rows": n_rows, "n_dropped": dict(n_dropped)}
    description = literal(json.dumps(text))
    if stored.version == UNORDERED:
        table = quoted_table(sibling(stored.table, _UNORDERED_DESCRIPTION))
        connection.execute(f"update {table} set description = {description}")
        return
    claim = table_claim(connection, stored.table, _UNORDERED_DESCRIPTION)
    replace_table(connection, claim, f"as select {description} as description")
    connection.execute(f"delete from {quoted_table(sibling(stored.table, 'description'))}")


def _read_text(connection: duckdb.DuckDBPyConnection, table: str, suffix: str) -> list[tuple[str]] | None:
    """Return the rows of a table of descriptions; None where there is no such table."""
    import duckdb

    try:
        return connection.execute(f"select description from {quoted_table(sibling(table, suffix))}").fetchall()
    except duckdb.CatalogException:
        return None


def load_moments(connection: duckdb.DuckDBPyConnection, table: str) -> Moments:
    """Read stored moments, equal to the last bit.

    Raises
    ------
    DataError
        There is no such table, or it was not written by `save_moments`.
    """
    import duckdb

    stored = read_description(connection, table)
    keys = ", ".join(str(i + 1) for i in range(len(stored.schema.keys)))
    order = f" order by {keys}" if keys and not stored.in_order else ""
    try:
        moments = read_moments(connection, stored, f"select * from {quoted_table(table)}{order}")
    except duckdb.CatalogException as error:
        raise _no_moments(table) from error
    text = stored.text
    return replace(
        moments,
        n_rows=text["n_rows"],
        n_dropped=text["n_dropped"],
        nested_in={name: tuple(group) for name, group in text["nested_in"].items()},
        # an earlier mlm-ops did not keep them
        ranges={_node(n): (low, high) for n, low, high in text.get("ranges", ())},
        residuals={
            structure: _read_residual(connection, sibling(table, f"residual_{i}"), facts)
            for i, (structure, facts) in enumerate(stored.residuals.items())
        },
    )


def read_moments(connection: duckdb.DuckDBPyConnection, stored: StoredMoments, query: str) -> Moments:
    """Read units of stored moments, without what is known of all rows together.

    Parameters
    ----------
    query
        Returns all columns of some rows.
    """
    schema = stored.schema
    values = list(connection.execute(query).fetchnumpy().values())
    k, size = len(schema.keys), len(schema.monomials)
    first_scatter = k + 1 + size
    first_constant = first_scatter + packed_size(size)
    past_constants = first_constant + len(schema.constants)
    # in the first version the means are the deviations
    deviations = values[past_constants:] if stored.has_deviations else values[k + 1 : first_scatter]
    units = len(values[k])
    return Moments(
        schema=schema,
        labels=tuple(np.asarray(v) for v in values[:k]),
        n=np.asarray(values[k], dtype=float),
        mean=np.array(deviations, dtype=float).reshape(size, units),
        scatter=np.array(values[first_scatter:first_constant], dtype=float).reshape(packed_size(size), units),
        constants=tuple(np.asarray(v) for v in values[first_constant:past_constants]),
        n_rows=0,
        n_dropped={},
    )


def _no_moments(table: str) -> DataError:
    return AbsentMomentsError(f"There are no moments in table {table!r}. Collect them first.")


def _residual_frame(moments: ResidualMoments) -> pl.DataFrame:
    """Make the table of a residual structure: a row per unit, stratum, stratum before and gap; a column a sum."""
    columns: dict[str, Any] = {name: getattr(moments, name) for name in RESIDUAL_COLUMNS}
    for kind, sums in zip(("now", "cross", "past"), moments.sums, strict=True):
        columns |= {f"{kind}_{k}": row for k, row in enumerate(sums)}
    return pl.DataFrame(columns)


def _read_residual(connection: duckdb.DuckDBPyConnection, table: str, facts: dict[str, Any]) -> ResidualMoments:
    columns = connection.execute(f"select * from {quoted_table(table)}").fetchnumpy()
    sums = np.array([v for name, v in columns.items() if name not in RESIDUAL_COLUMNS], dtype=float)
    return ResidualMoments(
        strata=tuple(facts["strata"]),
        log_precision=facts["log_precision"],
        sums=sums.reshape(3, len(sums) // 3, -1),
        **{name: np.asarray(columns[name]) for name in RESIDUAL_COLUMNS},
    )


def _describe(moments: Moments) -> dict[str, Any]:
    schema = moments.schema
    return {
        "version": VERSION,
        "keys": schema.keys,
        "centers": [(_json(a), c) for a, c in schema.centers.items()],
        "monomials": [[_json(a) for a in m] for m in schema.monomials],
        "constants": [_json(c) for c in schema.constants],
        "levels": {name: list(levels) for name, levels in schema.levels.items()},
        "text_columns": sorted(schema.text_columns),
        "n_rows": moments.n_rows,
        "n_dropped": dict(moments.n_dropped),
        "nested_in": {name: list(group) for name, group in moments.nested_in.items()},
        "ranges": [(_json(n), low, high) for n, (low, high) in moments.ranges.items()],
        "residuals": [
            (_json(key), {"strata": list(r.strata), "log_precision": r.log_precision})
            for key, r in moments.residuals.items()
        ],
    }


def _constant_name(variable: Variable) -> str:
    return variable.column if isinstance(variable, Factor) else label(variable)


def _json(value: Any) -> Any:
    if type(value).__name__ in _NODES:
        return {"node": type(value).__name__, **{f.name: _json(getattr(value, f.name)) for f in fields(value)}}
    return [_json(v) for v in value] if isinstance(value, tuple) else value


def _node(value: Any) -> Any:
    if isinstance(value, dict):
        arguments = {name: _node(v) for name, v in value.items() if name != "node"}
        return _NODES[value["node"]](**arguments)
    return tuple(_node(v) for v in value) if isinstance(value, list) else value
