"""Fit a model: compile the request, collect moments, build the design, estimate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import FormulaError, MlmError
from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.design.groups import default_cluster
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.language import options
from mlm_ops.language.options import DfMethod, Estimator, Robust
from mlm_ops.language.request import Request, compile_request
from mlm_ops.language.structures import Structure
from mlm_ops.language.tokens import column_at, quoted_name
from mlm_ops.moments.collect import collect
from mlm_ops.moments.coverage import moments_for
from mlm_ops.moments.needs import complete_rows, named_columns, needs_of
from mlm_ops.moments.record import Moments
from mlm_ops.results.fit import Fit
from mlm_ops.results.numpy_warnings import quiet
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.files.codes import likely_codes
from mlm_ops.warehouse.source import Source, open_source

if TYPE_CHECKING:
    import duckdb


@checked(connection=options.CONNECTION)
@quiet
def fit(
    formula: str | Mapping[str, Any],
    data: Any,
    *,
    levels: str | Sequence[str] = (),
    connection: duckdb.DuckDBPyConnection | None = None,
    estimator: Estimator = "reml",
    df: DfMethod = "satterthwaite",
    weights: str | None = None,
    residual: str | None = None,
    covariance: Mapping[str, Structure] | None = None,
    robust: Robust | None = None,
    cluster: str | None = None,
) -> Fit:
    """Fit one multilevel model.

    Parameters
    ----------
    formula
        lme4's formula with ``within()``, ``between()`` and ``center()``; without a random part it is single-level
        regression. Or level equations, as text or as a mapping: ``{"level 1": "mathach ~ within(ses)", "level 2":
        {"intercept": "sector + random", "within(ses)": "sector + random"}}``.
    data
        A polars DataFrame or LazyFrame, a DuckDB relation, anything DuckDB scans (Arrow, pandas), the path of a
        data file, or a table name or SELECT with `connection`. Or moments, as `read_moments` returns them.
    levels
        Grouping columns, lowest first: the units of level 2, level 3, …. Level equations need them; in formulas they
        name the groups of ``within()`` where the random part has no single grouping factor, say which labels are
        nested, and the last of them names the clusters of robust errors where there is no random part.
    estimator
        ``"reml"`` or ``"ml"``.
    df
        Degrees of freedom of the tests: ``"satterthwaite"``, ``"kenward-roger"`` (REML only; the standard errors are
        adjusted too), or ``"none"`` for the normal distribution.
    weights
        A column of precision weights: residual variances are sigma2 / weight, as in lme4.
    residual
        A residual structure, a sum of ``by(column)`` (a variance a value), ``ar1(column)`` (autocorrelation within
        the lowest units over whole-number times) and ``fixed(column)`` (variances proportional to a known column).
    covariance
        Structure of T by grouping factor: ``"unstructured"`` (as formulas mean it), ``"diagonal"`` (independent
        effects), ``"compound"`` (equal variances and covariances), ``"identity"`` (independent, equal variances); or T
        itself, known and not estimated: a number for one effect, a matrix in the order of the terms for several. A
        block is named as the formula writes it, ``"0 + x | school"``, where a factor has more than one.
    robust
        Robust standard errors of the fixed effects. By clusters: ``"CR0"``, ``"CR1"``, ``"CR1S"`` (as Stata), or
        ``"CR2"`` (unbiased under the model, for few clusters too), with their own degrees of freedom. Of single-level
        regression also ``"HC0"``, ``"HC1"``, ``"HC2"`` and ``"HC3"``, which allow for unequal variances of independent
        rows and read the rows a second time.
    cluster
        The column of the clusters, or several joined by ``:``; without it the top grouping factor, or without a
        random part the last of `levels`.

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
    with _columns_in_formula_errors(data, connection):
        request = compile_request(
            formula,
            levels=levels,
            estimator=estimator,
            df=df,
            weights=weights,
            residual=residual,
            covariance=covariance,
            robust=robust,
            cluster=cluster,
        )
    needs = [request.model], request.levels, request.keys
    if isinstance(data, Moments):
        return fit_model(request, moments_for(data, *needs))
    source = open_source(data, connection, columns=named_columns(*needs))
    moments = collect(source, *needs)
    result = fit_model(request, moments, rows=complete_rows(source, *needs) if request.of_rows else None)
    if source.reading is None:
        return result
    numbers = [name for name in needs_of(*needs).columns if source.is_numeric(name)]
    codes = likely_codes(source.query, source.relation, numbers)
    return replace(result, file=source.reading.path, reading=source.reading, remarks=(*result.remarks, *codes))


def collect_moments(
    formula: str | Mapping[str, Any],
    data: Any,
    connection: duckdb.DuckDBPyConnection | None = None,
    **settings: Any,
) -> Moments:
    """Collect the moments that `fit` would fit a model to: as it takes its arguments, of rows alone."""
    with _columns_in_formula_errors(data, connection):
        request = compile_request(formula, **settings)
    needs = [request.model], request.levels, request.keys
    return collect(open_source(data, connection, columns=named_columns(*needs)), *needs)


@contextmanager
def _columns_in_formula_errors(data: Any, connection: duckdb.DuckDBPyConnection | None) -> Iterator[None]:
    """Name the column that stands without backticks where a formula does not parse.

    Raises
    ------
    FormulaError
        That of the block.
    """
    try:
        yield
    except FormulaError as error:
        if error.text is None or error.position is None or isinstance(data, Moments):
            raise
        try:
            # the names are enough
            columns = open_source(data, connection, columns=()).types
        except MlmError:
            raise error from None
        name = column_at(error.text, error.position, columns)
        hint = "" if name is None else f" There is a column {name!r}: write it in backticks, {quoted_name(name)}."
        raise FormulaError(error.sentence, error.text, error.position, hint) from error


@quiet
def fit_model(request: Request, moments: Moments, near: Fit | None = None, rows: Source | None = None) -> Fit:
    """Fit a model to moments that were collected for it (and perhaps for others): no rows are read but for HC errors.

    Parameters
    ----------
    near
        A fit of a model with the same random part, where the search begins.
    rows
        The rows that the moments were collected from, which HC errors need.

    Raises
    ------
    MlmError
        HC errors are asked for, and there are no rows.
    """
    if request.of_rows and rows is None:
        raise MlmError(
            f"{request.robust} errors are sums over rows, which moments do not hold. Got moments alone, as mlm() in "
            "SQL and kept moments are; give the rows to mlm_ops.fit or in an analysis file, or use CR2 with cluster."
        )
    started = time.perf_counter()
    model = request.model
    by_cluster = request.robust is not None and not request.of_rows
    clusters = request.cluster or default_cluster(model, moments) if by_cluster else None
    start = near.estimate.optimum.theta if near is not None and near.model.random == model.random else None
    estimate = estimate_design(build_design(model, moments, clusters), reml=request.estimator == "reml", start=start)
    seconds = time.perf_counter() - started
    squares = None
    if request.robust is not None and rows is not None and request.of_rows:
        # with polars, whose import takes longer than the fit of a small file
        from mlm_ops.inference.fixed.heteroscedastic import squared_residuals
        from mlm_ops.inference.prediction.sql import PredictionQuery

        squares = squared_residuals(PredictionQuery(model, estimate, None, moments), rows, request.robust)
    return Fit(request, estimate, seconds, moments.n_rows, dict(moments.n_dropped), moments, squares=squares)
