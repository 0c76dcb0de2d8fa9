"""Lay a path diagram out: columns by what leads into what, rows by causes, labels where nothing else stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlm_ops.reports.pictures.theme import WIDTH

#: Pixels: a node, the distance of rows, the least distance of columns, margins, and what stands above the first row.
NODE, HEIGHT, ROW, COLUMN, MARGIN, TITLE = 112, 34, 74, 226, 12, 40
#: Room beside a column with covariances, and above the first row for arrows that pass over others.
_SIDE, _OVER = 66, 58
#: A character of the smallest text, and a line of it.
CHARACTER, LINE = 6.0, 15.0
#: What a label of two lines leaves free on each side of its arrow, and any at its ends.
OFF, _ENDS = 6.0, 6.0
#: Where on its line a label may stand, from where it would be best.
_STEPS = (0.0, 0.08, -0.08, 0.16, -0.16, 0.24, -0.24, 0.32, -0.32)
#: Best of an arrow of several that part, or meet, at one end: nearer to the other.
_PARTED = 0.12

Point = tuple[float, float]


@dataclass(frozen=True)
class Arrow:
    """An arrow or, dashed, a covariance, with the lines of its label."""

    source: str
    target: str
    label: tuple[str, ...]
    both: bool = False


@dataclass(frozen=True)
class Box:
    """A rectangle that something takes, by its middle."""

    x: float
    y: float
    width: float
    height: float

    def overlap(self, other: Box) -> float:
        """The area that both take."""
        across = (self.width + other.width) / 2 - abs(self.x - other.x)
        down = (self.height + other.height) / 2 - abs(self.y - other.y)
        return max(across, 0.0) * max(down, 0.0)


@dataclass(frozen=True)
class Bow:
    """A line of two points, straight, or of four, cubic through two handles; with the middle of its label."""

    points: tuple[Point, ...]
    label: Box

    @property
    def path(self) -> str:
        """As SVG has it."""
        start, *others = [f"{x:.2f},{y:.2f}" for x, y in self.points]
        return f"M{start} {'L' if len(others) == 1 else 'C'}{' '.join(others)}"

    def point(self, share: float) -> Point:
        """The point at a share of the way from the first end."""
        points = self.points
        # de Casteljau: the middles of middles
        while len(points) > 1:
            points = tuple(
                (x + share * (x_next - x), y + share * (y_next - y)) for (x, y), (x_next, y_next) in pairwise(points)
            )
        return points[0]

    @property
    def is_level(self) -> bool:
        """Whether it runs nearly straight across where its label is."""
        nearest = min(
            (share / 20 for share in range(1, 20)), key=lambda share: abs(self.point(share)[0] - self.label.x)
        )
        (x0, y0), (x1, y1) = self.point(nearest - 0.05), self.point(nearest + 0.05)
        return abs(y1 - y0) < 0.1 * abs(x1 - x0)

    def head(self, *, at_start: bool = False, size: float = 8.0) -> str:
        """The triangle at an end, pointing along the line."""
        tip, behind = (self.points[0], self.points[1]) if at_start else (self.points[-1], self.points[-2])
        angle = math.atan2(tip[1] - behind[1], tip[0] - behind[0])
        corners = [tip]
        for side in (-1, 1):
            turn = angle + math.pi + side * 0.42
            corners.append((tip[0] + size * math.cos(turn), tip[1] + size * math.sin(turn)))
        return "M" + " L".join(f"{x:.2f},{y:.2f}" for x, y in corners) + " Z"


@dataclass(frozen=True)
class Panel:
    """One level, laid out: the middles of nodes, a curve an arrow, and the panel's size."""

    nodes: Mapping[str, Point]
    curves: tuple[Bow, ...]
    width: float
    height: float


def panel(names: Sequence[str], arrows: Sequence[Arrow], below: float) -> Panel:
    """The layout of one level.

    Parameters
    ----------
    names
        Variables, in the order in which those alike stand below each other.
    arrows
        Arrows and covariances between them.
    below
        The room that a node needs for the text below it.
    """
    column = _columns(names, [arrow for arrow in arrows if not arrow.both])
    last = max(column.values(), default=0)
    rows, tallest = _rows(names, arrows, column, last)
    sides = {_is_left(arrow, column) for arrow in arrows if arrow.both}
    left, right = (MARGIN + (_SIDE if side in sides else 0) for side in (True, False))
    over = any(not arrow.both and column[arrow.target] - column[arrow.source] != 1 for arrow in arrows)
    room = WIDTH - left - right - NODE
    step = max(COLUMN, room / last) if last else 0.0
    top = TITLE + HEIGHT / 2 + (_OVER if over else 0)
    start = left + NODE / 2 + (0.0 if last else max(room / 2, 0.0))
    nodes = {name: (start + column[name] * step, top + rows[name] * ROW) for name in names}
    boxes = [Box(x, y + below / 2, NODE, HEIGHT + below) for x, y in nodes.values()]
    curves = []
    for arrow in arrows:
        points = _covariance(nodes, arrow, column) if arrow.both else _line(nodes, arrow, column)
        label = _label(points, arrow.label, boxes, _best(arrow, arrows))
        boxes.append(label)
        curves.append(Bow(points, label))
    width = max(float(WIDTH), left + right + NODE + last * step)
    return Panel(nodes, tuple(curves), width, top + (tallest - 1) * ROW + HEIGHT / 2 + below + 8)


