"""Do the random effects go together? Their standard deviations and correlations, as a triangle of cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import INTERCEPT, groups_of, model_of
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import TEXT, WIDTH, Spec
from mlm_ops.reports.pictures.words import figure, labels, minus, model_text, term_label, term_text, units
from mlm_ops.results.words import cell

TERMS = 8
RESIDUAL = "residual"
#: From here on a correlation is one of ±1 but for rounding.
_ONE = 0.9995
_COLUMNS = ["model", "group", "term", "other", "estimate", "std_error", "std_dev", "correlation"]


def t_matrix(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each grouping factor of one model with two random coefficients or more."""
    model = model_of(tables, "variance_components", selection, f"other is not null and \"group\" <> '{RESIDUAL}'")
    if model is None:
        return
    groups = groups_of(tables, "variance_components", {"model": model})
    for group in selection.groups([group for group in groups if group != RESIDUAL]):
        rows = select(tables, "variance_components", _COLUMNS, equal={"model": model, "group": group})
        diagonal = rows.frame.filter(pl.col("other").is_null() & pl.col("std_dev").is_not_null())
        terms = sorted(diagonal["term"], key=lambda term: (term != INTERCEPT, term))[:TERMS]
        if len(terms) < 2:
            continue
        cells = rows.frame.to_dicts()
        yield Picture(
            key="t_matrix",
            question=f"Do the random effects of {units(group)} go together?",
            answer=_answer(cells, group, singular=_is_singular(tables, model)),
            reading=f"Model {model_text(model)}: standard deviations over {units(group)} on the diagonal, correlations "
            "below; violet is positive, teal negative, and the stronger the darker. A correlation of ±1 is outlined: "
            "the rows cannot separate the two.",
            spec=_spec(cells, terms),
            numbers=rows.frame,
            sql=rows.sql,
        )


def _is_singular(tables: Tables, model: str) -> bool:
    frame = table(tables, "fit_statistics")
    return not frame.is_empty() and frame.filter((pl.col("model") == model) & pl.col("singular")).height > 0


def _answer(cells: list[dict[str, Any]], group: str, *, singular: bool) -> str:
    pairs = [row for row in cells if row["other"] is not None and row["correlation"] is not None]
    verdict = " The model is singular: some of its variances or correlations lie at their bounds." if singular else ""
    if not pairs:
        return f"The model has no correlation of the effects of {units(group)} that is known.{verdict}"
    row = max(pairs, key=lambda pair: (abs(pair["correlation"]), pair["term"], pair["other"]))
    error = "" if row["std_error"] is None else f", standard error {figure(row['std_error'])}"
    most = "The strongest correlation is that of" if len(pairs) > 1 else "The correlation of"
    joined = ":" if len(pairs) > 1 else " is"
    return (
        f"{most} {term_text(row['other'])} and {term_text(row['term'])}{joined} {_correlation(row['correlation'])} "
        f"over {units(group)} (covariance {figure(row['estimate'])}{error}).{verdict}"
    )


def _correlation(value: float) -> str:
    return minus(cell("correlation", value))


def _spec(cells: list[dict[str, Any]], terms: list[str]) -> Spec:
    # as wide as a column, of characters of 6 pixels
    names = dict(zip(terms, labels([*map(term_label, terms)], min(22, (WIDTH - 150) / len(terms) / 6.5)), strict=True))
    boxes = []
    for row in cells:
        pair = [term for term in (row["term"], row["other"] or row["term"]) if term in names]
        value = row["std_dev"] if row["other"] is None else row["correlation"]
        if len(pair) < 2 or value is None:
            continue
        low, high = sorted(pair, key=terms.index)
        text = f"SD {figure(value)}" if row["other"] is None else f"{'+' if value > 0 else ''}{_correlation(value)}"
        hue = "deviation" if row["other"] is None else "positive" if value >= 0 else "negative"
        read = term_text(low) if low == high else f"{term_text(low)} and {term_text(high)}"
        strength = 1.0 if low == high else 0.08 + 0.6 * min(abs(value), 1.0)
        values = {name: row[name] for name in ("estimate", "std_dev", "correlation")}
        place = {"row": names[high], "column": names[low], "text": text, "hue": hue, "strength": strength}
        edge = "@flag" if low != high and abs(value) >= _ONE else "@ground"
        boxes.append({**values, **place, "edge": edge, "hover": marks.hover(f"{read}: {text}")})
    # outlined ones last, else the rims of their neighbours cover their outline
    boxes.sort(key=lambda box: box["edge"] == "@flag")
    order = list(names.values())
    x = marks.places(order, orient="top", labelAngle=0, domain=False)
    column, row = marks.field("column", x), marks.field("row", marks.places(order))
    colours = {"deviation": "@grey_pale", "positive": "@interaction", "negative": "@upper"}
    squares = marks.layer(
        "rect", boxes, {"x": column, "y": row, **marks.tint(marks.coded("hue", colours))}, strokeWidth=2
    )
    edges = marks.coded("edge", {"@ground": "@ground", "@flag": "@flag"})
    strength = {"field": "strength", "type": "quantitative", "scale": None, "legend": None}
    squares["encoding"] |= {"stroke": edges, "fillOpacity": strength}
    bare = [{name: cell_[name] for name in ("row", "column", "text")} for cell_ in boxes]
    texts = marks.texts(bare, column, row, halo=False, fontSize=TEXT + 2, fontWeight="bold")
    return marks.chart([squares, texts], 40 + 54 * len(order))
