"""Collect what the page of one analysis shows, from result tables alone: sentences, checks, pictures and tables."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from markupsafe import Markup

from mlm_ops.errors import MlmError
from mlm_ops.reports.drawing.svg import converter, draw_svg
from mlm_ops.reports.page.answers import MOST, answers
from mlm_ops.reports.page.card_columns import Card, banded
from mlm_ops.reports.page.checks import Check, checks, first_notes, last_notes
from mlm_ops.reports.page.html import render
from mlm_ops.reports.page.markup import equations
from mlm_ops.reports.page.order import in_order
from mlm_ops.reports.page.sections import SECTIONS, draft, main_model, titles
from mlm_ops.reports.page.tables import Grid, centered, formulas, grid, ladder
from mlm_ops.reports.page.words import group_counts, plural, rows_of
from mlm_ops.reports.pictures.facts import unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Tables, table
from mlm_ops.reports.pictures.series import KEYS
from mlm_ops.reports.pictures.words import shown, unit, unit_name, units
from mlm_ops.results.words import cell, count
from mlm_ops.structural.inference.invariance_steps import SHOWN, remarks
from mlm_ops.structural.results.largest_indices import largest_indices, remarks_on_indices
from mlm_ops.structural.results.random_paths import without_random_paths

#: Tables with a column of units.
_OF_UNITS = ("groups", "unit_lines", "random_effects", "diagnostics", "sem_scores")
#: Result tables that have no picture: the heading of each, and its section.
_TABLES = {
    "contrasts": ("Combinations of coefficients", "effects"),
    "sem_parameters": ("Parameters of structural models", "latent"),
    "sem_variables": ("Variables of structural models", "latent"),
    "sem_invariance": ("Invariance across levels", "latent"),
    "sem_score_tests": ("Largest modification indices", "latent"),
    "sem_fit": ("Fit of structural models", "latent"),
}
#: Columns that are not shown in them: keys of the run, and texts.
_NOT_READ = ("run_id", "analysis", "syntax", "latex", "markdown", "mathml", "mplus", "mermaid", "notes", "symbol")


@dataclass(frozen=True)
class Summary:
    """The facts of an analysis for the head of its page and for the list of several.

    Attributes
    ----------
    answers
        What was found, in sentences.
    checks
        What was checked.
    facts
        Numbers of the header with their words.
    description
        That of the analysis file.
    """

    answers: Sequence[str]
    checks: Sequence[Check]
    facts: Sequence[tuple[str, str]]
    description: str


@dataclass(frozen=True)
class AnalysisReport:
    """A page of one analysis, and the facts of it that the index lists.

    Attributes
    ----------
    html
        The whole file.
    drawings
        Bytes of each drawing by its id.
    summary
        What stands at its head.
    missing
        Why there are no drawings; None where there are.
    """

    html: str
    drawings: Mapping[str, int]
    summary: Summary
    missing: str | None


def summary_of(tables: Tables, model: str | None = None) -> Summary:
    """The facts of the analysis that has these tables, without a drawing.

    Parameters
    ----------
    tables
        Of one analysis, its row of ``runs`` among them.
    model
        The model that is told of; by default `main_model` chooses.
    """
    tables = in_order(tables)
    chosen, run = model or main_model(tables), table(tables, "runs").to_dicts()[0]
    return Summary(answers(tables, chosen), checks(tables, chosen), list(_facts(tables, run)), _description(run))


def page_of(tables: Tables, model: str | None = None, *, unit_names: bool = True, runs: int = 60) -> AnalysisReport:
    """The page of the analysis whose tables these are.

    Parameters
    ----------
    tables
        Of one analysis, its row of ``runs`` among them.
    model
        The model whose effects, units and checks are shown; by default `main_model` chooses.
    unit_names
        Whether units are named; otherwise they are numbered, everywhere.
    runs
        How many of the latest runs pictures over the runs show.
    """
    tables = in_order(tables)
    run = table(tables, "runs").to_dicts()[0]
    tables = tables if unit_names else without_unit_names(tables)
    chosen = model or main_model(tables)
    missing: str | None = None
    try:
        converter()
    except MlmError as error:
        missing = str(error)
    sections = list(_sections(tables, chosen, named=model is not None, runs=runs, draw=missing is None))
    cards = [card for section in sections for card in section["cards"]]
    summary, notes = summary_of(tables, chosen), last_notes(tables)
    if not summary.answers:
        summary = replace(summary, answers=[card.answer for card in cards[:MOST]])
    links = [(section["key"], section["title"]) for section in sections] + [("made", "How it was made")]
    html = render(
        "page.html.j2",
        name=shown(run["analysis"]),
        data=shown(run["data"]),
        summary=summary,
        links=[*links, *([("notes", "Notes")] if notes else [])],
        first_notes=first_notes(tables, run),
        last_notes=notes,
        missing=missing,
        sections=sections,
        finder=_finder(tables, cards),
        formulas=[(name, formula, equations(math), meaning) for name, formula, math, meaning in formulas(tables)],
        ladder=ladder(tables),
        runs=_runs_of_page(tables),
        run=list(_facts_of_run(run)),
    )
    drawings = {card.id: len(card.drawing.encode()) for card in cards if card.drawing is not None}
    return AnalysisReport(html, drawings, summary, missing)


def _sections(tables: Tables, model: str | None, *, named: bool, runs: int, draw: bool) -> Iterator[dict[str, Any]]:
    """The sections that have something to show, as the template takes them."""
    words, numbers = titles(tables, model), Counter[str]()
    for section in SECTIONS:
        cards = []
        for picture in draft(tables, section.pictures, model, named=named, runs=runs):
            numbers[picture.key] += 1
            cards.append(_card(picture, numbers[picture.key], draw=draw))
        grids = list(_grids(tables, section.key))
        if cards or grids or (section.key == "models" and formulas(tables)):
            texts = {"title": section.title.format(**words), "intro": section.intro.format(**words)}
            yield {"key": section.key, "cards": cards, "bands": banded(cards), "tables": grids, **texts}


def _card(picture: Picture, number: int, *, draw: bool) -> Card:
    name = f"{picture.key}-{number}"
    drawing = Markup(draw_svg(picture, ground="page", name=name)) if draw or picture.is_plain else None
    texts = {text: getattr(picture, text) for text in ("question", "answer", "reading", "sql")}
    return Card(id=name, numbers=grid(picture.numbers), drawing=drawing, **texts)


def without_unit_names(tables: Tables) -> dict[str, pl.DataFrame]:
    """The tables with a number instead of each unit's name, the same in all of them."""
    pairs = unit_numbers(tables)
    if not pairs:
        return dict(tables)
    keys = pl.DataFrame(
        [(group, unit, str(number)) for (group, unit), number in pairs.items()],
        schema={"group": pl.String, "unit": pl.String, "number": pl.String},
        orient="row",
    )
    frames = dict(tables)
    for name in _OF_UNITS:
        frame = table(tables, name)
        if not frame.is_empty():
            with_numbers = frame.join(keys, on=["group", "unit"], how="left", maintain_order="left")
            frame = with_numbers.with_columns(pl.col("number").alias("unit")).drop("number")
            if "note" in frame.columns:
                # a note about a unit may name it
                note = pl.when(pl.col("unit").is_null()).then(pl.col("note"))
                frame = frame.with_columns(note.alias("note"))
            frames[name] = frame
    return frames


