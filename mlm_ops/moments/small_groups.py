"""Find the groups that are too small to be published, and the models that would reveal a number about one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.columns import expand, monomial
from mlm_ops.language.model import Column, Factor, GroupingFactor, Indicator, Model, Variable, label, walk
from mlm_ops.moments.record import Codes, Moments
from mlm_ops.moments.sums import packed_place

Flags = NDArray[np.bool_]
Counts = NDArray[np.float64]

#: So many units of a grouping factor are left out together, if any is. Their effects sum to a known number (the effects
#: of all units sum to zero), and variances and deviance tell two sums of their squares: of two or three units that is
#: enough to work each out, of six no more than their mean, which is of as many rows as may be published.
LEAST_HIDDEN = 6
#: Share of a sum of squares that is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class HiddenUnits:
    """Units of one grouping factor that are in no published table.

    Attributes
    ----------
    units
        Their labels: the small ones, and those that go with them.
    small
        How many have too few rows.
    total
        How many the factor has.
    """

    units: frozenset[str]
    small: int
    total: int


def hidden_units(moments: Moments, groups: Iterable[GroupingFactor], least: int) -> dict[GroupingFactor, HiddenUnits]:
    """The units that are not published, by grouping factor; factors without any are left out.

    Parameters
    ----------
    groups
        Of all models that are published together: a unit left out of one is left out of all.
    least
        Rows that a unit needs.
    """
    factors = {group: moments.units_of(group) for group in dict.fromkeys(groups)}
    hidden = hide([codes for codes, _ in factors.values()], moments.n, least)
    return {
        group: HiddenUnits(
            frozenset(map(str, labels[flags])), int((np.bincount(codes, moments.n) < least).sum()), len(labels)
        )
        for (group, (codes, labels)), flags in zip(factors.items(), hidden, strict=True)
        if flags.any()
    }


def hide(factors: Sequence[Codes], n: Counts, least: int) -> list[Flags]:
    """Which units of each factor are left out: those with few rows, and as many more as keep these from being found.

    At least `LEAST_HIDDEN` of a factor, the smallest, with `least` rows together. Where the units of one factor lie in
    those of another, the effect of the upper one is a weighted sum of its lower ones', in every model by other weights:
    so beside a lower unit that is left out the upper one is, and with an upper one all that lie in it.

    Parameters
    ----------
    factors
        For each, the unit that every cell of the moments lies in, (cells,).
    n
        (cells,) rows.

    Returns
    -------
    list
        (units,) flags, a factor each.
    """
    sizes = [np.bincount(codes, n).astype(np.float64) for codes in factors]
    hidden = [size < least for size in sizes]
    parents = {
        (lower, upper): parent
        for lower, upper in permutations(range(len(factors)), 2)
        if (parent := _parents(factors[lower], factors[upper])) is not None
    }
    before = -1
    while (count := sum(int(flags.sum()) for flags in hidden)) != before:
        before = count
        for flags, size in zip(hidden, sizes, strict=True):
            _complement(flags, size, least)
        for (lower, upper), parent in parents.items():
            hidden[upper] |= np.bincount(parent, hidden[lower], len(sizes[upper])) > 0
            hidden[lower] |= hidden[upper][parent]
    return hidden


def _parents(lower: Codes, upper: Codes) -> Codes | None:
    """The upper unit that each lower one lies in, (units,); None where some lies in two."""
    parent = np.zeros(int(lower.max(initial=-1)) + 1, dtype=np.int64)
    parent[lower] = upper
    return parent if (parent[lower] == upper).all() else None


def _complement(flags: Flags, size: Counts, least: int) -> None:
    """Leave out the next smallest units as well, until there are enough of them."""
    if not flags.any():
        return
    for unit in np.argsort(size, kind="stable"):
        if flags.sum() >= LEAST_HIDDEN and size[flags].sum() >= least:
            return
        flags[unit] = True


def why_withheld(model: Model, moments: Moments, least: int) -> str | None:
    """Why a model is not published: it has few rows, or a coefficient or variance of few; None if it may be.

    Cells of categorical predictors, numbers that are 0 or 1, and strata of the residual variance are looked at.
    """
    if moments.n_obs < least:
        return f"it has fewer than {least} rows"
    if (stratum := _small_stratum(model, moments, least)) is not None:
        return f"by({stratum}) gives a variance to fewer than {least} rows"
    rows = _Rows(moments)
    for column in expand(model.fixed, moments.schema.levels, moments.schema.text_columns):
        nodes = [node for variable in column.variables for node in walk(variable)]
        indicators = [node for node in nodes if isinstance(node, Indicator)]
        if indicators and rows.fewest(indicators) < least:
            names = ":".join(dict.fromkeys(node.column for node in indicators))
            return f"{names} has a coefficient of fewer than {least} rows"
        for node in nodes:
            if isinstance(node, Column) and (fewest := rows.of_either(node)) is not None and fewest < least:
                return f"{label(node)} is 0 or 1, and one of them in fewer than {least} rows"
    return None


def few_variables(models: Iterable[Model], moments: Moments, least: int) -> frozenset[str]:
    """Numbers that are 0 or 1, and one of them in fewer rows than `least`, by their labels."""
    rows = _Rows(moments)
    nodes = dict.fromkeys(node for model in models for variable in model.variables for node in walk(variable))
    return frozenset(
        label(node)
        for node in nodes
        if isinstance(node, Column) and (fewest := rows.of_either(node)) is not None and fewest < least
    )


def few_in_units(moments: Moments, group: GroupingFactor, least: int, hidden: frozenset[str]) -> frozenset[str]:
    """Columns with two values, or levels, of which one is that of few rows in some unit that is published.

    A unit's mean of 0 and 1 counts these rows, and least squares on them have their outcome.

    Parameters
    ----------
    hidden
        Labels of units that are not published.
    """
    codes, labels = moments.units_of(group)
    published = ~np.isin(labels.astype(str), list(hidden))
    rows, sizes = _Rows(moments), _added(codes, moments.n, len(labels))
    few: set[str] = set()
    level_counts: dict[str, Counts] = {}
    for factors in moments.schema.monomials:
        if len(factors) > 1 or not isinstance(factors[0], Column | Indicator):
            continue
        node = factors[0]
        if isinstance(node, Column) and rows.of_either(node) is None:
            continue
        name = node.name if isinstance(node, Column) else node.column
        cells = [_added(codes, count, len(labels)) for count in rows.in_units(node)]
        if isinstance(node, Indicator):
            level_counts[name] = level_counts.get(name, np.zeros(len(labels))) + cells[0]
            cells += [sizes - level_counts[name]]
        if any(_are_few(cell[published], least) for cell in (*cells, *(sizes - cell for cell in cells))):
            few.add(name)
    return frozenset(few)


def _added(codes: Codes, counts: Counts, size: int) -> Counts:
    return np.bincount(codes, counts, size).astype(np.float64)


def _are_few(counts: Counts, least: int) -> bool:
    """Whether a count is of some rows, but fewer than `least`."""
    return bool(((counts > 0.5) & (counts < least - 0.5)).any())


def _small_stratum(model: Model, moments: Moments, least: int) -> str | None:
    strata = model.residual.strata
    found = moments.residuals.get(model.residual)
    if strata is None or found is None:
        return None
    sizes = np.bincount(found.stratum, found.n, len(found.strata))
    return strata if (sizes < least).any() else None


class _Rows:
    """Counts of rows, as far as moments tell them."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._place = {factors: i for i, factors in enumerate(moments.schema.monomials)}
        self._constants = dict(zip(moments.schema.constants, moments.constants, strict=True))

    def fewest(self, indicators: Sequence[Indicator]) -> float:
        """Rows in the smallest cell of the columns of these indicators, empty ones aside."""
        columns = list(dict.fromkeys(node.column for node in indicators))
        levels = [self._moments.schema.levels[column] for column in columns]
        counts = [self._cell(dict(zip(columns, chosen, strict=True))) for chosen in product(*levels)]
        counts += self._of_signs(monomial(tuple(indicators)))
        return min((count for count in counts if count is not None and count > 0.5), default=float("inf"))

    def _cell(self, cell: dict[str, str]) -> float | None:
        """Rows with these levels, those without an indicator by subtraction; None where the moments cannot tell."""
        units = self._moments.n.copy()
        inside: list[Variable] = []
        for column, level in cell.items():
            if Factor(column) in self._constants:
                units = units * (self._constants[Factor(column)].astype(str) == level)
            elif (Indicator(column, level),) in self._place:
                inside.append(Indicator(column, level))
            else:
                rest = {name: value for name, value in cell.items() if name != column}
                others = [v for v in self._moments.schema.levels[column] if v != level]
                if any((Indicator(column, v),) not in self._place for v in others):
                    return None
                whole = self._cell(rest)
                parts = [count for v in others if (count := self._cell(rest | {column: v})) is not None]
                return None if whole is None or len(parts) < len(others) else whole - sum(parts)
        if not inside:
            return float(units.sum())
        place = self._place.get(monomial(tuple(inside)))
        return None if place is None else float(units @ self._moments.mean[place])

    def _of_signs(self, factors: tuple[Variable, ...]) -> list[float]:
        """Rows where a column of sum coding is 1, and where it is -1."""
        if factors not in self._place:
            return []
        total, squares = self._squares(self._place[factors], 0.0)
        return [(squares + total) / 2, (squares - total) / 2]

    def in_units(self, node: Column | Indicator) -> list[Counts]:
        """Rows with 1 in each of the moments' units, (J,), and those with -1 of sum coding."""
        place, n = self._place[(node,)], self._moments.n
        mean = self._moments.mean[place] + self._moments.schema.centers.get(node, 0.0)
        if not (isinstance(node, Indicator) and node.against is not None):
            return [n * mean]
        squares = self._moments.scatter[packed_place(place, place)] + n * mean**2
        return [(squares + n * mean) / 2, (squares - n * mean) / 2]

    def of_either(self, column: Column) -> float | None:
        """The fewer of the rows with 0 and those with 1, of a column that has no other number; else None."""
        n = self._moments.n
        if column in self._constants:
            values = np.asarray(self._constants[column], dtype=float)
            total, squares = float(n @ values), float(n @ values**2)
        elif (column,) in self._place:
            total, squares = self._squares(self._place[(column,)], self._moments.schema.centers.get(column, 0.0))
        else:
            return None
        binary = abs(squares - total) <= _ROUNDING * n.sum() and 0.5 < total < n.sum() - 0.5
        return min(total, float(n.sum()) - total) if binary else None

    def _squares(self, place: int, center: float) -> tuple[float, float]:
        """Sum, and sum of squares, of what stands at a place."""
        n, mean = self._moments.n, self._moments.mean[place] + center
        scatter = self._moments.scatter[packed_place(place, place)]
        return float(n @ mean), float((scatter + n * mean**2).sum())
