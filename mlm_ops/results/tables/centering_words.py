"""Explain each number of a centered version of a model: what it means, where it is equal, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mlm_ops.estimation.design.record import Design
from mlm_ops.inference.equivalence import Equivalence, ModelNumber
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Poly, Variable, label
from mlm_ops.language.recentering import (
    GRAND,
    GROUP,
    RAW,
    RAW_AND_MEAN,
    VERSIONS,
    Target,
    is_mean,
    uncentered,
    without_centering,
)

#: Why the coefficient of a product or power is equal where lower ones are not.
HIGHEST = ", as it is of the highest order"


@dataclass(frozen=True)
class Explainer:
    """Explain the numbers of one version.

    Attributes
    ----------
    version
        Its name.
    targets
        The predictors that are recentered.
    equivalence
        What is equal in which versions.
    design
        The version's design.
    """

    version: str
    targets: Sequence[Target]
    equivalence: Equivalence
    design: Design

    def fixed(self, place: int) -> str:
        """About a coefficient."""
        column = self.design.fixed.columns[place]
        moved = "it is the outcome where the predictors are zero" if not column.variables else self._why_moved(column)
        return self._sentences(self._what(column), ("fixed", place), moved)

    def variance(self, block: int, first: int, second: int) -> str:
        """About an element of a T."""
        columns = [b.columns for level in self.design.levels for b in level.blocks][block]
        slopes = [column.name for column in columns if column.variables]
        moved = f"it is that of the lines where {_listed(slopes)} {'is' if len(slopes) == 1 else 'are'} zero"
        return self._sentences("", ("tau", block, first, second), moved)

    def log_likelihood(self) -> str:
        """About the whole model."""
        same, same_fixed = self.equivalence.same_model[self.version], self.equivalence.same_fixed_part[self.version]
        if same:
            return (
                f"The same model as {_versions(same)}, with another zero: the columns span the same space, so that fit "
                "and predictions are equal."
            )
        if same_fixed:
            slopes = dict.fromkeys(
                label(v)
                for level in self.design.levels
                for block in level.blocks
                for column in block.columns
                for v in column.variables
                if uncentered(v) in self._by_variable
            )
            return (
                f"Another model than {_versions(same_fixed)}, whose fixed part spans the same space: here the slopes "
                f"of {_listed(list(slopes))} vary, and no shift of a zero by one number makes that the other."
            )
        names = _listed([label(target.variable) for target in self.targets])
        if self.version == GROUP:
            groups = _listed(list(dict.fromkeys(target.group[-1] for target in self.targets)))
            return (
                f"A model of its own: the means of {names} are left out, so that what they explain between the units "
                f"of {groups} stays in the intercepts."
            )
        if self.version in {RAW, GRAND}:
            return f"A model of its own: {names} has one slope for differences within and between groups."
        return "A model of its own: no other version's columns span the same space."

    @property
    def _by_variable(self) -> dict[Variable, Target]:
        return {target.variable: target for target in self.targets}

    def _what(self, column: DesignColumn) -> str:
        """What a coefficient is, whatever it is equal to."""
        if len(column.variables) > 1:
            return f"How the slopes of {_listed([_raw(v) for v in column.variables])} change with each other."
        if not column.variables:
            return ""
        variable = column.variables[0]
        target, name = self._by_variable.get(uncentered(variable)), _raw(variable)
        if target is None:
            return f"{name} is not recentered."
        group = target.group[-1]
        if is_mean(variable):
            is_line = any(column.variables == (target.variable,) for column in self.design.fixed.columns)
            if self.version == RAW_AND_MEAN and is_line and len(target.means) == 1:
                return f"The slope between the units of {group} minus that within them: the contextual effect."
            return f"The slope along {label(variable)}."
        if isinstance(variable, Poly) and variable.degree > 1:
            return f"The coefficient of power {variable.power} of {label(uncentered(variable))}, {self._sort(target)}."
        return f"The slope of {name} {self._sort(target)}."

    def _sort(self, target: Target) -> str:
        """Which differences a slope is along."""
        group = target.group[-1]
        if not target.means:
            return f"within the units of {group}, which do not differ in its mean"
        if self.version in {RAW, GRAND}:
            return f"within the units of {group} and between them, as if these were one"
        return f"within the units of {group}"

    def _why_moved(self, column: DesignColumn) -> str:
        variables = set(map(without_centering, column.variables))
        higher = [
            other.name
            for other in self.design.fixed.columns
            if other != column and variables < set(map(without_centering, other.variables))
        ]
        if len(column.variables) == 1 and isinstance(column.variables[0], Poly):
            return "it is the slope, or a lower power, where the powers are zero"
        if higher:
            return f"it is the slope where the others in {_listed(higher)} are zero"
        return "the term beside it is another part of the same variable"

    def _sentences(self, what: str, key: ModelNumber, moved_because: str) -> str:
        equal, same = self.equivalence.equal[self.version, key], self.equivalence.same_model[self.version]
        parts = [what] if what else []
        if in_same := equal & same:
            highest = key[0] == "fixed" and _has_lower(self.design.fixed.columns[int(key[1])])
            parts.append(f"Equal in {_versions(in_same)}, the same model{HIGHEST * highest}.")
        if in_others := equal - same:
            group = self.targets[0].group[-1]
            parts.append(
                f"Equal in {_versions(in_others)}: what sums to zero within the units of {group} is not correlated "
                "with what is the same in all their rows."
            )
        if moved := same - equal:
            parts.append(f"Another number in {_versions(moved)}, the same model: {moved_because}.")
        return " ".join(parts)


def _has_lower(column: DesignColumn) -> bool:
    """Whether a column is a product or a power, of which a lower one may be in the model too."""
    return len(column.variables) > 1 or any(isinstance(v, Poly) and v.degree > 1 for v in column.variables)


def _raw(variable: Variable) -> str:
    return label(variable if is_mean(variable) else without_centering(variable))


def _versions(names: Collection[str]) -> str:
    return _listed([name for name in VERSIONS if name in names])


def _listed(texts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else "nothing"
