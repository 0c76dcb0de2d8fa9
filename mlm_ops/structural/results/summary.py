"""Print a structural fit: equations, parameters by level, fit, notes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mlm_ops.language.model import group_name
from mlm_ops.results.text.outline import Outline, OutlineTable
from mlm_ops.results.text.tables import CellTable, cell_table
from mlm_ops.results.words import LABELS, cell, count
from mlm_ops.structural.inference.invariance_steps import SHOWN, remarks, sem_invariance
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.results.equations import sem_equations
from mlm_ops.structural.results.tables import sem_fit, sem_parameters, sem_variables

if TYPE_CHECKING:
    from mlm_ops.structural.results.record import SemRecord

_TITLES = {1: "Within clusters", 2: "Between clusters", 0: "Defined"}


def outline(record: SemRecord) -> Outline:
    """Equations, parameters by level, and how well the model fits."""
    statistics = sem_fit(record).row(0, named=True)
    parameters = sem_parameters(record)
    random = [slope.name for slope in record.estimate.table.slopes]
    tables = []
    for level, value in [*((level, value) for value in record.group_values for level in (WITHIN, BETWEEN)), (0, None)]:
        rows = parameters.filter(
            pl.col("level") == level,
            pl.lit(level == 0) | pl.col("population").eq_missing(value),
            ~((pl.col("op") == "~1") & (pl.col("conf_low") == 0)),
        )
        if len(rows):
            title = _TITLES[level] if value is None else f"{_TITLES[level]}, {value}"
            tables.append(OutlineTable(title, _parameters(rows, random if level == WITHIN else [])))
    if record.observed is not None:
        estimate, error = (cell("estimate", value) for value in (record.observed.estimate, record.observed.std_error))
        below = f"with observed instead of latent cluster means: {estimate} (std. error {error})"
        tables[-1] = replace(tables[-1], below=(below,))
    if record.invariance_steps:
        names = [step.name for step in record.invariance_steps if step.ratio is not None]
        across = record.invariance_steps[0].across
        tables.append(OutlineTable(f"Invariance across {across}", _invariance(record), remarks(names, across)))
    return Outline(
        head=(
            "Two-level structural equation model by ML",
            f"{count(statistics['n_obs'])} rows in {count(statistics['n_clusters'])} clusters of "
            f"{group_name(record.cluster)}",
            *_groups(record),
        ),
        equations=lambda alphabet: sem_equations(record.estimate.table, alphabet),
        tables=tuple(tables),
        measures=(*_measures(statistics), *_shares_by_group(record)),
        notes=tuple(record.notes),
    )


def _parameters(rows: pl.DataFrame, random: Sequence[str]) -> CellTable:
    """Parameters of a level, those that the data do not determine, and random slopes, by these words."""
    columns = ["lhs", "op", "rhs", "label", "estimate", "std_error", "statistic", "p_value", "std_all"]
    if (rows["op"] == ":=").all():
        columns[-1:] = ["monte_carlo_low", "monte_carlo_high", "std_all"]
    # the label of a definition is its name
    own = rows.with_columns(label=pl.when(pl.col("op") != ":=").then(pl.col("label"))).select(columns)
    headings = dict.fromkeys(columns[:4], "") | {
        "std_error": "std. error",
        "statistic": "z",
        "p_value": "p",
        "std_all": "std. all",
        "monte_carlo_low": "95% Monte Carlo from",
        "monte_carlo_high": "to",
    }
    table = cell_table(own.with_columns(pl.col("estimate").fill_null(float("nan"))), headings)
    words = []
    for label, cells in zip(own["label"], table.rows, strict=True):
        texts = ["not determined" if text == "nan" else text for text in cells]
        if label in random:
            # its mean is the intercept of the variable between clusters
            texts[columns.index("estimate")] = "random"
        words.append(tuple(texts))
    return replace(table, rows=tuple(words))


def _invariance(record: SemRecord) -> CellTable:
    """The fit of each step of invariance, and its test against the step before."""
    return cell_table(sem_invariance(record.invariance_steps).select(*SHOWN), SHOWN)


def _groups(record: SemRecord) -> Iterator[str]:
    """A line of the groups of rows, and what is equal in all of them."""
    if record.grouping is not None:
        sizes = zip(record.group_values, record.measures.by_group, strict=True)
        texts = (f"{value} ({count(one.n_obs)} rows in {count(one.n_clusters)})" for value, one in sizes)
        yield f"groups of {record.grouping.name}: {', '.join(texts)}"
        if record.grouping.equal_text is not None:
            yield f"equal in all groups: {record.grouping.equal_text}"


def _shares_by_group(record: SemRecord) -> Iterator[str]:
    """Lines of intraclass correlations, explained shares and reliabilities, of each group of rows."""
    variables = sem_variables(record)
    for value, group in zip(record.group_values, record.measures.by_group, strict=True):
        icc = ", ".join(f"{name} {cell('icc', share)}" for name, share in group.icc.items() if not math.isnan(share))
        of_group = variables.filter(pl.col("population").eq_missing(value))
        for line in [*([f"ICC: {icc}"] if icc else []), *_shares(of_group)]:
            yield line if value is None else f"{value}: {line}"


def _shares(variables: pl.DataFrame) -> Iterator[str]:
    """A line of explained shares of variance, and one of reliabilities, by level."""
    for column, name in (("r_squared", "R2"), ("omega", "omega")):
        levels = []
        for level, where in ((WITHIN, "within"), (BETWEEN, "between")):
            rows = variables.filter(variables["level"] == level).drop_nulls(column).select("variable", column)
            if len(rows):
                levels.append(f"{where} {', '.join(f'{of} {cell(column, value)}' for of, value in rows.iter_rows())}")
        if levels:
            yield f"{name}: {'; '.join(levels)}"


def _measures(statistics: Mapping[str, Any]) -> Iterator[str]:
    """Lines of likelihoods, of chi-square, of its scaled version, and of chi-square by level."""

    def text(name: str) -> str:
        return cell(name, statistics[name]) or "-"

    def texts(*names: str, ending: str = "") -> str:
        return ", ".join(f"{LABELS[name]} {text(name + ending)}" for name in names)

    def test(ending: str, df: str) -> str:
        p_value = f", p {text(f'p_value{ending}')}" if statistics[f"p_value{ending}"] is not None else ""
        return f"{texts('chi_square', ending=ending)} on {statistics[df]} df{p_value}"

    criteria = ("log_likelihood", "aic", "bic")
    yield texts(*criteria)
    if statistics["n_parameters_given_x"] != statistics["n_parameters"]:
        yield f"given x: {texts(*criteria, ending='_given_x')}"
    if statistics["df"] is None:
        return
    bound = " (on a bound)" if statistics["bounded"] else ""
    residuals = f"SRMR within {text('srmr_within')}, between {text('srmr_between')}"
    interval = f" ({text('rmsea_low')} to {text('rmsea_high')})" if statistics["df"] else ""
    yield f"{test('', 'df')}{bound}, {texts('cfi', 'tli', 'rmsea')}{interval}, {residuals}"
    if statistics["chi_square_scaled"] is not None and statistics["df"]:
        factor = f"(scaling factor {text('scaling_factor')})"
        yield f"scaled: {test('_scaled', 'df')} {factor}, {texts('cfi', 'tli', 'rmsea', ending='_scaled')}"
    for level in ("within", "between"):
        if statistics["df"] and statistics[f"df_{level}"] is not None:
            ending = f"_{level}"
            yield f"{level}: {test(ending, f'df{ending}')}, {texts('cfi', 'rmsea', ending=ending)}"