def _grids(tables: Tables, section: str) -> Iterator[tuple[str, Grid, list[str]]]:
    """The tables of a section without a picture: the heading of each, and what is said below it."""
    for name, (title, where) in _TABLES.items():
        frame = table(tables, name)
        if where == section and not frame.is_empty():
            frame = without_random_paths(frame) if name == "sem_parameters" else frame
            frame = largest_indices(frame) if name == "sem_score_tests" else frame
            if name == "sem_invariance":
                title = f"{title} or groups" if "groups" in frame.to_dict().get("across", ()) else title
                frame = frame.select("model", *SHOWN)
            yield title, grid(frame.drop(_NOT_READ, strict=False)), _below(tables, name)
    if section == "centered":
        yield from centered(tables)


def _below(tables: Tables, name: str) -> list[str]:
    """What is said below a table without a picture."""
    if name == "sem_invariance":
        rows = table(tables, name).to_dicts()
        texts = [
            text
            for row in rows
            if row["p_value"] is not None
            for text in remarks([row["invariance"]], row.get("across"))
        ]
        return [f"{text[0].upper()}{text[1:]}." for text in dict.fromkeys(texts)]
    if name == "sem_score_tests":
        return [f"{text[0].upper()}{text[1:]}." for text in remarks_on_indices(table(tables, name))]
    if name == "sem_variables" and not table(tables, "sem_scores").is_empty():
        return ["The table sem_scores has the values of the latent variables of level 2 in each cluster."]
    return []


