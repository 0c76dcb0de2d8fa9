"""The tables of structural models: parameters in lavaan's order, measures of fit, definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from scipy.special import ndtr

from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.language.model import group_name
from mlm_ops.language.syntax import names_in
from mlm_ops.results.tables.columns import COUNT, REAL, TEXT, ColumnTypes, frame, with_model
from mlm_ops.structural.algebra.derived import r_squared as explained
from mlm_ops.structural.algebra.derived import standardized
from mlm_ops.structural.inference.cluster_scores import sem_scores
from mlm_ops.structural.inference.invariance_steps import sem_invariance
from mlm_ops.structural.inference.score_tests import sem_score_tests
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.results.diagram import mermaid
from mlm_ops.structural.results.equations import sem_equations
from mlm_ops.structural.results.mplus import mplus_input
from mlm_ops.structural.table_columns import RATIO, SEM_FIT, SEM_PARAMETERS, SEM_VARIABLES

if TYPE_CHECKING:
    from mlm_ops.structural.algebra.constraints import WaldTest
    from mlm_ops.structural.inference.comparison import Ratio
    from mlm_ops.structural.results.record import SemContextualEffect, SemRecord


#: One row per group of rows.
SEM_POPULATIONS: ColumnTypes = {
    "population": TEXT,
    "n_obs": COUNT,
    "n_clusters": COUNT,
    "log_likelihood": REAL,
    "chi_square": REAL,
    "srmr_within": REAL,
    "srmr_between": REAL,
}

DEFINED: ColumnTypes = {
    "name": TEXT,
    "definition": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "monte_carlo_low": REAL,
    "monte_carlo_high": REAL,
}


def _groups_of_definitions(record: SemRecord) -> list[str | None]:
    """The group of each definition whose labels are all of one; None of others, and without groups."""
    table, groups = record.estimate.table, dict[str, set[int]]()
    for row in table.rows:
        if row.label is not None:
            groups.setdefault(row.label, set()).add(row.group)
    values: list[str | None] = []
    for definition in table.definitions:
        own = set[int]().union(*(groups.get(name, set()) for name in names_in(definition.expression)))
        groups[definition.name] = own
        values.append(record.group_values[next(iter(own))] if len(own) == 1 else None)
    return values


def sem_parameters(record: SemRecord) -> pl.DataFrame:
    """One row per parameter, fixed ones too, and one a definition, whose level is 0."""
    estimate, rows, definitions = record.estimate, record.estimate.table.rows, record.estimate.table.definitions
    deviations = np.sqrt(np.diag(record.vcov))
    free = [row.index is not None for row in rows]
    values = [row.value if row.index is None else estimate.theta[row.index] for row in rows]
    errors = [np.nan if row.index is None else deviations[row.index] for row in rows]
    unknown = [row.index is not None and bool(estimate.undetermined[row.index]) for row in rows]
    standard, standard_defined = standardized(estimate.table, estimate.structure, estimate.theta)
    value = np.array([*values, *record.defined_values.estimate], dtype=float)
    error = np.array([*errors, *record.defined_values.std_error], dtype=float)
    gone = np.array([*unknown, *record.undetermined_definitions], dtype=bool)
    value[gone] = error[gone] = np.nan
    standardised = np.where(gone, np.nan, [*standard, *standard_defined])
    tested = np.array([*free, *[True] * len(definitions)]) & (error > 0)
    margin = np.where(tested, NORMAL_975 * error, np.where([*free, *[True] * len(definitions)], np.nan, 0.0))
    no_draws = np.full(len(rows), np.nan)
    low, high = (
        np.where(gone, np.nan, [*no_draws, *limits])
        for limits in (record.monte_carlo_limits if definitions else ((), ()))
    )
    with np.errstate(all="ignore"):
        statistic = np.where(tested, value / error, np.nan)
    return frame(
        SEM_PARAMETERS,
        {
            "level": [*(row.level for row in rows), *[0] * len(definitions)],
            "lhs": [*(row.lhs for row in rows), *(d.name for d in definitions)],
            "op": [*(row.op for row in rows), *[":="] * len(definitions)],
            "rhs": [*(row.rhs for row in rows), *(d.text for d in definitions)],
            "label": [*(row.slope or row.label for row in rows), *(d.name for d in definitions)],
            "population": [*(record.group_values[row.group] for row in rows), *_groups_of_definitions(record)],
            "estimate": value,
            "std_error": np.where(tested, error, np.nan),
            "statistic": statistic,
            "p_value": 2 * ndtr(-np.abs(statistic)),
            "conf_low": value - margin,
            "conf_high": value + margin,
            "std_all": standardised,
            "monte_carlo_low": low,
            "monte_carlo_high": high,
        },
    )


def sem_variables(record: SemRecord) -> pl.DataFrame:
    """One row per variable of a level: what kind it is, and its shares of variance."""
    rows = [row for number in range(len(record.group_values)) for row in _variables_of_group(record, number)]
    return frame(SEM_VARIABLES, {column: [row[column] for row in rows] for column in SEM_VARIABLES})


def _variables_of_group(record: SemRecord, number: int) -> Iterator[dict[str, Any]]:
    table, icc = record.estimate.table, record.measures.by_group[number].icc
    shares = {(level, name): share for level, name, share in _shares(record)[number]}
    omegas = {(omega.level, omega.latent): omega for omega in record.omegas[number]}
    for level in (WITHIN, BETWEEN):
        variables = table.variables(level)
        kinds = {"observed": variables.observed, "slope": variables.slopes, "latent": variables.latent}
        for kind, name in ((kind, name) for kind, names in kinds.items() for name in names):
            omega = omegas.get((level, name))
            yield {
                "level": level,
                "variable": name,
                "kind": kind,
                "population": record.group_values[number],
                "icc": icc.get(name) if level == WITHIN else None,
                "r_squared": shares.get((level, name)),
                "omega": omega.estimate if omega else None,
                "omega_std_error": omega.std_error if omega else None,
            }


def sem_fit(record: SemRecord) -> pl.DataFrame:
    """One row."""
    measures, statistics, table = record.measures, record.estimate.statistics, record.estimate.table
    grouping = record.grouping
    plain = ("chi_square", "df", "p_value", "cfi", "tli", "rmsea", "rmsea_low", "rmsea_high", "p_close")
    scaled = tuple(name for name in plain if name != "df")
    of_level = ("chi_square", "df", "p_value", "cfi", "rmsea")
    criteria = ("log_likelihood", "n_parameters", "aic", "bic")
    return frame(
        SEM_FIT,
        {
            **_columns_of(measures.joint, criteria),
            **_columns_of(measures.given_x, criteria, "_given_x"),
            **_columns_of(measures.plain, plain),
            **_columns_of(measures.scaled, scaled, "_scaled"),
            **_columns_of(measures.by_level[WITHIN], of_level, "_within"),
            **_columns_of(measures.by_level[BETWEEN], of_level, "_between"),
            **_columns_of(measures, ("scaling_factor", "srmr_within", "srmr_between", "bounded")),
            "n_obs": [int(statistics.n_obs)],
            "n_clusters": [statistics.n_clusters],
            "converged": [record.converged],
            "singular": [record.singular],
            "robust": [record.robust],
            "slopes": [record.slopes if table.slopes else None],
            "missing": [record.missing],
            "grouped_by": [None if grouping is None else grouping.name],
            "group_equal": [None if grouping is None else grouping.equal_text],
            "n_populations": [None if grouping is None else len(table.groups)],
            "seconds": [record.seconds],
            "notes": ["\n".join(record.notes) or None],
            "syntax": [record.model.text.strip()],
            "latex": [sem_equations(table, "latex")],
            "markdown": [sem_equations(table, "markdown")],
            "mathml": [sem_equations(table, "mathml")],
            "mplus": [mplus_input(record)],
            "mermaid": [mermaid(table, record.estimate.theta)],
        },
    )


def _columns_of(record: object, names: Iterable[str], ending: str = "") -> dict[str, list[Any]]:
    """Attributes of a record as columns of one row."""
    return {f"{name}{ending}": [getattr(record, name)] for name in names}


def sem_defined(record: SemRecord, low: np.ndarray, high: np.ndarray) -> pl.DataFrame:
    """One row per definition, with both kinds of interval."""
    whole = sem_parameters(record).filter(pl.col("op") == ":=")
    gone = np.array(record.undetermined_definitions, dtype=bool)
    return frame(
        DEFINED,
        {
            "name": whole["lhs"],
            "definition": whole["rhs"],
            **{name: whole[name] for name in ("estimate", "std_error", "conf_low", "conf_high")},
            "monte_carlo_low": np.where(gone, np.nan, low),
            "monte_carlo_high": np.where(gone, np.nan, high),
        },
    )


def sem_r_squared(record: SemRecord) -> pl.DataFrame:
    """One row per explained variable of a level."""
    schema: ColumnTypes = {"level": COUNT, "variable": TEXT, "r_squared": REAL}
    return _of_groups(record, schema, _shares(record))


def _of_groups(record: SemRecord, schema: ColumnTypes, parts: Iterable[Iterable[tuple[Any, ...]]]) -> pl.DataFrame:
    """The rows of each group of rows, with its value behind them where there are groups."""
    pairs = zip(record.group_values, parts, strict=True)
    rows = [(*row, value) for value, part in pairs for row in part]
    columns: ColumnTypes = schema if record.grouping is None else {**schema, "population": TEXT}
    return frame(columns, {name: [row[i] for row in rows] for i, name in enumerate(columns)})


def _shares(record: SemRecord) -> list[list[tuple[int, str, float]]]:
    """Of each group of rows."""
    return [explained(one.table, one.structure, one.theta) for one in record.estimate.by_group]


def sem_reliability(record: SemRecord) -> pl.DataFrame:
    """One row per latent variable of a level: omega."""
    schema: ColumnTypes = {"level": COUNT, "latent": TEXT, "estimate": REAL, "std_error": REAL}
    parts = ([tuple(getattr(omega, name) for name in schema) for omega in omegas] for omegas in record.omegas)
    return _of_groups(record, schema, parts)


def sem_icc(record: SemRecord) -> pl.DataFrame:
    """One row per row-level variable: the between share of its variance in the unrestricted model."""
    schema: ColumnTypes = {"variable": TEXT, "icc": REAL}
    return _of_groups(record, schema, (group.icc.items() for group in record.measures.by_group))


def sem_populations(record: SemRecord) -> pl.DataFrame:
    """One row per group of rows: its size, and its parts of what is added up over the groups; none without groups."""
    groups = record.measures.by_group if record.grouping is not None else ()
    columns = {name: [getattr(group, name) for group in groups] for name in list(SEM_POPULATIONS)[1:]}
    return frame(SEM_POPULATIONS, {"population": record.estimate.table.groups, **columns})


def sem_coverage(record: SemRecord) -> pl.DataFrame:
    """One row per pair of a level's observed variables, a variable with itself first."""
    statistics, table = record.estimate.statistics, record.estimate.table
    schema: ColumnTypes = {"level": COUNT, "variable": TEXT, "other": TEXT, "n": COUNT, "share": REAL}
    rows: list[tuple[int, str, str, int, float]] = []
    for level in (WITHIN, BETWEEN):
        names = table.variables(level).observed
        places = [statistics.columns.index(name) for name in names]
        counts, whole = statistics.coverage(level)
        for i, name in enumerate(names):
            for other in range(i, len(names)):
                n = int(counts[places[i], places[other]])
                rows.append((level, name, names[other], n, n / whole))
    return frame(schema, {name: [row[i] for row in rows] for i, name in enumerate(schema)})


