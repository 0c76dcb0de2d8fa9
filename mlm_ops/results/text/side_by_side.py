"""Models beside each other, as papers print them: terms in rows, standard errors beneath, fit at the foot.

Made from result tables, so that it serves fresh fits and stored ones alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.results.tables.columns import counts as counts_of
from mlm_ops.results.tables.models import BOTH, CRITERIA, CRITERIA_BY_ML, Comparable, comparable
from mlm_ops.results.words import LEAST, LEFT_OUT, number, plain
from mlm_ops.results.words import column as numbers

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
            if not re.match(rf"\d+ of \d+ {LEFT_OUT}", note):
                subjects.setdefault(note, []).append(ABOUT[name].format(**row))
    return [f"{', '.join(subject)}: {note}" for note, subject in subjects.items()]


#: The result tables that it is made from.
SOURCES = ("fixed_effects", "variance_components", "fit_statistics", "r_squared", "models")
#: Column of fit_statistics, how the foot names it, and how it is written.
_FOOT: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("n_obs", "observations", "{:,}".format),
    ("n_parameters", "parameters", "{:d}".format),
    *((column, "deviance", "{:,.1f}".format) for column in ("deviance", "deviance_ml")),
    *((column, "AIC", "{:,.1f}".format) for column in ("aic", "aic_ml")),
    *((column, "BIC", "{:,.1f}".format) for column in ("bic", "bic_ml")),
    ("icc", "ICC", "{:.3f}".format),
    ("estimator", "estimator", str.upper),
)
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
    """

    models: tuple[str, ...]
    sections: Mapping[str, tuple[tuple[str, ...], ...]]
    notes: tuple[str, ...] = ()

    def text(self, width: int | None = None) -> str:
        """Plain text, a line a row; in a narrower `width` the models stand in several blocks, one below the other."""
        blocks = [_block(self, chosen) for chosen in self._blocks(width)]
        return "\n".join(["\n\n".join(blocks), _KEY, *self.notes])

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
        lines = ["| | " + " | ".join(map(plain, self.models)) + " |", "|---|" + "---:|" * len(self.models)]
        for title, section in self.sections.items():
            lines.append(f"| **{title}** |" + " |" * len(self.models))
            lines += ["| " + " | ".join(map(plain, row)) + " |" for row in section]
        return "\n".join([*lines, *(f"\n{plain(note)}" for note in (_KEY, *self.notes))])


def _block(table: SideBySide, chosen: Sequence[int]) -> str:
    """Some of the models, in rows of which one of them at least has something."""
    sections = {
        title: [picked for row in rows if any((picked := (row[0], *(row[i + 1] for i in chosen)))[1:])]
        for title, rows in table.sections.items()
    }
    heading = ("", *(table.models[i] for i in chosen))
    whole = [heading, *(row for rows in sections.values() for row in rows)]
    widths = [max(map(len, texts)) for texts in zip(*whole, strict=True)]
    widths[0] = max(widths[0], *map(len, sections))
    rule = "-" * (sum(widths) + 2 * len(chosen))

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    lines = [line(heading), rule]
    for title, rows in sections.items():
        lines += [title, *map(line, rows), rule]
    return "\n".join(lines)


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
    told = tables.get("models")
    notes = () if told is None else footnotes("models", told.filter(pl.col("model").is_in(chosen)))
    return SideBySide(chosen, sections, tuple(filter(None, (criteria.note, *notes))))


def _fixed(frame: pl.DataFrame, models: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    cells = {(row["model"], row["term"]): row for row in frame.iter_rows(named=True)}
    alike = _alike(frame, models)
    rows: list[tuple[str, ...]] = []
    for term in _in_order(frame, models, ["term"]):
        found = [cells.get((model, term[0])) for model in models]
        texts = [
            (_number(r["estimate"], r, alike), _number(r["std_error"], r, alike)) if r else ("", "") for r in found
        ]
        rows.append((term[0], *(t + _stars(r["p_value"]) if r else "" for (t, _), r in zip(texts, found, strict=True))))
        rows.append(("", *(f"({error})" if error else "" for _, error in texts)))
    return tuple(rows)


def _variances(frame: pl.DataFrame, models: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The residual last, whatever the order of the models."""
    keys = ["group", "term", "other"]
    alike = _alike(frame, models)
    cells = {
        (row["model"], *(row[k] for k in keys)): _number(row["estimate"], row, alike)
        for row in frame.iter_rows(named=True)
    }
    found = _in_order(frame, models, keys)
    ordered = sorted(found, key=lambda key: (key[0] == "residual", found.index(key)))
    return tuple((_component(*key), *(cells.get((model, *key), "") for model in models)) for key in ordered)


def _alike(frame: pl.DataFrame, models: Sequence[str]) -> Callable[[float], str]:
    """How all numbers of a section are written: two digits of the smallest standard error tell how many decimals."""
    own = frame.filter(pl.col("model").is_in(list(models)))
    errors = own["std_error"].drop_nulls()
    return numbers(own["estimate"].drop_nulls()) if errors.is_empty() else numbers(errors, largest=1, smallest=2)


def _number(value: float | None, row: Mapping[str, Any], alike: Callable[[float], str]) -> str:
    """As the section has it; a number whose error needs an exponent has digits of its own."""
    error = row["std_error"]
    own = error is not None and 0 < error < LEAST
    return "" if value is None else number(value) if own else alike(value)


def _component(group: str, term: str | None, other: str | None) -> str:
    return f"{group}: {term}{f', {other}' if other else ''}" if term else group


def _foot(
    statistics: pl.DataFrame, criteria: Comparable, explained: pl.DataFrame | None, models: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    by_model = {row["model"]: row for row in statistics.iter_rows(named=True)}
    rows = []
    for column, name, write in _FOOT:
        if column in CRITERIA + CRITERIA_BY_ML and column not in criteria.columns:
            continue
        values = [by_model[model][column] for model in models]
        if any(value is not None for value in values):
            rows.append((name, *("" if value is None else write(value) for value in values)))
    counts = [counts_of(by_model[model]["n_groups"]) for model in models]
    groups = dict.fromkeys(name for found in counts for name in found)
    rows[1:1] = [(f"units of {g}", *(f"{c[g]:,}" if g in c else "" for c in counts)) for g in groups]
    if explained is not None:
        shares = {(row["model"], row["measure"]): row["estimate"] for row in explained.iter_rows(named=True)}
        for measure, name in _EXPLAINED.items():
            cells = [shares.get((model, measure)) for model in models]
            if any(cell is not None for cell in cells):
                rows.append((name, *("" if cell is None else f"{cell:.3f}" for cell in cells)))
    return tuple(rows)


def _in_order(frame: pl.DataFrame, models: Sequence[str], columns: list[str]) -> list[tuple[Any, ...]]:
    """Distinct keys in the order in which the models bring them in."""
    found: dict[tuple[Any, ...], None] = {}
    for model in models:
        found |= dict.fromkeys(frame.filter(pl.col("model") == model).select(columns).iter_rows())
    return list(found)


def _stars(p: float | None) -> str:
    return next((stars for bound, stars in _STARS if p is not None and p < bound), "")
