"""The calls of the path: parse, collect, design, estimate; inference is the Fit's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import MlmError
from mlm_ops.estimation.covariance import COVARIANCES
from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.design.groups import default_cluster
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.inference.fixed.tests import DF_METHODS
from mlm_ops.language import options
from mlm_ops.language.formula import level_columns
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.model import Model, group_name
from mlm_ops.language.options import DfMethod, Estimator, Robust
from mlm_ops.language.robust import check_robust, cluster_columns
from mlm_ops.language.structures import Structure, parse_residual, with_covariance
from mlm_ops.moments.collect import collect
from mlm_ops.moments.coverage import serve
from mlm_ops.moments.record import Moments
from mlm_ops.results.fit import Fit
from mlm_ops.results.quiet import quiet
from mlm_ops.warehouse.boundary import checked
from mlm_ops.warehouse.files import is_data_file
from mlm_ops.warehouse.source import open_source

if TYPE_CHECKING:
    import duckdb

_ESTIMATORS = ("reml", "ml")


@checked(
    formula=options.FORMULA,
    levels=options.LEVELS,
    connection=options.CONNECTION,
    estimator=options.ESTIMATOR,
    df=options.DF,
    weights=options.WEIGHTS,
    residual=options.RESIDUAL,
    covariance=options.COVARIANCE,
    robust=options.ROBUST,
    cluster=options.CLUSTER,
)
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
        A polars DataFrame or LazyFrame, a DuckDB relation, anything DuckDB scans (Arrow, pandas), the path of a CSV or
        Parquet file, or a table name or SELECT with `connection`. Or moments, as `read_moments` returns them.
    levels
        Grouping columns, lowest first: the units of level 2, level 3, …. Level equations need them; in formulas they
        serve ``within()`` where the random part has no single grouping factor, and say which labels are nested.
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
        Cluster-robust standard errors of the fixed effects: ``"CR0"``, ``"CR1"``, ``"CR1S"`` (as Stata), or ``"CR2"``
        (unbiased under the model, for few clusters too), with their own degrees of freedom.
    cluster
        The column of the clusters, or several joined by ``:``; without it the top grouping factor.

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
    levels = (levels,) if isinstance(levels, str) else tuple(levels)
    model = parse_model(formula, levels, parse_residual(residual, weights))
    if covariance:
        model = with_covariance(model, covariance)
    check_robust(robust, cluster, df, multilevel=bool(model.random))
    keys = level_columns(levels), cluster_columns(cluster)
    if isinstance(data, Moments):
        moments = serve(data, [model], *keys)
    else:
        moments = collect(open_source(data, connection), [model], *keys)
    fitted = fit_model(model, moments, estimator=estimator, df=df, robust=robust, cluster=cluster)
    from_file = connection is None and isinstance(data, str | Path) and is_data_file(data)
    return replace(fitted, file=Path(data)) if from_file else fitted


@quiet
def fit_model(
    model: Model,
    moments: Moments,
    *,
    estimator: Estimator = "reml",
    df: DfMethod = "satterthwaite",
    robust: Robust | None = None,
    cluster: str | None = None,
    near: Fit | None = None,
) -> Fit:
    """Fit a model to moments that were collected for it (and perhaps for others): no rows are touched.

    Parameters
    ----------
    near
        A fit of a model with the same random part, where the search begins.
    """
    check_options(estimator, df)
    check_structures(model)
    check_robust(robust, cluster, df, multilevel=bool(model.random))
    clusters = cluster_columns(cluster) or default_cluster(model, moments) if robust else None
    started = time.perf_counter()
    start = near.result.optimum.theta if near is not None and near.model.random == model.random else None
    result = estimate_design(build_design(model, moments, clusters), reml=estimator == "reml", start=start)
    seconds = time.perf_counter() - started
    return Fit(model, result, estimator, df, seconds, moments.n_rows, dict(moments.n_dropped), moments, robust)


def check_options(estimator: str, df: str) -> None:
    """Refuse options that do not exist."""
    for name, value, known in (("estimator", estimator, _ESTIMATORS), ("df", df, tuple(DF_METHODS))):
        if value not in known:
            raise MlmError(f"Unknown {name}. Got {value!r}; expected one of {', '.join(known)}.")
    if df == "kenward-roger" and estimator != "reml":
        raise MlmError(f"Kenward-Roger's method is for REML. Got estimator {estimator!r}; use estimator='reml'.")


def check_structures(model: Model) -> None:
    """Refuse covariance structures that do not exist."""
    for block in model.random:
        if isinstance(block.covariance, str) and block.covariance not in COVARIANCES:
            raise MlmError(
                f"Unknown covariance structure. Got {block.covariance!r} for {group_name(block.group)}; "
                f"expected one of {', '.join(COVARIANCES)}, a variance, or a matrix."
            )
