"""The assets that take moments: one a model, the comparisons, the ladder, and one a structural equation model."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import dagster as dg

from mlm_ops.language.notation.markdown import fenced, span
from mlm_ops.logs import about
from mlm_ops.plugins.dagster import steps
from mlm_ops.plugins.dagster.lineage import model_lineage
from mlm_ops.plugins.dagster.metadata import result_schema
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.results import LINEAGE, SCHEMA, Result
from mlm_ops.plugins.dagster.warehouse import Warehouse


def model_asset(plan: Plan, name: str) -> dg.AssetsDefinition:
    """One model, fitted from the moments, and its checks."""
    key = plan.model(name)
    spec = plan.analysis.models[name]

    @dg.asset(
        key=key,
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        # a run goes through the models in the order of the file
        op_tags={"dagster/priority": str(-list(plan.analysis.models).index(name))},
        code_version=plan.code_version(name, spec, plan.analysis.options(name), plan.analysis.robust_options(name)),
        description=f"{span(spec.formula)}\n\nFitted from the moments; its rows wait in the warehouse until they are "
        "published with those of the other models.",
        metadata={SCHEMA: result_schema("fixed_effects"), LINEAGE: model_lineage(plan.analysis, name, plan.upstream)},
        check_specs=[
            dg.AssetCheckSpec(
                "converged",
                asset=key,
                blocking=plan.blocks("converged"),
                description="The optimum was reached; otherwise nothing is published.",
            ),
            dg.AssetCheckSpec(
                "not_singular",
                asset=key,
                blocking=plan.blocks("not_singular"),
                description="No covariance matrix of random effects lost a dimension.",
            ),
            *(_diagnostic_checks(plan, key) if name in plan.analysis.diagnostics else ()),
        ],
    )
    def model(warehouse: Warehouse) -> Result:
        with about(analysis=plan.analysis.analysis, model=name), warehouse.connection() as connection:
            metadata, checks = steps.make_model(connection, plan.analysis, name)
        return Result(metadata=metadata, check_results=plan.judged(checks))

    return model


def _diagnostic_checks(plan: Plan, key: dg.AssetKey) -> tuple[dg.AssetCheckSpec, ...]:
    told = {
        "no_influential_unit": "No unit's deletion moves a coefficient by more than its standard error.",
        "assumptions": "Random effects look normal, without outliers, and residual variances alike.",
    }
    return tuple(
        dg.AssetCheckSpec(name, asset=key, blocking=plan.blocks(name), description=text) for name, text in told.items()
    )


def comparisons_asset(plan: Plan) -> dg.AssetsDefinition:
    """Every comparison that the analysis asks for."""

    @dg.asset(
        key=plan.key("comparisons"),
        deps=[plan.moments, *(plan.model(name) for name in plan.compared)],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version("comparisons", plan.analysis.compare, *plan.analysis.models.values()),
        description="Likelihood ratios and information criteria of nested models. Models whose fixed parts differ are "
        "compared by full maximum likelihood, from the same moments.",
        metadata={SCHEMA: result_schema("comparisons")},
    )
    def comparisons(warehouse: Warehouse) -> Result:
        with about(analysis=plan.analysis.analysis), warehouse.connection() as connection:
            return Result(metadata=steps.make_comparisons(connection, plan.analysis))

    return comparisons


def ladder_asset(plan: Plan) -> dg.AssetsDefinition:
    """The strategy, climbed from the moments."""
    strategy = plan.analysis.ladder

    @dg.asset(
        key=plan.key("ladder"),
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version("ladder", strategy, *plan.analysis.models.values()),
        description="A model built step by step by the analysis' rule: what was tried, what was kept or dropped, and "
        "why. All candidates are fitted from the same moments.",
        metadata={SCHEMA: result_schema("ladder_steps")},
    )
    def ladder(warehouse: Warehouse) -> Result:
        with about(analysis=plan.analysis.analysis), warehouse.connection() as connection:
            return Result(metadata=steps.make_ladder(connection, plan.analysis))

    return ladder


def sem_asset(plan: Plan, name: str) -> dg.AssetsDefinition:
    """One structural equation model, fitted from the moments, and its checks."""
    key, spec = plan.sem(name), plan.analysis.sem[name]

    @dg.asset(
        key=key,
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version(name, spec, plan.analysis.levels),
        description=f"{fenced(spec.model.strip())}\n\nA two-level structural equation model, fitted from the moments "
        "of the mixed models; its rows wait in the warehouse until they are published.",
        metadata={SCHEMA: result_schema("sem_parameters")},
        check_specs=[
            dg.AssetCheckSpec(
                "converged",
                asset=key,
                blocking=plan.blocks("converged"),
                description="The optimum was reached; otherwise nothing is published.",
            ),
            dg.AssetCheckSpec(
                "not_singular",
                asset=key,
                blocking=plan.blocks("not_singular"),
                description="No variance of the model is zero, and no correlation one.",
            ),
        ],
    )
    def sem(warehouse: Warehouse) -> Result:
        with about(analysis=plan.analysis.analysis, model=name), warehouse.connection() as connection:
            metadata, checks = steps.make_sem(connection, plan.analysis, name)
        return Result(metadata=metadata, check_results=plan.judged(checks))

    return sem
