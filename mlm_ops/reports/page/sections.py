"""Say where each picture appears on a page, and draft the pictures that an analysis' tables allow."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mlm_ops.reports.page.words import group_counts, rows_of
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.facts import models_in_order
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, table
from mlm_ops.reports.pictures.series import KEYS
from mlm_ops.reports.pictures.words import model_text, units


@dataclass(frozen=True)
class Section:
    """A part of the page: the heading's name in links, what is said below it, and the keys of its pictures."""

    key: str
    title: str
    intro: str
    pictures: tuple[str, ...]


#: In the order of the page; what stands in braces is filled in by `titles`.
SECTIONS = (
    Section(
        "data",
        "The data",
        "What is grouped, how large the groups are, and where the variance lies.",
        ("group_sizes", "decomposition", "centering", "standard_errors"),
    ),
    Section(
        "models",
        "From model to model",
        "What each model says, beside each other and step by step.",
        ("variance", "steps", "forest", "ladder_steps"),
    ),
    Section(
        "effects",
        "The effects",
        "What goes with what, within and between groups, and for whom.",
        ("two_slopes", "simple_slopes", "johnson_neyman"),
    ),
    Section(
        "centered",
        "Raw or centered",
        "The same model with its predictors raw and centered, fitted to the same rows: what moves and what stays.",
        (),
    ),
    Section(
        "units",
        "The {units}",
        "How they differ around the average. No picture here is a ranking.",
        ("unit_lines", "shrinkage", "caterpillar", "t_matrix"),
    ),
    Section(
        "holds",
        "Does the model hold?",
        "What {model} supposes, and what its residuals show.",
        ("qq_rows", "qq_units", "binned", "influence"),
    ),
    Section("latent", "With latent means", "Structural models of the same rows.", ("path",)),
    Section("runs", "Over the {over}", "{earlier}", ("history", "keys")),
)
#: Pictures of one model, that which the page is about.
OF_ONE_MODEL = frozenset(
    {"standard_errors", "variance"}
    | {key for part in SECTIONS if part.key in {"effects", "units", "holds", "runs"} for key in part.pictures}
)


def main_model(tables: Tables) -> str | None:
    """The model that the page is about: the last compared one with diagnostics, else the last with random effects."""
    return model_to_show(
        models_in_order(tables),
        compared={name for row in rows_of(tables, "comparisons") for name in (row["model"], row["reference_model"])},
        diagnosed={row["model"] for row in rows_of(tables, "diagnostics")},
        varying=set(tables["random_effects"]["model"]) if "random_effects" in tables else set(),
        fitted={row["model"] for row in rows_of(tables, "fixed_effects")},
    )


def model_to_show(
    order: Sequence[str],
    *,
    compared: AbstractSet[str],
    diagnosed: AbstractSet[str],
    varying: AbstractSet[str],
    fitted: AbstractSet[str],
) -> str | None:
    """The last of the models with most to show: compared and diagnosed ones, diagnosed, with random effects, any."""
    for choice in (compared & diagnosed, diagnosed, varying, fitted):
        if models := [model for model in order if model in choice]:
            return models[-1]
    return None


def titles(tables: Tables, model: str | None) -> dict[str, str]:
    """What is filled in of headings and introductions."""
    groups, several = list(group_counts(tables)), not table(tables, f"{KEYS}runs").is_empty()
    return {
        "units": units(groups[0]) if len(groups) == 1 else "units",
        "model": "the model" if model is None else model_text(model),
        "over": "partitions" if several else "runs",
        "earlier": "The same model, fitted to the rows of each." if several else "Earlier runs of the same analysis.",
    }


def draft(tables: Tables, keys: Sequence[str], model: str | None, *, named: bool, runs: int = 60) -> list[Picture]:
    """The pictures of these keys that the tables have.

    Parameters
    ----------
    model
        The model that the page is about.
    named
        Whether the reader asked for it: then a picture that it does not have is not shown of another.
    runs
        How many of the latest runs pictures over the runs show.
    """
    pictures: list[Picture] = []
    for key in keys:
        if key not in PICTURES:
            continue
        selection = Selection(model=model if key in OF_ONE_MODEL else None, runs=runs)
        of_key = list(PICTURES[key](tables, selection))
        if not of_key and not named and selection.model is not None:
            of_key = list(PICTURES[key](tables, Selection(runs=runs)))
        pictures += of_key
    return pictures
