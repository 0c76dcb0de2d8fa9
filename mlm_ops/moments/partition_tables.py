"""Keep moments by partition in two tables: a row a unit and partition, and a row a partition with its facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import Residual
from mlm_ops.moments.needs import Needs
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.scan import as_residual, by_part, moments_query, residual_query
from mlm_ops.moments.storage import kept_table, sibling
from mlm_ops.moments.survey import count_parts
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.ownership import replace_table
from mlm_ops.warehouse.source import Source, quoted_table
from mlm_ops.warehouse.sql import category, identifier, literal, render, text

if TYPE_CHECKING:
    import duckdb


Facts = list[dict[str, Any]]
"""A row a partition: ``part``, ``n_rows``, ``fingerprint``, and how many rows miss a value of what is needed."""


@dataclass(frozen=True)
class Parts:
    """The tables of moments that are kept by the values of a column.

    ``<table>_parts``, ``<table>_residual_parts_<i>`` for each residual structure, and ``<table>_partitions``.
    """

    connection: duckdb.DuckDBPyConnection
    table: str
    column: str

    def exist(self) -> bool:
        """Whether both tables are there."""
        import duckdb

        try:
            self.connection.execute(f"select 1 from {self._parts}, {self._facts} limit 0")
        except duckdb.CatalogException:
            return False
        return True

    def create(self, source: Source, needs: Needs, schema: Schema) -> None:
        """Collect every part from the rows, by one GROUP BY."""
        self.replace("parts", f"as {self._moments(source, needs, schema)}")

    def create_residual(self, source: Source, needs: Needs, schema: Schema) -> None:
        """Collect every part's sums for the residual structures, by one GROUP BY a structure."""
        for i, structure in enumerate(needs.residuals):
            self.replace(f"residual_parts_{i}", f"as {self._sums(source, needs, schema, structure)}")

    def exchange(self, names: Sequence[str], rows: Source | None, needs: Needs, schema: Schema) -> None:
        """Take partitions out, and put in those that these rows make up."""
        residual = [self._residual_table(i) for i in range(len(needs.residuals))]
        for table in (self._parts, self._facts, *residual):
            self.run(f"delete from {table} where part in ({', '.join(map(literal, names))})")
        if rows is not None:
            self.run(f"insert into {self._parts} {self._moments(rows, needs, schema)}")
            for table, structure in zip(residual, needs.residuals, strict=True):
                self.run(f"insert into {table} {self._sums(rows, needs, schema, structure)}")

    def residuals(self, needs: Needs, moments: Moments) -> dict[Residual, ResidualMoments]:
        """All parts' sums for the residual structures together; their units are those of the moments."""
        sizes = {"units": len(moments.schema.keys), "size": len(moments.schema.monomials) + 1}
        return {
            structure: as_residual(
                moments,
                structure,
                self.run(render("merge_residual_moments", relation=self._residual_table(i), **sizes)).fetchnumpy(),
            )
            for i, structure in enumerate(needs.residuals)
        }

    def merged(self, schema: Schema, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Some parts together, or all, columns as the macro `moments` returns them."""
        if names is None:
            sql = _merge(self._parts, schema)
        else:
            relation = f"(select * exclude (part) from {self._parts} where part in ({', '.join(map(literal, names))}))"
            # one partition has each unit once; of none, a merge without keys is a row without numbers
            sql = f"from {relation}" if len(names) == 1 else f"from ({_merge(relation, schema)}) where n > 0"
        columns: dict[str, NDArray[Any]] = self.run(sql).fetchnumpy()
        return columns

    def facts_of(self, source: Source, needs: Needs) -> Facts:
        """Count and fingerprint the partitions of these rows.

        Raises
        ------
        DataError
            Rows that lie in no partition.
        """
        rows = count_parts(source, needs, category(self.column))
        homeless = next((row["n_rows"] for row in rows if row["part"] is None), 0)
        if homeless:
            raise DataError(f"{homeless} rows have no value of {self.column!r}, the partition. Fill or filter them.")
        return rows

    def create_facts(self, origin: str) -> None:
        """An empty table of facts, and what the parts are made of."""
        facts = "(part varchar primary key, n_rows bigint, missing varchar, fingerprint varchar)"
        self.replace("partitions", facts)
        self.replace("origin", f"as select {literal(origin)} as origin")

    def origin_of(self, source: Source) -> str:
        """What the names of the parts depend on: the rows, the column, and its type.

        Names of times with a zone once depended on the session's; null says that they no longer do.
        """
        return json.dumps([source.description, source.relation, self.column, source.types[self.column], None])

    def read_origin(self) -> str | None:
        """What the parts that are there were made of; None where that was not kept."""
        import duckdb

        try:
            return str(self.connection.execute(f"select origin from {self._origin}").fetchall()[0][0])
        except duckdb.CatalogException:
            return None

    def kept(self) -> list[str]:
        """Names of the parts that are there."""
        return [part for (part,) in self.run(f"select part from {self._facts}").fetchall()] if self.exist() else []

    def names_of(self, source: Source, values: Sequence[object]) -> tuple[str, ...]:
        """Values of the column as the parts are named: 01 of a column of numbers is the part 1.

        Raises
        ------
        DataError
            Some are no values of the column, and name no part either.
        """
        texts = list(map(str, values))
        if not texts:
            return ()
        kind, numeric = source.types[self.column], source.is_numeric(self.column)
        read = ", ".join(text(same_value(given, kind, numeric)) for given in texts)
        found, kept = self.run(f"select {read}").fetchall()[0], set(self.kept())
        names = {
            given: given if name is None and given in kept else name for given, name in zip(texts, found, strict=True)
        }
        if wrong := [given for given, name in names.items() if name is None]:
            raise DataError(
                f"Partition keys are no values of the column {self.column!r}. Got {', '.join(wrong)}; expected {kind}. "
                "Windows of time need a column of type DATE or TIMESTAMP."
            )
        return tuple(dict.fromkeys(str(name) for name in names.values()))

    def keep_facts(self, facts: Facts, needs: Needs) -> None:
        """Add facts of partitions that have none."""
        aliases = needs.gaps(inside=False)
        rows = [
            (row["part"], row["n_rows"], json.dumps({name: row[a] for name, a in aliases.items()}), _print(row))
            for row in facts
        ]
        if rows:
            filled = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
            self.run(f"insert into {self._facts} values {filled}")

    def changed(self, facts: Facts) -> tuple[str, ...]:
        """Partitions that are new, changed or gone since their facts were kept."""
        before = dict(self.run(f"select part, fingerprint from {self._facts}").fetchall())
        now = {row["part"]: _print(row) for row in facts}
        return tuple(name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name))

    def counts(self) -> tuple[int, dict[str, int]]:
        """Rows of all partitions, and how many of them miss a value, by column."""
        rows = self.run(f"select n_rows, missing from {self._facts}").fetchall()
        dropped: dict[str, int] = {}
        for _, missing in rows:
            for name, count in json.loads(missing).items():
                dropped[name] = dropped.get(name, 0) + count
        return sum(n for n, _ in rows), dropped

    def rows_of(self, source: Source, names: Sequence[str]) -> Source:
        """The rows of some partitions; compared as the column's own type, so that DuckDB can skip the others."""
        values = ", ".join(f"try_cast({literal(name)} as {source.types[self.column]})" for name in names)
        relation = f"(select * from {source.relation} where {identifier(self.column)} in ({values})) as part"
        return replace(source, relation=relation, description=f"{source.description}, {self.column} {', '.join(names)}")

    @property
    def _parts(self) -> str:
        return quoted_table(sibling(self.table, "parts"))

    @property
    def _facts(self) -> str:
        return quoted_table(sibling(self.table, "partitions"))

    @property
    def _origin(self) -> str:
        return quoted_table(sibling(self.table, "origin"))

    def _moments(self, source: Source, needs: Needs, schema: Schema) -> str:
        """The GROUP BY with the partition as first key, by which the rows of a part lie together."""
        return by_part(moments_query(source, needs, schema, category(self.column)), len(schema.keys))

    def _sums(self, source: Source, needs: Needs, schema: Schema, structure: Residual) -> str:
        return by_part(residual_query(source, needs, schema, structure, category(self.column)), len(schema.keys))

    def _residual_table(self, number: int) -> str:
        return quoted_table(sibling(self.table, f"residual_parts_{number}"))

    def replace(self, suffix: str, body: str) -> None:
        """Make a table of ours, or make it anew.

        Raises
        ------
        StoreError
            A table or view of its name is not ours.
        """
        with self._one_sentence():
            replace_table(self.connection, kept_table(self.connection, self.table, suffix), body)

    def run(self, sql: str) -> Any:
        """Query or write; what goes wrong is said in one sentence."""
        with self._one_sentence():
            return self.connection.execute(sql)

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise DataError(f"The moments by {self.column} cannot be kept: {first_line(error)}") from error


def same_value(given: str, kind: str, numeric: bool) -> str:
    """SQL of a text as a value of a type; null if it is none, as 1.4 is no whole number."""
    value = f"try_cast({literal(given)} as {kind})"
    if not numeric:
        return value
    return f"case when try_cast({literal(given)} as double) = cast({value} as double) then {value} end"


def _print(row: dict[str, Any]) -> str:
    return str(row["fingerprint"])


def _merge(relation: str, schema: Schema) -> str:
    sizes = {"units": len(schema.keys), "monomials": len(schema.monomials), "constants": len(schema.constants)}
    return render("merge_moments", relation=relation, **sizes)
