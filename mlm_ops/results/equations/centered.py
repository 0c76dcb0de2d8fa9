"""Write centered variables as the textbook does: ``x_ij - x̄_.j``, ``x̄_.j``, ``x_ij - x̄_..``."""

from __future__ import annotations

from mlm_ops.language.model import (
    Between,
    Centering,
    GrandMean,
    GroupingFactor,
    GroupMean,
    Variable,
    Within,
    averages_groups,
    group_name,
    label,
    walk,
)
from mlm_ops.language.symbols import EquationStructure, LevelPart
from mlm_ops.results.equations.statements import Average, Deviation, Product, Value, VariableName

VariableAtom = VariableName | Average | Deviation


def written_variables(structure: EquationStructure, part: LevelPart) -> Product:
    """The variables of a product, with their units.

    Where a within() outcome has its group means taken out, so has the one variable that varies within the groups.
    """
    varying = [v for v in part if structure.variable_levels[v] == 1]
    return tuple(
        written_variable(
            structure,
            Within(v, structure.split_group)
            if structure.split == "within" and varying == [v] and not _averaged(v)
            else v,
            structure.units_of_variable(v),
        )
        for v in part
    )


def written_variable(structure: EquationStructure, variable: Variable, units: str) -> VariableAtom:
    """A variable with its units; centered, with the means that are subtracted.

    Parameters
    ----------
    units
        Of the variable itself.
    """
    if not isinstance(variable, Centering):
        return VariableName(label(variable), units)
    match variable.mean:
        case GroupMean() | GrandMean() as mean:
            center: Average | Value | None = _average(structure, variable.of, mean, units)
        case value:
            center = Value(value, exact=True)
    if center is None:
        return VariableName(label(variable), units)
    if isinstance(center, Average) and not variable.keeps_value:
        return center
    return Deviation(written_variable(structure, variable.of, units), center)


def _average(structure: EquationStructure, of: Variable, mean: GroupMean | GrandMean, units: str) -> Average | None:
    """The mean that a centering takes; None where it is one over units that have no index."""
    group = _resolved(structure, mean.group or structure.default_group) if isinstance(mean, GroupMean) else None
    over, inner = _resolved(structure, mean.over), written_variable(structure, _of_rows(structure, of, group), "")
    outer_units = structure.mean_units(group)
    if over is not None:
        over_units = structure.mean_units(over)
        if not over_units or not outer_units:
            return None
        # the units' own means, and a dot for each of their indices that the mean of these is taken over
        kept = over_units.replace(".", "")
        outer_units = "".join(unit if unit in outer_units else "." for unit in kept)
        if units != kept:
            inner = Average(inner, over_units)
    if outer_units:
        return Average(inner, outer_units)
    assert group is not None, "only a grouping factor can be without an index"
    return Average(inner, group_name(group), named=True)


def _of_rows(structure: EquationStructure, variable: Variable, group: GroupingFactor | None) -> Variable:
    """What a mean over rows of group means is the mean of: the variable itself where the groups lie in the larger ones.

    Parameters
    ----------
    group
        The larger groups; None for all rows.
    """
    while isinstance(variable, Between) and variable.over is None:
        lower = _resolved(structure, variable.group or structure.default_group)
        factors = structure.factors
        lies_in = group is None or (
            not structure.crossed
            and lower in factors
            and group in factors
            and factors.index(lower) < factors.index(group)
        )
        if not lies_in:
            break
        variable = variable.of
    return variable


def _resolved(structure: EquationStructure, group: GroupingFactor | None) -> GroupingFactor | None:
    return structure.meaning.get(group, group) if group is not None else None


def _averaged(variable: Variable) -> bool:
    return any(averages_groups(node) for node in walk(variable))
