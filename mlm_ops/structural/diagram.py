"""Write the path diagram with its estimates for Mermaid: boxes are observed, rounded ones latent."""

from __future__ import annotations

from collections.abc import Iterator

from mlm_ops.moments.arrays import Array
from mlm_ops.results.words import cell
from mlm_ops.structural.model import BETWEEN, WITHIN
from mlm_ops.structural.parameters import ParameterTable, SemParameter

_TITLES = {BETWEEN: "Between clusters", WITHIN: "Within clusters"}


def mermaid(table: ParameterTable, theta: Array) -> str:
    """A flowchart with a subgraph a level; covariances are dotted, a path with a random slope has a filled dot."""
    lines = ["flowchart LR"]
    for level, title in _TITLES.items():
        node = {name: f"{'w' if level == WITHIN else 'b'}{i}" for i, name in enumerate(table.variables(level).all)}
        lines.append(f'  subgraph {"within" if level == WITHIN else "between"}["{title}"]')
        hidden = table.variables(level)
        for name in hidden.all:
            left, right = ("([", "])") if name in (*hidden.latent, *hidden.slopes) else ("[", "]")
            lines.append(f'    {node[name]}{left}"{_entity(name)}"{right}')
        for row, source, target in _arrows(table, level):
            lines.append(f'    {node[source]} -->|"{_number_text(row, theta)}"| {node[target]}')
        curves = _covariances(table, level)
        lines += [f'    {node[row.lhs]} <-.->|"{_number_text(row, theta)}"| {node[row.rhs]}' for row in curves]
        lines.append("  end")
    return "\n".join(lines)


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
