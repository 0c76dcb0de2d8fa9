"""Set models beside each other as papers do: terms in rows, standard errors beneath, fit at the foot.

Made from result tables, so that it works for fresh fits and stored ones alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.language.spelling import list_names, unknown_result
from mlm_ops.results.criteria import BOTH_CRITERIA_NOTE, CRITERIA, CRITERIA_BY_ML, Comparable, comparable
from mlm_ops.results.text.tables import HTML_STYLE, CellTable, html_table, latex_table, markdown_table
from mlm_ops.results.words import LABELS, ROWS_LEFT_OUT, cell, count, counts, html_text, markdown_text

#: Tables whose notes stand below them, and how a note names the row that it is about.
NOTE_SUBJECTS = {
    "models": "{model}",
    "comparisons": "{model} against {reference_model}",
    "contextual_effects": "{predictor} in {model}",
    "sem_fit": "{model}",
}


def footnotes(name: str, frame: pl.DataFrame, written: Callable[[str], str] = str) -> list[str]:
    """List the notes of a table, each with what it is about, but for those on rows left out, which stand above it.

    Parameters
    ----------
    written
        How the names of models and predictors are written.
    """
    if name == "fit_statistics" and {"estimator", *CRITERIA_BY_ML} <= set(frame.columns):
        return [BOTH_CRITERIA_NOTE] if frame.height > 1 and "reml" in set(frame["estimator"]) else []
    column = "notes" if "notes" in frame.columns else "note"
    if name not in NOTE_SUBJECTS or column not in frame.columns:
        return []
    subjects: dict[str, list[str]] = {}
    for row in frame.filter(pl.col(column).is_not_null()).iter_rows(named=True):
        names = {key: written(row[key]) for key in ("model", "reference_model", "predictor") if key in row}
        for note in row[column].splitlines():
            if not re.match(rf"[\d,]+ of [\d,]+ {ROWS_LEFT_OUT}", note):
                subjects.setdefault(note, []).append(NOTE_SUBJECTS[name].format(**names))
    return [f"{', '.join(subject)}: {note}" for note, subject in subjects.items()]


#: The result tables that models side by side are made from.
SOURCES = ("fixed_effects", "variance_components", "fit_statistics", "r_squared", "models")
#: The columns of fit_statistics that stand at the foot, in order.
_FOOT = ("n_obs", "n_parameters", "deviance", "deviance_ml", "aic", "aic_ml", "bic", "bic_ml", "icc", "estimator")
#: Measures of r_squared that stand at the foot, and their names there.
_R_SQUARED = {"nakagawa_marginal": "R2 marginal", "nakagawa_conditional": "R2 conditional"}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_KEY = "Standard errors in parentheses; * p < 0.05, ** p < 0.01, *** p < 0.001"


@dataclass(frozen=True)
class SideBySide:
    """Hold models side by side: sections of rows, with one cell per model.

    Attributes
    ----------
    models
        Headings of the columns.
    sections
        Title -> rows; a row is its label and a cell for each model, empty where the model has no such term.
    notes
        What a reader of the numbers must know, each with the models that it is about.
    numbers
        The same as numbers with all their digits: columns part, term, statistic, and one per model.
    """

    models: tuple[str, ...]
    sections: Mapping[str, tuple[tuple[str, ...], ...]]
    notes: tuple[str, ...] = ()
    numbers: pl.DataFrame = field(default_factory=pl.DataFrame, compare=False, repr=False)

    @property
    def heading(self) -> tuple[str, ...]:
        """One text per column."""
        return ("", *self.models)

    @property
    def right(self) -> tuple[bool, ...]:
        """For each column, whether it is aligned right."""
        return (False, *(True for _ in self.models))

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The notes below the table."""
        return (_KEY, *self.notes)

    def text(self, width: int | None = None) -> str:
        """Plain text, a line a row; in a narrower `width` the models stand in several blocks, one below the other."""
        blocks = [_block(self, places) for places in self._blocks(width)]
        return "\n".join(["\n\n".join(blocks), *self.footnotes])

    __str__ = text

    def _blocks(self, width: int | None) -> list[list[int]]:
        """Indices of the models by block: as many as fit the width, and at least one."""
        blocks: list[list[int]] = [[]]
        for i, _ in enumerate(self.models):
            wider = [*blocks[-1], i]
            if width is not None and blocks[-1] and max(map(len, _block(self, wider).splitlines())) > width:
                blocks.append([i])
            else:
                blocks[-1] = wider
        return blocks

    def markdown(self) -> str:
        """A Markdown table, its standard errors on lines of their own."""
        rows: list[list[str]] = [["", *map(markdown_text, self.models)]]
        for title, section in self.sections.items():
            rows += [[f"**{title}**", *("" for _ in self.models)], *(list(map(markdown_text, row)) for row in section)]
        return "\n".join([markdown_table(rows, self.right), *(f"\n{markdown_text(note)}" for note in self.footnotes)])

    def latex(self) -> str:
        """A LaTeX table with the rules of booktabs."""
        return latex_table(self.heading, self.sections, self.right, self.footnotes)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = html_table(self.heading, self.sections, self.right)
        notes = (f"<p>{html_text(note)}</p>" for note in self.footnotes)
        return "\n".join(['<div class="mlm-fit">', f"<style>{HTML_STYLE}</style>", table, *notes, "</div>"])


