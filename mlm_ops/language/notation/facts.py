"""What writing a model as the input of another program takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlm_ops.language.equations import Structure
from mlm_ops.language.model import GroupingFactor, Model, columns_of


@dataclass(frozen=True)
class Facts:
    """A model, and what the data said of its columns.

    Attributes
    ----------
    groups
        The random part's grouping factors, lowest first.
    meaning
        The columns that tell a grouping factor's units apart, where they are more than its name says.
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
    file
        The data file, where the rows are of one.
    """

    model: Model
    structure: Structure
    groups: tuple[GroupingFactor, ...]
    meaning: Mapping[GroupingFactor, GroupingFactor]
    reml: bool
    levels: Mapping[str, tuple[str, ...]]
    text_columns: frozenset[str]
    complete: tuple[str, ...]
    part: tuple[str, GroupingFactor] | None = None
    file: str | None = None

    def units(self, group: GroupingFactor | None) -> GroupingFactor:
        """The columns whose values together name the units of a grouping factor; None is the model's own."""
        named = group or self.model.default_group
        assert named is not None, "the model was checked to name its groups"
        return self.meaning.get(named, named)

    @property
    def columns(self) -> tuple[str, ...]:
        """The model's columns, the outcome's first and the grouping factors' last."""
        residual = self.model.residual
        known = columns_of(residual.precision) if residual.precision is not None else ()
        asked = (residual.strata, residual.time, *known)
        named = (c for v in self.model.variables for c in columns_of(v))
        keys = (c for group in self.model.all_groups for c in self.units(group))
        return tuple(dict.fromkeys([*named, *(c for c in asked if c), *keys]))
