"""Gather the facts of a model that a script for another program needs: its columns, levels and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlm_ops.estimation.design.groups import meanings
from mlm_ops.language.model import GroupingFactor, Model, columns_of
from mlm_ops.language.symbols import EquationStructure
from mlm_ops.warehouse.files.kinds import kind_of_name
from mlm_ops.warehouse.files.reading import Reading

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


@dataclass(frozen=True)
class ExportFacts:
    """Hold a model, and what the data say of its columns.

    Attributes
    ----------
    groups
        The random part's grouping factors, lowest first.
    unit_columns
        The columns that together name a grouping factor's units, where these are others than the factor's own.
    reml
        Whether it was fitted by REML.
    levels
        Levels of every categorical column, in order.
    text_columns
        Columns that are categorical wherever they stand.
    complete
        Columns without a value in whose rows no row was used.
    part
        ``"within"`` or ``"between"``, and the groups, where a part of the outcome is modelled.
    reading
        How the data file was read, where the rows are of one.
    """

    model: Model
    structure: EquationStructure
    groups: tuple[GroupingFactor, ...]
    unit_columns: Mapping[GroupingFactor, GroupingFactor]
    reml: bool
    levels: Mapping[str, tuple[str, ...]]
    text_columns: frozenset[str]
    complete: tuple[str, ...]
    part: tuple[str, GroupingFactor] | None = None
    reading: Reading | None = None

    def units(self, group: GroupingFactor | None) -> GroupingFactor:
        """The columns whose values together name the units of a grouping factor; None is the model's own."""
        factor = group or self.model.default_group
        assert factor is not None, "the model was checked to name its groups"
        return self.unit_columns.get(factor, factor)

    @property
    def columns(self) -> tuple[str, ...]:
        """The model's columns, the outcome's first and the grouping factors' last."""
        residual = self.model.residual
        precision_columns = columns_of(residual.precision) if residual.precision is not None else ()
        residual_columns = (residual.strata, residual.time, *precision_columns)
        model_columns = (c for v in self.model.variables for c in columns_of(v))
        keys = (c for group in self.model.all_groups for c in self.units(group))
        return tuple(dict.fromkeys([*model_columns, *(c for c in residual_columns if c), *keys]))


def facts_of(record: FitRecord) -> ExportFacts:
    """Gather the facts of a fitted model."""
    schema, model, nested = record.moments.schema, record.model, record.moments.nested_in
    units = {group: group for group in model.all_groups} | meanings(model, record.moments)
    unit_columns = {g: nested.get(own[0], own) if len(own) == 1 else own for g, own in units.items()}
    split = record.estimate.design.split
    facts = ExportFacts(
        model=model,
        structure=record.equation_structure,
        groups=tuple(level.group for level in record.estimate.design.levels),
        unit_columns=unit_columns,
        reml=record.estimator == "reml",
        levels=schema.levels,
        # of a grouping factor too, whose unit 01 is not unit 1
        text_columns=schema.text_columns.union(
            key for key, labels in zip(schema.keys, record.moments.labels, strict=True) if labels.dtype.kind in "OUT"
        ),
        complete=(),
        part=(split.part, split.group) if split is not None else None,
        reading=record.reading or (Reading(record.file, kind_of_name(record.file), None) if record.file else None),
    )
    siblings = (name for name, count in record.n_dropped.items() if count and "(" not in name)
    return replace(facts, complete=tuple(dict.fromkeys((*facts.columns, *siblings))))
