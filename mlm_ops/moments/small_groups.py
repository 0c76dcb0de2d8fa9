"""Find the groups that are too small to publish, and the models whose results would reveal them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from mlm_ops.language.columns import expand, monomial
from mlm_ops.language.model import Column, Factor, GroupingFactor, Indicator, Model, Variable, label, walk
from mlm_ops.moments.arrays import Array, Codes, Flags
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place

#: If any unit of a grouping factor is left out, at least so many are. The sum of their effects is known (the effects of
#: all units sum to zero), and variances and deviance reveal two sums of their squares: that is enough to compute the
#: effects of two or three units, but of six no more than their mean, which is of enough rows to publish.
LEAST_HIDDEN = 6
#: Share of a sum of squares that is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class HiddenUnits:
    """The units of one grouping factor that no published table has.

    Attributes
    ----------
    units
        Their labels: the small units, and the others left out with them.
    small
        Number of units with too few rows.
    total
        Number of units of the factor.
    """

    units: frozenset[str]
    small: int
    total: int


def hidden_units(moments: Moments, groups: Iterable[GroupingFactor], least: int) -> dict[GroupingFactor, HiddenUnits]:
    """Return the units that are not published, by grouping factor; without factors that have none.

    Parameters
    ----------
    groups
        Grouping factors of all models that are published together: a unit left out of one is left out of all.
    least
        Rows that a unit needs to be published.
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


def hide(factors: Sequence[Codes], n: Array, least: int) -> list[Flags]:
    """Return which units of each factor are left out: those with few rows, and others, so that these stay unknown.

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
    """Return the upper unit that each lower one lies in, (units,); None if one lies in two."""
    parent = np.zeros(int(lower.max(initial=-1)) + 1, dtype=np.int64)
    parent[lower] = upper
    return parent if (parent[lower] == upper).all() else None


def _complement(flags: Flags, size: Array, least: int) -> None:
    """Leave out the next smallest units as well, until there are enough of them."""
    if not flags.any():
        return
    for unit in np.argsort(size, kind="stable"):
        if flags.sum() >= LEAST_HIDDEN and size[flags].sum() >= least:
            return
        flags[unit] = True


def why_withheld(model: Model, moments: Moments, least: int) -> str | None:
    """Return why a model is not published: it, or one of its coefficients or variances, has few rows; else None.

    Checked are cells of categorical predictors, numbers that are 0 or 1, and strata of the residual variance.
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
            if isinstance(node, Column) and (fewest := rows.fewer_of_two(node)) is not None and fewest < least:
                return f"{label(node)} is 0 or 1, and one of them in fewer than {least} rows"
    return None


def few_variables(models: Iterable[Model], moments: Moments, least: int) -> frozenset[str]:
    """Numbers that are 0 or 1, and one of them in fewer rows than `least`, by their labels."""
    rows = _Rows(moments)
    nodes = dict.fromkeys(node for model in models for variable in model.variables for node in walk(variable))
    return frozenset(
        label(node)
        for node in nodes
        if isinstance(node, Column) and (fewest := rows.fewer_of_two(node)) is not None and fewest < least
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
    level_counts: dict[str, Array] = {}
    for factors in moments.schema.monomials:
        if len(factors) > 1 or not isinstance(factors[0], Column | Indicator):
            continue
        node = factors[0]
        if isinstance(node, Column) and rows.fewer_of_two(node) is None:
            continue
        name = node.name if isinstance(node, Column) else node.column
        cells = [_added(codes, count, len(labels)) for count in rows.in_units(node)]
        if isinstance(node, Indicator):
            level_counts[name] = level_counts.get(name, np.zeros(len(labels))) + cells[0]
            cells += [sizes - level_counts[name]]
        if any(_are_few(cell[published], least) for cell in (*cells, *(sizes - cell for cell in cells))):
            few.add(name)
    return frozenset(few)


def _added(codes: Codes, counts: Array, size: int) -> Array:
    return np.bincount(codes, counts, size).astype(np.float64)


def _are_few(counts: Array, least: int) -> bool:
    """Whether a count is above zero but below `least`."""
    return bool(((counts > 0.5) & (counts < least - 0.5)).any())


def _small_stratum(model: Model, moments: Moments, least: int) -> str | None:
    strata = model.residual.strata
    sums = moments.residuals.get(model.residual)
    if strata is None or sums is None:
        return None
    sizes = np.bincount(sums.stratum, sums.n, len(sums.strata))
    return strata if (sizes < least).any() else None


class _Rows:
    """Array rows by moments, where these are enough to do so."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._place = {factors: i for i, factors in enumerate(moments.schema.monomials)}
        self._constants = dict(zip(moments.schema.constants, moments.constants, strict=True))

    def fewest(self, indicators: Sequence[Indicator]) -> float:
        """Count the rows in the smallest cell of these indicators' columns that is not empty."""
        columns = list(dict.fromkeys(node.column for node in indicators))
        levels = [self._moments.schema.levels[column] for column in columns]
        counts = [self._cell(dict(zip(columns, cell, strict=True))) for cell in product(*levels)]
        counts += self._sign_counts(monomial(tuple(indicators)))
        return min((count for count in counts if count is not None and count > 0.5), default=float("inf"))

    def _cell(self, cell: dict[str, str]) -> float | None:
        """Count the rows with these levels, without an indicator by subtraction; None where the moments cannot tell."""
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

    def _sign_counts(self, factors: tuple[Variable, ...]) -> list[float]:
        """Count the rows where a column of sum coding is 1, and where it is -1."""
        if factors not in self._place:
            return []
        total, squares = self._squares(self._place[factors], 0.0)
        return [(squares + total) / 2, (squares - total) / 2]

    def in_units(self, node: Column | Indicator) -> list[Array]:
        """Rows with 1 in each of the moments' units, (J,), and those with -1 of sum coding."""
        place, n = self._place[(node,)], self._moments.n
        mean = self._moments.mean[place] + self._moments.schema.centers.get(node, 0.0)
        if not (isinstance(node, Indicator) and node.against is not None):
            return [n * mean]
        squares = self._moments.scatter[packed_place(place, place)] + n * mean**2
        return [(squares + n * mean) / 2, (squares - n * mean) / 2]

    def fewer_of_two(self, column: Column) -> float | None:
        """Count the rows with 0 and with 1, and return the fewer; None for a column with other numbers."""
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
        """Return the sum and the sum of squares of a monomial."""
        n, mean = self._moments.n, self._moments.mean[place] + center
        scatter = self._moments.scatter[packed_place(place, place)]
        return float(n @ mean), float((scatter + n * mean**2).sum())
