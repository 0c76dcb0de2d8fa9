"""Fit -> tidy tables: the only place where result columns are named.

Names and roles follow broom.mixed, with underscores for dots. The store, the Dagster assets and ``mlm show`` take their
columns from `TABLES`. A new table is a module, or a place in one, with its columns and the function that fills them; a
line in `TABLES`; and, if it is drawn up for each fit, one in `FIT_TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.tables.answers import contrast_test, intervals
from mlm_ops.tables.columns import KEYS, RUNS, Schema, with_model
from mlm_ops.tables.comparisons import COMPARISONS, comparisons
from mlm_ops.tables.contextual import CONTEXTUAL_EFFECTS, contextual_effects
from mlm_ops.tables.diagnostics import DIAGNOSTICS, diagnostics
from mlm_ops.tables.drift import DRIFT
from mlm_ops.tables.effects import FIXED_EFFECTS, RANDOM_EFFECTS, fixed_effects, random_effects
from mlm_ops.tables.explained import R_SQUARED, r_squared, r_squared_changes
from mlm_ops.tables.influence import INFLUENCE, influence
from mlm_ops.tables.interactions import (
    CONTRASTS,
    JOHNSON_NEYMAN,
    SIMPLE_SLOPES,
    answers,
    contrasts,
    johnson_neyman,
    simple_slopes,
)
from mlm_ops.tables.ladder import LADDER_STEPS, ladder_steps
from mlm_ops.tables.models import FIT_STATISTICS, MODELS, fit_statistics, models
from mlm_ops.tables.nesting import DECOMPOSITION, ICC, STANDARD_ERRORS, decomposition, icc, standard_errors
from mlm_ops.tables.structural import SEM_FIT, SEM_PARAMETERS, sem_fit, sem_parameters
from mlm_ops.tables.variance import VARIANCE_COMPONENTS, variance_components

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit
    from mlm_ops.fitted_sem import SemFit

__all__ = [
    "FIT_TABLES",
    "KEYS",
    "RUNS",
    "TABLES",
    "Schema",
    "answers",
    "comparisons",
    "contextual_effects",
    "contrast_test",
    "contrasts",
    "decomposition",
    "diagnostics",
    "fit_statistics",
    "fit_tables",
    "fixed_effects",
    "icc",
    "intervals",
    "johnson_neyman",
    "ladder_steps",
    "r_squared",
    "r_squared_changes",
    "random_effects",
    "sem_tables",
    "simple_slopes",
    "standard_errors",
    "variance_components",
    "with_model",
]

#: Every stored table but ``runs``, in the order in which they are shown.
TABLES: dict[str, Schema] = {
    "fixed_effects": FIXED_EFFECTS,
    "variance_components": VARIANCE_COMPONENTS,
    "random_effects": RANDOM_EFFECTS,
    "fit_statistics": FIT_STATISTICS,
    "comparisons": COMPARISONS,
    "r_squared": R_SQUARED,
    "decomposition": DECOMPOSITION,
    "icc": ICC,
    "standard_errors": STANDARD_ERRORS,
    "contextual_effects": CONTEXTUAL_EFFECTS,
    "simple_slopes": SIMPLE_SLOPES,
    "johnson_neyman": JOHNSON_NEYMAN,
    "contrasts": CONTRASTS,
    "ladder_steps": LADDER_STEPS,
    "diagnostics": DIAGNOSTICS,
    "sem_parameters": SEM_PARAMETERS,
    "sem_fit": SEM_FIT,
    "drift": DRIFT,
    "influence": INFLUENCE,
    "models": MODELS,
}

#: The tables that are drawn up for each fit; one that has nothing to say has no rows.
FIT_TABLES: dict[str, Callable[[Fit], pl.DataFrame]] = {
    "fixed_effects": fixed_effects,
    "variance_components": variance_components,
    "random_effects": random_effects,
    "fit_statistics": fit_statistics,
    "r_squared": r_squared,
    "decomposition": decomposition,
    "icc": icc,
    "standard_errors": standard_errors,
    "contextual_effects": contextual_effects,
    "influence": influence,
    "models": models,
}


def fit_tables(name: str, fitted: Fit, wanted: Iterable[str] = tuple(FIT_TABLES)) -> dict[str, pl.DataFrame]:
    """Result tables of one fit, each with column ``model`` first: those of every fit, or those that are wanted."""
    draw = FIT_TABLES | {"diagnostics": diagnostics}
    made = {table: draw[table](fitted) for table in wanted}
    return {table: with_model(name, frame) for table, frame in made.items()}


def sem_tables(name: str, fitted: SemFit) -> dict[str, pl.DataFrame]:
    """The result tables of one structural equation model, each with column ``model`` first."""
    made = {"sem_parameters": sem_parameters(fitted), "sem_fit": sem_fit(fitted)}
    return {table: with_model(name, frame) for table, frame in made.items()}
