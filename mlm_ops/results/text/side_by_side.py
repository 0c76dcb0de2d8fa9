"""Set models beside each other as papers do: terms in rows, standard errors beneath, fit at the foot.

Made from result tables, so that it serves fresh fits and stored ones alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.results.criteria import BOTH, CRITERIA, CRITERIA_BY_ML, Comparable, comparable
from mlm_ops.results.text.tables import HTML_STYLE, CellTable, html_table, latex_table, markdown_table
from mlm_ops.results.words import LEFT_OUT, cell, count, counts, html_text, plain

#: Tables whose notes stand below them, and how a note names the row that it is about.
ABOUT = {
    "models": "{model}",
    "comparisons": "{model} against {reference_model}",
    "contextual_effects": "{predictor} in {model}",
    "sem_fit": "{model}",
}


def footnotes(name: str, frame: pl.DataFrame) -> list[str]:
    """Return the notes of a table as lines, each with what it is about; rows left out are counted above the tables."""
    if name == "fit_statistics" and {"estimator", *CRITERIA_BY_ML} <= set(frame.columns):
        return [BOTH] if frame.height > 1 and "reml" in set(frame["estimator"]) else []
    column = "notes" if "notes" in frame.columns else "note"
    if name not in ABOUT or column not in frame.columns:
        return []
    subjects: dict[str, list[str]] = {}
    for row in frame.filter(pl.col(column).is_not_null()).iter_rows(named=True):
        for note in row[column].splitlines():
            if not re.match(rf"[\d,]+ of [\d,]+ {LEFT_OUT}", note):
                subjects.setdefault(note, []).append(ABOUT[name].format(**row))
    return [f"{', '.join(subject)}: {note}" for note, subject in subjects.items()]


#: The result tables that it is made from.
SOURCES = ("fixed_effects", "variance_components", "fit_statistics", "r_squared", "models")
#: Column of fit_statistics, and how the foot names it.
_FOOT = {
    "n_obs": "observations",
    "n_parameters": "parameters",
    **dict.fromkeys(("deviance", "deviance_ml"), "deviance"),
    **dict.fromkeys(("aic", "aic_ml"), "AIC"),
    **dict.fromkeys(("bic", "bic_ml"), "BIC"),
    "icc": "ICC",
    "estimator": "estimator",
}
#: Measures of r_squared that stand at the foot, and their names there.
_EXPLAINED = {"nakagawa_marginal": "R2 marginal", "nakagawa_conditional": "R2 conditional"}
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_KEY = "Standard errors in parentheses; * p < 0.05, ** p < 0.01, *** p < 0.001"


@dataclass(frozen=True)
class SideBySide:
    """The table: sections of rows, a cell a model.

    Attributes
    ----------
    models
        Headings of the columns.
    sections
        Title -> rows; a row is its label and a cell for each model, empty where the model has no such term.
    notes
        What a reader of the numbers must know, each with the models that it is about.
    numbers
        The same as numbers with all their digits: columns part, term, statistic, and one a model.
    """

    models: tuple[str, ...]
    sections: Mapping[str, tuple[tuple[str, ...], ...]]
    notes: tuple[str, ...] = ()
    numbers: pl.DataFrame = field(default_factory=pl.DataFrame, compare=False, repr=False)

    @property
    def heading(self) -> tuple[str, ...]:
        """A word a column."""
        return ("", *self.models)

    @property
    def right(self) -> tuple[bool, ...]:
        """Of each column, whether it stands at the right."""
        return (False, *(True for _ in self.models))

    @property
    def footnotes(self) -> tuple[str, ...]:
        """What stands below the table."""
        return (_KEY, *self.notes)

    def text(self, width: int | None = None) -> str:
        """Plain text, a line a row; in a narrower `width` the models stand in several blocks, one below the other."""
        blocks = [_block(self, chosen) for chosen in self._blocks(width)]
        return "\n".join(["\n\n".join(blocks), *self.footnotes])

    __str__ = text

    def _blocks(self, width: int | None) -> list[list[int]]:
        """As many models in each as go into the width, and at least one."""
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
        rows: list[list[str]] = [["", *map(plain, self.models)]]
        for title, section in self.sections.items():
            rows += [[f"**{title}**", *("" for _ in self.models)], *(list(map(plain, row)) for row in section)]
        return "\n".join([markdown_table(rows, self.right), *(f"\n{plain(note)}" for note in self.footnotes)])

    def latex(self) -> str:
        """A LaTeX table with the rules of booktabs."""
        return latex_table(self.heading, self.sections, self.right, self.footnotes)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = html_table(self.heading, self.sections, self.right)
        notes = (f"<p>{html_text(note)}</p>" for note in self.footnotes)
        return "\n".join(['<div class="mlm-fit">', f"<style>{HTML_STYLE}</style>", table, *notes, "</div>"])


def _block(table: SideBySide, chosen: Sequence[int]) -> str:
    """Some of the models, in rows of which one of them at least has something."""
    empty = ("",) * len(chosen)
    sections = [
        [(title, *empty), *(own for row in rows if any((own := (row[0], *(row[i + 1] for i in chosen)))[1:]))]
        for title, rows in table.sections.items()
    ]
    heading = ("", *(table.models[i] for i in chosen))
    rows = tuple(row for section in sections for row in section)
    first, *lines = CellTable(heading, rows, (False, *(True for _ in chosen))).lines()
    rule = "-" * max(map(len, (first, *lines)))
    below = iter(lines)
    return "\n".join([first, rule, *(line for section in sections for line in (*islice(below, len(section)), rule))])


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
    known = tables["fit_statistics"]["model"].to_list()
    chosen = tuple(known if models is None else models)
    missing = [name for name in chosen if name not in known]
    if missing or not chosen:
        raise MlmError(f"There are no results of such a model. Got {', '.join(missing) or 'none'}; expected {known}.")
    statistics = tables["fit_statistics"].filter(pl.col("model").is_in(chosen))
    criteria = comparable(statistics, tables["fixed_effects"])
    sections = {
        "Fixed effects": _fixed(tables["fixed_effects"], chosen),
        "Variance components": _variances(tables["variance_components"], chosen),
        "Fit": _foot(statistics, criteria, tables.get("r_squared"), chosen),
    }
    models_table = tables.get("models")
    notes = () if models_table is None else footnotes("models", models_table.filter(pl.col("model").is_in(chosen)))
    numbers = _numbers(tables, statistics, criteria, chosen)
    return SideBySide(chosen, sections, tuple(filter(None, (criteria.note, *notes))), numbers)


def _fixed(frame: pl.DataFrame, models: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Estimates with stars, and standard errors in parentheses beneath."""
    rows_of = {(row["model"], row["term"]): row for row in frame.iter_rows(named=True)}
    rows: list[tuple[str, ...]] = []
    for (term,) in _in_order(frame, models, ["term"]):
        own = [rows_of.get((model, term)) for model in models]
        rows.append((term, *(cell("estimate", r["estimate"]) + _stars(r["p_value"]) if r else "" for r in own)))
        errors = [cell("std_error", r["std_error"]) if r else "" for r in own]
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
    statistics: pl.DataFrame, criteria: Comparable, explained: pl.DataFrame | None, models: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    by_model = {row["model"]: row for row in statistics.iter_rows(named=True)}
    rows = []
    for column, name in _FOOT.items():
        if column in CRITERIA + CRITERIA_BY_ML and column not in criteria.columns:
            continue
        texts = [cell(column, by_model[model][column]) for model in models]
        if any(texts):
            rows.append((name, *(text.upper() if column == "estimator" else text for text in texts)))
    units = [counts(by_model[model]["n_groups"]) for model in models]
    groups = dict.fromkeys(name for by_group in units for name in by_group)
    rows[1:1] = [(f"units of {g}", *(count(own[g]) if g in own else "" for own in units)) for g in groups]
    if explained is not None:
        shares = {(row["model"], row["measure"]): row["estimate"] for row in explained.iter_rows(named=True)}
        for measure, name in _EXPLAINED.items():
            texts = [cell("estimate", shares.get((model, measure))) for model in models]
            if any(texts):
                rows.append((name, *texts))
    return tuple(rows)


