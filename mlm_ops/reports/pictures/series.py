"""Choose the estimates to follow over runs or partitions: coefficients, variances and the ICC of one model.

The tables that are read have the names of result tables with a prefix, `RUNS` or `KEYS`: rows of the last runs of an
analysis, and rows of the latest run of each of its partitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.reports.pictures.facts import INTERCEPT, coefficients_in_order, model_of
from mlm_ops.reports.pictures.rows import Selection, Tables, table
from mlm_ops.reports.pictures.theme import colour_of
from mlm_ops.reports.pictures.words import term_text, units
from mlm_ops.warehouse.sql import identifier, literal

#: What the names of tables begin with that have rows of all runs, or of all partitions.
RUNS, KEYS = "all_", "key_"
RESIDUAL = "residual"
_INTERVAL = ("estimate", "std_error", "conf_low", "conf_high")
_ENDS, _PHI = {"conf_low": "-", "conf_high": "+"}, "phi"


@dataclass(frozen=True)
class Quantity:
    """What one picture follows.

    Attributes
    ----------
    kind
        As table ``drift`` calls it.
    name
        As sentences call it.
    table
        The result table that has it.
    columns
        What is shown of it, by name, as SQL over the table's columns.
    equal
        What its rows have in the columns that tell it apart; None is null.
    colour
        The hue of its level.
    """

    kind: str
    name: str
    table: str
    columns: Mapping[str, str]
    equal: Mapping[str, str | None]
    colour: str

    def table_of(self, prefix: str) -> str:
        """The name of its table with the rows of all runs or keys."""
        return f"{prefix}{self.table}"

    def conditions(self, *columns: str) -> list[str]:
        """What its rows fulfil in these columns, by default in all that tell it apart, as SQL."""
        values = {column: value for column, value in self.equal.items() if not columns or column in columns}
        return [
            f"{identifier(column)} is null" if value is None else f"{identifier(column)} = {literal(value)}"
            for column, value in values.items()
        ]

    def rows(self, frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
        """Its rows of a table that has these columns."""
        if frame.is_empty():
            return frame
        for column, value in self.equal.items():
            if not columns or column in columns:
                frame = frame.filter(pl.col(column).eq_missing(pl.lit(value)))
        return frame

    def shown(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Its rows of its own table, with what is shown of it."""
        return self.rows(frame).with_columns(pl.sql_expr(text).alias(name) for name, text in self.columns.items())


def quantities(tables: Tables, prefix: str, latest: Tables, selection: Selection) -> list[Quantity]:
    """Those of one model: its coefficients, the variances, the ICC.

    Parameters
    ----------
    prefix
        Of the names of the tables with the rows of all.
    latest
        Tables that say which models, terms and components there are.
    """
    model = model_of(latest, "fixed_effects", selection)
    if model is None:
        return []
    terms = [term for term in coefficients_in_order(latest, [model]) if term != INTERCEPT]
    columns = {name: name for name in _INTERVAL}
    fixed = [
        Quantity(
            "fixed_effect", term_text(term), "fixed_effects", columns, {"model": model, "term": term}, colour_of(term)
        )
        for term in selection.terms([*terms, INTERCEPT])
    ]
    effects = [quantity for quantity in fixed if quantity.rows(table(tables, f"{prefix}fixed_effects")).height]
    return [*effects, *_variances(latest, model, selection), *_clustering(latest, model, selection)]


def _variances(latest: Tables, model: str, selection: Selection) -> list[Quantity]:
    frame = table(latest, "variance_components")
    if frame.is_empty():
        return []
    diagonal = frame.filter((pl.col("model") == model) & pl.col("other").is_null())
    pairs = diagonal.select("group", "term").unique().rows()
    # Wald intervals of the logarithm, as in `fit.intervals`
    ends = {name: f"estimate * exp({sign}{NORMAL_975} * std_error / estimate)" for name, sign in _ENDS.items()}
    known = {name: f"case when estimate > 0 and std_error > 0 then {text} end" for name, text in ends.items()}
    columns = {"estimate": "estimate", "std_error": "std_error", **known}
    of_correlation = {name: f"estimate {sign} {NORMAL_975} * std_error" for name, sign in _ENDS.items()}
    # the autocorrelation of residuals stands among their variances, and has no standard deviation
    no_variance = diagonal.filter(
        (pl.col("group") == RESIDUAL) & (pl.col("term") == _PHI) & pl.col("std_dev").is_null()
    )
    variances = []
    for group, term in sorted(
        pairs, key=lambda pair: (pair[0] == RESIDUAL, pair[0], pair[1] != INTERCEPT, pair[1] or "")
    ):
        if selection.term not in (None, term) or selection.group not in (None, group):
            continue
        is_residual = group == RESIDUAL
        name = "the residual variance" if is_residual else f"the variance of {term_text(term)} over {units(group)}"
        name += f" of {term_text(term)}" if is_residual and term else ""
        is_phi = is_residual and term == _PHI and no_variance.height > 0
        name = "the autocorrelation of residuals" if is_phi else name
        equal = {"model": model, "group": group, "term": term, "other": None}
        colour = "@within" if is_residual else "@between"
        shown = columns | of_correlation if is_phi else columns
        variances.append(Quantity("variance", name, "variance_components", shown, equal, colour))
    return variances


def _clustering(latest: Tables, model: str, selection: Selection) -> list[Quantity]:
    frame = table(latest, "fit_statistics")
    if frame.is_empty() or selection.term is not None or selection.group is not None:
        return []
    if frame.filter((pl.col("model") == model) & pl.col("icc").is_not_null()).is_empty():
        return []
    return [Quantity("icc", "the ICC", "fit_statistics", {"estimate": "icc"}, {"model": model}, "@between")]
