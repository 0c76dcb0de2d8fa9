"""Gather what another program must be told of a model: its columns, levels and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.language.columns import whole_variable
from mlm_ops.language.model import GroupingFactor, Model, Variable, columns_of
from mlm_ops.language.symbols import EquationStructure, coefficient_symbol
from mlm_ops.results.export.levels import LevelEquations, level_equations_of

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


@dataclass(frozen=True)
class ExportFacts:
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
    structure: EquationStructure
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
        precision_columns = columns_of(residual.precision) if residual.precision is not None else ()
        residual_columns = (residual.strata, residual.time, *precision_columns)
        named = (c for v in self.model.variables for c in columns_of(v))
        keys = (c for group in self.model.all_groups for c in self.units(group))
        return tuple(dict.fromkeys([*named, *(c for c in residual_columns if c), *keys]))


def estimates_by_symbol(record: FitRecord) -> dict[str, float]:
    """Estimates by the symbols of the tables; variances of several strata with the stratum in brackets."""
    structure = record.equation_structure
    index, strata = structure.indices, structure.strata
    fixed = zip((coefficient_symbol(index[c]) for c in structure.fixed), record.estimate.gamma, strict=True)
    variances = {
        f"{c.symbol}[{c.term}]" if c.symbol == "sigma2" and strata else c.symbol: c.estimate for c in record.components
    }
    return {symbol: float(value) for symbol, value in (*fixed, *variances.items())}


def facts_of(record: FitRecord) -> ExportFacts:
    """What other programs need to be told of the model."""
    schema, model, nested = record.moments.schema, record.model, record.moments.nested_in
    named = {group: group for group in model.all_groups} | meanings(model, record.moments)
    meaning = {g: nested.get(units[0], units) if len(units) == 1 else units for g, units in named.items()}
    split = record.estimate.design.split
    facts = ExportFacts(
        model=model,
        structure=record.equation_structure,
        groups=tuple(level.group for level in record.estimate.design.levels),
        meaning=meaning,
        reml=record.estimator == "reml",
        levels=schema.levels,
        # of a grouping factor too, whose unit 01 is not unit 1
        text_columns=schema.text_columns.union(
            key for key, labels in zip(schema.keys, record.moments.labels, strict=True) if labels.dtype.kind in "OUT"
        ),
        complete=(),
        part=(split.part, split.group) if split is not None else None,
        file=str(record.file) if record.file is not None else None,
    )
    siblings = (name for name, count in record.n_dropped.items() if count and "(" not in name)
    return replace(facts, complete=tuple(dict.fromkeys((*facts.columns, *siblings))))


def level_equations(record: FitRecord) -> LevelEquations:
    """The model as level equations that compile to it.

    Raises
    ------
    MlmError
        Its grouping factors cross.
    """
    design, levels = record.estimate.design, dict[Variable, int]()
    if not design.nested:
        raise MlmError(
            "Level equations are for nested levels, and the units of "
            f"{' and '.join(record.equation_structure.groups)} cross. The formula says it: {record.model.text}"
        )
    for variable, level in design.variable_levels.items():
        whole = whole_variable(variable)
        levels[whole] = min(level, levels.get(whole, level))
    groups = tuple(level.group for level in design.levels)
    return level_equations_of(record.model, groups, lambda variable: levels.get(whole_variable(variable), 1))
