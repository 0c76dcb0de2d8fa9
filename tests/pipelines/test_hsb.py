"""The shipped code location: its graph, and what one materialization leaves behind."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from mlm_ops.analyses.store.schema import TABLES as RESULT_TABLES
from mlm_ops.errors import DataError
from mlm_ops.plugins.dagster import Warehouse, read_analyses
from mlm_ops.plugins.dagster.metadata import result_schema
from mlm_ops.results.tables import ANALYSIS_TABLES
from pipelines import assets
from pipelines.assets import DATA, TABLES
from pipelines.definitions import defs

LADDER = [
    "regression",
    "regression_cr2",
    "multilevel",
    "anova",
    "rancova",
    "means_as_outcomes",
    "within_between",
    "random_slope",
    "slopes_as_outcomes",
    "level_1",
    "slopes_vary",
    "level_2",
    "within_schools",
    "between_schools",
]
#: Models without random effects, and those of one part of the outcome.
PLAIN = {"regression", "regression_cr2", "within_schools", "between_schools"}
OUTCOMES = {"within_schools": "mathachᵢⱼ − m̅a̅t̅h̅a̅c̅h̅.ⱼ = ", "between_schools": "m̅a̅t̅h̅a̅c̅h̅.ⱼ = "}
NOT_COMPARED = {*PLAIN, "multilevel"}
MODELS = {f"hsb/models/{name}" for name in LADDER}
SEM = "hsb/sem/latent_contextual"
GRAPH = {
    "students": set(),
    "hsb/centered": {"students"},
    "hsb/centered_in_polars": {"students"},
    "hsb/moments": {"students"},
    **{model: {"hsb/moments"} for model in MODELS},
    "hsb/comparisons": {"hsb/moments", *MODELS - {f"hsb/models/{name}" for name in NOT_COMPARED}},
    SEM: {"hsb/moments"},
    "hsb/results": {"hsb/comparisons", SEM, *MODELS},
    "hsb/report": {"hsb/results"},
}


def test_graph_reads_like_the_path_of_the_data() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if key.path[0] in ("hsb", "students")
    }
    assert found == GRAPH


def test_every_asset_says_what_it_is() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.kinds, key
        assert node.group_name == ("sources" if len(key.path) == 1 else key.path[0])


def test_schedule_is_daily_and_off() -> None:
    schedule = defs.resolve_schedule_def("daily")
    assert schedule.cron_schedule == "0 5 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.job_name == "mlm_run"


def test_job_runs_in_one_process() -> None:
    assert defs.resolve_job_def("mlm_run").executor_def is dg.in_process_executor


def test_models_run_in_the_order_of_the_file(materialized) -> None:
    keys = [event.asset_key.path for event in materialized.result.get_asset_materialization_events()]
    assert [key[2] for key in keys if key[:2] == ["hsb", "models"]] == list(LADDER)


def test_all_checks_pass(materialized) -> None:
    evaluations = [e for e in materialized.result.get_asset_check_evaluations() if e.asset_key.path[0] == "hsb"]
    assert {(e.asset_key.to_user_string(), e.check_name) for e in evaluations} == {
        ("hsb/moments", "rows_accounted_for"),
        ("hsb/moments", "enough_groups"),
        ("hsb/centered", "agrees_with_moments"),
        ("hsb/centered_in_polars", "agrees_with_moments"),
        ("hsb/centered_in_polars", "steps_agree"),
        ("hsb/results", "no_drift"),
        *((model, check) for model in (*MODELS, SEM) for check in ("converged", "not_singular")),
        *(("hsb/models/slopes_as_outcomes", check) for check in ("assumptions", "no_influential_unit")),
    }
    # the schools differ in their residual variance, and the check says so
    (found,) = [e for e in evaluations if not e.passed]
    assert found.check_name == "assumptions"
    assert found.description == (
        "Of model slopes_as_outcomes, the residual variances differ from school to school (p <0.001) and the residuals "
        "are not normal (p <0.001)."
    )


def metadata(materialized, asset: str) -> dict[str, dg.MetadataValue]:
    event = materialized.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    return dict(event.asset_materialization.metadata)


@pytest.mark.parametrize("model", LADDER)
def test_model_shows_equations_tables_and_numbers(materialized, model: str) -> None:
    found = metadata(materialized, f"hsb/models/{model}")
    assert "mathach" in found["level_equations"].md_str
    assert found["equations"].md_str.startswith(f"**Level 1**\n\n- `{OUTCOMES.get(model, 'mathach')}")
    equation = found["reduced_equation"].md_str
    assert any(symbol in equation for symbol in ("gamma_00", "beta_0", "beta_1"))
    # the means of schools are taken out within them, and the intercept with them
    assert ("| (Intercept) |" in found["fixed_effects"].md_str) == (model != "within_schools")
    assert "sigma2" in found["variance_components"].md_str
    numeric = {name for name, value in found.items() if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue)}
    assert {
        "log_likelihood",
        "deviance",
        "aic",
        "bic",
        "n_obs",
        "n_parameters",
        "sigma2",
        "seconds",
        "evaluations",
    } <= numeric
    assert found["n_obs"].value == (160 if model == "between_schools" else 7185)


def test_icc_of_the_anova_is_plotted(materialized) -> None:
    # Raudenbush & Bryk (2002), table 4.2: 8.61 / (8.61 + 39.15)
    assert metadata(materialized, "hsb/models/anova")["icc"].value == pytest.approx(0.18, abs=0.005)
    assert metadata(materialized, "hsb/models/anova")["n_groups_school"].value == 160


def test_flags_are_flags_and_every_variance_is_plotted(materialized) -> None:
    found = metadata(materialized, "hsb/models/random_slope")
    assert isinstance(found["converged"], dg.BoolMetadataValue)
    assert (found["converged"].value, found["singular"].value) == (True, False)
    # Raudenbush & Bryk (2002), table 4.4: 8.68 and 0.68
    assert found["tau_00"].value == pytest.approx(8.68, abs=0.01)
    assert found["tau_11"].value == pytest.approx(0.69, abs=0.01)
    assert {"tau_10", "sigma2"} <= found.keys()
    assert "<0.001 |" in found["fixed_effects"].md_str


def test_every_column_of_a_result_is_described() -> None:
    for table in RESULT_TABLES:
        for column in result_schema(table).columns:
            assert column.description, f"{table}.{column.name}"


def test_moments_and_tables_show_their_size(materialized) -> None:
    assert metadata(materialized, "students")["dagster/row_count"].value == 7185
    moments = metadata(materialized, "hsb/moments")
    assert (moments["n_rows"].value, moments["n_groups"].value) == (7185, 160)
    assert (moments["smallest_group"].value, moments["largest_group"].value) == (14, 67)
    centered = metadata(materialized, "hsb/centered")
    columns = [column.name for column in centered["dagster/column_schema"].value.columns]
    split = {f"{part}_{column}" for part in ("between", "within", "center") for column in ("mathach", "ses")}
    assert {"mathach", "ses", *split} <= set(columns)


def test_polars_centers_as_sql_does(materialized) -> None:
    made = [metadata(materialized, f"hsb/{name}") for name in ("centered", "centered_in_polars")]
    assert [found["steps"].value for found in made] == ["sql", "polars"]
    assert made[0]["dagster/column_schema"] == made[1]["dagster/column_schema"]
    evaluations = materialized.result.get_asset_check_evaluations()
    (verdict,) = [evaluation for evaluation in evaluations if evaluation.check_name == "steps_agree"]
    assert verdict.metadata["largest_difference"].value < 1e-12


def test_schema_of_each_table_is_that_of_its_file() -> None:
    for table in TABLES:
        with table.path.open() as file:
            assert file.readline().strip().split(",") == [name for name, _, _ in table.columns], table.name


#: Models of which a table says nothing.
MISSING = {
    "comparisons": {*NOT_COMPARED, "anova"},
    **{table: set(LADDER) for table in ("drift", "influence_lists", "ladder_steps")},
    "diagnostics": set(LADDER) - {"slopes_as_outcomes"},
    "centering": set(LADDER) - {"within_between", "random_slope"},
    "contextual_effects": set(LADDER) - {"within_between", "slopes_as_outcomes", "level_2"},
    **{
        table: set(LADDER) - {"slopes_as_outcomes"}
        for table in ("simple_slopes", "johnson_neyman", "curves", "contrasts")
    },
    # neither groups nor a predictor of students
    "unit_lines": {*PLAIN, "anova", "means_as_outcomes"},
    **dict.fromkeys(("random_effects", "icc"), PLAIN),
}


def test_results_are_published(materialized) -> None:
    for table in RESULT_TABLES:
        models = materialized.rows(f"select distinct model from mlm.latest_{table} where analysis = 'hsb'")
        expected = {"latent_contextual"} if table.startswith("sem_") else set(LADDER) - MISSING.get(table, set())
        # those of the analysis as a whole are of no single model
        expected = {None} if table in ANALYSIS_TABLES else expected
        # factor models alone have these steps, and those that ask for them score tests
        expected = set() if table in ("sem_invariance", "sem_score_tests") else expected
        assert {model for (model,) in models} == expected, table
    schools = "select count(*), count(distinct unit) from mlm.groups where analysis = 'hsb'"
    ((_, units),) = materialized.rows(schools)
    assert units == 160
    order = materialized.rows("select model from mlm.models where analysis = 'hsb' order by position")
    assert [model for (model,) in order] == list(LADDER)
    (run,) = materialized.rows("select run_id, data, n_rows, n_obs, status from mlm.runs where analysis = 'hsb'")
    assert run == (materialized.result.run_id, "main.students", 7185, 7185, "finished")


def test_every_analysis_is_published_with_its_question(materialized) -> None:
    descriptions = materialized.by_name("select analysis, analysis_text from mlm.latest_runs")
    assert sorted(descriptions) == sorted(analysis.analysis for analysis in read_analyses(DATA.parent / "analyses"))
    assert all("?" in text for text in descriptions.values())


def test_rows_are_stored_in_the_order_of_their_schools(materialized) -> None:
    with duckdb.connect(str(materialized.warehouse / "warehouse.duckdb"), read_only=True) as warehouse:
        schools = [school for (school,) in warehouse.execute("select school from main.students").fetchall()]
    assert schools == sorted(schools)


def test_a_missing_data_file_is_one_sentence(tmp_path: Path) -> None:
    gone = assets.loading_asset(replace(TABLES[0], file="gone.csv"))
    with pytest.raises(DataError, match=r"^There is no file pipelines/data/gone\.csv \(asset students\)\.$"):
        gone(warehouse=Warehouse(directory=str(tmp_path)))


def test_the_latent_contextual_effect_stands_beside_the_manifest_one(materialized) -> None:
    """lavaan 0.6-14 has 3.9041 with error 0.3996, and lme4 3.67 for observed means."""
    ((latent, error),) = materialized.rows(
        "select estimate, std_error from mlm.latest_sem_parameters where analysis = 'hsb' and lhs = 'contextual'"
    )
    slopes = materialized.by_name(
        "select term, estimate from mlm.latest_fixed_effects where analysis = 'hsb' and model = 'within_between'"
    )
    assert latent == pytest.approx(3.904113, abs=1e-5)
    assert error == pytest.approx(0.399585, abs=1e-5)
    assert slopes["between(ses)"] - slopes["within(ses)"] == pytest.approx(3.67, abs=0.01)


def test_a_structural_model_shows_its_diagram(materialized) -> None:
    found = metadata(materialized, SEM)
    assert found["diagram"].md_str.startswith("![Path diagram](data:image/svg+xml;base64,")
    assert "flowchart LR" in found["mermaid"].md_str
    assert "| mathach | ~ | ses |" in found["parameters"].md_str