def sem_contextual(effects: Mapping[str, SemContextualEffect]) -> pl.DataFrame:
    """One row per kind of cluster means."""
    schema: ColumnTypes = {"means": TEXT, **dict.fromkeys(("within", "between", "estimate", "std_error"), REAL)}
    columns = {name: [getattr(effect, name) for effect in effects.values()] for name in list(schema)[1:]}
    return frame(schema, {"means": list(effects), **columns})


def sem_wald(test: WaldTest) -> pl.DataFrame:
    """One row: a Wald test of constraints."""
    schema: ColumnTypes = {"statistic": REAL, "df": COUNT, "p_value": REAL}
    return frame(schema, _columns_of(test, schema))


def sem_comparison(ratio: Ratio) -> pl.DataFrame:
    """One row: the likelihood ratio test of nested models, plain and scaled."""
    return frame(RATIO, _columns_of(ratio, RATIO))


#: The result tables of a structural equation model, and what draws each up.
SEM_TABLES: dict[str, Callable[[SemRecord], pl.DataFrame]] = {
    "sem_parameters": sem_parameters,
    "sem_variables": sem_variables,
    "sem_fit": sem_fit,
    "sem_invariance": lambda record: sem_invariance(record.invariance_steps),
    "sem_scores": lambda record: sem_scores(
        record.cluster_scores, group_name(record.cluster), record.units, record.group_values
    ),
    "sem_score_tests": lambda record: sem_score_tests(record.score_test_results, record.group_values),
}


def sem_tables(name: str, record: SemRecord, *, with_score_tests: bool = False) -> dict[str, pl.DataFrame]:
    """The result tables of one structural equation model, each with column ``model`` first.

    Without score tests where they are not asked for, as each explores a hundred models.
    """
    wanted = {table: draw_up for table, draw_up in SEM_TABLES.items() if with_score_tests or table != "sem_score_tests"}
    return {table: with_model(name, draw_up(record)) for table, draw_up in wanted.items()}
