"""Compile a formula and its options into a `Request`: a model, and how to fit and test it.

Python's `fit`, analysis files, ``FROM mlm()``, dbt and Dagster all pass on what their user wrote to `compile_request`.
No other module interprets the options, or checks which of them go together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.formula import level_columns, level_groups
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.model import Centering, GroupingFactor, GroupMean, Model, group_name
from mlm_ops.language.options import ClusterKind, DfMethod, Estimator, Robust, RowKind
from mlm_ops.language.structures import Structure, check_structures, named_blocks, parse_residual, with_covariance


@dataclass(frozen=True)
class Request:
    """A model, and how it is fitted and tested.

    Attributes
    ----------
    model
        The model.
    estimator, df
        How it is fitted and tested.
    robust
        Which robust errors the tests rest on; None for the model's own.
    cluster
        Columns that together name the clusters of the robust errors; empty for the top grouping factor, which is found
        from the data.
    levels
        Grouping columns, lowest first, of which each is nested in the next.
    top_level
        The columns of the last of the levels; empty where none were given.

    Raises
    ------
    MlmError
        Options that do not go together.
    """

    model: Model
    estimator: Estimator = "reml"
    df: DfMethod = "satterthwaite"
    robust: Robust | None = None
    cluster: GroupingFactor = ()
    levels: tuple[str, ...] = ()
    top_level: GroupingFactor = ()

    def __post_init__(self) -> None:
        check_structures(self.model)
        if self.df == "kenward-roger" and self.estimator != "reml":
            raise MlmError(
                f"Kenward-Roger's method is for REML. Got estimator {self.estimator!r} and df {self.df!r}; change one "
                "of them."
            )
        if self.robust is None and self.cluster:
            raise MlmError(
                f"A cluster is for robust errors. Got cluster {group_name(self.cluster)!r} without robust; add robust "
                "'CR2'."
            )
        if self.robust is not None and self.df == "kenward-roger":
            raise MlmError(
                f"Kenward-Roger's errors and robust errors exclude each other. Got df {self.df!r} and robust "
                f"{self.robust!r}; drop one of them."
            )
        if self.of_rows:
            self._check_of_rows()
        elif self.robust is not None and not self.cluster and not self.model.random:
            raise MlmError(
                f"Robust errors of single-level regression need clusters. Got robust {self.robust!r}, no cluster and "
                "no levels; name the column that holds them as cluster."
            )

    def _check_of_rows(self) -> None:
        """Refuse errors for independent rows where rows are not independent."""
        if self.model.random:
            groups = ", ".join(dict.fromkeys(map(group_name, self.model.groups)))
            raise MlmError(
                f"{self.robust} errors are for single-level regression, as they take rows for independent. Got random "
                f"effects of {groups}; use CR2, which allows for unequal variances too."
            )
        if self.cluster:
            raise MlmError(
                f"{self.robust} errors have no clusters. Got cluster {group_name(self.cluster)!r}; drop it, or use CR2."
            )
        outcome = self.model.outcome
        if isinstance(outcome, Centering) and isinstance(outcome.mean, GroupMean):
            raise MlmError(
                f"{self.robust} errors need single rows, and {self.model.outcome_name} is not the value of a single "
                "row. Use CR2 with cluster."
            )

    @property
    def of_rows(self) -> bool:
        """Whether the robust errors are sums over rows, which moments do not hold."""
        return self.robust in get_args(RowKind)

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns to group rows by beside those of the model: of the levels and of the clusters."""
        return tuple(dict.fromkeys((*self.levels, *self.cluster)))

    def of(self, model: Model) -> Request:
        """Return the same request for another model."""
        return replace(self, model=model)

    def for_likelihood(self, estimator: Estimator) -> Request:
        """Return the request of the same model by this estimator without tests, for its likelihood."""
        return Request(self.model, estimator, "none", levels=self.levels, top_level=self.top_level)

    def without_robust(self) -> Request:
        """Return the same request with the model's own errors."""
        return replace(self, robust=None, cluster=())


def compile_request(
    formula: Any,
    *,
    levels: str | Sequence[str] = options.LEVELS.default,
    estimator: Estimator = options.ESTIMATOR.default,
    df: DfMethod = options.DF.default,
    weights: str | None = None,
    residual: str | None = None,
    covariance: Mapping[str, Structure] | None = None,
    robust: Robust | None = None,
    cluster: str | None = None,
    default_covariance: Mapping[str, Structure] | None = None,
) -> Request:
    """Compile a formula and its options, as a user wrote them, into a `Request`.

    Parameters
    ----------
    formula
        A formula, or level equations as text or as a mapping.
    levels, estimator, df, weights, residual, covariance, robust, cluster
        As `mlm_ops.fit` takes them.
    default_covariance
        Structures of T for factors and blocks that `covariance` does not name; those that the model lacks are ignored.

    Raises
    ------
    FormulaError, MlmError
        A value that an option does not take, a text that does not parse, or options that do not go together.
    """
    specification, levels = options.FORMULA.of(formula), options.LEVELS.of(levels)
    estimator, df = options.ESTIMATOR.of(estimator), options.DF.of(df)
    weights, residual = options.WEIGHTS.of(weights), options.RESIDUAL.of(residual)
    structures = options.COVARIANCE.of(covariance) or {}
    robust, cluster = options.ROBUST.of(robust), options.CLUSTER.of(cluster)
    groups = _level_groups(levels)
    model = parse_model(specification, levels, parse_residual(residual, weights))
    defaults = {key: value for key, value in (default_covariance or {}).items() if named_blocks(model, key)}
    model = with_covariance(model, defaults | structures)
    clusters = cluster_columns(cluster)
    if robust in get_args(ClusterKind) and not clusters and not model.random and groups:
        clusters = groups[-1]
    top_level = groups[-1] if groups else ()
    return Request(model, estimator, df, robust, clusters, level_columns(levels), top_level)


def cluster_columns(cluster: str | None) -> GroupingFactor:
    """Split ``district:school`` into the columns that together name the clusters; none for None."""
    return tuple(name.strip() for name in cluster.split(":")) if cluster is not None else ()


def _level_groups(levels: Sequence[str]) -> list[GroupingFactor]:
    """Return the grouping factors of the levels, and refuse one that is given twice."""
    groups = level_groups(levels)
    twice = [level for level, group in zip(levels, groups, strict=True) if groups.count(group) > 1]
    if twice:
        raise MlmError(f"levels has {twice[0]!r} twice; name the column of each level once, lowest first.")
    return groups