def _finder(tables: Tables, cards: Sequence[Card]) -> dict[str, Any] | None:
    """The units with marks in the pictures, by their names."""
    marks = {int(number) for card in cards for number in re.findall(r'data-u="(\d+)"', card.drawing or "")}
    pairs = {number: pair for pair, number in unit_numbers(tables).items() if number in marks}
    if not pairs:
        return None
    groups = sorted({group for group, _ in pairs.values()})
    several = len(groups) > 1
    names = [
        (number, unit_name(group, name) if several else shown(name)) for number, (group, name) in sorted(pairs.items())
    ]
    what = "unit" if several else unit(groups[0])
    return {"label": f"Find a {what} in the pictures", "units": names}


def _facts(tables: Tables, run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rows = run["n_obs"] or 0
    yield count(rows), plural(rows, "row", "rows")
    if keys := table(tables, f"{KEYS}runs").height:
        yield count(keys), "partitions"
    for group, size in group_counts(tables).items():
        yield count(size), unit(group) if size == 1 else units(group)
    fits = ("fit_statistics", "sem_fit", f"{KEYS}fit_statistics")
    models = len({row["model"] for name in fits for row in rows_of(tables, name)})
    yield count(models), plural(models, "model", "models")
    yield f"{run['finished_at']:%Y-%m-%d %H:%M} UTC", "finished"


def _description(run: Mapping[str, Any]) -> str:
    try:
        text = json.loads(run["analysis_text"] or "{}").get("description")
    except (ValueError, AttributeError):
        return ""
    return text if isinstance(text, str) else ""


def _runs_of_page(tables: Tables) -> str:
    """Say which runs the page shows; the facts of one run follow below."""
    if table(tables, f"{KEYS}runs").is_empty():
        return "All from the result tables of one run"
    if all(name == "runs" or name.startswith(KEYS) for name in tables):
        return "All from the result tables of the latest run of each partition, of which this one finished last"
    return "All from the result tables of this run of all rows, and of the latest run of each partition"


def _facts_of_run(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    versions = run["versions"] or "{}"
    try:
        packages = ", ".join(f"{name} {version}" for name, version in json.loads(versions).items())
    except (ValueError, AttributeError):
        packages = ""
    words = {
        "run": run["run_id"],
        "rows of": run["data"],
        "started": f"{cell('started_at', run['started_at'])} UTC",
        "finished": f"{cell('finished_at', run['finished_at'])} UTC",
        "checksum of the moments": run["moments_checksum"],
        "hash of the analysis": run["analysis_hash"],
        "seed": None if run["seed"] is None else str(run["seed"]),
        "versions": f"mlm-ops {run['engine_version']}{f', {packages}' if packages else ''}",
    }
    yield from ((word, text) for word, text in words.items() if text)