def _numbers(
    tables: Mapping[str, pl.DataFrame], statistics: pl.DataFrame, criteria: Comparable, models: Sequence[str]
) -> pl.DataFrame:
    """The numbers of the table in its order: a row a statistic, a column a model."""
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
    for column, name in _FOOT.items():
        for row in statistics.iter_rows(named=True) if column not in left_out else ():
            put("Fit", name, column, row["model"], row[column])
        for row in statistics.iter_rows(named=True) if column == "n_obs" else ():
            for group, units in counts(row["n_groups"]).items():
                put("Fit", f"units of {group}", "n_groups", row["model"], units)
    for row in tables.get("r_squared", pl.DataFrame()).iter_rows(named=True):
        if row["measure"] in _EXPLAINED:
            put("Fit", _EXPLAINED[row["measure"]], row["measure"], row["model"], row["estimate"])
    columns = dict(zip(("part", "term", "statistic"), zip(*keys, strict=True), strict=True))
    of_models = {_free(model): [values.get((*key, model)) for key in keys] for model in models}
    return pl.DataFrame(columns | of_models, schema_overrides=dict.fromkeys(of_models, pl.Float64), strict=False)


def _free(model: str) -> str:
    """The column of a model, which may be called as one of the first three."""
    return f"{model} (model)" if model in ("part", "term", "statistic") else model


def _in_order(frame: pl.DataFrame, models: Sequence[str], columns: list[str]) -> list[tuple[Any, ...]]:
    """Distinct keys in the order in which the models bring them in."""
    found: dict[tuple[Any, ...], None] = {}
    for model in models:
        found |= dict.fromkeys(frame.filter(pl.col("model") == model).select(columns).iter_rows())
    return list(found)


def _stars(p: float | None) -> str:
    return next((stars for bound, stars in _STARS if p is not None and p < bound), "")