def _block(table: SideBySide, places: Sequence[int]) -> str:
    """Plain text of some of the models, without the rows that are empty for all of them."""
    empty = ("",) * len(places)
    sections = [
        [(title, *empty), *(cells for row in rows if any((cells := (row[0], *(row[i + 1] for i in places)))[1:]))]
        for title, rows in table.sections.items()
    ]
    heading = ("", *(table.models[i] for i in places))
    rows = tuple(row for section in sections for row in section)
    first, *lines = CellTable(heading, rows, (False, *(True for _ in places))).lines()
    rule = "-" * max(map(len, (first, *lines)))
    rest = iter(lines)
    return "\n".join([first, rule, *(line for section in sections for line in (*islice(rest, len(section)), rule))])


def side_by_side(tables: Mapping[str, pl.DataFrame], models: Sequence[str] | None = None) -> SideBySide:
    """Lay out models beside each other.

    Parameters
    ----------
    tables
        Result tables of one analysis, each with the column ``model``: fixed_effects, variance_components and
        fit_statistics; r_squared and models where there are such.
    models
        Which, in order; by default all.

    Raises
    ------
    MlmError
        A model that the tables do not have.
    """
    all_names = tables["fit_statistics"]["model"].to_list()
    names = tuple(all_names if models is None else models)
    for name in names:
        if name not in all_names:
            raise MlmError(unknown_result("model", name, all_names))
    if not names:
        raise MlmError(f"There is no model to lay out. Got none; expected some of {list_names(all_names) or 'none'}.")
    statistics = tables["fit_statistics"].filter(pl.col("model").is_in(names))
    criteria = comparable(statistics, tables["fixed_effects"])
    sections = {
        "Fixed effects": _fixed(tables["fixed_effects"], names),
        "Variance components": _variances(tables["variance_components"], names),
        "Fit": _foot(statistics, criteria, tables.get("r_squared"), names),
    }
    models_table = tables.get("models")
    notes = () if models_table is None else footnotes("models", models_table.filter(pl.col("model").is_in(names)))
    numbers = _numbers(tables, statistics, criteria, names)
    return SideBySide(names, sections, tuple(filter(None, (criteria.note, *notes))), numbers)


