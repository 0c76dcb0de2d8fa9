"""How many rows has a unit? A histogram of the sizes of units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import groups_of
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import a_unit, figure, short, unit, units
from mlm_ops.results.words import count

BINS = 20
#: How `models.notes` says that units are withheld: how many, of which factor, with fewer rows than how many.
_WITHHELD = re.compile(r"min_publish_n: (\d+) of \d+ groups of (.+) have fewer than (\d+) rows")


def group_sizes(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each grouping factor."""
    for group in selection.groups(groups_of(tables, "groups", {})):
        rows = select(tables, "groups", ["group", "unit", "n"], equal={"group": group}, distinct=True)
        numbers = rows.sorted_by("n", "unit").frame
        n_withheld, least = _withheld(tables, group)
        sizes = numbers["n"]
        median = numbers.select(pl.col("n").median()).item()
        small = f" {count(n_withheld)} more have fewer than {least} rows and are not shown." if n_withheld else ""
        grey = f"; grey are those with fewer than {least} rows" if n_withheld else ""
        first, last = count(sizes[0]), count(sizes[-1])
        # every unit has the same number of rows
        balanced = f"Each of {count(numbers.height)} {units(group)} holds {first} rows.{small}"
        spread = (
            f"{count(numbers.height)} {units(group)} hold {first} to {last} rows, with a median of {_plain(median)}."
        )
        yield Picture(
            key="group_sizes",
            question=f"How many rows has {a_unit(group)}?",
            answer=balanced if first == last else spread + small,
            reading=f"Bars count {units(group)}{grey}. The fewer rows in one, the more its estimate is drawn to the "
            "average.",
            spec=_spec(sizes, median, group, n_withheld, least),
            numbers=numbers,
            sql=rows.sql,
        )


def _plain(value: float) -> str:
    return count(int(value)) if value == int(value) else figure(value)


def _withheld(tables: Tables, group: str) -> tuple[int, int]:
    """How many units are withheld, and of fewer rows than how many."""
    models = table(tables, "models")
    notes = "" if models.is_empty() else "\n".join(models["notes"].drop_nulls().sort())
    counts = [(int(n), int(least)) for n, name, least in _WITHHELD.findall(notes) if name == group]
    return counts[0] if counts else (0, 0)


def _spec(sizes: pl.Series, median: float, group: str, n_withheld: int, least: int) -> Spec:
    bins = thin.histogram(sizes, BINS).to_dicts()
    bars = [
        {**row, "kind": "shown", "hover": marks.hover(f"{_range(row)} rows: {count(row['count'])}")} for row in bins
    ]
    if n_withheld:
        hover = marks.hover(f"fewer than {least} rows: {count(n_withheld)}, withheld")
        bars.append({"low": 0, "high": least, "count": n_withheld, "kind": "withheld", "hover": hover})
    # sizes are whole numbers: a bar reaches from half below its least to half above its greatest
    bars = [{**row, "left": row["low"] - 0.5, "right": row["high"] - 0.5, "foot": 0} for row in bars]
    size = bins[0]["high"] - bins[0]["low"]
    along = marks.axis_range([*(row["left"] - size for row in bars), *(row["right"] + size for row in bars)], pad=0.0)
    across = marks.AxisRange(along.low, along.high, _whole(along.ticks), ",.0f")
    most = max(row["count"] for row in bars)
    up = marks.AxisRange(0.0, 1.1 * most, _whole(marks.axis_range([0, most], pad=0).ticks), ",.0f")
    x, y = marks.axis(across, f"rows in a {short(unit(group), 40)}", grid=False), marks.axis(up, short(units(group)))
    position = {
        "x": marks.field("left", x),
        "x2": {"field": "right"},
        "y": marks.field("foot", y),
        "y2": {"field": "count"},
    }
    kinds = {"shown": "@between", "withheld": "@grey"}
    middle = [{"here": median, "text": f"median {_plain(median)}"}]
    right = median < (across.low + across.high) / 2
    layers = [
        marks.bars(bars, position, marks.coded("kind", kinds), stroke="@ground", strokeWidth=1),
        marks.reference("x", x, median, dashed=True),
        marks.texts(
            middle,
            marks.field("here", x),
            {"value": 0},
            align="left" if right else "right",
            dx=4 if right else -4,
            dy=6,
        ),
    ]
    return marks.chart(layers, 200)


def _whole(ticks: Iterable[float]) -> tuple[float, ...]:
    return tuple(tick for tick in ticks if tick >= 0 and tick == int(tick))


def _range(row: dict[str, int]) -> str:
    last = row["high"] - 1
    return count(row["low"]) if row["low"] == last else f"{count(row['low'])} to {count(last)}"
