"""Add up moments by partition: a new or changed partition costs a scan of its own rows only.

The parts are moments with one more key. What they are moments of (centers, products, levels) is fixed when they are
first built, so that any of them can be added to the total or taken out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.language.model import Factor, Model, Variable, label
from mlm_ops.moments.coverage import nested_levels, no_longer
from mlm_ops.moments.needs import Needs, find_needs
from mlm_ops.moments.partition_tables import Facts, Parts
from mlm_ops.moments.record import Moments, Schema, exchange
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    check_unchanged,
    checked_survey,
    make_schema,
    refuted,
    retry_once,
    rows_changed_sentence,
    scan_until_right,
)
from mlm_ops.moments.storage import claim_kept_tables, load_moments, transaction, write_moments
from mlm_ops.moments.survey import Survey, check_values, take_survey
from mlm_ops.warehouse.source import Source

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
        Why all of them were read; None where only new and changed ones were, and at the first build.
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
        The database, and the table of the total, as `write_moments` writes it; its parts lie beside it.
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
        """Bring the moments up to date with the rows, in one transaction.

        Parameters
        ----------
        wanted
            Partitions to read again, as text; one that has no rows any more is taken out. None finds out by itself
            which are new, changed or gone, which costs a pass over the rows' values, but no products of them.

        Raises
        ------
        DataError
            Rows without a partition, names that are no values of the column; ar1(), whose sums do not merge; and what
            `collect` refuses.
        StoreError
            A table or view has the name of one that the moments are kept in, and is not ours.
        """
        if times := sorted({model.residual.time for model in self.models if model.residual.time}):
            raise DataError(
                f"Moments by partition cannot serve ar1({times[0]}), whose sums do not merge: rows at a seam belong to "
                "both sides. Leave out ar1(), or the partition."
            )
        self.source.require([self.column])
        needs = find_needs(self.source, self.models, self.levels, self.keys)
        return retry_once(lambda: self._refresh(needs, wanted))

    def _refresh(self, needs: Needs, wanted: Sequence[str] | None) -> Refreshed:
        claim_kept_tables(self.connection, self.table)
        # before the transaction, which asking for a table that is not there would end
        known = load_moments(self.connection, self.table) if self._parts.exist() else None
        origin = self._parts.read_origin()
        named = None if wanted is None else self._parts.names_of(self.source, wanted)
        with transaction(self.connection):
            if known is None:
                return self._build(needs, None)
            if origin != self._parts.origin_of(self.source):
                return self._build(needs, "the data, the row filter or the partition column are others")
            if not self._serve(known, needs):
                return self._build(needs, "the models ask for other moments")
            if named is None:
                named = self._parts.changed(self._parts.facts_of(self.source, needs))
            return self._update(known, needs, named)

    @property
    def _parts(self) -> Parts:
        return Parts(self.connection, self.table, self.column)

    def _serve(self, known: Moments, needs: Needs) -> bool:
        """Whether the parts that are there are the moments that today's models ask for."""
        kept = known.schema
        if kept.levels.keys() != set(needs.all_categories):
            return False
        seen = Survey(0, 0, {}, dict(kept.centers), {}, dict(kept.levels), _varying(kept))
        asked = make_schema(needs, seen, seen.varying)
        return (asked.keys, set(asked.constants), set(asked.monomials), needs.residuals) == (
            kept.keys,
            set(kept.constants),
            set(kept.monomials),
            tuple(known.residuals),
        )

    def _build(self, needs: Needs, why: str | None) -> Refreshed:
        source, parts = self.source, self._parts
        survey = checked_survey(source, needs)
        facts = parts.facts_of(source, needs)
        self._check_facts(facts, survey)

        def scan(schema: Schema) -> Columns:
            parts.create(source, needs, schema)
            return parts.merged(schema)

        schema, total = scan_until_right(source.description, needs, survey, scan)
        parts.create_residual(source, needs, schema)
        parts.create_facts(parts.origin_of(source))
        parts.keep_facts(facts, needs)
        moments = self._keep(needs, as_moments(schema, survey, total))
        return Refreshed(moments, tuple(row["part"] for row in facts), (), why)

    def _update(self, known: Moments, needs: Needs, names: tuple[str, ...]) -> Refreshed:
        if not names:
            return Refreshed(known, (), (), None)
        parts, schema = self._parts, known.schema
        rows = parts.rows_of(self.source, names)
        facts = parts.facts_of(rows, needs)
        survey = take_survey(rows, needs) if facts else None
        if survey is not None:
            self._check_facts(facts, survey)
            try:
                check_values(needs, survey)
            except DataError as error:
                raise error.before(f"{self.column} {', '.join(names)}") from error
            if new := _new_levels(schema, survey):
                return self._build(needs, new)
        old = _read(schema, parts.merged(schema, names))
        filled = rows if survey is not None and survey.n_complete else None
        parts.exchange(names, filled, needs, schema)
        found = parts.merged(schema, names)
        if survey is not None:
            check_unchanged(rows.description, survey, found)
        done = exchange(known, old, _read(schema, found))
        if moved := refuted(schema.constants, found) | done.moved:
            labels = ", ".join(label(c) for c in schema.constants if c in moved)
            return self._build(needs, f"{labels} no longer has one value in each unit")
        total = _read(schema, parts.merged(schema)) if done.lost_digits else done.moments
        if not total.n_units:
            raise DataError(f"No rows are left after {self.column} {', '.join(names)}. The moments are as they were.")
        if old.n_units and (gone := no_longer(total)):
            return self._build(needs, gone)
        parts.keep_facts(facts, needs)
        n_rows, n_dropped = parts.counts()
        moments = self._keep(needs, replace(total, n_rows=n_rows, n_dropped=n_dropped))
        present = {row["part"] for row in facts}
        scanned, dropped = (tuple(n for n in names if (n in present) == there) for there in (True, False))
        return Refreshed(moments, scanned, dropped, None)

    def _check_facts(self, facts: Facts, survey: Survey) -> None:
        """Compare the rows of the partitions with those of the survey before them or after."""
        if (counted := sum(row["n_rows"] for row in facts)) != survey.n_rows:
            raise RowsChangedError(
                rows_changed_sentence(self.source.description, f"{survey.n_rows} were there, then {counted}")
            )

    def _keep(self, needs: Needs, moments: Moments) -> Moments:
        nested = replace(moments, nested_in=nested_levels(moments, self.levels))
        whole = replace(nested, residuals=self._parts.residuals(needs, nested))
        write_moments(self.connection, whole, self.table)
        return whole


def _read(schema: Schema, columns: Columns) -> Moments:
    """Moments of parts; rows that were dropped are not counted."""
    return as_moments(schema, Survey(0, 0, {}, {}, {}, {}, frozenset()), columns)


def _new_levels(schema: Schema, survey: Survey) -> str | None:
    """What new rows have that the parts have no sums of."""
    for column, levels in survey.levels.items():
        new = [level for level in levels if level not in schema.levels[column]]
        if new:
            return f"{column} has the new level{'s' if len(new) > 1 else ''} {', '.join(new)}"
    return None


def _varying(schema: Schema) -> frozenset[Variable]:
    """Atoms that the parts take to vary within units."""
    constant = set(schema.constants)
    atoms = {a for monomial in schema.monomials for a in monomial} | {Factor(column) for column in schema.levels}
    return frozenset(atoms - constant)
