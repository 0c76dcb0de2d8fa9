"""The assets and checks of an analysis, on small data that are sound, small, or doctored."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from polars.testing import assert_frame_equal

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import centered_table, collect_analysis, fit_analysis_model
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import AnalysisError, DataError, StoreError
from mlm_ops.moments.partitions import Refresh
from mlm_ops.plugins.dagster import Warehouse, asset_work, build_analysis_assets, fit_assets, fits
from mlm_ops.plugins.dagster.metadata import model_metadata
from mlm_ops.results.fit import Fit
from mlm_ops.results.tables import fit_tables
from mlm_ops.warehouse.connection import Connection

Materialize = Callable[..., dg.ExecuteInProcessResult]
Pupils = Callable[..., pl.DataFrame]


def verdicts(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(e.asset_key.to_user_string(), e.check_name): e for e in result.get_asset_check_evaluations()}


def graph_of(analysis: Analysis, **options: Any) -> AssetGraph:
    resources = dg.Definitions(resources={"warehouse": Warehouse()})
    return dg.Definitions.merge(resources, build_analysis_assets(analysis, **options)).resolve_asset_graph()


def test_graph_goes_one_way(small: Analysis) -> None:
    graph = graph_of(small, upstream=["dbt", "pupils"])
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.materializable_asset_keys
    }
    assert parents == {
        "small/centered": {"dbt/pupils"},
        "small/moments": {"dbt/pupils"},
        "small/models/anova": {"small/moments"},
        "small/models/slope": {"small/moments"},
        "small/comparisons": {"small/moments", "small/models/anova", "small/models/slope"},
        "small/results": {"small/models/anova", "small/models/slope", "small/comparisons"},
    }


def test_without_comparisons_there_is_no_such_asset() -> None:
    analysis = parse_analysis("{analysis: one, data: t, levels: g, models: {a: y ~ 1 + (1 | g)}}")
    keys = {key.to_user_string() for key in graph_of(analysis).get_all_asset_keys()}
    assert keys == {"t", "one/centered", "one/moments", "one/models/a", "one/results"}


def test_names_that_dagster_cannot_take_are_refused() -> None:
    analysis = parse_analysis("{analysis: one, data: t, models: {random slope: y ~ x, a.b: y ~ x}}")
    with pytest.raises(AnalysisError, match=r"Got 'random slope', 'a\.b'; expected letters"):
        build_analysis_assets(analysis)


def test_code_version_follows_the_formula(small: Analysis) -> None:
    slope = small.models["slope"].model_copy(update={"formula": "y ~ x + (1 | school)"})
    changed = small.model_copy(update={"models": {**small.models, "slope": slope}})
    old, new = graph_of(small), graph_of(changed)
    differ = {
        key.to_user_string()
        for key in old.materializable_asset_keys
        if old.get(key).code_version != new.get(key).code_version
    }
    assert differ == {"small/models/slope", "small/moments", "small/centered", "small/comparisons"}


def test_two_analyses_of_one_table_keep_their_centered_tables_apart(small: Analysis) -> None:
    other = small.model_copy(update={"analysis": "other"})
    assert centered_table(small) == "main.small_centered"
    assert centered_table(other) == "main.other_centered"
    both = dg.Definitions.merge(
        dg.Definitions(resources={"warehouse": Warehouse()}), build_analysis_assets(small), build_analysis_assets(other)
    )
    keys = {key.to_user_string() for key in both.resolve_asset_graph().materializable_asset_keys}
    assert {"small/centered", "other/centered"} <= keys


@pytest.mark.parametrize("data", ["main.one_centered", "ONE_moments", '"one_centered"'])
def test_a_table_is_never_made_from_itself(data: str) -> None:
    analysis = parse_analysis(f"{{analysis: one, data: '{data}', models: {{m: y ~ x}}}}")
    with pytest.raises(AnalysisError, match="would be overwritten"):
        build_analysis_assets(analysis)


def test_few_groups_warn_and_publish(pupils: Pupils, materialize: Materialize, warehouse: Warehouse) -> None:
    result = materialize(pupils(groups=12))
    assert result.success
    groups = verdicts(result)["small/moments", "enough_groups"]
    assert (groups.passed, groups.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "school has 12 groups" in str(groups.description)
    assert warehouse.results.exists()


def test_missing_values_are_accounted_for(pupils: Pupils, materialize: Materialize) -> None:
    rows = pupils(groups=25).with_columns(
        pl.when(pl.int_range(pl.len()) % 40 == 0).then(None).otherwise(pl.col("y")).alias("y")
    )
    result = materialize(rows)
    assert result.success
    assert all(evaluation.passed for evaluation in verdicts(result).values())
    counted = verdicts(result)["small/moments", "rows_accounted_for"]
    assert counted.metadata["dropped"].value == 10
    assert "y (10)" in str(counted.description)


def test_unconverged_model_blocks_publication(
    pupils: Pupils, materialize: Materialize, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(analysis: Analysis, name: str, *args: Any) -> Fit:
        fit = fit_analysis_model(analysis, name, *args)
        optimum = replace(fit.estimate.optimum, verdict="unfinished" if name == "slope" else "minimum", singular=True)
        return replace(fit, estimate=replace(fit.estimate, optimum=optimum))

    monkeypatch.setattr(fits, "fit_analysis_model", lost)
    result = materialize(pupils(groups=25))
    assert not result.success
    found = verdicts(result)
    assert found["small/models/anova", "converged"].passed
    assert not found["small/models/slope", "converged"].passed
    assert found["small/models/slope", "not_singular"].severity is dg.AssetCheckSeverity.WARN
    assert not found["small/models/slope", "not_singular"].passed
    assert not warehouse.results.exists()


def test_lost_rows_block(
    pupils: Pupils, materialize: Materialize, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = asset_work.keep_moments

    def lose_a_row_of_each_group(*arguments: Any) -> Refresh:
        done = keep(*arguments)
        return replace(done, read_moments=lambda: replace(done.moments, n=done.moments.n - 1))

    monkeypatch.setattr(asset_work, "keep_moments", lose_a_row_of_each_group)
    result = materialize(pupils(groups=25))
    assert not verdicts(result)["small/moments", "rows_accounted_for"].passed
    assert not result.success
    assert not warehouse.results.exists()


def test_table_that_changed_after_the_moments_disagrees(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    def difference(connection: Connection) -> float:
        agreement = asset_work.centered_agreement(connection, small, centered_table(small))
        return float(agreement.metadata["largest_difference"].value)  # type: ignore[arg-type]

    materialize(pupils(groups=25))
    with warehouse.connection() as connection:
        assert difference(connection) <= 1e-12
        connection.execute("update main.pupils set x = x + 1 where school = 3")
        asset_work.make_centered(connection, small, centered_table(small))
        assert difference(connection) > 1e-3


def test_models_of_different_rows_are_not_published(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    assert materialize(pupils(groups=25)).success
    with warehouse.connection() as connection:
        connection.execute("delete from main.pupils where school = 3")
        refresh, _, _ = asset_work.make_moments(connection, small)
        anova = fits.fit_one_model(connection, small, "anova", refresh.moments)
        fits.ResultsToStage(connection, small, refresh.moments.checksum, [anova]).write()
        with pytest.raises(StoreError, match="moments have changed since slope, comparisons of slope"):
            asset_work.make_results(connection, small, "later", 0.0, warehouse.results)
        (runs,) = connection.execute("select count(*) from mlm.runs").fetchall()[0]
    assert runs == 1


def without_metadata(step: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        made = step(*arguments)
        if isinstance(made, fits.FitResult):
            return replace(made, metadata={})
        return {} if isinstance(made, dict) else tuple({} if isinstance(part, dict) else part for part in made)

    return run


def test_no_step_reads_what_another_shows(
    pupils: Pupils, materialize: Materialize, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any metadata the same tables are published; a model of sem is named as a mixed one is."""
    analysis = parse_analysis(
        "{analysis: small, data: main.pupils, levels: school, compare: [anova, slope], "
        "models: {anova: y ~ 1 + (1 | school), slope: y ~ within(x) + (1 | school)}, "
        "sem: {slope: 'contextual: y ~ x', apart: {model: 'level: 1; y ~ x; level: 2; x ~~ x; y ~~ y', "
        "score_tests: true}}, strategy: build_up, start: anova, candidates: {fixed: within(x)}}"
    )
    tables = {}
    for shown in (True, False):
        for module, name in (
            *((asset_work, f"make_{name}") for name in ("centered", "moments", "results")),
            *((fit_assets, name) for name in ("fit_one_model", "fit_one_sem", "compare_all", "climb_ladder")),
        ):
            if not shown:
                monkeypatch.setattr(module, name, without_metadata(getattr(module, name)))
        result = materialize(pupils(groups=30), of=analysis)
        assert result.success
        run_id = f"'{result.run_id}'"
        with duckdb.connect(str(warehouse.results), read_only=True) as published:
            tables[shown] = {
                name: published.sql(f"select * exclude (run_id) from mlm.{name} where run_id = {run_id}").pl()
                for name in TABLES
                if name != "drift"  # of the second run against the first
            }
    assert {name for name, frame in tables[True].items() if frame.height} >= {
        "fixed_effects",
        "comparisons",
        "ladder_steps",
        "sem_parameters",
        "sem_score_tests",
        "models",
    }
    for name, frame in tables[True].items():
        measured = [column for column in frame.columns if column == "seconds"]
        assert_frame_equal(frame.drop(measured), tables[False][name].drop(measured))


