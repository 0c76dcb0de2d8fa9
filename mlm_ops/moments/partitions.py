"""Keep moments up to date by partition: a new or changed partition costs a scan of its own rows only.

The moments of the partitions have one more key. Their centers, products and levels are fixed at the first build, so
that each can be added to the total or subtracted from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.language.model import Factor, Model, Variable, label
from mlm_ops.moments.coverage import lost_variation, nested_levels
from mlm_ops.moments.needs import Needs, find_needs
from mlm_ops.moments.partition_tables import Facts, Parts
from mlm_ops.moments.record import Moments, Schema, exchange
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    check_unchanged,
    checked_survey,
    make_schema,
    retry_once,
    scan_until_right,
    varying_constants,
)
from mlm_ops.moments.storage import (
    AbsentMomentsError,
    StoredMoments,
    describe_update,
    load_moments,
    read_description,
    transaction,
    write_moments,
)
from mlm_ops.moments.stored_tables import claim_tables
from mlm_ops.moments.survey import Survey, check_values, pooled_survey, rows_changed_sentence
from mlm_ops.moments.totals import Totals
from mlm_ops.warehouse.source import Source

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Refresh:
    """The result of a refresh.

    Attributes
    ----------
    read_moments
        Reads the moments of all partitions together, which `moments` does when it is first asked for.
    scanned, dropped
        Partitions whose rows were read, and those that were taken out.
    rebuild_reason
        Why all partitions were read again; None if they were not, and at the first build.
    """

    read_moments: Callable[[], Moments]
    scanned: tuple[str, ...]
    dropped: tuple[str, ...]
    rebuild_reason: str | None

    @cached_property
    def moments(self) -> Moments:
        """Moments of all partitions together."""
        return self.read_moments()


@dataclass(frozen=True)
class Partitions:
    """Moments by partition: the rows, the models, and the tables that hold the moments.

    Attributes
    ----------
    connection, table
        The database, and the table of the total, as `write_moments` writes it; the partitions' tables stand beside it.
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

    def refresh(self, names: Sequence[str] | None = None) -> Refresh:
        """Bring the moments up to date with the rows, in one transaction.

        Parameters
        ----------
        names
            Partitions to read again, as text; one without rows is taken out. With None the new, changed and missing
            ones are found by fingerprints, which costs a pass over the rows' values, but no products of them.

        Raises
        ------
        DataError
            Rows without a partition, names that are no values of the column, ar1(), and what `collect` refuses.
        StoreError
            A table or view exists under the name of one of the moments' tables, and mlm-ops did not make it.
        """
        if times := sorted({model.residual.time for model in self.models if model.residual.time}):
            raise DataError(
                f"Moments by partition cannot serve ar1({times[0]}), whose sums do not merge: the first rows of a "
                "partition follow the last ones of another. Leave out ar1(), or the partition."
            )
        self.source.require([self.column])
        needs = find_needs(self.source, self.models, self.levels, self.keys)
        return retry_once(lambda: self._refresh(needs, names))

    def changes(self) -> dict[str, tuple[str | None, str | None]]:
        """Find the partitions whose rows are not those that their moments were read from; nothing is written.

        Returns
        -------
        dict
            By partition the fingerprints of its rows then and now, as `Parts.changes` has them. All partitions have
            changed where other data are read, or the models ask for other moments.

        Raises
        ------
        DataError
            As `refresh`.
        """
        self.source.require([self.column])
        needs = find_needs(self.source, self.models, self.levels, self.keys)
        facts = self._parts.fingerprints(self.source, needs)
        changes = self._parts.changes(facts)
        before = read_description(self.connection, self.table) if self._parts.exist() else None
        is_kept = (
            before is not None
            and self._parts.read_origin() == self._parts.origin_of(self.source)
            and self._match(before, needs)
        )
        return changes if is_kept else {row["part"]: (None, row["fingerprint"]) for row in facts} | changes

    def _refresh(self, needs: Needs, names: Sequence[str] | None) -> Refresh:
        claim_tables(self.connection, self.table)
        # before the transaction, which a query of a table that does not exist would end
        before, why = self._stored()
        origin = self._parts.read_origin()
        part_names = None if names is None else self._parts.names_of(self.source, names)
        with transaction(self.connection):
            if before is None:
                return self._build(needs, why)
            if origin != self._parts.origin_of(self.source):
                return self._build(needs, "the data, the row filter or the partition column are others")
            if not self._match(before, needs):
                return self._build(needs, "the models ask for other moments")
            if part_names is None:
                part_names = tuple(self._parts.changes(self._parts.fingerprints(self.source, needs)))
            if not part_names:
                return Refresh(self._load, (), (), None)
            return self._update(Totals(self.connection, before), needs, part_names)

    def _stored(self) -> tuple[StoredMoments | None, str | None]:
        """Return what describes the stored moments; None without any, and where they cannot be trusted, and why."""
        if not self._parts.exist():
            return None, None
        try:
            stored = read_description(self.connection, self.table)
        except AbsentMomentsError:
            return None, "the stored moments have lost their description"
        if (reason := self._parts.disagreement(stored)) is not None:
            return None, reason
        return stored, None

    def _load(self) -> Moments:
        return load_moments(self.connection, self.table)

    @property
    def _parts(self) -> Parts:
        return Parts(self.connection, self.table, self.column)

    def _match(self, before: StoredMoments, needs: Needs) -> bool:
        """Tell whether the stored partitions have the moments that the models need now, and no others."""
        schema = before.schema
        if schema.levels.keys() != set(needs.all_categories):
            return False
        survey = Survey(0, 0, {}, dict(schema.centers), {}, dict(schema.levels), _varying(schema))
        model_schema = make_schema(needs, survey, survey.varying)
        return (model_schema.keys, set(model_schema.constants), set(model_schema.monomials), needs.residuals) == (
            schema.keys,
            set(schema.constants),
            set(schema.monomials),
            tuple(before.residuals),
        )

    def _build(self, needs: Needs, why: str | None) -> Refresh:
        source, parts = self.source, self._parts
        survey = checked_survey(source, needs)
        facts = parts.facts_of(source, needs)
        self._check_facts(facts, survey)

        def scan(schema: Schema) -> Columns:
            parts.create(source, needs, schema)
            return parts.merge(schema)

        schema, total = scan_until_right(needs, survey, scan)
        check_unchanged(source.description, survey, total)
        parts.create_residual(source, needs, schema)
        parts.create_facts(parts.origin_of(source))
        parts.keep_facts(facts, needs)
        moments = self._keep(needs, as_moments(schema, survey, total))
        return Refresh(lambda: moments, tuple(row["part"] for row in facts), (), why)

    def _update(self, totals: Totals, needs: Needs, names: tuple[str, ...]) -> Refresh:
        parts, schema = self._parts, totals.stored.schema
        rows = parts.rows_of(self.source, names)
        facts = parts.facts_of(rows, needs)
        survey = pooled_survey(rows, needs, facts)
        try:
            check_values(needs, survey)
        except DataError as error:
            raise error.before(f"{self.column} {', '.join(names)}") from error
        if new_levels := _new_levels(schema, survey):
            return self._build(needs, new_levels)
        present = tuple(row["part"] for row in facts)
        old = _part_moments(schema, parts.merge(schema, names))
        parts.exchange(names, rows if survey.n_complete else None, needs, schema, present)
        sums = parts.merge(schema, names)
        check_unchanged(rows.description, survey, sums)
        new = _part_moments(schema, sums)
        # strata and labels that repeat across levels are found of all units
        rewrites = bool(needs.residuals) or len(self.levels) > 1 or totals.are_better_rewritten(old, new)
        if rewrites:
            result = exchange(self._load(), old, new)
            remaining_rows = result.moments
        else:
            result, remaining_rows = totals.exchange(old, new)
        if varying := varying_constants(schema.constants, sums) | result.moved_constants:
            labels = ", ".join(label(c) for c in schema.constants if c in varying)
            return self._build(needs, f"{labels} no longer has one value in each unit")
        all_units = result.moments if rewrites else None
        if result.lost_digits:
            all_units = remaining_rows = _part_moments(schema, parts.merge(schema))
        if old.n_units:
            if not remaining_rows.n_units:
                raise DataError(
                    f"No rows are left after {self.column} {', '.join(names)}. The moments are as they were."
                )
            if loss := lost_variation(remaining_rows):
                return self._build(needs, loss)
        parts.keep_facts(facts, needs)
        read_moments = self._keep_update(needs, totals.stored, all_units)
        scanned, dropped = (tuple(n for n in names if (n in present) == there) for there in (True, False))
        return Refresh(read_moments, scanned, dropped, None)

    def _keep_update(self, needs: Needs, stored: StoredMoments, whole: Moments | None) -> Callable[[], Moments]:
        """Keep the moments if all units were computed, else what describes them; return what reads them."""
        n_rows, n_dropped = self._parts.counts()
        if whole is None:
            describe_update(self.connection, stored, n_rows, n_dropped)
            return self._load
        moments = self._keep(needs, replace(whole, n_rows=n_rows, n_dropped=n_dropped))
        return lambda: moments

    def _check_facts(self, facts: Facts, survey: Survey) -> None:
        """Compare the number of rows of the partitions with the survey's."""
        if (n_rows := sum(row["n_rows"] for row in facts)) != survey.n_rows:
            raise RowsChangedError(
                rows_changed_sentence(self.source.description, f"{survey.n_rows} were there, then {n_rows}")
            )

    def _keep(self, needs: Needs, moments: Moments) -> Moments:
        with_nests = replace(moments, nested_in=nested_levels(moments, self.levels))
        whole = replace(with_nests, residuals=self._parts.residuals(needs, with_nests))
        write_moments(self.connection, whole, self.table)
        return whole


def _part_moments(schema: Schema, columns: Columns) -> Moments:
    """Make the record of some partitions' moments, without counts of rows that miss values."""
    return as_moments(schema, Survey(0, 0, {}, {}, {}, {}, frozenset()), columns)


def _new_levels(schema: Schema, survey: Survey) -> str | None:
    """Return a clause about levels of new rows that the partitions have no sums of; None if there are none."""
    for column, levels in survey.levels.items():
        new = [level for level in levels if level not in schema.levels[column]]
        if new:
            return f"{column} has the new level{'s' if len(new) > 1 else ''} {', '.join(new)}"
    return None


def _varying(schema: Schema) -> frozenset[Variable]:
    """Return the atoms that vary within units, by the schema."""
    constant = set(schema.constants)
    atoms = {a for monomial in schema.monomials for a in monomial} | {Factor(column) for column in schema.levels}
    return frozenset(atoms - constant)
