"""Lay out the centered versions of a model beside each other, mark what is equal, and explain why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mlm_ops.language.recentering import VERSIONS
from mlm_ops.results.tables.centering_words import HIGHEST
from mlm_ops.results.text.tables import CellTable
from mlm_ops.results.words import cell

#: What a row is about, in the order of the layout.
_QUANTITIES = ("intercept", "slope", "variance", "covariance", "log_likelihood")
_KEYS = ("quantity", "group", "predictor", "other")


def versions_table(table: pl.DataFrame) -> CellTable:
    """A number a row, a version a column, and last which versions share the number whatever the data.

    Parameters
    ----------
    table
        The rows of one model in the table ``centering``.
    """
    names = _versions(table)
    numbers: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in table.iter_rows(named=True):
        numbers.setdefault(tuple(row[key] for key in _KEYS), {})[row["version"]] = row
    # the residual's variance comes after every T
    in_order = sorted(
        numbers, key=lambda key: (_QUANTITIES.index(key[0]), key[1] == "residual", _place(numbers[key], names))
    )
    rows = tuple((_name(*key), *(_cell(numbers[key].get(v)) for v in names), _equal(numbers[key])) for key in in_order)
    return CellTable(("", *names, "equal whatever the data"), rows, (False, *(True for _ in names), False))


def remarks(table: pl.DataFrame) -> list[str]:
    """Sentences about the versions of one model: which are one model, and what their intercepts mean."""
    sentences = []
    for version in _versions(table):
        rows = table.filter(pl.col("version") == version)
        of_fit = rows.filter(pl.col("quantity") == "log_likelihood")["explanation"][0] or ""
        formula = rows["formula"][0]
        of_zeros = [
            f"{symbol}: {meaning[:1].lower()}{meaning[1:]}"
            for symbol, meaning in rows.select("symbol", "meaning").drop_nulls("meaning").iter_rows()
        ]
        sentences.append(" ".join([f"{version}, {formula}: {of_fit}", *of_zeros]))
    if table["explanation"].drop_nulls().str.contains(HIGHEST, literal=True).any():
        sentences.append(
            "Of powers and products only the highest order keeps its coefficient when a zero moves; the lower ones are "
            "slopes at the zero of the others."
        )
    return sentences


def _versions(table: pl.DataFrame) -> list[str]:
    """The versions that the table has, in their order: rows of a store have none."""
    present = set(table["version"])
    return [version for version in VERSIONS if version in present]


def _name(quantity: str, group: str | None, predictor: str | None, other: str | None) -> str:
    match quantity:
        case "intercept":
            return "intercept"
        case "log_likelihood":
            return "log-likelihood, ML"
        case "variance" if group == "residual":
            return "residual variance" if predictor is None else f"residual, {predictor}"
        case "variance":
            return f"variance over {group}: {predictor}"
        case "covariance":
            return f"covariance over {group}: {predictor}, {other}"
    return f"slope: {predictor}"


def _place(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> tuple[Any, ...]:
    """The position of a number: those of the first version in the order of their symbols, then those of the next."""
    version = next(name for name in names if name in rows)
    digits = re.findall(r"\d+", rows[version]["symbol"] or "")
    return names.index(version), rows[version]["group"] or "", [int(number) for number in digits]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return cell("log_likelihood" if row["quantity"] == "log_likelihood" else "estimate", row["estimate"])


def _equal(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """``raw = grand mean; group mean = raw + mean``: the versions in which a number is equal."""
    classes: list[str] = []
    for version in (v for v in VERSIONS if v in rows):
        row = rows[version]
        equal = (row["equal_to"] or "").split(", ")
        together = [name for name in VERSIONS if name in rows and (name == version or name in equal)]
        text = " = ".join(together)
        if len(together) > 1 and text not in classes:
            classes.append(text)
    return "; ".join(classes)
