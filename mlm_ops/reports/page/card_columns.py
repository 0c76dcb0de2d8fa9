"""Lay out the cards of a section in two columns of nearly equal height, without stretching any card."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from mlm_ops.reports.page.tables import Grid

#: Cards of one band at most; of more, a reader would go far down and up again.
_MOST = 6
#: Pixels, at two columns: the text of a column, its lines and the width of their characters, and what else a card has.
_COLUMN, _FRAME, _GAP = 504.0, 110.0, 16.0
_QUESTION, _ANSWER, _READING = (20.0, 8.4), (24.0, 7.9), (20.2, 6.7)
#: What a card across both columns costs, as much as columns of so many pixels' difference, and each card of a band;
#: and from what height on what share of it stands empty beside its picture.
_ALONE, _LONG = 160.0, 12.0
_TALL, _EMPTY = 500.0, 0.25


@dataclass(frozen=True)
class Card:
    """A picture with its place: drawn, or without a drawing where nothing draws."""

    id: str
    question: str
    answer: str
    reading: str
    sql: str
    numbers: Grid
    drawing: Markup | None

    @property
    def height(self) -> float:
        """About how many pixels it is high in one of two columns, its numbers closed."""
        texts = ((self.question, _QUESTION), (self.answer, _ANSWER), (self.reading, _READING))
        lines = sum(line * math.ceil(len(text) * character / _COLUMN) for text, (line, character) in texts)
        return _FRAME + lines + _COLUMN * _shape(self.drawing)


@dataclass(frozen=True)
class Band:
    """Cards that belong together: in two columns, read one after the other; a single card spans both."""

    left: tuple[Card, ...]
    right: tuple[Card, ...] = ()


def banded(cards: Sequence[Card]) -> list[Band]:
    """The cards in their order, in bands whose columns are nearly equally high.

    Of all ways to cut them into bands, and each band into two columns, that whose columns differ least in all.
    """
    # the best bands of the first cards, by their number: the cost, and the bands
    best: list[tuple[float, list[Band]]] = [(0.0, [])]
    for end in range(1, len(cards) + 1):
        choices = []
        for start in range(max(0, end - _MOST), end):
            cost, band = _columns(cards[start:end])
            choices.append((best[start][0] + cost, [*best[start][1], band]))
        best.append(min(choices, key=lambda choice: (choice[0], len(choice[1]))))
    return best[-1][1]


def _columns(cards: Sequence[Card]) -> tuple[float, Band]:
    """The cards in two columns: what they cost, and the cut where the columns differ least."""
    if len(cards) == 1:
        return _ALONE + _EMPTY * max(0.0, cards[0].height - _TALL), Band(tuple(cards))
    ends = list(accumulate(card.height + _GAP for card in cards))
    cuts = [(abs(2 * ends[cut - 1] - ends[-1]), cut) for cut in range(1, len(cards))]
    difference, cut = min(cuts)
    return difference + _LONG * len(cards), Band(tuple(cards[:cut]), tuple(cards[cut:]))


def _shape(drawing: str | None) -> float:
    """The height of a drawing as a share of its width."""
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing or "")
    return float(size[2]) / float(size[1]) if size else 0.0
