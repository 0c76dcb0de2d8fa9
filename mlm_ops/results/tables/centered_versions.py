"""Draw up the table of centering: a model raw, centered at the grand mean and at group means, from the same moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.inference.equivalence import Equivalence, ModelNumber
from mlm_ops.inference.recentering_targets import find_targets
from mlm_ops.language.meaning import intercept_meaning, variance_meaning
from mlm_ops.language.model import INTERCEPT, group_name
from mlm_ops.language.recentering import VERSIONS, Target, raw_name, versions
from mlm_ops.language.symbols import coefficient_symbol
from mlm_ops.results.meaning import wording_of
from mlm_ops.results.record import FitRecord
from mlm_ops.results.tables.centering_words import Explainer
from mlm_ops.results.tables.columns import REAL, TEXT, ColumnTypes, frame

if TYPE_CHECKING:
    from mlm_ops.estimation.design.record import BlockDesign
    from mlm_ops.inference.random.variance import Component

CENTERING: ColumnTypes = {
    "version": TEXT,
    "formula": TEXT,
    "quantity": TEXT,
    "group": TEXT,
    "predictor": TEXT,
    "other": TEXT,
    "term": TEXT,
    "symbol": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "estimator": TEXT,
    "equal_to": TEXT,
    "meaning": TEXT,
    "explanation": TEXT,
}


@dataclass(frozen=True)
class RecenteredFits:
    """A model in every version of its centering, and what is equal in them.

    Attributes
    ----------
    targets
        The predictors that are recentered.
    fits
        By the name of the version.
    """

    targets: tuple[Target, ...]
    fits: dict[str, FitRecord]
    equivalence: Equivalence


def recenter(record: FitRecord) -> RecenteredFits:
    """Fit every version of a model's centering to the moments that the model was fitted to: no rows are touched.

    Raises
    ------
    MlmError
        Nothing in the model can be recentered.
    """
    targets = find_targets(record.model, record.moments)
    models = versions(record.model, targets)
    clusters, fits = record.estimate.design.clusters, {}
    # errors robust to clusters come from moments; other robust ones need rows, and the versions have the model's own
    robust = record.robust if clusters is not None else None
    for version, model in models.items():
        cluster = record.request.cluster if clusters is not None else ()
        request = replace(record.request, model=model, robust=robust, cluster=cluster)
        design = build_design(model, record.moments, clusters.group if clusters is not None else None)
        estimate = estimate_design(design, reml=record.estimator == "reml")
        fits[version] = FitRecord(request, estimate, 0.0, record.n_rows, record.n_dropped, record.moments)
    designs = {version: fit.estimate.design for version, fit in fits.items()}
    return RecenteredFits(tuple(targets), fits, Equivalence(record.model, record.moments, designs))


def centering(record: FitRecord) -> pl.DataFrame:
    """One row per version and number: coefficients, variances and the log-likelihood, and where each is equal."""
    recentered = recenter(record)
    rows = [row for version in recentered.fits for row in _rows(version, recentered)]
    return frame(CENTERING, {column: [row.get(column) for row in rows] for column in CENTERING})


def _rows(version: str, recentered: RecenteredFits) -> Iterator[dict[str, Any]]:
    record, equal = recentered.fits[version], recentered.equivalence.equal
    explainer = Explainer(version, recentered.targets, recentered.equivalence, record.estimate.design)

    def row(key: ModelNumber | None, **values: Any) -> dict[str, Any]:
        others = equal.get((version, key), frozenset()) if key is not None else frozenset()
        names = [name for name in VERSIONS if name in others]
        common = {"version": version, "formula": record.model.text, "estimator": record.estimator}
        return common | {"equal_to": ", ".join(names) or None} | values

    yield from _fixed_rows(record, row, explainer)
    yield from _variance_rows(record, row, explainer)
    yield row(
        ("log_likelihood",),
        quantity="log_likelihood",
        estimate=None if record.without_ml is not None else record.by_ml.log_likelihood,
        estimator="ml",
        explanation=explainer.log_likelihood(),
    )


def _fixed_rows(record: FitRecord, row: Any, explainer: Explainer) -> Iterator[dict[str, Any]]:
    columns, tests = record.estimate.design.fixed.columns, record.tests
    meaning, structure = intercept_meaning(columns, wording_of(record)), record.equation_structure
    for i, column in enumerate(columns):
        is_intercept = column.name == INTERCEPT.name
        yield row(
            ("fixed", i),
            quantity="intercept" if is_intercept else "slope",
            predictor=raw_name(column.variables),
            term=column.name,
            symbol=coefficient_symbol(structure.indices[column]),
            estimate=tests.estimate[i],
            std_error=tests.std_error[i],
            meaning=meaning if is_intercept else None,
            explanation=explainer.fixed(i),
        )


def _variance_rows(record: FitRecord, row: Any, explainer: Explainer) -> Iterator[dict[str, Any]]:
    """The elements of each T in the order of `FitRecord.components`, then the residual's parameters."""
    blocks = [(level.group, block) for level in record.estimate.design.levels for block in level.blocks]
    components, wording = iter(record.components), wording_of(record)
    for b, (group, block) in enumerate(blocks):
        for i in range(len(block.columns)):
            for j in range(i, len(block.columns)):
                of_intercept = i == j and not block.columns[i].variables
                of_group = [(g, one.columns) for g, one in blocks if g == group]
                yield row(
                    ("tau", b, i, j),
                    quantity="variance" if i == j else "covariance",
                    group=group_name(group),
                    **_component(next(components), block, i, j),
                    meaning=variance_meaning(of_group, wording) if of_intercept else None,
                    explanation=explainer.variance(b, i, j),
                )
    for component in components:
        yield row(
            ("residual",),
            quantity="variance",
            group="residual",
            predictor=component.term,
            term=component.term,
            symbol=component.symbol,
            estimate=component.estimate,
            std_error=component.std_error,
        )


def _component(component: Component, block: BlockDesign, i: int, j: int) -> dict[str, Any]:
    return {
        "predictor": raw_name(block.columns[i].variables),
        "other": raw_name(block.columns[j].variables) if i != j else None,
        "term": component.term if i == j else f"{component.term}, {component.other}",
        "symbol": component.symbol,
        "estimate": component.estimate,
        "std_error": component.std_error,
    }
