"""What goes with what, at each level? The path diagram of a structural model with its estimates."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.path_layout import HEIGHT, LINE, MARGIN, NODE, OFF, Arrow, Bow, Panel, panel
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import TEXT, WIDTH, Spec
from mlm_ops.reports.pictures.words import figure, interval, minus, short, shown, term_label, term_text

#: Variables in one picture; of more, the table alone is shown.
NODES = 30
_COLUMNS = ["model", "level", "lhs", "op", "rhs", "label", "estimate", "std_error", "conf_low", "conf_high"]
_WITHIN, _BETWEEN, _DEFINED = 1, 2, 0
#: Levels from the top, with their titles and hues.
_LEVELS = {_BETWEEN: ("Between clusters", "@between"), _WITHIN: ("Within clusters", "@within")}
_BELOW = 17
#: The dot of a random slope: its radius, and where on its arrow it lies.
_DOT, _DOT_AT = 4.5, 0.15
Row = dict[str, Any]


def path(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each structural model, and each of its groups of rows, of those whose diagram can be read."""
    frame = table(tables, "sem_parameters")
    for model in [] if frame.is_empty() else sorted(set(frame["model"])):
        if selection.model in (None, model):
            groups = _groups(frame.filter(pl.col("model") == model))
            for group in groups if selection.group is None else [g for g in groups if g == selection.group]:
                of_group = {} if group is None else {"population": group}
                rows = select(tables, "sem_parameters", _COLUMNS, equal={"model": model, **of_group})
                if 0 < sum(len(_variables(rows.frame.to_dicts(), level)) for level in _LEVELS) <= NODES:
                    yield _picture(rows, group)


def path_diagram(parameters: pl.DataFrame, group: str | None = None) -> Picture:
    """The picture of one model, however many variables it has.

    Parameters
    ----------
    parameters
        Its rows of table ``sem_parameters``.
    group
        Of which group of rows; by default the first, where there are groups.
    """
    group = _groups(parameters)[0] if group is None else group
    of_group = {} if group is None else {"population": group}
    return _picture(select({"sem_parameters": parameters}, "sem_parameters", _COLUMNS[1:], equal=of_group), group)


def _groups(parameters: pl.DataFrame) -> list[str | None]:
    """The groups of rows that parameters belong to, in their order; a single None without groups."""
    values = parameters["population"].drop_nulls().to_list() if "population" in parameters.columns else []
    return list(dict.fromkeys(values)) or [None]


