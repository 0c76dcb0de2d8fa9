"""The path diagram with its estimates: boxes are observed, ellipses latent, two-headed curves covariances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.results.words import cell
from mlm_ops.structural.model import BETWEEN, WITHIN
from mlm_ops.structural.parameters import ParameterTable, SemParameter

_TITLES = {BETWEEN: "Between clusters", WITHIN: "Within clusters"}
_WIDTH, _HEIGHT, _COLUMN, _ROW, _MARGIN, _TITLE = 104, 36, 230, 92, 90, 44
_STYLE = (
    "text{font:13px sans-serif;fill:#1a1a1a;text-anchor:middle}"
    ".t{font-weight:bold;text-anchor:start}.v{font-size:11px;fill:#666}"
    ".n{fill:#fff;stroke:#333;stroke-width:1.4}.a{fill:none;stroke:#333;stroke-width:1.3}"
    ".c{fill:none;stroke:#888;stroke-width:1.1;stroke-dasharray:4 3}"
    ".l{font-size:12px;paint-order:stroke;stroke:#fff;stroke-width:4px}"
)
_HEADS = (
    '<marker id="e" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
    '<path d="M0,0.8 L8,4 L0,7.2 z" fill="#333"/></marker>'
)


@dataclass(frozen=True)
class _Panel:
    """One level, laid out: places of the nodes, and the panel's size."""

    level: int
    place: dict[str, tuple[float, float]]
    column: dict[str, int]
    width: float
    height: float


def mermaid(table: ParameterTable, theta: Array) -> str:
    """A flowchart with a subgraph a level; covariances are dotted."""
    lines = ["flowchart LR"]
    for level, title in _TITLES.items():
        node = {name: f"{'w' if level == WITHIN else 'b'}{i}" for i, name in enumerate(table.variables(level).all)}
        lines.append(f'  subgraph {"within" if level == WITHIN else "between"}["{title}"]')
        for name in table.variables(level).all:
            left, right = ("([", "])") if name in table.variables(level).latent else ("[", "]")
            lines.append(f'    {node[name]}{left}"{_entity(name)}"{right}')
        for row, source, target in _arrows(table, level):
            lines.append(f'    {node[source]} -->|"{_number_text(row, theta)}"| {node[target]}')
        curves = _covariances(table, level)
        lines += [f'    {node[row.lhs]} <-.->|"{_number_text(row, theta)}"| {node[row.rhs]}' for row in curves]
        lines.append("  end")
    return "\n".join(lines)


def svg(table: ParameterTable, theta: Array) -> str:
    """A picture on its own, the level between clusters above the one within, causes left of effects."""
    panels = [_layout(table, level) for level in _TITLES]
    width = max(panel.width for panel in panels)
    parts, top = [], 0.0
    for panel in panels:
        parts.append(f'<g transform="translate(0,{top:.0f})">' + "".join(_panel_elements(table, panel, theta)) + "</g>")
        top += panel.height
        if panel is not panels[-1]:
            parts.append(f'<line x1="16" x2="{width - 16:.0f}" y1="{top:.0f}" y2="{top:.0f}" stroke="#bbb"/>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {top:.0f}" width="{width:.0f}" '
        f'height="{top:.0f}" role="img" aria-label="Path diagram"><defs>{_HEADS}</defs><style>{_STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>'
    )


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
    """An estimate as `cell` writes it; a fixed value as it is."""
    return f"{row.value:g}" if row.index is None else cell("estimate", float(theta[row.index]))


def _layout(table: ParameterTable, level: int) -> _Panel:
    """Columns by the longest path of arrows into a variable, rows by where its causes stand."""
    names = table.variables(level).all
    causes = {name: [source for _, source, target in _arrows(table, level) if target == name] for name in names}
    column = dict.fromkeys(names, 0)
    # as many rounds as there are variables settle every model without feedback
    for _ in names:
        column |= {name: max((column[c] + 1 for c in causes[name]), default=0) for name in names}
        column = {name: min(value, len(names) - 1) for name, value in column.items()}
    ranks = sorted(set(column.values()))
    column = {name: ranks.index(value) for name, value in column.items()}
    rows: dict[str, float] = {}
    tallest = max(sum(value == c for value in column.values()) for c in range(len(ranks)))
    for c in range(len(ranks)):
        members = [name for name in names if column[name] == c]
        members.sort(key=lambda name: float(np.mean([rows[s] for s in causes[name] if s in rows] or [0.0])))
        rows |= {name: i + (tallest - len(members)) / 2 for i, name in enumerate(members)}
    skips = any(column[target] - column[source] > 1 for _, source, target in _arrows(table, level))
    top = _TITLE + 30 + (46 if skips else 0)
    place = {n: (_MARGIN + _WIDTH / 2 + column[n] * _COLUMN, top + _HEIGHT / 2 + rows[n] * _ROW) for n in names}
    width = 2 * _MARGIN + _WIDTH + (len(ranks) - 1) * _COLUMN
    return _Panel(level, place, column, max(width, 320.0), top + (tallest - 1) * _ROW + _HEIGHT + 42)


