"""The five calls of the path: parse, collect, design, estimate, and the Fit record that infers when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops import tables
from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate, estimate
from mlm_ops.inference.comparison import compare, same_fixed_part
from mlm_ops.inference.fixed_effects import CoefficientTests, coefficient_tests
from mlm_ops.inference.random_effects import RandomEffects, random_effects
from mlm_ops.inference.variance import VarianceErrors, variance_errors
from mlm_ops.language.equations import Structure, level_equations, reduced_equation
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Model
from mlm_ops.moments.collect import collect
from mlm_ops.moments.design import build_design
from mlm_ops.moments.moments import Moments
from mlm_ops.moments.source import open_source

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.language.analysis import Analysis

Estimator = Literal["reml", "ml"]
DfMethod = Literal["satterthwaite", "none"]
_ESTIMATORS = ("reml", "ml")
_DF_METHODS = ("satterthwaite", "none")


@dataclass(frozen=True)
class Fit:
    """A fitted multilevel model.

    Attributes
    ----------
    model
        What was asked for.
    result
        The estimate, on the user's scale.
    estimator, df
        How it was fitted and is tested.
    seconds
        Design and estimation, without the scan.
    n_rows, n_dropped
        Rows that the data held, and how many of them miss a value, by column.
    """

    model: Model
    result: Estimate
    estimator: Estimator
    df: DfMethod
    seconds: float
    n_rows: int
    n_dropped: dict[str, int]

    @cached_property
    def tests(self) -> CoefficientTests:
        """Tests of the fixed effects."""
        return coefficient_tests(self.result, self.df)

    @cached_property
    def variance_errors(self) -> VarianceErrors:
        """Standard errors of the variance components."""
        return variance_errors(self.result)

    @cached_property
    def predictions(self) -> list[RandomEffects]:
        """Empirical Bayes estimates, block by block."""
        return random_effects(self.result)

    @property
    def structure(self) -> Structure:
        """What the equations are made of."""
        design = self.result.design
        random = tuple(tuple(block.columns for block in level.blocks) for level in design.levels)
        return Structure(self.model.outcome_name, design.fixed.columns, random, design.variable_levels)

    @property
    def fixed_effects(self) -> pl.DataFrame:
        """One row a fixed effect."""
        return tables.fixed_effects(self)

    @property
    def variance_components(self) -> pl.DataFrame:
        """One row an element of each T, and the residual variance."""
        return tables.variance_components(self)

    @property
    def random_effects(self) -> pl.DataFrame:
        """One row a unit and random effect."""
        return tables.random_effects(self)

    @property
    def fit_statistics(self) -> pl.DataFrame:
        """One row."""
        return tables.fit_statistics(self)

    @property
    def vcov(self) -> NDArray[np.float64]:
        """(p, p) covariance matrix of the fixed effects."""
        return self.result.vcov

    @property
    def converged(self) -> bool:
        """Whether the optimisation ended at a minimum."""
        return self.result.optimum.converged

    @property
    def singular(self) -> bool:
        """Whether a T is of deficient rank."""
        return self.result.optimum.singular

    def equations(self, form: Literal["levels", "reduced"] = "levels", format: Literal["text", "latex"] = "text") -> str:
        """The model as the textbook prints it."""
        write = {"levels": level_equations, "reduced": reduced_equation}
        if form not in write or format not in {"text", "latex"}:
            raise MlmError(
                f"Unknown equations. Got {form!r}, format {format!r}; expected 'levels' or 'reduced', format 'text' or 'latex'."
            )
        return write[form](self.structure, latex=format == "latex")

    def __str__(self) -> str:
        from mlm_ops.report import describe

        return describe(self)


def fit(
    formula: str,
    data: Any,
    *,
    connection: duckdb.DuckDBPyConnection | None = None,
    estimator: Estimator = "reml",
    df: DfMethod = "satterthwaite",
) -> Fit:
    """Fit one multilevel model.

    Parameters
    ----------
    formula
        lme4's formula with ``within()``, ``between()`` and ``center()``; without a random part it is single-level
        regression.
    data
        A polars DataFrame or LazyFrame, a DuckDB relation, anything DuckDB scans (Arrow, pandas), or a table name or
        SELECT with `connection`.
    estimator
        ``"reml"`` or ``"ml"``.
    df
        Degrees of freedom of the tests: ``"satterthwaite"``, or ``"none"`` for the normal distribution.

    Raises
    ------
    FormulaError, DataError, IdentificationError
        One sentence each. Singular and unconverged fits are results with flags.

    Examples
    --------
    >>> import polars as pl, mlm_ops as mlm
    >>> data = pl.DataFrame({"y": [1.0, 2, 4, 5, 7, 9], "g": ["a", "a", "b", "b", "c", "c"]})
    >>> round(mlm.fit("y ~ 1 + (1 | g)", data).fixed_effects["estimate"][0], 6)
    4.666667
    """
    check_options(estimator, df)
    model = parse_formula(formula)
    moments = collect(open_source(data, connection), [model])
    return fit_model(model, moments, estimator=estimator, df=df)


def fit_model(
    model: Model, moments: Moments, *, estimator: Estimator = "reml", df: DfMethod = "satterthwaite"
) -> Fit:
    """Fit a model to moments that were collected for it (and perhaps for others): no rows are touched."""
    check_options(estimator, df)
    started = time.perf_counter()
    result = estimate(build_design(model, moments), reml=estimator == "reml")
    seconds = time.perf_counter() - started
    return Fit(model, result, estimator, df, seconds, moments.n_rows, dict(moments.n_dropped))


def check_options(estimator: str, df: str) -> None:
    """Refuse options that do not exist."""
    for name, value, known in (("estimator", estimator, _ESTIMATORS), ("df", df, _DF_METHODS)):
        if value not in known:
            raise MlmError(f"Unknown {name}. Got {value!r}; expected one of {', '.join(known)}.")


@dataclass(frozen=True)
class AnalysisResult:
    """All of an analysis.

    Attributes
    ----------
    moments
        From the one scan.
    fits
        By model name.
    tables
        Result tables, each with column ``model`` first.
    """

    moments: Moments
    fits: dict[str, Fit]
    tables: dict[str, pl.DataFrame]

    @property
    def run(self) -> dict[str, Any]:
        """What the store records of the run's data."""
        return run_facts(self.moments)


