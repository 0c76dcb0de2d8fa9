"""Check that moments cover the models: the columns they need, labels that repeat across levels, lost levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import as_factor
from mlm_ops.language.model import PLAIN, Column, Factor, Function, GroupingFactor, Indicator, Model, Variable, label
from mlm_ops.moments.needs import Needs, check_models, needs_of
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.sums import packed_place

#: Share of a second moment that is rounding.
_ROUNDING = 1e-12


def moments_for(
    moments: Moments, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()
) -> Moments:
    """Return the moments for these models, if they hold all that the models need.

    A constant is a number or a factor, as the models have it.

    Parameters
    ----------
    levels, keys
        As `collect` takes them.

    Raises
    ------
    DataError
        One sentence with everything that the models need and the moments lack.
    """
    needs = needs_of(models, levels, keys, moments.schema.text_columns)
    moments = _with_constants(moments, needs)
    check_models(models, lambda some: _check(moments, needs.of(some)))
    return replace(moments, nested_in=nested_levels(moments, levels))


def _check(moments: Moments, needs: Needs) -> None:
    faults = []
    if absent := [name for name in needs.keys if name not in moments.schema.keys]:
        faults.append(f"no groups of {_quoted_list(absent)} (give it in group)")
    if structures := [m for m in needs.models if m.residual != PLAIN and m.residual not in moments.residuals]:
        faults.append(
            f"no residual structure or weights, which {structures[0].outcome_name!r} is to have (fit the rows)"
        )
    faults += _lacking(moments, needs)
    if faults:
        raise DataError(
            f"The moments do not serve the model{'s' * (len(needs.models) > 1)}: they hold {'; '.join(faults)}. Make "
            "them anew with mlm.group_moments()."
        )


def _lacking(moments: Moments, needs: Needs) -> list[str]:
    """Return a clause for each kind of variable or product that the models need and the moments lack."""
    schema = moments.schema
    constants = frozenset(schema.constants) - needs.outcomes
    absent = [a for a in needs.atoms if a not in schema.centers and a not in constants]
    functions = [label(a) for a in absent if isinstance(a, Function)]
    numbers = [_name(a) for a in absent if a in needs.numbers and not isinstance(a, Function)]
    factors = [c for c in needs.categories if c not in schema.levels]
    clauses = []
    if wrong := [name for name in map(_name, needs.outcomes) if name in numbers]:
        clauses.append(f"no sums of the outcome {_quoted_list(wrong)} (give it in columns)")
    if names := [name for name in numbers if name not in wrong]:
        clauses.append(
            f"nothing of {_quoted_list(names)} (give what varies within groups in columns, what does not in constants, "
            "and a text that varies in group)"
        )
    if factors:
        clauses.append(
            f"no levels of {_quoted_list(factors)} (give it in constants, or in group if it varies within groups)"
        )
    if functions:
        clauses.append(f"nothing of {_quoted_list(functions)} (compute it as a column of the rows, and name that)")
    return clauses or _products(schema, needs, constants)


def _products(schema: Schema, needs: Needs, constants: frozenset[Variable]) -> list[str]:
    lacking = [m for m in needs.monomials(schema.levels, constants) if m not in schema.monomials]
    if not lacking:
        return []
    if columns := [_name(m[0]) for m in lacking if len(m) == 1]:
        return [f"no sums of {_quoted_list(columns)} (give it in columns)"]
    text = ", ".join(str([_name(a) for a in m]) for m in lacking)
    return [f"no products of columns that it multiplies (give products=[{text}])"]


def _with_constants(moments: Moments, needs: Needs) -> Moments:
    """Return the moments with those constants alone that the models name, as factors inside ``C()``."""
    schema = moments.schema
    values = dict(zip(schema.constants, moments.constants, strict=True))
    constants: dict[Variable, NDArray[Any]] = {}
    for atom in needs.atoms:
        factor = as_factor(atom, schema.text_columns)
        own: Variable = atom if factor is None else Factor(factor.column)
        if own in values:
            constants[own] = values[own]
    categories = {c.column for c in constants if isinstance(c, Factor)}
    categories |= {a.column for m in schema.monomials for a in m if isinstance(a, Indicator)}
    schema = replace(
        schema,
        constants=tuple(constants),
        levels={name: texts for name, texts in schema.levels.items() if name in categories},
        text_columns=frozenset(name for name in schema.text_columns if name in categories),
    )
    return replace(moments, schema=schema, constants=tuple(constants.values()))


def _name(atom: Variable) -> str:
    return atom.name if isinstance(atom, Column) else label(atom)


def _quoted_list(names: Sequence[str] | dict[str, None]) -> str:
    return ", ".join(map(repr, names))


def nested_levels(moments: Moments, levels: Sequence[str]) -> dict[str, GroupingFactor]:
    """Return the levels whose labels repeat across higher ones, each with the columns that identify its units."""
    nests: dict[str, GroupingFactor] = {}
    if moments.nested_in:  # found with other levels
        moments = replace(moments, nested_in={})
    for i, level in enumerate(levels[:-1]):
        group = (*reversed(levels[i + 1 :]), level)
        if len(moments.units_of(group)[1]) > len(moments.units_of((level,))[1]):
            nests[level] = group
    return nests


def lost_variation(moments: Moments) -> str | None:
    """Return a clause about a level without rows, or a number without variation; None if there is none.

    Either happens where rows were taken out.
    """
    if loss := lost_levels(moments):
        return loss
    for i, factors in enumerate(moments.schema.monomials):
        # a level's variation goes with the level or with all others, a product's with its factors
        if len(factors) == 1 and not isinstance(factors[0], Indicator) and not _varies(moments, i):
            return f"{label(factors[0])} no longer varies"
    for constant, values in zip(moments.schema.constants, moments.constants, strict=True):
        if not isinstance(constant, Factor) and (values == values[0]).all():
            return f"{label(constant)} no longer varies"
    return None


def _varies(moments: Moments, i: int) -> bool:
    n, mean, scatter = moments.n, moments.mean[i], moments.scatter[packed_place(i, i)].sum()
    grand = (n * mean).sum() / n.sum()
    return bool(scatter + (n * (mean - grand) ** 2).sum() > _ROUNDING * (scatter + (n * mean**2).sum()))


def lost_levels(moments: Moments) -> str | None:
    """Return a clause about the levels of a factor that no row has; None if each has rows."""
    for column, levels in moments.schema.levels.items():
        present = _present(moments, column, levels)
        if absent := [level for level in levels if level not in present]:
            return f"{column} has lost the level{'s' * (len(absent) > 1)} {', '.join(absent)}"
    return None


def _present(moments: Moments, column: str, levels: tuple[str, ...]) -> set[str]:
    """Return the levels that some row has; all of them, where the moments cannot tell, as of strata."""
    if Factor(column) in moments.schema.constants:
        values: NDArray[np.object_] = moments.constants[moments.schema.constants.index(Factor(column))]
        return set(map(str, values))
    counts = {
        factors[0].level: float(moments.n @ moments.mean[i])
        for i, factors in enumerate(moments.schema.monomials)
        if len(factors) == 1 and isinstance(factors[0], Indicator) and _is_plain(factors[0], column)
    }
    others = [level for level in levels if level not in counts]
    if len(others) > 1:
        return set(levels)
    counts |= {level: float(moments.n.sum()) - sum(counts.values()) for level in others}
    return {level for level, count in counts.items() if count > 0.5}


def _is_plain(indicator: Indicator, column: str) -> bool:
    return indicator.column == column and indicator.against is None