def test_each_run_stays_in_the_history(pupils: Pupils, materialize: Materialize, warehouse: Warehouse) -> None:
    materialize(pupils(groups=25))
    materialize(pupils(groups=30))
    with duckdb.connect(str(warehouse.results), read_only=True) as published:
        assert published.execute("select count(*) from mlm.runs").fetchall() == [(2,)]
        assert published.execute("select distinct n_obs from mlm.latest_fit_statistics").fetchall() == [(450,)]


def test_assets_are_functions(pupils: Pupils, small: Analysis, warehouse: Warehouse) -> None:
    assets = {key: asset for asset in build_analysis_assets(small).assets or () for key in asset.keys}  # type: ignore[union-attr]
    context = dg.build_asset_context(resources={"warehouse": warehouse})
    with warehouse.connection() as connection:
        connection.register("rows", pupils(groups=25))
        connection.execute("create table main.pupils as from rows")
    with pytest.raises(dg.Failure, match="There are no moments") as caught:
        list(assets[dg.AssetKey(["small", "models", "anova"])](context))
    assert isinstance(caught.value.__cause__, DataError)
    result = assets[dg.AssetKey(["small", "moments"])](context)
    assert result.metadata["n_obs"].value == 375


def test_a_model_says_what_its_intercepts_mean(small: Analysis, warehouse: Warehouse, pupils: Pupils) -> None:
    with warehouse.connection() as connection:
        connection.register("rows", pupils(groups=25))
        connection.execute("create table main.pupils as from rows")
        moments = collect_analysis(small, connection)
    fit = fit_analysis_model(small, "slope", moments)
    metadata = model_metadata("y ~ x", fit, fit_tables("slope", fit))
    intercept, variance = (str(metadata[f"intercept_{name}"].value) for name in ("meaning", "variance_meaning"))
    assert intercept.startswith("Predicted y where ")
    assert variance.startswith("Variance over school of predicted y")
    assert (intercept, variance) == fit_tables("slope", fit)["models"].select(
        "intercept_meaning", "intercept_variance_meaning"
    ).row(0)