def _panel_elements(table: ParameterTable, panel: _Panel, theta: Array) -> Iterator[str]:
    yield f'<text class="t" x="16" y="26">{_TITLES[panel.level]}</text>'
    for row in _covariances(table, panel.level):
        yield from _curve(panel, row.lhs, row.rhs, _number_text(row, theta))
    labels = []
    for row, source, target in _arrows(table, panel.level):
        path, label = _arrow(panel, source, target, _number_text(row, theta))
        labels.append(label)
        yield path
    for row in table.at(panel.level):
        if row.is_variance:
            yield from _node(panel, row.lhs, row.lhs in table.variables(panel.level).latent, _number_text(row, theta))
    yield from labels


def _node(panel: _Panel, name: str, latent: bool, variance: str) -> Iterator[str]:
    x, y = panel.place[name]
    if latent:
        yield f'<ellipse class="n" cx="{x:.0f}" cy="{y:.0f}" rx="{_WIDTH / 2:.0f}" ry="{_HEIGHT / 2 + 4:.0f}"/>'
    else:
        left, top = x - _WIDTH / 2, y - _HEIGHT / 2
        yield f'<rect class="n" x="{left:.0f}" y="{top:.0f}" width="{_WIDTH}" height="{_HEIGHT}" rx="2"/>'
    text = name if len(name) <= 14 else name[:13] + "…"
    yield f'<text x="{x:.0f}" y="{y + 4.5:.0f}">{escape(text)}</text>'
    yield f'<text class="v" x="{x:.0f}" y="{y + _HEIGHT / 2 + 18:.0f}">variance {variance}</text>'


def _arrow(panel: _Panel, source: str, target: str, text: str) -> tuple[str, str]:
    (x0, y0), (x1, y1) = panel.place[source], panel.place[target]
    span = panel.column[target] - panel.column[source]
    start, end = (x0 + _WIDTH / 2, y0), (x1 - _WIDTH / 2, y1)
    if span == 1:
        path = f"M{start[0]:.0f},{start[1]:.0f} L{end[0]:.0f},{end[1]:.0f}"
        # nearer to the target, where arrows of one source have parted
        at = (start[0] + 0.62 * (end[0] - start[0]), start[1] + 0.62 * (end[1] - start[1]) - 4)
    else:
        # over the nodes between, or back
        start, end = (x0, y0 - _HEIGHT / 2), (x1, y1 - _HEIGHT / 2)
        top = min(start[1], end[1]) - 72
        path = (
            f"M{start[0]:.0f},{start[1]:.0f} C{start[0]:.0f},{top:.0f} {end[0]:.0f},{top:.0f} {end[0]:.0f},{end[1]:.0f}"
        )
        at = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 8 + 0.75 * top - 4)
    label = f'<text class="l" x="{at[0]:.0f}" y="{at[1]:.0f}">{text}</text>'
    return f'<path class="a" d="{path}" marker-end="url(#e)"/>', label


def _curve(panel: _Panel, first: str, second: str, text: str) -> Iterator[str]:
    (x0, y0), (x1, y1) = sorted((panel.place[first], panel.place[second]), key=lambda at: at[1])
    side = -1 if panel.column[first] == panel.column[second] == 0 else 1
    a, b = x0 + side * _WIDTH / 2, x1 + side * _WIDTH / 2
    reach = min(64.0, 20 + 0.18 * abs(y1 - y0))
    out = (min if side < 0 else max)(a, b) + side * reach * 4 / 3
    yield (
        f'<path class="c" d="M{a:.0f},{y0:.0f} C{out:.0f},{y0:.0f} {out:.0f},{y1:.0f} {b:.0f},{y1:.0f}" '
        'marker-start="url(#e)" marker-end="url(#e)"/>'
    )
    middle = (a + b) / 8 + 0.75 * out
    yield f'<text class="l v" x="{middle:.0f}" y="{(y0 + y1) / 2 + 4:.0f}">{text}</text>'


def _entity(name: str) -> str:
    return name.replace("&", "#amp;").replace('"', "#quot;")
