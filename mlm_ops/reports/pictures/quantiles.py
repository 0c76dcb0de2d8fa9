"""Are residuals and random effects normal? Their quantiles against those of a normal distribution."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import INTERCEPT, model_of, random_coefficients, unit_numbers, value_column
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import chance, figure, minus, model_text, percent, term_text, unit_name, units
from mlm_ops.results.words import count, decimals

HEIGHT = 300
_QUANTILE = {"diagnostic": "residual_quantile"}
#: Residuals are standardised: what is expected of their median is zero but for rounding.
_EXPECTED = {"expected": "case when abs(expected) < 1e-12 then 0.0 else expected end"}


def qq_rows(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of one model whose rows were looked at."""
    model = model_of(tables, "diagnostics", selection, "diagnostic = 'residual_quantile'")
    if model is None:
        return
    equal, at = {"model": model, **_QUANTILE}, value_column(tables)
    rows = select(tables, "diagnostics", ["model", "n", at, "estimate"], equal=equal, derived=_EXPECTED).sorted_by(at)
    points = [
        {
            "estimate": row["estimate"],
            "expected": row["expected"],
            "hover": marks.hover(f"{percent(row[at])} of the residuals lie below {figure(row['estimate'])}"),
        }
        for row in rows.frame.to_dicts()
    ]
    ends = [value for row in points for value in (row["estimate"], row["expected"])]
    both = marks.axis_range(ends)
    low, high = {"here": both.low, "to": both.low}, {"here": both.high, "to": both.high}
    yield Picture(
        key="qq_rows",
        question="Are the residuals normal?",
        answer=_verdict(tables, model, "residual", None) or f"{len(points)} quantiles of the residuals are known.",
        reading=f"Model {model_text(model)}: quantiles of the standardised residuals of rows against those of a normal "
        "distribution, on the line where they agree.",
        spec=_spec(points, [low, high], both, both, ("expected of a normal distribution", "residual"), "@within", 44),
        numbers=rows.frame,
        sql=rows.sql,
    )


def qq_units(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each random coefficient of each grouping factor of one model."""
    columns = ["model", "group", "unit", "term", "estimate"]
    for model, group, term in random_coefficients(tables, selection):
        equal = {"model": model, "group": group, "term": term}
        rows = select(tables, "random_effects", columns, equal=equal, condition="estimate is not null")
        if rows.frame.height > 2:
            yield _of_units(tables, rows.sorted_by("estimate", "unit"), group, term)


def _of_units(tables: Tables, rows: Rows, group: str, term: str) -> Picture:
    numbers, number, n = rows.frame, unit_numbers(tables), rows.frame.height
    normal = NormalDist()
    expected = pl.Series("expected", [normal.inv_cdf((place + 0.5) / n) for place in range(n)])
    quantiles = numbers.with_columns(expected)
    points = [
        {
            "estimate": row["estimate"],
            "expected": row["expected"],
            "hover": marks.hover(
                f"{unit_name(group, row['unit'])}: {figure(row['estimate'])}", number.get((group, row["unit"]))
            ),
        }
        for row in thin.tails(quantiles).to_dicts()
    ]
    # through the quartiles, as lines in such plots are drawn
    quarter, rest = (quantiles.row(round(share * (n - 1)), named=True) for share in (0.25, 0.75))
    slope = (rest["estimate"] - quarter["estimate"]) / ((rest["expected"] - quarter["expected"]) or 1.0)
    x, y = marks.axis_range(quantiles["expected"]), marks.axis_range(quantiles["estimate"])
    line = [{"here": at, "to": quarter["estimate"] + slope * (at - quarter["expected"])} for at in (x.low, x.high)]
    y = marks.axis_range([*quantiles["estimate"], *[end["to"] for end in line]], pad=0.02)
    range_ = f"run from {figure(numbers['estimate'][0])} to {figure(numbers['estimate'][-1])}"
    what = "intercepts" if term == INTERCEPT else f"slopes of {term_text(term)}"
    some = f" Of {count(n)} {units(group)} both ends and some between are drawn." if n > len(points) else ""
    return Picture(
        key="qq_units",
        question=f"Are the {what} of {units(group)} normal?",
        answer=_verdict(tables, numbers["model"][0], group, term)
        or f"The effects of {count(n)} {units(group)} {range_}.",
        reading="Random effects against normal quantiles, with a line through the quartiles. Estimates are drawn to "
        f"the average, which makes them look more normal than the effects are.{some}",
        spec=_spec(points, line, x, y, ("normal quantile", "random effect"), "@between", 22),
        numbers=numbers,
        sql=rows.sql,
    )


def _verdict(tables: Tables, model: str, group: str, term: str | None) -> str:
    """What the test of normality found, as a sentence; nothing where it was not made."""
    findings = table(tables, "diagnostics")
    if findings.is_empty():
        return ""
    of_term = pl.col("term").is_null() if term is None else pl.col("term") == term
    tests = findings.filter(
        (pl.col("model") == model) & (pl.col("diagnostic") == "normality") & (pl.col("group") == group) & of_term
    )
    row: dict[str, Any] = tests.to_dicts()[0] if tests.height else {"estimate": None}
    if row["estimate"] is None:
        return ""
    skewness = row.get("skewness")
    two = decimals(2)
    # an older store has both numbers in the note alone
    moments = f"kurtosis {two(row['estimate'])} (normal: 0 and 3)"
    note = minus(row["note"] if skewness is None else f"skewness {two(skewness)}, {moments}")
    return f"{note[0].upper()}{note[1:]}{chance(row['p_value'])}{': flagged' if row['flagged'] else ''}."


def _spec(
    points: list[dict[str, object]],
    line: list[dict[str, float]],
    across: marks.AxisRange,
    up: marks.AxisRange,
    titles: tuple[str, str],
    colour: str,
    size: float,
) -> Spec:
    x, y = marks.axis(across, titles[0]), marks.axis(up, titles[1])
    layers = [
        marks.line(line, marks.field("here", x), marks.field("to", y), "@grey", width=1.2),
        marks.points(points, marks.field("expected", x), marks.field("estimate", y), colour, size=size),
    ]
    return marks.chart(layers, HEIGHT)
