"""Where moments by partition lie: a table of parts, a row a unit and partition, and one of facts, a row a partition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import Factor, label
from mlm_ops.moments.collect import read_moments, row_arguments
from mlm_ops.moments.moments import Moments, Schema
from mlm_ops.moments.persist import sibling
from mlm_ops.moments.render import category, expression, render
from mlm_ops.moments.residual_parts import by_part
from mlm_ops.moments.source import Source, first_line, quoted_table
from mlm_ops.moments.survey import Needs, Survey, key_expression, run
from mlm_ops.sql_text import identifier, literal

if TYPE_CHECKING:
    import duckdb

Facts = list[dict[str, Any]]
"""A row a partition: ``part``, ``n_rows``, ``fingerprint``, and how many rows miss a value of what is needed."""


@dataclass(frozen=True)
class Parts:
    """The tables ``<table>_parts`` and ``<table>_partitions`` of moments that are kept by the values of a column."""

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
        self.run(f"create or replace table {self._parts} as {self._moments(source, needs, schema)}")

    def exchange(self, names: Sequence[str], rows: Source | None, needs: Needs, schema: Schema) -> None:
        """Take partitions out, and put in those that these rows make up."""
        chosen = ", ".join(map(literal, names))
        self.run(f"delete from {self._parts} where part in ({chosen})")
        self.run(f"delete from {self._facts} where part in ({chosen})")
        if rows is not None:
            self.run(f"insert into {self._parts} {self._moments(rows, needs, schema)}")

    def merged(self, schema: Schema) -> dict[str, NDArray[Any]]:
        """All parts together, columns as the macro `moments` returns them."""
        found: dict[str, NDArray[Any]] = self.run(_merge(self._parts, schema)).fetchnumpy()
        return found

    def read(self, names: Sequence[str], schema: Schema) -> Moments:
        """The moments of some partitions together; rows that were dropped are not counted."""
        relation = f"(from {self._parts} where part in ({', '.join(map(literal, names))}))"
        # one partition has each unit once
        sql = f"from {relation}" if len(names) == 1 else _merge(relation, schema)
        nothing = Survey(0, 0, {}, {}, {}, {}, frozenset())
        return read_moments(schema, nothing, self.run(sql).fetchnumpy())

    def facts_of(self, source: Source, needs: Needs) -> Facts:
        """Count and fingerprint the partitions of these rows.

        Raises
        ------
        DataError
            Rows that lie in no partition.
        """
        numbers = [{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.all_numbers)]
        categories = [{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)]
        sql = render(
            "partition_facts",
            relation=source.relation,
            partition=category(self.column),
            numbers=numbers,
            categories=categories,
            units=[key_expression(source, key) for key in needs.keys],
        )
        result = run(source, sql)
        names = [column[0] for column in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        homeless = next((row["n_rows"] for row in rows if row["part"] is None), 0)
        if homeless:
            raise DataError(f"{homeless} rows have no value of {self.column!r}, the partition. Fill or filter them.")
        return rows

    def create_facts(self) -> None:
        """An empty table of facts."""
        self.run(
            f"create or replace table {self._facts} "
            "(part varchar primary key, n_rows bigint, missing varchar, fingerprint varchar)"
        )

    def keep_facts(self, facts: Facts, needs: Needs) -> None:
        """Add facts of partitions that have none."""
        aliases = {key: f"missing_unit_{i}" for i, key in enumerate(needs.keys)}
        aliases |= {label(n): f"missing_x{i}" for i, n in enumerate(needs.all_numbers)}
        aliases |= {c: f"missing_c{i}" for i, c in enumerate(needs.all_categories)}
        rows = [
            (row["part"], row["n_rows"], json.dumps({name: row[a] for name, a in aliases.items()}), _print(row))
            for row in facts
        ]
        if rows:
            self.connection.executemany(f"insert into {self._facts} values (?, ?, ?, ?)", rows)

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
        values = ", ".join(f"cast({literal(name)} as {source.types[self.column]})" for name in names)
        relation = f"(select * from {source.relation} where {identifier(self.column)} in ({values})) as part"
        return replace(source, relation=relation, description=f"{source.description}, {self.column} {', '.join(names)}")

    @property
    def _parts(self) -> str:
        return quoted_table(sibling(self.table, "parts"))

    @property
    def _facts(self) -> str:
        return quoted_table(sibling(self.table, "partitions"))

    def _moments(self, source: Source, needs: Needs, schema: Schema) -> str:
        """The GROUP BY with the partition as first key, by which the rows of a part lie together."""
        arguments = row_arguments(source, needs, schema)
        sql = render(
            "moments",
            **(arguments | {"units": [category(self.column), *arguments["units"]]}),
            constants=[
                {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
                for i, c in enumerate(schema.constants)
            ],
        )
        return by_part(sql, len(schema.keys))

    def run(self, sql: str) -> Any:
        """Query or write; what goes wrong is said in one sentence."""
        import duckdb

        try:
            return self.connection.execute(sql)
        except duckdb.Error as error:
            raise DataError(f"The moments by {self.column} cannot be kept: {first_line(error)}") from error


def _print(row: dict[str, Any]) -> str:
    return str(row["fingerprint"])


def _merge(relation: str, schema: Schema) -> str:
    sizes = {"units": len(schema.keys), "monomials": len(schema.monomials), "constants": len(schema.constants)}
    return render("merge_moments", relation=relation, **sizes)
