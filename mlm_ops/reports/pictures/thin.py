"""Thin out many items for drawing: every k-th, the extremes, the rest in bins. The picture says what it leaves out."""

from __future__ import annotations

import polars as pl

#: Marks of units in one picture; of more, some are shown.
MOST_UNITS = 400
#: Bins that stand for all units between the extremes, and how many extremes stand at each end.
BINS, EXTREMES = 200, 8


def every(frame: pl.DataFrame, most: int = MOST_UNITS) -> pl.DataFrame:
    """At most so many rows, evenly spread over the frame's order, the first and the last among them."""
    n = frame.height
    if n <= most:
        return frame
    places = sorted({round(place * (n - 1) / (most - 1)) for place in range(most)})
    return frame[places]


def tails(frame: pl.DataFrame, end: int = 50, most: int = MOST_UNITS) -> pl.DataFrame:
    """So many rows at each end of the frame, and every k-th between them."""
    if frame.height <= most:
        return frame
    middle = frame.slice(end, frame.height - 2 * end)
    return pl.concat([frame.head(end), every(middle, most - 2 * end), frame.tail(end)])


def extremes(frame: pl.DataFrame, each: int = EXTREMES) -> pl.DataFrame:
    """The first rows and the last."""
    return pl.concat([frame.head(each), frame.tail(each)])


def binned(frame: pl.DataFrame, columns: list[str], bins: int = BINS) -> pl.DataFrame:
    """Means of columns in bins of about as many rows each, in the frame's order; ``place`` is the mean row number."""
    n = frame.height
    bin_ = (pl.int_range(n) * bins // n).alias("bin")
    means = [pl.col(column).mean() for column in columns]
    return frame.with_columns(bin_).group_by("bin", maintain_order=True).agg(pl.col("place").mean(), *means).drop("bin")


def ends(values: pl.Series) -> tuple[float, float]:
    """The smallest and the largest of values without nulls."""
    ordered = values.sort()
    return ordered[0], ordered[-1]


def histogram(values: pl.Series, most: int = 20) -> pl.DataFrame:
    """Counts (``count``) in at most so many bins of equal width, each from ``low`` to ``high``, whole numbers."""
    least, greatest = map(int, ends(values))
    size = max(-(-(greatest - least + 1) // most), 1)
    counts = ((values - least) // size).value_counts(sort=False, name="count")
    bins = counts.select(low=pl.col(values.name) * size + least, count=pl.col("count").cast(pl.Int64)).sort("low")
    return bins.with_columns(high=pl.col("low") + size)


def cell(values: pl.Series, cells: int) -> pl.Series:
    """The middles of the cells of equal width that values lie in."""
    low, high = ends(values)
    width = (high - low) / cells or 1.0
    return ((values - low) / width).floor().clip(0, cells - 1) * width + (low + width / 2)
