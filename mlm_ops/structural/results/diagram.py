"""Write the path diagram with its estimates for Mermaid: boxes are observed, rounded ones latent."""

from __future__ import annotations

from collections.abc import Iterator

from mlm_ops.moments.arrays import Array
from mlm_ops.results.words import cell
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter

_TITLES = {BETWEEN: "Between clusters", WITHIN: "Within clusters"}


def mermaid(table: ParameterTable, theta: Array) -> str:
    """A flowchart with a subgraph a level; covariances are dotted, a path with a random slope has a filled dot.

    Of several groups of rows it has those of each.
    """
    lines = ["flowchart LR"]
    for number, (own, places) in enumerate(table.by_group):
        group = table.groups[number] if table.groups else None
        lines += _subgraphs(own, theta[places], group, f"g{number}" if table.groups else "")
    return "\n".join(lines)


def _subgraphs(table: ParameterTable, theta: Array, group: str | None, prefix: str) -> Iterator[str]:
    """Both levels of one group; the prefix tells its nodes from those of others."""
    for level, heading in _TITLES.items():
        letter = f"{prefix}{'w' if level == WITHIN else 'b'}"
        node = {name: f"{letter}{i}" for i, name in enumerate(table.variables(level).all)}
        title = heading if group is None else f"{heading}, {_entity(group)}"
        yield f'  subgraph {prefix}{"within" if level == WITHIN else "between"}["{title}"]'
        hidden = table.variables(level)
        for name in hidden.all:
            left, right = ("([", "])") if name in (*hidden.latent, *hidden.slopes) else ("[", "]")
            yield f'    {node[name]}{left}"{_entity(name)}"{right}'
        for row, source, target in _arrows(table, level):
            yield f'    {node[source]} -->|"{_number_text(row, theta)}"| {node[target]}'
        for row in _covariances(table, level):
            yield f'    {node[row.lhs]} <-.->|"{_number_text(row, theta)}"| {node[row.rhs]}'
        yield "  end"


def _arrows(table: ParameterTable, level: int) -> Iterator[tuple[SemParameter, str, str]]:
    for row in table.at(level):
        if row.op == "~":
            yield row, row.rhs, row.lhs
        elif row.op == "=~":
            yield row, row.lhs, row.rhs


def _covariances(table: ParameterTable, level: int) -> list[SemParameter]:
    rows = [row for row in table.at(level) if row.op == "~~" and row.lhs != row.rhs]
    return [row for row in rows if row.index is not None or row.value != 0]


def _number_text(row: SemParameter, theta: Array) -> str:
    """An estimate as `cell` writes it; a fixed value as it is, and a random slope's name behind a dot."""
    if row.slope is not None:
        return f"● {_entity(row.slope)}"
    return f"{row.value:g}" if row.index is None else cell("estimate", float(theta[row.index]))


def _entity(name: str) -> str:
    return name.replace("&", "#amp;").replace('"', "#quot;")
