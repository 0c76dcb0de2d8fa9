"""Is the line along a term straight? Mean residuals in bins of each predictor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import model_of, value_column
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import figure, of, short, term_label, term_text
from mlm_ops.results.words import count

_FINDING = {"diagnostic": "binned_residual"}


def binned(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each predictor, and one for the fitted values, of one model whose rows were looked at."""
    model = model_of(tables, "diagnostics", selection, "diagnostic = 'binned_residual'")
    if model is None:
        return
    at, frame = value_column(tables), table(tables, "diagnostics")
    findings = frame.filter((pl.col("model") == model) & (pl.col("diagnostic") == "binned_residual"))
    for term in selection.terms(sorted(set(findings["term"].drop_nulls()))):
        columns = ["model", "term", at, "n", "estimate", "std_error", "p_value", "flagged"]
        ends = {"low": "-2 * std_error", "high": "2 * std_error"}
        equal = {"model": model, "term": term, **_FINDING}
        rows = select(tables, "diagnostics", columns, equal=equal, condition=f'"{at}" is not null', derived=ends)
        if rows.frame.height > 2:  # two values of an indicator make no line
            yield _picture(rows.sorted_by(at), term, at)


def _picture(rows: Rows, term: str, at: str) -> Picture:
    bins = rows.frame.to_dicts()
    flagged = [row for row in bins if row["flagged"]]
    most = max(bins, key=lambda row: abs(row["estimate"] or 0.0))
    fitted = term == "fixed_prediction"
    name = "the fitted values" if fitted else term_text(term)
    return Picture(
        key="binned",
        question=f"Is the line along {name} straight?",
        answer=f"{of(len(flagged), len(bins), 'bins')} differ from zero (p adjusted for all bins by Holm); the mean "
        f"residual farthest out is {figure(most['estimate'])}, where {name} {'are' if fitted else 'is'} about "
        f"{figure(most[at])}.",
        reading=f"Mean residuals of rows in bins of {name}, about {count(bins[0]['n'] or 0)} rows each. The grey band "
        "is two standard errors on each side of zero. Triangles are flagged; a bend is a curve that the model has not.",
        spec=_spec(bins, "the fitted values" if fitted else term_label(term), at),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _spec(bins: list[dict[str, Any]], name: str, at: str) -> Spec:
    dots = []
    for row in bins:
        read = f"{count(row['n'] or 0)} rows about {figure(row[at])}: mean residual {figure(row['estimate'])}"
        values = {column: row[column] for column in ("estimate", "low", "high")}
        kind = "flagged" if row["flagged"] else "not flagged"
        dots.append({**values, "value": row[at], "kind": kind, "hover": marks.hover(read)})
    across = marks.axis_range([row["value"] for row in dots])
    up = marks.axis_range([row[column] for row in dots for column in ("estimate", "low", "high")])
    x, y = marks.axis(across, short(name)), marks.axis(up, "mean residual")
    value = marks.field("value", x)
    bare = [{column: row[column] for column in ("value", "low", "high")} for row in dots if row["low"] is not None]
    layer = marks.points(
        [row for row in dots if row["estimate"] is not None],
        value,
        marks.field("estimate", y),
        marks.coded("kind", {"not flagged": "@within", "flagged": "@flag"}),
        size=44,
    )
    shapes = {"domain": ["not flagged", "flagged"], "range": ["circle", "triangle-up"]}
    layer["encoding"]["shape"] = {"field": "kind", "type": "nominal", "legend": None, "scale": shapes}
    layers = [
        marks.band(bare, value, marks.field("low", y), "high", "@grey", opacity=0.2),
        marks.reference("y", y, 0.0),
        layer,
    ]
    return marks.chart(layers, 220)