def _fixed(frame: pl.DataFrame, models: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Estimates with stars, and standard errors in parentheses beneath."""
    rows_of = {(row["model"], row["term"]): row for row in frame.iter_rows(named=True)}
    rows: list[tuple[str, ...]] = []
    for (term,) in _in_order(frame, models, ["term"]):
        rows_of_term = [rows_of.get((model, term)) for model in models]
        rows.append(
            (term, *(cell("estimate", r["estimate"]) + _stars(r["p_value"]) if r else "" for r in rows_of_term))
        )
        errors = [cell("std_error", r["std_error"]) if r else "" for r in rows_of_term]
        rows.append(("", *(f"({error})" if error else "" for error in errors)))
    return tuple(rows)


def _variances(frame: pl.DataFrame, models: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The residual last, whatever the order of the models."""
    names = ["group", "term", "other"]
    cells = {
        (row["model"], *(row[name] for name in names)): cell("estimate", row["estimate"])
        for row in frame.iter_rows(named=True)
    }
    ordered = sorted(_in_order(frame, models, names), key=lambda key: key[0] == "residual")
    return tuple((_component(*key), *(cells.get((model, *key), "") for model in models)) for key in ordered)


def _component(group: str, term: str | None, other: str | None) -> str:
    return f"{group}: {term}{f', {other}' if other else ''}" if term else group


def _foot(
    statistics: pl.DataFrame, criteria: Comparable, r_squared: pl.DataFrame | None, models: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    by_model = {row["model"]: row for row in statistics.iter_rows(named=True)}
    rows = []
    for column in _FOOT:
        if column in CRITERIA + CRITERIA_BY_ML and column not in criteria.columns:
            continue
        texts = [cell(column, by_model[model][column]) for model in models]
        if any(texts):
            rows.append((LABELS[column], *(text.upper() if column == "estimator" else text for text in texts)))
    units = [counts(by_model[model]["n_groups"]) for model in models]
    groups = dict.fromkeys(name for by_group in units for name in by_group)
    rows[1:1] = [
        (f"units of {g}", *(count(model_units[g]) if g in model_units else "" for model_units in units)) for g in groups
    ]
    if r_squared is not None:
        shares = {(row["model"], row["measure"]): row["estimate"] for row in r_squared.iter_rows(named=True)}
        for measure, name in _R_SQUARED.items():
            texts = [cell("estimate", shares.get((model, measure))) for model in models]
            if any(texts):
                rows.append((name, *texts))
    return tuple(rows)


def _numbers(
    tables: Mapping[str, pl.DataFrame], statistics: pl.DataFrame, criteria: Comparable, models: Sequence[str]
) -> pl.DataFrame:
    """The numbers of the table in its order: one row per statistic, one column per model."""
    keys: dict[tuple[str, str, str], None] = {}
    values: dict[tuple[str, str, str, str], float | None] = {}

    def put(part: str, term: str, statistic: str, model: str, value: float | None) -> None:
        keys.setdefault((part, term, statistic))
        values[part, term, statistic, model] = value

    fixed, variances = tables["fixed_effects"], tables["variance_components"]
    for (term,) in _in_order(fixed, models, ["term"]):
        for row in fixed.filter(pl.col("term") == term).iter_rows(named=True):
            for statistic in ("estimate", "std_error", "p_value"):
                put("Fixed effects", term, statistic, row["model"], row[statistic])
    names = ["group", "term", "other"]
    for key in sorted(_in_order(variances, models, names), key=lambda key: key[0] == "residual"):
        for row in variances.iter_rows(named=True):
            if tuple(row[name] for name in names) == key:
                put("Variance components", _component(*key), "estimate", row["model"], row["estimate"])
    left_out = {"estimator", *CRITERIA, *CRITERIA_BY_ML} - set(criteria.columns)
    rows = statistics.to_dicts()
    for column in [column for column in _FOOT if column not in left_out]:
        for row in rows:
            put("Fit", LABELS[column], column, row["model"], row[column])
        if column == "n_obs":
            for row in rows:
                for group, units in counts(row["n_groups"]).items():
                    put("Fit", f"units of {group}", "n_groups", row["model"], units)
    for row in tables.get("r_squared", pl.DataFrame()).iter_rows(named=True):
        if row["measure"] in _R_SQUARED:
            put("Fit", _R_SQUARED[row["measure"]], row["measure"], row["model"], row["estimate"])
    columns = dict(zip(("part", "term", "statistic"), zip(*keys, strict=True), strict=True))
    of_models = {_free(model): [values.get((*key, model)) for key in keys] for model in models}
    return pl.DataFrame(columns | of_models, schema_overrides=dict.fromkeys(of_models, pl.Float64), strict=False)


def _free(model: str) -> str:
    """The column of a model, which may be called as one of the first three."""
    return f"{model} (model)" if model in ("part", "term", "statistic") else model


def _in_order(frame: pl.DataFrame, models: Sequence[str], columns: list[str]) -> list[tuple[Any, ...]]:
    """Distinct keys in the order in which the models bring them in."""
    keys_of: dict[str, list[tuple[Any, ...]]] = {}
    for model, *key in frame.select("model", *columns).iter_rows():
        keys_of.setdefault(model, []).append(tuple(key))
    return list(dict.fromkeys(key for model in models for key in keys_of.get(model, ())))


def _stars(p: float | None) -> str:
    return next((stars for bound, stars in _STARS if p is not None and p < bound), "")
