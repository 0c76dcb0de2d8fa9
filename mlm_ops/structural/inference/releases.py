"""List the restrictions of a model that can be released one at a time: left out, fixed, equal or constrained.

The paths and covariances that a model leaves out are those of lavaan's ``modindices()``: each latent variable measured
by each variable that is in no regression, each regression among the variables of a level's regressions, and covariances
among what is predicted, among what is not, and among latent variables; here random slopes and the residuals of outcomes
that are no indicators are among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Literal

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Constraint, Operator
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter
from mlm_ops.structural.language.slopes import acts_upon, arrows


@dataclass(frozen=True)
class Release:
    """One restriction, and the parameter that would be free without it.

    Attributes
    ----------
    level, lhs, op, rhs
        Of the parameter; of an equation between labels level 0 and its two sides.
    restriction
        ``left out``, ``fixed to 1``, ``label a``, ``equal in all groups``, ``equal to f =~ y2 (level 1)``, or the
        equation.
    row
        The place in the table of a parameter that is there and fixed, or equal to others.
    constraint
        The equation.
    group
        The place of its group of rows among those of the table; None of an equation.
    """

    level: int
    lhs: str
    op: Operator | Literal["=="]
    rhs: str
    restriction: str
    row: int | None = None
    constraint: Constraint | None = None
    group: int | None = 0


def releases(table: ParameterTable) -> list[Release]:
    """All of a model, whether the data could determine them or not."""
    return [*_fixed(table), *_equal(table), *_constrained(table), *_left_out(table)]


def extend_table(table: ParameterTable, released: Sequence[Release]) -> tuple[ParameterTable, Array]:
    """The table with a free parameter for each of m releases behind its own k.

    Returns
    -------
    table, pooled
        The table without constraints and definitions; (k + m, k) what its parameters are of the model's own: a
        parameter that is released from others moves with them.
    """
    k, rows = table.n_free, list(table.rows)
    pooled = np.concatenate([np.eye(k), np.zeros((len(released), k))])
    for number, release in enumerate(released):
        if release.row is None:
            assert release.op != "=="
            new = SemParameter(release.level, release.lhs, release.op, release.rhs, None, k + number, 0.0, None)
            rows.append(replace(new, group=release.group or 0))
            continue
        row = rows[release.row]
        if row.index is not None:
            pooled[k + number, row.index] = 1.0
        rows[release.row] = replace(row, index=k + number)
    return replace(table, rows=tuple(rows), definitions=(), constraints=(), n_free=k + len(released)), pooled


def _fixed(table: ParameterTable) -> Iterator[Release]:
    # parts within clusters have a mean of zero by what they are: that of their variable stands at level 2
    loadings = [row for row in table.at(WITHIN) if row.op == "=~"]
    of_single = {row.lhs for row in loadings if row.rhs in table.within.observed and row.rhs not in table.both}
    parts = {*table.both, *(name for name in table.within.latent if name not in of_single)}
    for place, row in enumerate(table.rows):
        is_zero = row.level == WITHIN and row.op == "~1" and row.lhs in parts
        if row.index is None and row.slope is None and not is_zero:
            yield Release(row.level, row.lhs, row.op, row.rhs, f"fixed to {row.value:g}", place, group=row.group)


def _equal(table: ParameterTable) -> Iterator[Release]:
    """Of each set of equal parameters every one, and of a pair the second alone, which is the same test."""
    counts = Counter(row.index for row in table.rows if row.index is not None)
    kinds: dict[int, set[tuple[int, str, str, str]]] = {}
    for row in table.rows:
        if row.index is not None:
            kinds.setdefault(row.index, set()).add((row.level, row.lhs, row.op, row.rhs))
    first: dict[int, SemParameter] = {}
    for place, row in enumerate(table.rows):
        if row.index is None or counts[row.index] == 1:
            continue
        is_first = row.index not in first
        other = first.setdefault(row.index, row)
        if is_first and counts[row.index] == 2:
            continue
        if is_first:
            other = next(r for r in table.rows[place + 1 :] if r.index == row.index)
        if row.label is not None and row.label == other.label:
            restriction = f"label {row.label}"
        elif len(kinds[row.index]) == 1 and counts[row.index] == len(table.groups):
            restriction = "equal in all groups"
        else:
            restriction = f"equal to {other.name}{table.of_group(other)}"
        yield Release(row.level, row.lhs, row.op, row.rhs, restriction, place, group=row.group)


def _constrained(table: ParameterTable) -> Iterator[Release]:
    for constraint in table.constraints:
        if constraint.relation == "==":
            left, right = (side.strip() for side in constraint.text.split("=="))
            yield Release(0, left, "==", right, constraint.text, constraint=constraint, group=None)


def _left_out(table: ParameterTable) -> Iterator[Release]:
    for group, (own, _) in enumerate(table.by_group):
        for level in (WITHIN, BETWEEN):
            keys = {(row.lhs, row.op, row.rhs) for row in own.at(level)}
            keys |= {(row.rhs, row.op, row.lhs) for row in own.at(level) if row.op == "~~"}
            for lhs, op, rhs in _candidates(own, level):
                if (lhs, op, rhs) not in keys and not _closes_loop(own, level, lhs, op, rhs):
                    yield Release(level, lhs, op, rhs, "left out", group=group)


def _candidates(table: ParameterTable, level: int) -> Iterator[tuple[str, Operator, str]]:
    variables, rows = table.variables(level), table.at(level)
    indicators = {row.rhs for row in rows if row.op == "=~"}
    in_regressions = [name for row in rows if row.op == "~" for name in (row.lhs, row.rhs)]
    regressions = list(dict.fromkeys([*in_regressions, *variables.slopes]))
    predicted = [name for name in variables.observed if name not in variables.exogenous]
    for latent in variables.latent:
        for name in predicted:
            if name not in in_regressions:
                yield latent, "=~", name
    for rhs, lhs in permutations(regressions, 2):
        if not (lhs in indicators and rhs in variables.latent):
            yield lhs, "~", rhs
    apart = ((*predicted, *variables.slopes), variables.exogenous, (*variables.slopes, *variables.latent))
    for lhs, rhs in dict.fromkeys(pair for names in apart for pair in combinations(names, 2)):
        yield lhs, "~~", rhs


def _closes_loop(table: ParameterTable, level: int, lhs: str, op: Operator, rhs: str) -> bool:
    """Whether an arrow would lead from the outcome of a random slope to its predictor, which no likelihood has."""
    if level == BETWEEN or op == "~~":
        return False
    drawn = arrows([*((row.lhs, row.op, row.rhs) for row in table.at(WITHIN)), (lhs, op, rhs)])
    return any(acts_upon(slope.outcome, slope.predictor, drawn) for slope in table.slopes)
