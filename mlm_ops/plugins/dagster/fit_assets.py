"""Make the assets that are fitted from the moments: models, comparisons, the ladder and structural equation models.

They are one step of a run, which loads the moments and writes rows once; or a step each, which a run can give to
processes of their own and retry alone.
"""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from mlm_ops.analyses.run import moments_table
from mlm_ops.analyses.store.prediction_views import check_view_names
from mlm_ops.errors import UNFORESEEN, DataError, MlmError, ProjectError, joined
from mlm_ops.language.model import group_name
from mlm_ops.logs import LOGGER, about
from mlm_ops.moments.record import Moments
from mlm_ops.moments.storage import load_moments
from mlm_ops.plugins.dagster.fits import (
    FitResult,
    ResultsToStage,
    climb_ladder,
    compare_all,
    fit_one_model,
    fit_one_sem,
)
from mlm_ops.plugins.dagster.metadata import LINEAGE, SCHEMA, Result, model_lineage, result_schema
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.warehouse import step_warehouse, without_vain_retries
from mlm_ops.results.words import code_block, code_span
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.faults import is_temporary_error, sentence_of

_LOG = logging.getLogger(LOGGER)
#: What the rows of a model and of a structural equation model wait for.
_WAITS = "its rows wait in the warehouse until they are published"


@dataclass(frozen=True)
class FitAsset:
    """Hold one asset that is fitted from the moments.

    Attributes
    ----------
    spec, checks
        As Dagster lists it.
    make
        The function that fits it.
    model
        Its name in the log, where it is one model.
    """

    spec: dg.AssetSpec
    checks: Sequence[dg.AssetCheckSpec]
    make: Callable[[Connection, Moments], FitResult]
    model: str | None = None


def fit_assets(plan: Plan) -> list[dg.AssetsDefinition]:
    """Make the assets of everything that the analysis fits from its moments, in one step or in one each."""
    assets = [_model(plan, name) for name in plan.analysis.models]
    if plan.analysis.compare:
        assets.append(_comparisons(plan))
    if plan.analysis.compiled_strategy is not None:
        assets.append(_ladder(plan))
    assets += [_sem(plan, name) for name in plan.analysis.sem]
    if not plan.steps.separate:
        return [_step(plan, "__".join(plan.key("fits").path), assets)]
    # a run goes through them in this order
    return [_step(plan, "__".join(asset.spec.key.path), [asset], place) for place, asset in enumerate(assets)]


def _step(plan: Plan, name: str, assets: Sequence[FitAsset], place: int = 0) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=name,
        specs=[asset.spec for asset in assets],
        check_specs=[check for asset in assets for check in asset.checks],
        can_subset=len(assets) > 1,
        **plan.step(place),
    )
    def fits(context: dg.AssetExecutionContext) -> Iterator[Result | dg.AssetCheckResult]:
        results: list[Result | dg.AssetCheckResult] = []
        failures: list[MlmError] = []
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            check_view_names(connection, plan.analysis)
            moments = load_moments(connection, moments_table(plan.analysis))
            staging = ResultsToStage(connection, plan.analysis, moments.checksum)
            for asset in assets:
                key = asset.spec.key
                is_selected = key in context.selected_asset_keys
                if not is_selected and key not in {check.asset_key for check in context.selected_asset_check_keys}:
                    continue
                try:
                    result = _make(asset, connection, moments)
                except MlmError as error:
                    # the others are fitted all the same
                    failures.append(error)
                    continue
                # Dagster asks of which asset of the step a check is
                verdicts = plan.with_severities([each._replace(asset_key=key) for each in result.checks])
                if is_selected:
                    staging.results.append(result)
                    results.append(Result(asset_key=key, metadata=result.metadata, check_results=verdicts))
                else:
                    # of a check without its asset nothing but the verdict is new
                    selected = context.selected_asset_check_keys
                    results += [each for each in verdicts if dg.AssetCheckKey(key, str(each.check_name)) in selected]
                # not before the rows are there: Dagster would take for done what the results then lack
                if staging.is_due:
                    staging.write()
                    yield from results
                    results.clear()
            staging.write()
        yield from results
        if failures:
            failure = joined(failures)
            failure.is_temporary = any(map(is_temporary_error, failures))
            with without_vain_retries():
                raise failure

    return fits


