"""Whether moments that were not collected for a model serve it; what they lack is said by the macro's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import Monomial, as_factor, atoms
from mlm_ops.language.model import PLAIN, Column, Factor, Function, Indicator, Model, Variable, label
from mlm_ops.moments.collect import lost_levels, needed_monomials, nested_levels
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place


def serve(moments: Moments, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Moments:
    """The moments as these models take them.

    Constants are taken as the models name them, as numbers or as factors.

    Parameters
    ----------
    levels, keys
        As `collect` takes them.

    Raises
    ------
    DataError
        One sentence with everything that the models need and the moments do not hold.
    """
    moments = _with_constants(moments, models)
    schema = moments.schema
    groups = dict.fromkeys([*(c for m in models for g in m.all_groups for c in g), *levels, *keys])
    faults = []
    if absent := [name for name in groups if name not in schema.keys]:
        faults.append(f"no groups of {_named(absent)} (give it in group)")
    if structures := [m for m in models if m.residual != PLAIN and m.residual not in moments.residuals]:
        faults.append(
            f"no residual structure or weights, which {structures[0].outcome_name!r} is to have (fit the rows)"
        )
    faults += _lacking(moments, models)
    if faults:
        raise DataError(
            f"The moments do not serve the model{'s' * (len(models) > 1)}: they hold {'; '.join(faults)}. Make them "
            "anew with mlm.group_moments()."
        )
    return replace(moments, nested_in=nested_levels(moments, levels))


def _lacking(moments: Moments, models: Sequence[Model]) -> list[str]:
    """Clauses that say what the models' variables and products need."""
    schema = moments.schema
    outcomes = _outcomes(models)
    constants = frozenset(schema.constants) - outcomes
    unknown: dict[str, None] = {}
    computed: dict[str, None] = {}
    factors: dict[str, None] = {}
    for variable in dict.fromkeys(v for m in models for v in m.variables):
        for atom in atoms(variable):
            factor = as_factor(atom, schema.text_columns)
            if isinstance(atom, Function) and atom not in schema.centers and atom not in constants:
                computed[label(atom)] = None
            elif factor is not None and factor.column not in schema.levels:
                factors[factor.column] = None
            elif factor is None and atom not in schema.centers and atom not in constants:
                unknown[_name(atom)] = None
    clauses = []
    if wrong := [_name(a) for a in outcomes if _name(a) in unknown]:
        clauses.append(f"no sums of the outcome {_named(wrong)} (give it in columns)")
    if names := [name for name in unknown if name not in wrong]:
        clauses.append(
            f"nothing of {_named(names)} (give what varies within groups in columns, what does not in constants, and a "
            "text that varies in group)"
        )
    if factors:
        clauses.append(f"no levels of {_named(factors)} (give it in constants, or in group if it varies within groups)")
    if computed:
        clauses.append(f"nothing of {_named(computed)} (compute it as a column of the rows, and name that)")
    return clauses or _products(moments, models, constants)


def _products(moments: Moments, models: Sequence[Model], constants: frozenset[Variable]) -> list[str]:
    schema = moments.schema
    needed: dict[Monomial, None] = {}
    for model in models:
        needed |= dict.fromkeys(needed_monomials(model, schema.levels, schema.text_columns, constants))
    lacking = [monomial for monomial in needed if monomial not in schema.monomials]
    if not lacking:
        return []
    if columns := [_name(m[0]) for m in lacking if len(m) == 1]:
        return [f"no sums of {_named(columns)} (give it in columns)"]
    text = ", ".join(str([_name(a) for a in m]) for m in lacking)
    return [f"no products of columns that it multiplies (give products=[{text}])"]


def _with_constants(moments: Moments, models: Sequence[Model]) -> Moments:
    """Only the constants that the models name, numbers as factors where ``C()`` says so."""
    schema = moments.schema
    variables = dict.fromkeys(a for m in models for v in m.variables for a in atoms(v))
    held = dict(zip(schema.constants, moments.constants, strict=True))
    kept: dict[Variable, NDArray[Any]] = {}
    for atom in variables:
        factor = as_factor(atom, schema.text_columns)
        own: Variable = atom if factor is None else Factor(factor.column)
        if own in held:
            kept[own] = held[own]
    used = {c.column for c in kept if isinstance(c, Factor)}
    used |= {a.column for m in schema.monomials for a in m if isinstance(a, Indicator)}
    schema = replace(
        schema,
        constants=tuple(kept),
        levels={name: known for name, known in schema.levels.items() if name in used},
        text_columns=frozenset(name for name in schema.text_columns if name in used),
    )
    return replace(moments, schema=schema, constants=tuple(kept.values()))


def _outcomes(models: Sequence[Model]) -> frozenset[Variable]:
    return frozenset(a for m in models for a in atoms(m.outcome))


def _name(atom: Variable) -> str:
    return atom.name if isinstance(atom, Column) else label(atom)


def _named(names: Sequence[str] | dict[str, None]) -> str:
    return ", ".join(map(repr, names))


#: Share of a second moment that is rounding.
_ROUNDING = 1e-12


def no_longer(moments: Moments) -> str | None:
    """Which level of a factor, or which number's variation, has gone with the rows; None if all are there."""
    if lost := lost_levels(moments):
        return lost
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
