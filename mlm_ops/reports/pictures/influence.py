"""Does one unit make the result? How far coefficients move without each of the most influential units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import UnitNumbers, groups_of, model_of, unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import a_unit, figure, labels, short, term_label, term_text, unit, unit_name, units

UNITS = 15
_FINDING = {"diagnostic": "influence"}
_KNOWN = "diagnostic = 'influence' and statistic is not null"
_COLUMNS = ["model", "group", "unit", "term", "estimate", "statistic", "flagged"]


def influence(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of one model with diagnostics."""
    model = model_of(tables, "diagnostics", selection, _KNOWN)
    if model is None:
        return
    for group in selection.groups(groups_of(tables, "diagnostics", {"model": model, **_FINDING})):
        equal = {"model": model, "group": group, **_FINDING}
        rows = select(tables, "diagnostics", _COLUMNS, equal=equal, condition="statistic is not null")
        rows = rows.sorted_by("estimate", "unit", descending=[True, False])
        if rows.frame.is_empty():
            continue
        findings = rows.frame.to_dicts()
        yield Picture(
            key="influence",
            question=f"Does one {unit(group)} make the result?",
            answer=_answer(findings, group),
            reading=f"The {units(group)} with the greatest Cook's distances, from the top, each with the coefficient "
            "that moves most when it is left out. Dashes: one standard error of that coefficient.",
            spec=_spec(findings[:UNITS], unit_numbers(tables)),
            numbers=rows.frame,
            sql=rows.sql,
        )


def _answer(findings: list[dict[str, Any]], group: str) -> str:
    far = [row for row in findings if row["flagged"]]
    most = max(findings, key=lambda row: (abs(row["statistic"]), row["unit"]))
    one = unit_name(group, most["unit"])
    move = f"without {one}, {term_text(most['term'])} moves by {figure(most['statistic'])} of its standard errors"
    if not far:
        return f"Leaving {a_unit(group)} out moves no coefficient by more than its standard error; the most: {move}."
    some = f"{len(far)} {units(group)}"
    return f"Leaving out moves a coefficient by more than its standard error for {some}; the most: {move}."


def _spec(findings: list[dict[str, Any]], number: UnitNumbers) -> Spec:
    names = labels([row["unit"] for row in findings])
    rows = []
    for row, name in zip(findings, names, strict=True):
        change = f"{term_text(row['term'])} moves by {figure(row['statistic'])} standard errors"
        read = f"without {unit_name(row['group'], row['unit'])}, {change}"
        hover = marks.hover(read, number.get((row["group"], row["unit"])))
        kind = "more than one" if row["flagged"] else "at most one"
        values = {column: row[column] for column in ("term", "statistic")}
        rows.append({**values, "label": name, "kind": kind, "text": short(term_label(row["term"])), "hover": hover})
    along = marks.axis_range([1.0, -1.0, *[row["statistic"] for row in rows]])
    x = marks.axis(along, "moves by … standard errors without the unit")
    label = marks.field("label", marks.places(names))
    move = marks.field("statistic", x)
    colour = marks.coded("kind", {"at most one": "@between", "more than one": "@flag"})
    dots = marks.points(rows, move, label, colour, size=50)
    kinds = {"domain": ["at most one", "more than one"], "range": ["circle", "triangle-up"]}
    dots["encoding"]["shape"] = {"field": "kind", "type": "nominal", "legend": None, "scale": kinds}
    layers = [
        *[marks.reference("x", x, end, colour="@flag", dashed=True) for end in (-1.0, 1.0)],
        marks.rules(rows, {"x": move, "x2": {"datum": 0}, "y": label}, "@grey", width=2),
        dots,
        marks.reference("x", x, 0.0),
    ]
    for left, align in ((True, "left"), (False, "right")):
        side = [{"label": d["label"], "text": d["text"]} for d in rows if (d["statistic"] < 0) is left]
        if side:  # upon the free side of zero
            layers.append(marks.texts(side, {"datum": 0, **x}, label, align=align, dx=6 if left else -6))
    return marks.chart(layers, 56 + 22 * len(rows))
