"""Cards stand in two columns that end nearly together, in their order, none stretched."""

from __future__ import annotations

import re

import pytest
from markupsafe import Markup

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.reports.page.card_columns import Band, Card, banded
from mlm_ops.reports.page.content import page_of
from mlm_ops.reports.page.markup import style
from mlm_ops.reports.page.tables import Grid
from tests.reports.stores import Store


def card(name: str, height: float) -> Card:
    """A card whose drawing is so high for its width."""
    return Card(name, "q", "a", "r", "", Grid((), (), ()), Markup(f'<svg viewBox="0 0 100 {100 * height:g}"/>'))


def names(bands: list[Band]) -> list[tuple[str, str]]:
    return [("".join(one.id for one in band.left), "".join(one.id for one in band.right)) for band in bands]


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([], []),
        ([1.0], [("a", "")]),
        ([1.0, 1.0], [("a", "b")]),
        # one as high as two stands beside them, on either side
        ([0.5, 0.5, 1.36], [("ab", "c")]),
        ([1.36, 0.5, 0.5], [("a", "bc")]),
        # two that differ much have rows of their own
        ([0.3, 1.6], [("a", ""), ("b", "")]),
        ([1.0, 1.0, 0.6, 0.6], [("a", "b"), ("c", "d")]),
    ],
)
def test_columns_end_nearly_together(heights: list[float], expected: list[tuple[str, str]]) -> None:
    assert names(banded([card(name, height) for name, height in zip("abcdef", heights, strict=False)])) == expected


def test_all_cards_of_a_page_are_there_once_in_their_order(hsb: Store) -> None:
    html = page_of(read_latest_results(hsb.path)).html
    figures = re.findall(r'<figure class="card(?: wide)?" id="([a-z_]+)-(\d+)">', html)
    assert len(figures) == html.count("<figure") == len(set(figures)) >= 20
    for key in {key for key, _ in figures}:
        numbers = [int(number) for name, number in figures if name == key]
        assert numbers == sorted(numbers)


def test_no_card_is_stretched_and_the_first_sheet_is_not_left_empty() -> None:
    """A card with all that was found is longer than a sheet: kept whole it would begin on the second."""
    text = str(style())
    assert "subgrid" not in text
    assert not re.search(r"\.column[^{]*\{[^}]*flex:1", text)
    on_paper = text.partition("@media print")[2]
    assert ".first{break-inside:auto" in on_paper
    assert ".checks{columns:2" in on_paper
