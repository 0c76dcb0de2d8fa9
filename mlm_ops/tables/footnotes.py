"""The notes of result tables as lines below them."""

from __future__ import annotations

import re

import polars as pl

from mlm_ops.language.notation.left_out import LEFT_OUT
from mlm_ops.tables.likelihoods import BOTH, CRITERIA_BY_ML

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
