"""Moments that accumulate: parts by partition and their total; a new partition costs its own rows only.

The parts are moments with one more key. What they are moments of (centers, products, levels) is fixed when they are
first built, so that any of them can be added to the total or taken out of it. Four tables belong together: ``<table>``
and ``<table>_description`` (the total, as `persist` writes it), ``<table>_parts`` and ``<table>_partitions``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import PLAIN, Factor, Model, Variable, label
from mlm_ops.moments.collect import make_schema, nested_levels, read_moments, row_arguments
from mlm_ops.moments.moments import Moments, Schema, disagreeing, merge, subtract
from mlm_ops.moments.persist import load_moments, sibling, transaction, write_moments
from mlm_ops.moments.render import category, expression, render
from mlm_ops.moments.source import Source, quoted_table
from mlm_ops.moments.survey import Needs, Survey, check_rows, find_needs, key_expression, run, take_survey
from mlm_ops.sql_text import identifier, literal

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes
    ----------
    moments
        Of all partitions together.
    scanned, dropped
        Partitions whose rows were read, and those that were taken out.
    rebuilt
        Why all of them were read; None where only new and changed ones were.
    """

    moments: Moments
    scanned: tuple[str, ...]
    dropped: tuple[str, ...]
    rebuilt: str | None


@dataclass(frozen=True)
class Partitions:
    """Where moments accumulate, and from what.

    Attributes
    ----------
    connection, table
        The database, and the table of the total.
    source
        All rows.
    column
        The column whose values are the partitions.
    models, levels, keys
        As `collect` takes them.
    """

    connection: duckdb.DuckDBPyConnection
    table: str
    source: Source
    column: str
    models: Sequence[Model]
    levels: Sequence[str] = ()
    keys: Sequence[str] = ()

    def refresh(self, wanted: Sequence[str] | None = None) -> Refreshed:
        """Bring the moments up to date with the rows.

        Parameters
        ----------
        wanted
            Partitions to read again, as text; one that has no rows any more is taken out. None finds out by itself
            which are new, changed or gone, which costs a pass over the rows' values, but no products of them.

        Raises
        ------
        DataError
            Rows without a partition; residual structures, which do not merge; and what `collect` refuses.
        """
        needs = self._needs()
        known = self._known()  # before the transaction, which a table that is not there would end
        with transaction(self.connection):
            why = self._unusable(known, needs)
            if known is None or why is not None:
                return self._build(needs, why)
            changed = self._changed(known, needs) if wanted is None else {str(name): None for name in wanted}
            return self._update(known, needs, tuple(changed))

    # -- what is there ------------------------------------------------------------------------------------------------

    def _needs(self) -> Needs:
        structured = next((m.residual for m in self.models if m.residual != PLAIN), None)
        if structured is not None:
            raise DataError(
                "Moments by partition cannot serve residual structures, whose sums do not merge: rows at a seam belong "
                "to both sides. Leave out residual and weights, or the partition."
            )
        self.source.require([self.column])
        return find_needs(self.source, self.models, (*self.levels, *self.keys))

    def _known(self) -> Moments | None:
        """The total as it was left, if there is one with its parts."""
        try:
            self.connection.execute(f"select 1 from {self._parts} limit 0")
            return load_moments(self.connection, self.table)
        except Exception as error:
            import duckdb

            if isinstance(error, DataError | duckdb.CatalogException):
                return None
            raise

    def _unusable(self, known: Moments | None, needs: Needs) -> str | None:
        """Why the parts that are there do not serve the models of today."""
        if known is None:
            return None
        schema = known.schema
        asked = make_schema(self.models, needs, _survey_like(known, needs), _varying(schema))
        same = asked.keys == schema.keys and set(asked.constants) == set(schema.constants)
        return None if same and set(asked.monomials) == set(schema.monomials) else "the models ask for other moments"

    def _changed(self, known: Moments, needs: Needs) -> dict[str, None]:
        """Partitions that are new, changed or gone, by their fingerprints."""
        rows = self.connection.execute(f"select part, fingerprint from {self._facts}").fetchall()
        before = dict(rows)
        now = {str(row["part"]): str(row["fingerprint"]) for row in self._read_facts(self.source, needs)}
        return {name: None for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)}

    # -- building and updating ----------------------------------------------------------------------------------------

    def _build(self, needs: Needs, why: str | None) -> Refreshed:
        survey = take_survey(self.source, needs)
        check_rows(self.source, self.models, needs, survey)
        facts = self._read_facts(self.source, needs)
        varying = survey.varying
        while True:
            schema = make_schema(self.models, needs, survey, varying)
            sql = self._moments_sql(self.source, needs, schema)
            self._run(f"create or replace table {self._parts} as {sql}")
            total = self._merged(schema)
            refuted = _not_constant(schema, total)
            if not refuted:
                break
            varying |= refuted
        moments = read_moments(schema, survey, total)
        moments = replace(moments, nested_in=nested_levels(moments, self.levels))
        self._run(
            f"create or replace table {self._facts} "
            "(part varchar primary key, n_rows bigint, missing varchar, fingerprint varchar)"
        )
        self._keep_facts(facts, needs)
        write_moments(self.connection, moments, self.table)
        names = tuple(str(row["part"]) for row in facts)
        return Refreshed(moments, names, (), why)

    def _update(self, known: Moments, needs: Needs, names: tuple[str, ...]) -> Refreshed:
        if not names:
            return Refreshed(known, (), (), None)
        chosen = ", ".join(map(literal, names))
        values = ", ".join(f"cast({literal(name)} as {self.source.types[self.column]})" for name in names)
        rows = replace(
            self.source,
            relation=f"(select * from {self.source.relation} where {identifier(self.column)} in ({values})) as part",
            description=f"{self.source.description}, {self.column} {', '.join(names)}",
        )
        facts = self._read_facts(rows, needs)
        schema = known.schema
        survey = take_survey(rows, needs) if facts else None
        if survey is not None and (why := self._outgrown(schema, survey)):
            return self._build(needs, why)
        old = self._part(schema, known, names)
        rest = subtract(known, old) if old.n_units else known
        self._run(f"delete from {self._parts} where part in ({chosen})")
        self._run(f"delete from {self._facts} where part in ({chosen})")
        if survey is not None and survey.n_complete:
            sql = self._moments_sql(rows, needs, schema)
            self._run(f"insert into {self._parts} {sql}")
            new = self._part(schema, known, names)
            if (atoms := disagreeing(rest, new)) and rest.n_units:
                names_of = ", ".join(label(a) for a in atoms)
                return self._build(needs, f"{names_of} no longer has one value in each unit")
            total = merge(rest, new) if rest.n_units else new
        else:
            total = rest
        if not total.n_units:
            raise DataError(f"No rows are left after {self.column} {', '.join(names)}. The moments are as they were.")
        self._keep_facts(facts, needs)
        total = replace(total, **self._counts(needs))
        total = replace(total, nested_in=nested_levels(total, self.levels))
        write_moments(self.connection, total, self.table)
        present = {str(row["part"]) for row in facts}
        return Refreshed(
            total, tuple(n for n in names if n in present), tuple(n for n in names if n not in present), None
        )

    def _outgrown(self, schema: Schema, survey: Survey) -> str | None:
        """Why new rows do not fit what the parts are moments of."""
        held = {c.column for c in schema.constants if isinstance(c, Factor)}
        for column, levels in survey.levels.items():
            new = [level for level in levels if level not in schema.levels[column]]
            if new:
                where = "" if column not in held else ", and the parts hold the levels that were there"
                return f"{column} has the new level{'s' if len(new) > 1 else ''} {', '.join(new)}{where}"
        return None

    # -- SQL ----------------------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> str:
        return quoted_table(sibling(self.table, "parts"))

    @property
    def _facts(self) -> str:
        return quoted_table(sibling(self.table, "partitions"))

    @property
    def _part_key(self) -> str:
        return category(self.column)

    def _run(self, sql: str) -> Any:
        import duckdb

        try:
            return self.connection.execute(sql)
        except duckdb.Error as error:
            raise DataError(f"The moments by {self.column} cannot be kept: {str(error).splitlines()[0]}") from error

    def _moments_sql(self, source: Source, needs: Needs, schema: Schema) -> str:
        """The GROUP BY with the partition as first key, by which the rows of a part lie together."""
        arguments = row_arguments(source, needs, schema)
        sql = render(
            "moments",
            **(arguments | {"units": [self._part_key, *arguments["units"]]}),
            constants=[
                {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
                for i, c in enumerate(schema.constants)
            ],
        )
        keys = range(len(schema.keys))
        renamed = ", ".join(["u_0 as part", *(f"u_{k + 1} as u_{k}" for k in keys)])
        left_out = ", ".join(["u_0", *(f"u_{k + 1}" for k in keys)])
        return f"select {renamed}, * exclude ({left_out}) from ({sql})"

    def _merged(self, schema: Schema) -> dict[str, NDArray[Any]]:
        sql = render("merge_moments", relation=self._parts, **_sizes(schema))
        found: dict[str, NDArray[Any]] = self._run(sql).fetchnumpy()
        return found

    def _part(self, schema: Schema, known: Moments, names: Sequence[str]) -> Moments:
        """Kept parts, those of one unit merged."""
        relation = f"(from {self._parts} where part in ({', '.join(map(literal, names))}))"
        # one partition has each unit once
        sql = f"from {relation}" if len(names) == 1 else render("merge_moments", relation=relation, **_sizes(schema))
        counted = Survey(0, 0, dict.fromkeys(known.n_dropped, 0), {}, {}, {}, frozenset())
        return read_moments(schema, counted, self._run(sql).fetchnumpy())

    def _read_facts(self, source: Source, needs: Needs) -> list[dict[str, Any]]:
        numbers = [{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.all_numbers)]
        categories = [{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)]
        result = run(
            source,
            render(
                "partition_facts",
                relation=source.relation,
                partition=self._part_key,
                numbers=numbers,
                categories=categories,
                units=[key_expression(source, key) for key in needs.keys],
            ),
        )
        names = [column[0] for column in result.description]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
        homeless = next((row["n_rows"] for row in rows if row["part"] is None), 0)
        if homeless:
            raise DataError(f"{homeless} rows have no value of {self.column!r}, the partition. Fill or filter them.")
        return rows

    def _keep_facts(self, facts: Sequence[dict[str, Any]], needs: Needs) -> None:
        if not facts:
            return
        aliases = {key: f"missing_unit_{i}" for i, key in enumerate(needs.keys)}
        aliases |= {label(n): f"missing_x{i}" for i, n in enumerate(needs.all_numbers)}
        aliases |= {c: f"missing_c{i}" for i, c in enumerate(needs.all_categories)}
        rows = [
            (
                str(row["part"]),
                row["n_rows"],
                json.dumps({name: row[alias] for name, alias in aliases.items()}),
                str(row["fingerprint"]),
            )
            for row in facts
        ]
        self.connection.executemany(f"insert into {self._facts} values (?, ?, ?, ?)", rows)

    def _counts(self, needs: Needs) -> dict[str, Any]:
        """Rows and missing values of all partitions."""
        rows = self.connection.execute(f"select n_rows, missing from {self._facts}").fetchall()
        dropped: dict[str, int] = {}
        for _, missing in rows:
            for name, count in json.loads(missing).items():
                dropped[name] = dropped.get(name, 0) + count
        return {"n_rows": sum(n for n, _ in rows), "n_dropped": dropped}


def _varying(schema: Schema) -> frozenset[Variable]:
    """Atoms that the parts take to vary within units."""
    constant = set(schema.constants)
    return frozenset(a for m in schema.monomials for a in m if a not in constant) | frozenset(
        Factor(column) for column in schema.levels if Factor(column) not in constant
    )


def _survey_like(known: Moments, needs: Needs) -> Survey:
    """What a survey would have found of the rows that the moments hold."""
    schema = known.schema
    return Survey(
        known.n_rows, known.n_obs, known.n_dropped, dict(schema.centers), {}, dict(schema.levels), _varying(schema)
    )


def _sizes(schema: Schema) -> dict[str, int]:
    return {"units": len(schema.keys), "monomials": len(schema.monomials), "constants": len(schema.constants)}


def _not_constant(schema: Schema, found: dict[str, NDArray[Any]]) -> frozenset[Variable]:
    return frozenset(c for i, c in enumerate(schema.constants) if np.any(found[f"low_{i}"] != found[f"high_{i}"]))
