"""Pages as tests look at them: parsed, and of tables whose every name wants to be markup."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import cycle

import polars as pl

#: Names that break out of markup, scripts, selectors, templates, expressions and file names where these are built
#: without care.
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "' onmouseover='alert(4)",
    "</style><style>*{display:none}",
    "<!-- comment",
    "]]>",
    "&lt;b&gt;",
    "&amp;",
    "a.b",
    "[x]",
    "datum",
    "datum['x']",
    "{{7*7}}",
    "{% raw %}",
    "${7*7}",
    "`x`",
    "url(#clip0)",
    "javascript:alert(5)",
    "__proto__",
    "constructor",
    "\u001b[2J",
    "a\u202eb",
    "line\nfeed",
    "x" * 200,
    " ",
    "'; drop table students; --",
    "../../etc/passwd",
    "@within",
    "ünïcödé 学校 🏫",
    "#ff0000",
    "\\u003cscript\\u003e",
)


@dataclass
class Parsed(HTMLParser):
    """What a page holds, as a browser would parse it."""

    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    within: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self._open = [tag]
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open = []

    def handle_data(self, data: str) -> None:
        if self._open and self._open[0] in ("style", "script"):
            self.within[self._open[0]] = self.within.get(self._open[0], "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is read, hover texts too."""
        return " ".join(self.texts)

    def values(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [value for _, attribute, value in self.attributes if attribute == name]


def parsed(html: str) -> Parsed:
    page = Parsed()
    page.feed(html)
    page.close()
    return page


def policy_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def renamed(frame: pl.DataFrame, column: str, names: dict[str, str]) -> pl.DataFrame:
    """The frame with other names, also as parts of texts such as terms and formulas."""
    if column not in frame.columns or frame.schema[column] != pl.String:
        return frame
    old = list(frame[column])
    new = []
    for value in old:
        for name, other in names.items():
            value = value if value is None else value.replace(name, other)
        new.append(value)
    return frame.with_columns(pl.Series(column, new, pl.String))


def hostile(tables: dict[str, pl.DataFrame], first: int) -> dict[str, pl.DataFrame]:
    """The tables of the shipped analysis with such names as its units, levels, columns, models and itself.

    Parameters
    ----------
    first
        Which of the names comes first, so that each stands in each place once.
    """
    names = HOSTILE[first:] + HOSTILE[:first]
    units = sorted(
        {unit for frame in tables.values() if "unit" in frame.columns for unit in frame["unit"].drop_nulls()}
    )
    labels = {
        unit: name if place < len(names) else f"{name} {place}"
        for place, (unit, name) in enumerate(zip(units, cycle(names), strict=False))
    }
    models = sorted(tables["models"]["model"])
    of_models = {model: f"{name}" for model, name in zip(models, names[3:], strict=False)}
    columns = {"ses": names[11], "mathach": names[12], "Public": names[13], "Catholic": names[14], "sector": names[15]}
    result = {}
    for key, frame in tables.items():
        if "unit" in frame.columns:
            frame = frame.with_columns(pl.col("unit").replace(labels))
        for column in ("model", "reference_model"):
            if column in frame.columns:
                frame = frame.with_columns(pl.col(column).replace(of_models))
        for column in (
            "term",
            "predictor",
            "moderator",
            "variable",
            "formula",
            "lhs",
            "rhs",
            "level",
            "setting",
            "other",
        ):
            frame = renamed(frame, column, columns)
        for column in ("moderator_value", "group"):
            frame = renamed(frame, column, columns | {"school": names[16]})
        for column, value in (("analysis", names[17]), ("data", names[18]), ("run_id", names[19])):
            if column in frame.columns and frame.height:
                frame = frame.with_columns(pl.lit(value).alias(column))
        if "analysis_text" in frame.columns:
            frame = frame.with_columns(pl.lit(json.dumps({"description": names[20]})).alias("analysis_text"))
        result[key] = frame
    return result
