"""Store moments by partition in two tables: one row per unit and partition, and one row per partition with facts."""

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
from mlm_ops.moments.storage import StoredMoments
from mlm_ops.moments.stored_tables import sibling, table_claim
from mlm_ops.moments.survey import count_parts, survey_partitions
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.ownership import replace_table
from mlm_ops.warehouse.queries import logged
from mlm_ops.warehouse.relation import quoted_table
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, identifier, literal, render, text

if TYPE_CHECKING:
    import duckdb


Facts = list[dict[str, Any]]
"""A row a partition: ``part``, ``n_rows``, ``fingerprint``, and what else `survey_partitions` says of it."""


@dataclass(frozen=True)
class Parts:
    """The tables that hold moments by partition: by the values of a column.

    ``<table>_parts``, ``<table>_residual_parts_<i>`` for each residual structure, and ``<table>_partitions``.
    """

    connection: duckdb.DuckDBPyConnection
    table: str
    column: str

    def exist(self) -> bool:
        """Tell whether the tables of moments and of facts exist."""
        import duckdb

        try:
            self.connection.execute(f"select 1 from {self._parts}, {self._facts} limit 0")
        except duckdb.CatalogException:
            return False
        return True

    def create(self, source: Source, needs: Needs, schema: Schema) -> None:
        """Collect the moments of every partition from the rows, by one GROUP BY."""
        part = category(self.column)
        self.replace("parts", f"as {self._moments(source, needs, schema, part)}")

    def create_residual(self, source: Source, needs: Needs, schema: Schema) -> None:
        """Collect every partition's sums for the residual structures, by one GROUP BY a structure."""
        for i, structure in enumerate(needs.residuals):
            self.replace(f"residual_parts_{i}", f"as {self._sums(source, needs, schema, structure)}")

    def exchange(
        self, names: Sequence[str], rows: Source | None, needs: Needs, schema: Schema, present: Sequence[str]
    ) -> None:
        """Delete partitions, and insert those of these rows.

        Parameters
        ----------
        present
            The partitions that have rows.
        """
        residual = [self._residual_table(i) for i in range(len(needs.residuals))]
        for table in (self._parts, self._facts, *residual):
            self.run(f"delete from {table} where part in ({', '.join(map(literal, names))})")
        if rows is not None:
            # the name of one partition is a constant, which need not be written for each row
            part = literal(present[0]) if len(present) == 1 else category(self.column)
            self.run(f"insert into {self._parts} {self._moments(rows, needs, schema, part)}")
            for table, structure in zip(residual, needs.residuals, strict=True):
                self.run(f"insert into {table} {self._sums(rows, needs, schema, structure)}")

    def residuals(self, needs: Needs, moments: Moments) -> dict[Residual, ResidualMoments]:
        """Return the sums of all partitions for the residual structures; their units are those of the moments."""
        sizes = {"units": len(moments.schema.keys), "size": len(moments.schema.monomials) + 1}
        return {
            structure: as_residual(
                moments,
                structure,
                self.run(render("merge_residual_moments", relation=self._residual_table(i), **sizes)).fetchnumpy(),
            )
            for i, structure in enumerate(needs.residuals)
        }

    def merge(self, schema: Schema, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Merge some partitions, or all, to columns as the macro `moments` returns them."""
        if names is None:
            sql = _merge(self._parts, schema)
        else:
            relation = f"(select * exclude (part) from {self._parts} where part in ({', '.join(map(literal, names))}))"
            # one partition has each unit once; of none, a merge without keys is a row without numbers
            sql = f"from {relation}" if len(names) == 1 else f"from ({_merge(relation, schema)}) where n > 0"
        columns: dict[str, NDArray[Any]] = self.run(sql).fetchnumpy()
        return columns

    def fingerprints(self, source: Source, needs: Needs) -> Facts:
        """Count and fingerprint the partitions of all rows: ``part``, ``n_rows`` and ``fingerprint``.

        Raises
        ------
        DataError
            Rows that lie in no partition.
        """
        return self._without_gaps(count_parts(source, needs, identifier(self.column)))

    def facts_of(self, source: Source, needs: Needs) -> Facts:
        """Count, fingerprint and survey the partitions of these rows.

        Raises
        ------
        DataError
            Rows that lie in no partition.
        """
        return self._without_gaps(survey_partitions(source, needs, self.column))

    def _without_gaps(self, facts: Facts) -> Facts:
        n_without_part = sum(row["n_rows"] for row in facts if row["part"] is None)
        if n_without_part:
            raise DataError(
                f"{n_without_part} rows have no value of {self.column!r}, the partition. Fill or filter them."
            )
        return facts

    def create_facts(self, origin: str) -> None:
        """Create an empty table of facts, and a table that holds the origin of the partitions."""
        facts = "(part varchar primary key, n_rows bigint, missing varchar, fingerprint varchar)"
        self.replace("partitions", facts)
        self.replace("origin", f"as select {literal(origin)} as origin")

    def origin_of(self, source: Source) -> str:
        """Return what the partitions depend on, as JSON: the rows, the column, and its type.

        The null stands where earlier versions had the session's time zone.
        """
        return json.dumps([source.description, source.relation, self.column, source.types[self.column], None])

    def read_origin(self) -> str | None:
        """Return the origin of the stored partitions; None where none is stored."""
        import duckdb

        try:
            rows = self.connection.execute(f"select origin from {self._origin}").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
        return str(rows[0][0]) if len(rows) == 1 else None

    def disagreement(self, stored: StoredMoments) -> str | None:
        """Return a clause about stored tables that do not belong together; None where their counts agree.

        Somebody may have deleted rows of them, or a table. Every refresh leaves one number of rows in all of them.
        """
        import duckdb

        total = quoted_table(self.table)
        residual = [
            (sibling(self.table, f"residual_{i}"), self._residual_table(i)) for i in range(len(stored.residuals))
        ]
        try:
            # by its place, as columns of the total are named for the groups, one of which may be called n
            n_total = self._sum(
                total, self.connection.execute(f"describe {total}").fetchall()[len(stored.schema.keys)][0]
            )
            sums = [(total, n_total, self._parts)] + [
                (quoted_table(own), self._sum(quoted_table(own), "n"), parts) for own, parts in residual
            ]
            for own, n, parts in sums:
                if n != self._sum(parts, "n"):
                    return f"{own} has other rows than {parts}"
            complete = dict(self.connection.execute(f"select part, sum(n) from {self._parts} group by part").fetchall())
            facts = self.connection.execute(f"select part, n_rows, missing from {self._facts}").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            return f"the stored tables cannot be read: {first_line(error)}"
        agree = sum(n for _, n, _ in facts) == stored.text["n_rows"]
        agree &= complete.keys() <= {part for part, _, _ in facts}
        for part, n_rows, missing in facts:
            # a row may miss several values, so that the complete rows lie between two numbers
            gaps = [0, *json.loads(missing).values()]
            agree &= n_rows - sum(gaps) <= complete.get(part, 0) <= n_rows - max(gaps)
        return None if agree else f"{self._parts} has other rows than {self._facts} counts"

    def _sum(self, table: str, column: str) -> float:
        rows = self.connection.execute(f"select coalesce(sum({identifier(column)}), 0) from {table}").fetchall()
        return float(rows[0][0])

    def names(self) -> list[str]:
        """Return the names of the stored partitions."""
        return [part for (part,) in self.run(f"select part from {self._facts}").fetchall()] if self.exist() else []

    def names_of(self, source: Source, values: Sequence[object]) -> tuple[str, ...]:
        """Return the partitions' names of some values: 01 of a column of numbers is the partition 1.

        Raises
        ------
        DataError
            A value is none of the column's type, and no stored partition has its name.
        """
        texts = list(map(str, values))
        if not texts:
            return ()
        kind, numeric = source.types[self.column], source.is_numeric(self.column)
        selection = ", ".join(text(same_value(value, kind, numeric)) for value in texts)
        results, stored_names = self.run(f"select {selection}").fetchall()[0], set(self.names())
        part_names = {
            value: value if name is None and value in stored_names else name
            for value, name in zip(texts, results, strict=True)
        }
        if wrong := [value for value, name in part_names.items() if name is None]:
            raise DataError(
                f"Partition keys are no values of the column {self.column!r}. Got {', '.join(wrong)}; expected {kind}. "
                "Windows of time need a column of type DATE or TIMESTAMP."
            )
        return tuple(dict.fromkeys(str(name) for name in part_names.values()))

    def keep_facts(self, facts: Facts, needs: Needs) -> None:
        """Insert the facts of partitions."""
        aliases = needs.gaps(inside=False)
        rows = [
            (row["part"], row["n_rows"], json.dumps({name: row[a] for name, a in aliases.items()}), _fingerprint(row))
            for row in facts
        ]
        if rows:
            tuples = ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
            self.run(f"insert into {self._facts} values {tuples}")

    def changes(self, facts: Facts) -> dict[str, tuple[str | None, str | None]]:
        """Return the partitions that are new, changed or gone since their facts were stored, by name.

        Returns
        -------
        dict
            Fingerprints of the rows then and now; None where there were, or are, none.
        """
        stored = self.run(f"select part, fingerprint from {self._facts}").fetchall() if self.exist() else ()
        before, now = dict(stored), {row["part"]: _fingerprint(row) for row in facts}
        fingerprints = {name: (before.get(name), now.get(name)) for name in sorted(before.keys() | now.keys())}
        return {name: both for name, both in fingerprints.items() if both[0] != both[1]}

    def sizes(self, source: Source) -> dict[str, tuple[int, int]]:
        """Count the rows of each partition: those that its moments were read from, and those that it has now."""
        rows = render(
            "partition_facts", relation=source.relation, partition=identifier(self.column), numbers=[], categories=[],
            units=[],
        )  # fmt: skip
        now = dict(self.run(f"select part, n_rows from ({rows}) where part is not null").fetchall())
        kept = dict(self.run(f"select part, n_rows from {self._facts}").fetchall())
        return {name: (kept.get(name, 0), now.get(name, 0)) for name in sorted(kept.keys() | now.keys())}

    def counts(self) -> tuple[int, dict[str, int]]:
        """Count the rows of all partitions, and those of them that miss a value, by column."""
        rows = self.run(f"select n_rows, missing from {self._facts}").fetchall()
        gaps: dict[str, int] = {}
        for _, missing in rows:
            for name, count in json.loads(missing).items():
                gaps[name] = gaps.get(name, 0) + count
        return sum(n for n, _ in rows), gaps

    def rows_of(self, source: Source, names: Sequence[str]) -> Source:
        """Return the rows of some partitions; compared in the column's own type, so that DuckDB can skip the others."""
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

    def _moments(self, source: Source, needs: Needs, schema: Schema, part: str) -> str:
        """Return the GROUP BY with the partition as first key, so that the rows of a partition lie together."""
        return by_part(moments_query(source, needs, schema, part), len(schema.keys))

    def _sums(self, source: Source, needs: Needs, schema: Schema, structure: Residual) -> str:
        return by_part(residual_query(source, needs, schema, structure, category(self.column)), len(schema.keys))

    def _residual_table(self, number: int) -> str:
        return quoted_table(sibling(self.table, f"residual_parts_{number}"))

    def replace(self, suffix: str, body: str) -> None:
        """Create a table, or replace it if mlm-ops made it.

        Raises
        ------
        StoreError
            A table or view of this name exists that mlm-ops did not make.
        """
        with self._one_sentence():
            replace_table(self.connection, table_claim(self.connection, self.table, suffix), body)

    def run(self, sql: str) -> Any:
        """Run a statement; an error of DuckDB becomes a DataError of one sentence."""
        with self._one_sentence():
            return logged(self.connection.execute)(sql)

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise DataError(f"The moments by {self.column} cannot be kept: {first_line(error)}") from error


def same_value(value: str, kind: str, numeric: bool) -> str:
    """Return SQL of a text as a value of a type; null if it is none, as 1.4 is no whole number."""
    cast = f"try_cast({literal(value)} as {kind})"
    if not numeric:
        return cast
    return f"case when try_cast({literal(value)} as double) = cast({cast} as double) then {cast} end"


def _fingerprint(row: dict[str, Any]) -> str:
    return str(row["fingerprint"])


def _merge(relation: str, schema: Schema) -> str:
    sizes = {"units": len(schema.keys), "monomials": len(schema.monomials), "constants": len(schema.constants)}
    return render("merge_moments", relation=relation, **sizes)
