"""Sums of residual structures by partition: a table a structure, a row a partition, unit and stratum.

They are plain sums around fixed centers, so that parts add up; but not over ordered times, where rows at a seam belong
to the parts on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlm_ops.language.model import Residual
from mlm_ops.moments.collect import residual_arguments, residual_sums
from mlm_ops.moments.kept_tables import sibling
from mlm_ops.moments.moments import Moments, Schema
from mlm_ops.moments.render import category, render
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.source import Source, quoted_table
from mlm_ops.moments.survey import Needs
from mlm_ops.sql_text import literal


def by_part(sql: str, keys: int) -> str:
    """A SELECT with the partition as its first unit, whose columns are then named as without it."""
    renamed = ", ".join(["u_0 as part", *(f"u_{k + 1} as u_{k}" for k in range(keys))])
    left_out = ", ".join(f"u_{k}" for k in range(keys + 1))
    return f"select {renamed}, * exclude ({left_out}) from ({sql})"


@dataclass(frozen=True)
class ResidualParts:
    """The tables ``<table>_residual_parts_<i>``.

    Attributes
    ----------
    run, replace
        Run SQL and return DuckDB's result; make one of the tables, by the end of its name, anew.
    table, column
        The table of the total, and the column whose values are the partitions.
    structures
        The residual structures that the models ask for.
    """

    run: Callable[[str], Any]
    replace: Callable[[str, str], None]
    table: str
    column: str
    structures: tuple[Residual, ...]

    def create(self, source: Source, needs: Needs, schema: Schema) -> None:
        """Collect every part from the rows, by one GROUP BY a structure."""
        for i, structure in enumerate(self.structures):
            self.replace(f"residual_parts_{i}", f"as {self._sums(source, needs, schema, structure)}")

    def exchange(self, names: Sequence[str], rows: Source | None, needs: Needs, schema: Schema) -> None:
        """Take partitions out, and put in those that these rows make up."""
        for name, structure in self._tables():
            self.run(f"delete from {name} where part in ({', '.join(map(literal, names))})")
            if rows is not None:
                self.run(f"insert into {name} {self._sums(rows, needs, schema, structure)}")

    def totals(self, moments: Moments) -> dict[Residual, ResidualMoments]:
        """All parts together, by structure; their units are those of the moments."""
        size = {"units": len(moments.schema.keys), "size": len(moments.schema.monomials) + 1}
        return {
            structure: residual_sums(
                moments, structure, self.run(render("merge_residual_moments", relation=name, **size)).fetchnumpy()
            )
            for name, structure in self._tables()
        }

    def _tables(self) -> list[tuple[str, Residual]]:
        return [
            (quoted_table(sibling(self.table, f"residual_parts_{i}")), structure)
            for i, structure in enumerate(self.structures)
        ]

    def _sums(self, source: Source, needs: Needs, schema: Schema, structure: Residual) -> str:
        arguments = residual_arguments(source, needs, schema, structure)
        units = [category(self.column), *arguments["units"]]
        return by_part(render("residual_moments", **(arguments | {"units": units})), len(schema.keys))