def test_a_strategy_is_an_asset_and_its_models_are_published(
    warehouse: Warehouse, pupils: Pupils, materialize: Materialize
) -> None:
    analysis = parse_analysis(
        "{analysis: small, data: main.pupils, levels: school, models: {anova: y ~ 1 + (1 | school)}, "
        "strategy: build_up, start: anova, candidates: {fixed: within(x), random: within(x)}, diagnostics: selected}"
    )
    result = materialize(pupils(30), of=analysis)
    assert result.success
    ladder = next(e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "ladder")
    metadata = ladder.materialization.metadata
    assert metadata["tried"].value == 2
    assert str(metadata["warning"].value).startswith("selected stepwise")
    assert "diagnostics" in metadata
    with warehouse.connection() as connection:
        predicted = connection.execute(
            "select count(*) from mlm.predicted_small__selected where prediction is not null"
        )
        assert predicted.fetchall() == [(pupils(30).height,)]
    with duckdb.connect(str(warehouse.results), read_only=True) as connection:
        rows = connection.execute("select model, taken from mlm.latest_ladder_steps order by step").fetchall()
        models = {name for (name,) in connection.execute("select model from mlm.latest_fit_statistics").fetchall()}
    assert rows[0] == ("build_up_1", True)
    assert models == {"anova", *(name for name, taken in rows if taken)}


def test_the_page_of_a_model_that_is_not_published(materialize: Materialize, pupils: Pupils, small: Analysis) -> None:
    """Dagster's metadata are published too: no numbers, no equations, no sizes of small groups."""
    hidden = small.model_copy(update={"min_publish_n": 100_000})
    result = materialize(pupils(25), hidden)
    metadata = next(
        made.metadata
        for made in result.asset_materializations_for_node("small__fits")
        if made.asset_key.path[-1] == "slope"
    )
    assert set(metadata) == {"formula", "dagster/row_count", "summary"}
    assert str(metadata["summary"].value).startswith("min_publish_n: the results of this model are not published")
    moments = result.asset_materializations_for_node("small__moments")[0].metadata
    assert "smallest_group" not in moments
    # with a random intercept the eigenvalue is the variance itself
    assert dict(verdicts(result)["small/models/slope", "not_singular"].metadata) == {}