def _make(asset: FitAsset, connection: Connection, moments: Moments) -> FitResult:
    """Fit one asset.

    Raises
    ------
    MlmError
        It cannot be fitted; also for an error of its numbers that nobody foresaw.
    """
    try:
        with about(model=asset.model):
            return asset.make(connection, moments)
    except UNFORESEEN as error:
        name = asset.spec.key.to_user_string()
        _LOG.exception("%s", name)
        if (sentence := sentence_of(error)) is not None:
            raise DataError(f"{name}: {sentence}") from error
        raise ProjectError(f"{name}: {type(error).__name__}: {error}. The log shows where.") from error


def _spec(
    plan: Plan,
    key: dg.AssetKey,
    table: str,
    code_version: str,
    description: str,
    compared: Sequence[dg.AssetKey] = (),
) -> dg.AssetSpec:
    """What Dagster lists of an asset whose rows are those of `table`, fitted from the moments."""
    return dg.AssetSpec(
        key,
        deps=[plan.moments, *compared],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=code_version,
        description=description,
        metadata={SCHEMA: result_schema(table)},
    )


def _model(plan: Plan, name: str) -> FitAsset:
    """The asset that fits one model, and its checks."""
    key, analysis = plan.model(name), plan.analysis
    spec, request = analysis.models[name], analysis.requests[name]
    robust = request.robust, group_name(request.cluster) or None
    return FitAsset(
        _spec(
            plan,
            key,
            "fixed_effects",
            plan.code_version(name, spec, (request.estimator, request.df), robust),
            f"{code_span(spec.formula)}\n\nFitted from the moments; {_WAITS} with those of the other models.",
        ).merge_attributes(metadata={LINEAGE: model_lineage(analysis, name, plan.upstream)}),
        [
            *plan.fit_checks(
                key,
                "The optimum was reached; otherwise nothing is published.",
                "No covariance matrix of random effects lost a dimension.",
            ),
            *(_diagnostic_checks(plan, key) if name in analysis.diagnostics else ()),
        ],
        lambda connection, moments: fit_one_model(connection, analysis, name, moments),
        name,
    )


def _diagnostic_checks(plan: Plan, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    descriptions = {
        "no_influential_unit": "No unit's deletion moves a coefficient by more than its standard error.",
        "assumptions": "Random effects look normal, without outliers, and residual variances alike.",
    }
    return plan.checks(key, descriptions)


def _comparisons(plan: Plan) -> FitAsset:
    """The asset of all comparisons of the analysis."""
    analysis = plan.analysis
    return FitAsset(
        _spec(
            plan,
            plan.key("comparisons"),
            "comparisons",
            plan.code_version("comparisons", analysis.compare, *analysis.models.values()),
            "Likelihood ratios and information criteria of nested models. Models whose fixed parts differ are compared "
            "by full maximum likelihood, from the same moments.",
            [plan.model(name) for name in plan.compared],
        ),
        (),
        lambda _, moments: compare_all(analysis, moments),
    )


def _ladder(plan: Plan) -> FitAsset:
    """The asset that builds a model step by step, by the analysis' strategy."""
    analysis = plan.analysis
    selected = analysis.selected
    questions: list[object] = ["diagnostics"] if selected in analysis.diagnostics else []
    questions += [analysis.simple_slopes[selected]] if selected in analysis.simple_slopes else []
    return FitAsset(
        _spec(
            plan,
            plan.key("ladder"),
            "ladder_steps",
            plan.code_version("ladder", analysis.compiled_strategy, *questions, *analysis.models.values()),
            "A model built step by step by the analysis' rule: what was tried, what was kept or dropped, and why. All "
            "candidates are fitted from the same moments.",
        ),
        (),
        lambda connection, moments: climb_ladder(connection, analysis, moments),
    )


def _sem(plan: Plan, name: str) -> FitAsset:
    """The asset that fits one structural equation model, and its checks."""
    key, analysis = plan.sem(name), plan.analysis
    spec = analysis.sem[name]
    return FitAsset(
        _spec(
            plan,
            key,
            "sem_parameters",
            plan.code_version(name, spec, analysis.levels),
            f"{code_block(spec.model.strip())}\n\nA two-level structural equation model, fitted from the moments of "
            f"the mixed models; {_WAITS}.",
        ),
        plan.fit_checks(
            key,
            "The optimum was reached; otherwise nothing is published.",
            "No variance of the model is zero, and no correlation one.",
        ),
        lambda connection, moments: fit_one_sem(connection, analysis, name, moments),
        name,
    )