def _columns(names: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """The longest path of arrows into each variable."""
    causes = {name: [arrow.source for arrow in arrows if arrow.target == name] for name in names}
    column = dict.fromkeys(names, 0)
    # as many rounds as there are variables settle every model without feedback
    for _ in names:
        column = {
            name: min(max((column[cause] + 1 for cause in causes[name]), default=0), len(names) - 1) for name in names
        }
    ranks = sorted(set(column.values()))
    return {name: ranks.index(value) for name, value in column.items()}


def _rows(
    names: Sequence[str], arrows: Sequence[Arrow], column: Mapping[str, int], last: int
) -> tuple[dict[str, float], int]:
    """The row of each variable, near those of its causes, and how many rows there are."""
    members = [[name for name in names if column[name] == place] for place in range(last + 1)]
    tallest = max(len(stack) for stack in members)
    rows: dict[str, float] = {}
    for stack in members:
        causes = {
            name: [
                rows[arrow.source]
                for arrow in arrows
                if arrow.target == name and arrow.source in rows and not arrow.both
            ]
            for name in stack
        }
        stack.sort(key=lambda name: sum(causes[name]) / len(causes[name]) if causes[name] else 0.0)
        rows |= {name: place + (tallest - len(stack)) / 2 for place, name in enumerate(stack)}
    return rows, tallest


def _is_left(arrow: Arrow, column: Mapping[str, int]) -> bool:
    return column[arrow.source] == column[arrow.target] == 0


def _line(nodes: Mapping[str, Point], arrow: Arrow, column: Mapping[str, int]) -> tuple[Point, ...]:
    """Straight to the next column; over the nodes between, or back, otherwise."""
    (x0, y0), (x1, y1) = nodes[arrow.source], nodes[arrow.target]
    if column[arrow.target] - column[arrow.source] == 1:
        return (x0 + NODE / 2, y0), (x1 - NODE / 2, y1)
    start, end = (x0, y0 - HEIGHT / 2), (x1, y1 - HEIGHT / 2)
    top = min(start[1], end[1]) - _OVER
    return start, (x0, top), (x1, top), end


def _covariance(nodes: Mapping[str, Point], arrow: Arrow, column: Mapping[str, int]) -> tuple[Point, ...]:
    if abs(column[arrow.source] - column[arrow.target]) == 1:
        # between the sides that face each other
        (x0, y0), (x1, y1) = sorted((nodes[arrow.source], nodes[arrow.target]))
        first, second = x0 + NODE / 2, x1 - NODE / 2
        middle = (first + second) / 2
        return (first, y0), (middle, y0), (middle, y1), (second, y1)
    (x0, y0), (x1, y1) = sorted((nodes[arrow.source], nodes[arrow.target]), key=lambda at: at[1])
    side = -1 if _is_left(arrow, column) else 1
    first, second = x0 + side * NODE / 2, x1 + side * NODE / 2
    reach = min(_SIDE - 8.0, 18 + 0.16 * abs(y1 - y0)) * 4 / 3
    out = (min(first, second) if side < 0 else max(first, second)) + side * reach
    return (first, y0), (out, y0), (out, y1), (second, y1)


def _at(points: tuple[Point, ...], share: float) -> Point:
    """The point of a line or a cubic curve at a share of its way."""
    rest = 1 - share
    weights = [rest, share]
    if len(points) == 4:
        weights = [rest**3, 3 * rest**2 * share, 3 * rest * share**2, share**3]
    x, y = (sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in (0, 1))
    return x, y


def _best(arrow: Arrow, arrows: Sequence[Arrow]) -> float:
    """The share of its way at which an arrow's label is farthest from those of others."""
    parting, meeting = (
        sum(getattr(other, end) == getattr(arrow, end) and not other.both for other in arrows)
        for end in ("source", "target")
    )
    return 0.5 if arrow.both or parting == meeting else 0.5 + (_PARTED if parting > meeting else -_PARTED)


def _label(points: tuple[Point, ...], lines: Sequence[str], obstacles: Iterable[Box], best: float) -> Box:
    """Where on its line a label overlaps least with what stands already, the better place where several do not."""
    width = CHARACTER * max(map(len, lines)) + 2 * _ENDS
    height = LINE * len(lines) + (OFF if len(lines) == 2 else 0)
    boxes = list(obstacles)
    places = [Box(*_at(points, best + step), width, height) for step in _STEPS]
    return min(places, key=lambda box: sum(box.overlap(other) for other in boxes))