def _picture(rows: Rows, group: str | None) -> Picture:
    parameters = rows.frame.to_dicts()
    return Picture(
        key="path",
        question=f"What goes with what, at each level{'' if group is None else f', in {shown(group)}'}?",
        answer=_answer(parameters),
        reading=f"A box is a variable, an oval one that is not observed. An arrow has its coefficient and the 95% "
        "interval below it, a dashed line a covariance; a number alone is fixed. A variable at both levels "
        f"is, between clusters, the mean that its cluster would have of very many rows.{_reading(parameters)}",
        spec=_spec(parameters, group),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _random(rows: Sequence[Row]) -> set[str]:
    """Names of random slopes: variables between clusters that label a regression within, which has no other value."""
    variables = {row["lhs"] for row in rows if row["level"] == _BETWEEN and row["lhs"] == row["rhs"]}
    within = [row for row in rows if row["level"] == _WITHIN and row["op"] == "~" and row["estimate"] == 0]
    return {row["label"] for row in within if _is_fixed(row) and row["label"] in variables}


def _reading(rows: Sequence[Row]) -> str:
    if not _random(rows):
        return ""
    return (
        " A filled dot on an arrow is a slope that differs between clusters, with its mean, or its intercept where "
        "something predicts it, below its name; between clusters it is a variable of that name."
    )


def _level_of_slope(rows: Sequence[Row], slope: str) -> Row | None:
    """The mean of a random slope, or what it is where the variables that predict it are zero."""
    intercepts = (row for row in rows if row["level"] == _BETWEEN and row["op"] == "~1" and row["lhs"] == slope)
    return next(intercepts, None)


def _word_for_level(rows: Sequence[Row], slope: str) -> str:
    is_predicted = any(row["level"] == _BETWEEN and row["op"] == "~" and row["lhs"] == slope for row in rows)
    return "intercept" if is_predicted else "mean"


def _is_fixed(row: Row) -> bool:
    return row["std_error"] is None and row["conf_low"] is not None


def _estimate(row: Row) -> str:
    """The estimate alone; a fixed value as the model's text has it."""
    if row["estimate"] is None:
        return "unknown"
    return minus(f"{row['estimate']:g}") if _is_fixed(row) else figure(row["estimate"])


def _with_interval(row: Row) -> str:
    return _estimate(row) if _is_fixed(row) else f"{_estimate(row)}{interval(row['conf_low'], row['conf_high'])}"


def _answer(rows: Sequence[Row]) -> str:
    """A slope at both levels if there is one, else the slope or loading that differs from zero most."""
    free = [row for row in rows if not _is_fixed(row) and row["estimate"] is not None]
    slopes = [row for row in free if row["op"] == "~"]
    for within in slopes:
        pair = (_WITHIN, within["lhs"], within["rhs"])
        if (within["level"], within["lhs"], within["rhs"]) != pair:
            continue
        for between in slopes:
            if (between["level"], between["lhs"], between["rhs"]) == (_BETWEEN, *pair[1:]):
                return (
                    f"Within clusters the slope of {term_text(within['lhs'])} on {term_text(within['rhs'])} is "
                    f"{_with_interval(within)}, between clusters {_with_interval(between)}.{_defined(free)}"
                )
    candidates = [row for row in slopes or [row for row in free if row["op"] == "=~"] if row["std_error"]]
    if not candidates:
        return _answer_of_slopes(rows, free) or "No slope or loading of the model is estimated with a standard error."
    row = max(
        candidates, key=lambda row: (abs(row["estimate"]) / row["std_error"], row["level"], row["lhs"], row["rhs"])
    )
    what = "slope" if row["op"] == "~" else "loading"
    first, second = (row["lhs"], row["rhs"]) if row["op"] == "~" else (row["rhs"], row["lhs"])
    where = _LEVELS[row["level"]][0].lower()
    most = f"The {what} of {term_text(first)} on {term_text(second)} {where}"
    lead = f"{most} is" if len(candidates) == 1 else f"{most} differs from zero most for its standard error:"
    return f"{lead} {_with_interval(row)}.{_defined(free)}"


def _answer_of_slopes(rows: Sequence[Row], free: Sequence[Row]) -> str:
    """The random slope whose mean differs from zero most."""
    random = _random(rows)
    paths = {row["label"]: row for row in rows if _is_random(row, random)}
    levels = [row for row in free if row["op"] == "~1" and row["lhs"] in random and row["std_error"]]
    if not levels:
        return ""
    row = max(levels, key=lambda row: (abs(row["estimate"]) / row["std_error"], row["lhs"]))
    path, word = paths[row["lhs"]], _word_for_level(rows, row["lhs"])
    return (
        f"The slope of {term_text(path['lhs'])} on {term_text(path['rhs'])} differs between clusters; its {word} is "
        f"{_with_interval(row)}.{_defined(free)}"
    )


def _defined(rows: Iterable[Row]) -> str:
    definitions = [row for row in rows if row["op"] == ":=" and row["conf_low"] is not None]
    if len(definitions) != 1:
        return ""
    (row,) = definitions
    return f" {term_text(row['lhs'])} ({minus(term_text(row['rhs']))}) is {_with_interval(row)}."


def _variables(rows: Sequence[Row], level: int) -> list[str]:
    """The variables of a level, each once, those without causes first."""
    parameters = [row for row in rows if row["level"] == level and row["op"] != "~1"]
    return list(dict.fromkeys(name for row in parameters for name in (row["lhs"], row["rhs"])))


def _spec(rows: Sequence[Row], group: str | None) -> Spec:
    shapes: list[Spec] = []
    panels = [(level, layout) for level in _LEVELS if (layout := _laid_out(rows, level)) is not None]
    width, top = max([float(WIDTH), *(layout.width for _, layout in panels)]), 0.0
    for level, layout in panels:
        if top:
            shapes.append({"tag": "path", "d": f"M0,{top:.2f} H{width:.2f}", "stroke": "@grid"})
        # narrower levels stand in the middle
        inside = _panel_shapes(rows, level, layout)
        shapes.append(
            {"tag": "g", "transform": f"translate({(width - layout.width) / 2:.2f},{top:.2f})", "inside": inside}
        )
        text = _LEVELS[level][0] if group is None else f"{_LEVELS[level][0]}, {short(group, 30)}"
        title = {"x": MARGIN, "y": top + 22, "fill": _LEVELS[level][1], "text": text}
        shapes.append({"tag": "text", "font-size": "13px", "font-weight": "bold", **title})
        top += layout.height
    definitions = [row for row in rows if row["op"] == ":="]
    if definitions:
        shapes.append({"tag": "path", "d": f"M0,{top:.2f} H{width:.2f}", "stroke": "@grid"})
        top += 6
    for row in definitions:
        top += LINE + 5
        name, text = short(term_label(row["lhs"])), minus(short(term_label(row["rhs"]), 30))
        line = {"x": MARGIN, "y": top, "fill": "@ink", "text": f"{name} = {text}: {_with_interval(row)}"}
        shapes.append({"tag": "text", "font-size": f"{TEXT}px", "hover": marks.hover(_read(row)), **line})
    return {"width": width, "height": top + 8, "shapes": shapes}


def _laid_out(rows: Sequence[Row], level: int) -> Panel | None:
    names = _variables(rows, level)
    random = _random(rows)
    arrows = [_arrow(rows, row, random) for row in _lines(rows, level)]
    return panel(names, arrows, _BELOW) if names else None


def _lines(rows: Sequence[Row], level: int) -> list[Row]:
    """The rows that are arrows, then those that are covariances."""
    parameters = [row for row in rows if row["level"] == level]
    pairs = [row for row in parameters if row["op"] == "~~" and row["lhs"] != row["rhs"]]
    covariances = [row for row in pairs if not (_is_fixed(row) and row["estimate"] == 0)]
    return [row for row in parameters if row["op"] in ("~", "=~")] + covariances


def _is_random(row: Row, random: Collection[str]) -> bool:
    return row["level"] == _WITHIN and row["op"] == "~" and row["label"] in random


def _arrow(rows: Sequence[Row], row: Row, random: set[str]) -> Arrow:
    if row["op"] == "~~":
        return Arrow(row["lhs"], row["rhs"], (_estimate(row),), both=True)
    source, target = (row["rhs"], row["lhs"]) if row["op"] == "~" else (row["lhs"], row["rhs"])
    if _is_random(row, random):
        of = _level_of_slope(rows, row["label"])
        # short, as the dot stands beside it
        more = () if of is None else (_estimate(of),)
        return Arrow(source, target, (short(row["label"], 15), *more))
    label = [_estimate(row)]
    if not _is_fixed(row) and row["conf_low"] is not None:
        label.append(f"{figure(row['conf_low'])} to {figure(row['conf_high'])}")
    return Arrow(source, target, tuple(label))


def _read(row: Row, random: Collection[str] = ()) -> str:
    """What is read of a line or a variance."""
    if _is_random(row, random):
        return f"random slope {term_text(row['label'])} of {term_text(row['lhs'])} on {term_text(row['rhs'])}"
    first, second = term_text(row["lhs"]), term_text(row["rhs"])
    texts = {
        "~": f"slope of {first} on {second}",
        "=~": f"loading of {second} on {first}",
        "~~": f"variance of {first}" if row["lhs"] == row["rhs"] else f"covariance of {first} and {second}",
        ":=": f"{first} = {second}",
    }
    return f"{texts[row['op']]}: {_with_interval(row)}{', fixed' if _is_fixed(row) else ''}"


def _panel_shapes(rows: Sequence[Row], level: int, layout: Panel) -> list[Spec]:
    hue = _LEVELS[level][1]
    shapes: list[Spec] = []
    labels: list[Spec] = []
    random = _random(rows)
    latent = {row["lhs"] for row in rows if row["op"] == "=~" and row["level"] == level}
    latent |= random if level == _BETWEEN else set()
    for row, curve in zip(_lines(rows, level), layout.curves, strict=True):
        both = row["op"] == "~~"
        colour, read = ("@soft" if both else hue), marks.hover(_read(row, random))
        dashes = {"stroke-dasharray": "4,3"} if both else {}
        shapes.append({"tag": "path", "d": curve.path, "stroke": colour, "stroke-width": 1.5, "hover": read, **dashes})
        shapes += [
            {"tag": "path", "d": curve.head(at_start=start), "fill": colour}
            for start in ((True, False) if both else (False,))
        ]
        if _is_random(row, random):
            x, y = curve.point(_DOT_AT)
            shapes.append({"tag": "circle", "cx": x, "cy": y, "r": _DOT, "fill": colour, "hover": read})
        lines, label = _arrow(rows, row, random).label, curve.label
        for place, (line, baseline) in enumerate(zip(lines, _baselines(curve, len(lines)), strict=True)):
            weight = {"font-weight": "bold"} if not both and place == 0 else {}
            fill = "@ink" if place == 0 and not both else "@soft"
            # a line that the text lies upon is parted by a wide rim
            rim = 3 if curve.is_level else 6
            labels.append(_text(label.x, baseline, line, fill, rim, **weight))
    variances = {
        row["lhs"]: row for row in rows if row["op"] == "~~" and row["lhs"] == row["rhs"] and row["level"] == level
    }
    arrows = (_arrow(rows, row, random) for row in _lines(rows, level))
    targets = {arrow.target for arrow in arrows if not arrow.both}
    for name, (x, y) in layout.nodes.items():
        shapes += _node(name, x, y, hue, is_latent=name in latent)
        if name in variances:
            what = "residual" if name in targets else "variance"
            labels.append(_text(x, y + HEIGHT / 2 + 13, f"{what} {_estimate(variances[name])}", "@soft"))
    return [*shapes, *labels]


def _baselines(curve: Bow, n: int) -> list[float]:
    """Where the lines of a label stand: two at a level arrow one above and one below, clear of it."""
    if n == 2 and curve.is_level:
        return [curve.label.y - OFF, curve.label.y + OFF + LINE - 7]
    first = curve.label.y - LINE * (n / 2 - 1) - 4
    return [first + place * LINE for place in range(n)]


def _node(name: str, x: float, y: float, hue: str, *, is_latent: bool) -> list[Spec]:
    rim = {"fill": "@ground", "stroke": hue, "stroke-width": 1.5, "hover": marks.hover(term_text(name))}
    if is_latent:
        node = {"tag": "ellipse", "cx": x, "cy": y, "rx": NODE / 2, "ry": HEIGHT / 2 + 2, **rim}
    else:
        corner = {"x": x - NODE / 2, "y": y - HEIGHT / 2}
        node = {"tag": "rect", **corner, "width": NODE, "height": HEIGHT, **rim}
    label = {"tag": "text", "x": x, "y": y + 4, "text-anchor": "middle", "fill": "@ink", "font-size": "12px"}
    return [node, {**label, "text": short(term_label(name), 15)}]


def _text(x: float, y: float, text: str, fill: str, rim_width: int = 3, **more: str) -> Spec:
    """A text in the middle, with a rim of the ground's colour so that it can be read upon lines."""
    rim = {"stroke": "@ground", "stroke-width": rim_width}
    place = {"x": x, "y": y, "text-anchor": "middle", "font-size": f"{TEXT}px"}
    return {"tag": "text", **place, "fill": fill, **rim, **more, "text": text}
