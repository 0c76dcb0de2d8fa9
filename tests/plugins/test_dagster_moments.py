"""An analysis of moments that a warehouse has made (``form: moments``), as assets and by the command."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from polars.testing import assert_series_equal

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.cli import main as cli
from mlm_ops.errors import AnalysisError, DataError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets
from mlm_ops.plugins.dagster.sensor import build_new_data_sensor
from mlm_ops.warehouse.sql import render

ROWS = """
analysis: schools
data: pupils
levels: school
models:
  anova: y ~ 1 + (1 | school)
  slope: y ~ within(x) * kind + (within(x) | school)
compare: [anova, slope]
diagnostics: slope
"""
MOMENTS = ROWS.replace("data: pupils", "data: pupils_moments\nform: moments")


def load(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> None:
    kind = pl.when(pl.col("school") % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    connection.register("frame", rows.with_columns(kind=kind).to_arrow())
    connection.execute("create or replace table pupils as from frame")
    sql = render("group_moments", relation="pupils", columns=["y", "x"], group="school", constants=["kind"])
    connection.execute(f"create or replace table pupils_moments as {sql}")


@pytest.fixture
def database(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> Path:
    path = tmp_path / "d.duckdb"
    with duckdb.connect(path) as connection:
        load(connection, pupils(30))
    return path


def test_results_are_those_of_the_rows(database: Path) -> None:
    with duckdb.connect(database) as connection:
        found = fit_analysis(parse_analysis(MOMENTS), connection).tables
        expected = fit_analysis(parse_analysis(ROWS), connection).tables
    assert set(found) == set(expected)
    for table, column in (("fixed_effects", "estimate"), ("comparisons", "statistic"), ("random_effects", "estimate")):
        assert_series_equal(found[table][column], expected[table][column], rel_tol=1e-8, abs_tol=1e-9)
    # residuals of rows are not there to be looked into
    left_out = set(expected["diagnostics"]["diagnostic"]) - set(found["diagnostics"]["diagnostic"])
    assert left_out == {"largest_residual", "binned_residual", "residual_quantile"}
    assert {"influence", "outlier", "heteroscedasticity"} <= set(found["diagnostics"]["diagnostic"])


def test_a_table_of_moments_that_is_taken_for_rows(database: Path) -> None:
    analysis = parse_analysis(ROWS.replace("data: pupils", "data: pupils_moments"))
    with duckdb.connect(database) as connection, pytest.raises(DataError) as caught:
        fit_analysis(analysis, connection)
    _, told = str(caught.value).splitlines()
    assert told == (
        "analysis schools, model slope: Table pupils_moments has no rows of 'y', 'x', 'kind': its columns are those of "
        "moments, as group_moments makes them. Write form: moments in the analysis file or form := 'moments' "
        "in mlm(), or give mlm_ops.read_moments(table, group) to fit."
    )


def test_a_column_of_the_rows_that_is_called_n(database: Path) -> None:
    """The table's own n is the size of a group, not the rows' column of that name."""
    with duckdb.connect(database) as connection:
        connection.execute("create or replace table counted as select *, school % 5 as n from pupils")
        sql = render("group_moments", relation="counted", columns=["y"], group="school", constants=["n"])
        connection.execute(f"create or replace table pupils_moments as {sql}")
        text = MOMENTS.replace("y ~ within(x) * kind + (within(x) | school)", "y ~ n + (1 | school)")
        found = fit_analysis(parse_analysis(text), connection).tables["fixed_effects"]
        expected = fit_analysis(parse_analysis(text.replace("pupils_moments\nform: moments", "counted")), connection)
    assert_series_equal(found["estimate"], expected.tables["fixed_effects"]["estimate"], rel_tol=1e-9)


def test_the_command(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schools.yaml").write_text(MOMENTS)
    assert cli.main(["fit", str(tmp_path / "schools.yaml"), "--database", str(database)]) == 0
    assert "within(x):kind[b]" in capsys.readouterr().out
    with duckdb.connect(database, read_only=True) as connection:
        views = connection.execute("select view_name from duckdb_views() where view_name like 'predicted%'").fetchall()
        counted = connection.execute("select n_rows, n_obs from mlm.runs").fetchall()
    assert views == []
    assert counted == [(450, 450)]


def test_assets(pupils: Callable[[int], pl.DataFrame], warehouse: Warehouse) -> None:
    analysis = parse_analysis(MOMENTS)

    @dg.asset(key="pupils_moments")
    def bring_over(warehouse: Warehouse) -> None:
        with warehouse.connection() as connection:
            load(connection, pupils(30))

    here = dg.Definitions(assets=[bring_over], resources={"warehouse": warehouse}, executor=dg.in_process_executor)
    job = dg.Definitions.merge(here, build_analysis_assets(analysis)).resolve_implicit_global_asset_job_def()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = job.execute_in_process(run_config=quiet)
    keys = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}
    assert keys == {
        "pupils_moments",
        "schools/moments",
        "schools/models/anova",
        "schools/models/slope",
        "schools/comparisons",
        "schools/results",
    }
    checks = {check.check_name for check in result.get_asset_check_evaluations()}
    assert {"enough_groups", "converged", "no_influential_unit"} <= checks
    assert not checks & {"rows_accounted_for", "agrees_with_moments"}
    with duckdb.connect(warehouse.results, read_only=True) as connection:
        ((fits,),) = connection.execute("select count(*) from mlm.latest_fit_statistics").fetchall()
    assert fits == 2


def test_the_sensor_watches_the_moments(pupils: Callable[[int], pl.DataFrame], warehouse: Warehouse) -> None:
    sensor = build_new_data_sensor(parse_analysis(MOMENTS))
    here = dg.Definitions(resources={"warehouse": warehouse})
    repository = dg.Definitions.merge(here, build_analysis_assets(parse_analysis(MOMENTS))).get_repository_def()
    cursors = []
    for groups in (30, 30, 31):
        with warehouse.connection() as connection:
            load(connection, pupils(groups))
        cursor = cursors[-1] if cursors else None
        context = dg.build_sensor_context(cursor=cursor, resources={"warehouse": warehouse}, repository_def=repository)
        answer = sensor.evaluate_tick(context)
        cursors.append(cursor if answer.skip_message else answer.cursor)
    assert cursors[0] == cursors[1] != cursors[2]


def test_partitions_are_refused() -> None:
    partitions = dg.StaticPartitionsDefinition(["a", "b"])
    with pytest.raises(AnalysisError) as caught:
        build_analysis_assets(parse_analysis(MOMENTS), partitions_def=partitions, fit_by="kind")
    assert str(caught.value) == (
        "The data of schools are moments, which no partition of rows can be taken from. Leave out partitions_def."
    )


def test_what_a_model_lacks_is_said_with_its_name(database: Path) -> None:
    analysis = parse_analysis(MOMENTS.replace("  anova: y ~ 1", "  anova: y ~ z"))
    with duckdb.connect(database) as connection, pytest.raises(DataError) as caught:
        fit_analysis(analysis, connection)
    assert str(caught.value) == (
        "analysis schools, model anova: The moments do not serve the model: they hold nothing of 'z' (give what varies "
        "within groups in columns, what does not in constants, and a text that varies in group). Make them anew with "
        "mlm.group_moments()."
    )


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("where: x > 0", "form: moments goes without where, which needs rows; leave it out, or give the rows."),
        (
            "weights: w\npartition: day\npredictions: true\nresidual: by(kind)",
            "form: moments goes without partition, weights, residual, predictions, which need rows; leave these out, "
            "or give the rows.",
        ),
    ],
)
def test_keys_that_need_rows(more: str, sentence: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(f"{MOMENTS}{more}\n")
    assert str(caught.value) == sentence


def test_a_residual_of_one_model() -> None:
    model = "  anova: {formula: y ~ 1 + (1 | school), residual: by(kind)}"
    with pytest.raises(AnalysisError, match=r"goes without models\.anova\.residual, which needs rows"):
        parse_analysis(MOMENTS.replace("  anova: y ~ 1 + (1 | school)", model))


def test_another_form() -> None:
    with pytest.raises(AnalysisError, match="unknown form: got 'sums'; expected one of rows, moments"):
        parse_analysis(MOMENTS.replace("form: moments", "form: sums"))
