"""The columns of a table of moments, as the macro `group_moments` names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlm_ops.errors import DataError
from mlm_ops.language.columns import Monomial, monomial
from mlm_ops.language.model import Column
from mlm_ops.moments.render import category
from mlm_ops.moments.source import Source, listed
from mlm_ops.moments.survey import key_expression
from mlm_ops.sql_text import identifier

_PRODUCT = "_by_"


@dataclass(frozen=True)
class Layout:
    """Which columns a table of moments has.

    Attributes
    ----------
    keys
        The grouping columns.
    variables, monomials
        What there are means and scatters of, by name: columns, and products of columns.
    centered
        Whether the table tells what its sums were taken around; merged moments do not.
    constants
        What has one value a group.
    scatters
        The column with the cross-product of each variable and each up to it, by the pair.
    """

    keys: tuple[str, ...]
    variables: tuple[str, ...]
    monomials: tuple[Monomial, ...]
    centered: bool
    constants: tuple[str, ...]
    scatters: Mapping[tuple[str, str], str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Variables that are columns, not products."""
        return tuple(v for v, m in zip(self.variables, self.monomials, strict=True) if len(m) == 1)


def find_layout(source: Source, group: tuple[str, ...]) -> Layout:
    """Take the names of the columns apart.

    Raises
    ------
    DataError
        The table has not the columns of the macro.
    """
    source.require(group)
    if clash := next((name for name in group if name.lower() == "n"), None):
        raise DataError(
            f"The groups of {source.table} are told by a column {clash!r}, which is what the sizes of groups are "
            "called. Rename it where mlm.group_moments() reads it."
        )
    variables = tuple(c.removeprefix("mean_") for c in source.types if c.startswith("mean_") and c not in group)
    size = next((c for c in source.types if c.lower() == "n"), None)
    if not variables or size is None:
        raise DataError(
            f"There are no moments in {source.table}. Got the columns {listed(source.types)}; expected n, mean_x and "
            "scatter_x_x of each column x, as mlm.group_moments() makes them."
        )
    # merged moments have no centers, and no products either
    columns = tuple(v for v in variables if f"center_{v}" in source.types) or variables
    monomials = tuple(_factors(source, v, columns) for v in variables)
    scatters = _find_scatters(source, variables)
    constants = tuple(c.removeprefix("value_") for c in source.types if c.startswith("value_") and c not in group)
    for name in constants:
        if not (source.is_numeric(f"value_{name}") or source.is_text(f"value_{name}")):
            raise DataError(
                f"The constant {name!r} is neither a number nor a text. Got {source.types[f'value_{name}']}; cast it "
                "where mlm.group_moments() reads it."
            )
    return Layout(group, variables, monomials, f"center_{columns[0]}" in source.types, constants, scatters)


def _factors(source: Source, variable: str, columns: tuple[str, ...]) -> Monomial:
    """A column, or the columns whose product a variable is.

    Raises
    ------
    DataError
        It is no product of columns, or of different ones.
    """
    if variable in columns:
        return (Column(variable),)
    found = [split for split in _splits(variable, frozenset(columns)) if len(split) > 1]
    if len(found) != 1:
        what = "is no product" if not found else "may be several products"
        raise DataError(
            f"mean_{variable} in {source.table} has no center_{variable} and {what} of columns that have theirs: "
            f"{listed(columns)}. Bring the whole table over, and call no column by a name with {_PRODUCT!r}."
        )
    return monomial(tuple(Column(name) for name in found[0]))


def _splits(text: str, columns: frozenset[str]) -> list[tuple[str, ...]]:
    """Every way in which a text is names of columns joined by ``_by_``."""
    found: list[tuple[str, ...]] = [(text,)] if text in columns else []
    for name in columns:
        if text.startswith(name + _PRODUCT):
            found += [(name, *rest) for rest in _splits(text[len(name + _PRODUCT) :], columns)]
    return found


def _find_scatters(source: Source, variables: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """The column with the cross-product of each pair of variables, by the pair.

    The name of a pair may be that of another too: scatter_a_b_c is of a_b and c, or of a and b_c. Where one of the two
    has no other column it is that one's.

    Raises
    ------
    DataError
        Columns are not there, or their names do not tell whose they are.
    """
    pairs = [(a, b) for i, a in enumerate(variables) for b in variables[: i + 1]]
    both = {pair: dict.fromkeys((f"scatter_{pair[0]}_{pair[1]}", f"scatter_{pair[1]}_{pair[0]}")) for pair in pairs}
    waiting = {pair: [name for name in names if name in source.types] for pair, names in both.items()}
    if lacking := [f"scatter_{a}_{b}" for (a, b), names in waiting.items() if not names]:
        raise DataError(
            f"{source.table[0].upper()}{source.table[1:]} lacks {listed(lacking)}, which mlm.group_moments() makes of "
            f"the columns {listed(variables)}. Bring the whole table over."
        )
    owners: dict[str, tuple[str, str]] = {}
    while waiting:
        pair = next((pair for pair, names in waiting.items() if len(names) == 1), next(iter(waiting)))
        names = [name for name in waiting.pop(pair) if name not in owners]
        name = names[0] if names else next(name for name in both[pair] if name in owners)
        rival = owners.get(name) or next((p for p, own in waiting.items() if len(names) > 1 and name in own), None)
        if rival is not None:
            raise DataError(
                f"{name} in {source.table} may be of {rival[0]!r} and {rival[1]!r}, or of {pair[0]!r} and {pair[1]!r}. "
                "Rename one of these columns where mlm.group_moments() reads it."
            )
        owners[name] = pair
        waiting = {other: [own for own in left if own != name] or [name] for other, left in waiting.items()}
    return {pair: name for name, pair in owners.items()}


def layout_query(source: Source, layout: Layout) -> str:
    """The table's columns by number, groups in order."""
    size = next(c for c in source.types if c.lower() == "n")
    numbers = {"n": size}
    for i, first in enumerate(layout.variables):
        numbers[f"mean_{i}"] = f"mean_{first}"
        if layout.centered and first in layout.columns:
            numbers[f"center_{i}"] = f"center_{first}"
        for j, second in enumerate(layout.variables[: i + 1]):
            numbers[f"scatter_{i}_{j}"] = layout.scatters[first, second]
    numbers |= {f"number_{i}": f"value_{c}" for i, c in enumerate(layout.constants) if source.is_numeric(f"value_{c}")}
    numbers |= {f"number_u_{i}": key for i, key in enumerate(layout.keys) if source.is_numeric(key)}
    # numbers as texts too, for C()
    texts = {f"text_{i}": f"value_{c}" for i, c in enumerate(layout.constants)}
    texts |= {f"text_u_{i}": key for i, key in enumerate(layout.keys) if source.is_text(key) or source.is_numeric(key)}
    selected = [f"{key_expression(source, key)} as u_{i}" for i, key in enumerate(layout.keys)]
    selected += [f"cast({identifier(column)} as double) as {alias}" for alias, column in numbers.items()]
    selected += [f"{category(column)} as {alias}" for alias, column in texts.items()]
    order = f" order by {', '.join(f'u_{i}' for i in range(len(layout.keys)))}" if layout.keys else ""
    return f"select {', '.join(selected)} from {source.relation}{order}"