def published_steps(result: dg.ExecuteInProcessResult) -> list[str]:
    """Steps of a run that fit something, in their order."""
    return [event.step_key for event in result.get_step_success_events() if STEPS & set(event.step_key.split("__")[1:])]


STEPS = {"fits", "models", "comparisons", "ladder", "sem"}


def test_all_models_are_one_step_and_one_of_them_can_be_made_alone(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    assert published_steps(materialize(pupils(25))) == ["small__fits"]
    keys = [dg.AssetKey(["small", *path]) for path in (["moments"], ["models", "slope"])]
    alone = materialize(pupils(30), asset_selection=[dg.AssetKey("pupils"), *keys])
    assert alone.success
    keys = [event.asset_key.path for event in alone.get_asset_materialization_events() if event.asset_key]
    assert sorted(keys) == [["pupils"], ["small", "models", "slope"], ["small", "moments"]]
    # the other model is still of the rows before, which nothing may be published with
    with warehouse.connection() as connection, pytest.raises(StoreError, match="have changed since anova, comparisons"):
        asset_work.make_results(connection, small, "later", 0.0, warehouse.results)


def test_long_fits_are_told_as_they_come(
    pupils: Pupils, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each after its rows are written; a step of short fits writes once."""
    events: list[str] = []
    write = fits.ResultsToStage.write

    def listening(staging: fits.ResultsToStage) -> None:
        events.append(f"wrote {len(staging.results)}")
        write(staging)

    monkeypatch.setattr(fits.ResultsToStage, "write", listening)
    assert materialize(pupils(25)).success
    assert events == ["wrote 3"]
    events.clear()
    monkeypatch.setattr(fits, "MOST_SECONDS", -1.0)
    assert materialize(pupils(25)).success
    assert events == ["wrote 1", "wrote 1", "wrote 1", "wrote 0"]


def test_models_of_steps_of_their_own_publish_the_same(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    tables = []
    for separate in (False, True):
        result = materialize(pupils(25), separate_steps=separate)
        assert result.success
        with duckdb.connect(str(warehouse.results), read_only=True) as published:
            rows = published.sql("select * exclude (run_id) from mlm.latest_fixed_effects order by all").pl()
        tables.append(rows)
    assert published_steps(result) == ["small__models__anova", "small__models__slope", "small__comparisons"]
    assert_frame_equal(*tables)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DataError("anova is refused."), "anova is refused."),
        (np.linalg.LinAlgError("odd"), "small/models/anova: The numbers cannot be worked with (LinAlgError: odd)."),
        (ValueError("odd"), "small/models/anova: ValueError: odd. The log shows where."),
    ],
)
def test_a_model_that_cannot_be_fitted_does_not_stop_the_others(
    pupils: Pupils,
    materialize: Materialize,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    sentence: str,
) -> None:
    """The other one is fitted and staged, with its checks; each fault is named, and nothing is published."""

    def refuse(analysis: Analysis, name: str, *args: Any) -> Fit:
        if name == "anova":
            raise error
        return fit_analysis_model(analysis, name, *args)

    monkeypatch.setattr(fits, "fit_analysis_model", refuse)
    result = materialize(pupils(25))
    assert not result.success
    assert verdicts(result)["small/models/slope", "converged"].passed
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert sentence in str(failure.step_failure_data.error)
    assert not warehouse.results.exists()
    with warehouse.connection() as connection:
        staged = connection.execute("select model from mlm_staging.checksums where staged_by = 'models'").fetchall()
    assert staged == [("slope",)]


def test_rows_that_cannot_be_staged_are_not_told_as_made(
    pupils: Pupils, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise StoreError("There is no room.")

    monkeypatch.setattr(fits, "stage", refuse)
    result = materialize(pupils(25))
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "There is no room." in str(failure.step_failure_data.error)
    assert not result.asset_materializations_for_node("small__fits")


def test_a_check_alone_is_evaluated_and_nothing_else_changes(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    assert materialize(pupils(25)).success
    with warehouse.connection() as connection:
        connection.execute("update mlm_staging.checksums set checksum = 'before'")
    key = dg.AssetCheckKey(dg.AssetKey(["small", "models", "slope"]), "converged")
    job = dg.define_asset_job("check", selection=dg.AssetSelection.checks(key), executor_def=dg.in_process_executor)
    here = dg.Definitions(jobs=[job], resources={"warehouse": warehouse})
    result = dg.Definitions.merge(here, build_analysis_assets(small)).resolve_job_def("check").execute_in_process()
    assert [(e.asset_check_key, e.passed) for e in result.get_asset_check_evaluations()] == [(key, True)]
    assert not result.get_asset_materialization_events()
    with warehouse.connection() as connection:
        assert connection.execute("select distinct checksum from mlm_staging.checksums").fetchall() == [("before",)]