def run_facts(moments: Moments) -> dict[str, Any]:
    """Row counts and fingerprint of the data that models were fitted to."""
    return {
        "n_rows": moments.n_rows,
        "n_obs": moments.n_obs,
        "n_dropped": json.dumps({name: count for name, count in moments.n_dropped.items() if count}),
        "moments_checksum": moments.checksum,
    }


def collect_analysis(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> Moments:
    """Scan an analysis' rows, once for all its models."""
    source = open_source(analysis.data, connection, analysis.where)
    return collect(source, list(analysis.parsed.values()), analysis.levels)


def fit_analysis_model(analysis: Analysis, name: str, moments: Moments) -> Fit:
    """Fit one model of an analysis to its moments."""
    estimator, df = analysis.options(name)
    return fit_model(analysis.parsed[name], moments, estimator=estimator, df=df)


def compare_analysis(analysis: Analysis, moments: Moments, fits: Mapping[str, Fit] | None = None) -> pl.DataFrame:
    """The comparisons that an analysis asks for, as a table.

    REML likelihoods are compared where the fixed parts are equal; elsewhere both models are fitted by ML, which from
    moments costs milliseconds. `fits` spares fitting again what was fitted already.
    """
    known = dict(fits or {})

    def fitted(name: str, estimator: Estimator) -> Fit:
        if name not in known:
            known[name] = fit_analysis_model(analysis, name, moments)
        here = known[name]
        return here if here.estimator == estimator else fit_model(here.model, moments, estimator=estimator, df="none")

    rows = []
    for model, reference in analysis.compare:
        estimator = analysis.options(model)[0]
        pair = fitted(model, estimator), fitted(reference, estimator)
        if estimator == "reml" and not same_fixed_part(pair[0].result, pair[1].result):
            estimator = "ml"
            pair = fitted(model, estimator), fitted(reference, estimator)
        aic, bic = (
            float(pair[0].fit_statistics[criterion][0] - pair[1].fit_statistics[criterion][0]) for criterion in ("aic", "bic")
        )
        result = compare(pair[0].model, pair[0].result, pair[1].model, pair[1].result, aic, bic)
        rows.append((model, reference, estimator, result))
    return tables.comparisons(rows)


def fit_analysis(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> AnalysisResult:
    """Scan, fit and compare all models of an analysis."""
    moments = collect_analysis(analysis, connection)
    fits = {name: fit_analysis_model(analysis, name, moments) for name in analysis.models}
    by_model = [tables.fit_tables(name, fitted) for name, fitted in fits.items()]
    combined = {table: pl.concat([made[table] for made in by_model]) for table in by_model[0]}
    combined["comparisons"] = compare_analysis(analysis, moments, fits)
    return AnalysisResult(moments, fits, combined)
