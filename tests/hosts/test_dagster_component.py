"""The component in defs.yaml: what it refuses in one sentence, what it describes, and what its scaffold writes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster.components.component_scaffolding import scaffold_object

import mlm_ops
from mlm_ops.analyses.file.analysis import Analysis, read_analysis
from mlm_ops.errors import ProjectError

pytestmark = pytest.mark.hosts
Load = Callable[[], dg.Definitions]
ANALYSIS = "analysis: pupils.yaml"


def error_texts(load: Load) -> list[str]:
    """An error and what it was raised from, each without its picture of the folder."""
    with pytest.raises(Exception, match="hsb") as caught:
        load().resolve_asset_graph()
    error: BaseException | None = caught.value
    sentences = []
    while error is not None:
        sentences.append(str(error))
        error = error.__cause__
    return sentences


def change(project: Path, old: str, new: str) -> None:
    file = project / "src" / "shop" / "defs" / "hsb" / "defs.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            ANALYSIS,
            "analysis: pupilz.yaml",
            "src/shop/defs/hsb/defs.yaml: Cannot read the analysis file pupilz.yaml: No such file or directory.",
        ),
        (
            "not_singular: error",
            "not_singular: fatal",
            "src/shop/defs/hsb/defs.yaml: A severity cannot be set so. "
            "Got not_singular: fatal; expected error or warn.",
        ),
        (
            "database: data/shop.duckdb",
            "database: ducklake:shop",
            "src/shop/defs/hsb/defs.yaml: The database of a component is to be a file of DuckDB, which results are "
            "written to. Got one ducklake:; name a file, and read the tables of the other database by attach: {shop: "
            "ducklake:…} and data: shop.main.table.",
        ),
        (
            "database: data/shop.duckdb",
            "attach: {other: data/other.db}",
            "src/shop/defs/hsb/defs.yaml: attach needs a database to attach others to. Give database too.",
        ),
        (
            "group_name: survey",
            "fit_by: wave",
            "src/shop/defs/hsb/defs.yaml: fit_by needs partitions. "
            "Got the column 'wave' alone; give partitions_def too.",
        ),
        (
            "group_name: survey",
            "partitions_def: {type: static, partition_keys: [1]}\n  fit_by: wave",
            "src/shop/defs/hsb/defs.yaml: A sensor of new data cannot say which partitions of schools to fit, as "
            "fit_by keeps no moments to compare the rows with. Leave out new_data_sensor, and give an "
            "automation_condition or "
            "a schedule.",
        ),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_file(
    project: Path, load: Load, old: str, new: str, sentence: str
) -> None:
    change(project, old, new)
    assert sentence in error_texts(load)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (
            "database: data/lake.duckdb",
            "The resource warehouse would be two databases: data/lake.duckdb here, and data/shop.duckdb in "
            "{first}. Name this one: resource: lake.",
        ),
        (
            "database: data/lake.duckdb\n  resource: lake",
            "The results of data/lake.duckdb would take the place of those of data/shop.duckdb, which {first} "
            "publishes to data/results.duckdb too. Give each database a folder of its own, or write results_folder: "
            "data/lake.",
        ),
        (
            "database: data/shop.duckdb\n  wait: 60",
            "The resource warehouse is set in two ways: {first} gives the database data/shop.duckdb another wait, "
            "attach or results_folder. Write the same in both, or name a second resource: resource: other.",
        ),
        ("results_folder: data/lake", "results_folder is where the results of a database go. Give database too, or set "
         "it on the resource warehouse."),
    ],
)  # fmt: skip
def test_two_databases_are_told_apart(project: Path, load: Load, more: str, sentence: str) -> None:
    # of the components of a folder the first by name is loaded first
    place = project / "src" / "shop" / "defs" / "zz_lake"
    place.mkdir()
    (place / "defs.yaml").write_text(
        "type: mlm_ops.MultilevelAnalysis\nattributes:\n  analysis: |\n    analysis: lake\n    data: main.pupils\n"
        f"    models:\n      m: y ~ x + (1 | school)\n  {more}\n"
    )
    with pytest.raises(Exception, match="zz_lake") as caught:
        load().resolve_asset_graph()
    texts = []
    error: BaseException | None = caught.value
    while error is not None:
        texts.append(str(error))
        error = error.__cause__
    first = "src/shop/defs/days/defs.yaml"
    assert f"src/shop/defs/zz_lake/defs.yaml: {sentence.format(first=first)}" in texts


def test_two_databases_with_folders_of_their_own(project: Path, load: Load) -> None:
    place = project / "src" / "shop" / "defs" / "lake"
    place.mkdir()
    (place / "defs.yaml").write_text(
        "type: mlm_ops.MultilevelAnalysis\nattributes:\n  analysis: |\n    analysis: lake\n    data: main.pupils\n"
        "    models:\n      m: y ~ x + (1 | school)\n  database: data/lake.duckdb\n  resource: lake\n"
        "  results_folder: data/lake\n"
    )
    resources = load().resources or {}
    assert resources["lake"].results == project.resolve() / "data" / "lake" / "results.duckdb"
    assert resources["warehouse"].results == project.resolve() / "data" / "results.duckdb"


@pytest.mark.parametrize(
    ("old", "new", "key", "reason"),
    [
        ("group_name: survey", "grp_name: survey", "attributes.grp_name", "Extra inputs are not permitted"),
        ("new_data_sensor: true", "new_data_sensor: [1]", "attributes.new_data_sensor", "Input should be a valid"),
        (
            "group_name: survey",
            "partitions_def: {type: dailly}",
            "attributes.partitions_def",
            "Input tag 'dailly' found using 'type' does not match any of the expected tags: 'static', 'dynamic', "
            "'hourly', 'daily', 'weekly', 'monthly', 'time_window'",
        ),
    ],
)
def test_dagster_names_the_file_and_the_key(
    project: Path, load: Load, old: str, new: str, key: str, reason: str
) -> None:
    change(project, old, new)
    text = next(sentence for sentence in error_texts(load) if "validation error" in sentence)
    assert key in text
    assert "src/shop/defs/hsb/defs.yaml:" in text
    assert reason in text


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (
            "{type: hourly, start_date: '2026-01-05-00:00', end_date: '2026-01-05-02:00'}",
            ["2026-01-05-00:00", "2026-01-05-01:00"],
        ),
        ("{type: daily, start_date: 2026-01-05, end_date: 2026-01-07}", ["2026-01-05", "2026-01-06"]),
        ("{type: weekly, start_date: 2026-01-05, end_date: 2026-01-19, day_offset: 1}", ["2026-01-05", "2026-01-12"]),
        ("{type: monthly, start_date: 2026-01-01, end_date: 2026-03-01}", ["2026-01-01", "2026-02-01"]),
        (
            "{type: time_window, start_date: 2025-01-01, end_date: 2026-01-01, fmt: '%Y-%m-%d', "
            "cron_schedule: 0 0 1 */6 *}",
            ["2025-01-01", "2025-07-01"],
        ),
        ("{type: static, partition_keys: [2026, north]}", ["2026", "north"]),
    ],
)
def test_partitions_are_written_in_yaml(project: Path, load: Load, text: str, keys: list[str]) -> None:
    change(project, "new_data_sensor: true", f"partitions_def: {text}\n  fit_by: wave")
    node = load().resolve_asset_graph().get(dg.AssetKey(["schools", "results"]))
    assert node.partitions_def is not None
    assert list(node.partitions_def.get_partition_keys()) == keys


def test_every_key_of_the_component_is_described() -> None:
    (point,) = [p for p in entry_points(group="dagster_dg_cli.registry_modules") if p.name == "mlm_ops"]
    assert point.load().MultilevelAnalysis is mlm_ops.MultilevelAnalysis
    schema = mlm_ops.MultilevelAnalysis.get_model_cls().model_json_schema()
    assert schema["required"] == ["analysis"]
    assert [name for name, key in schema["properties"].items() if not key.get("description")] == []
    assert str(mlm_ops.MultilevelAnalysis.__doc__).startswith("Multilevel models of one table")


def scaffold(project: Path, name: str, params: str = "{}") -> Path:
    place = project / "src" / "shop" / "defs" / name
    scaffold_object(place, "mlm_ops.MultilevelAnalysis", params, "yaml", project)
    return place


def test_a_scaffold_with_a_table_is_an_analysis_that_runs(project: Path, load: Load) -> None:
    (project / "data").mkdir()
    with duckdb.connect(str(project / "data" / "shop.duckdb")) as connection:
        connection.execute(
            "create table students as select i % 30 as school, sin(i * 7.3) as hours, "
            "sin(i * 7.3) / 2 + 2 * sin((i % 30) * 5.7) + cos(i * 3.1) as score from range(1200) as r(i)"
        )
    place = scaffold(project, "exams", '{"database": "data/shop.duckdb", "table": "students"}')
    analysis = read_analysis(place / "analysis.yaml")
    assert analysis.models["contextual"].formula == "score ~ within(hours) + between(hours) + (1 | school)"
    job = dg.define_asset_job("exams_job", selection=dg.AssetSelection.groups("exams"))
    exams_job = dg.Definitions.merge(load(), dg.Definitions(jobs=[job])).resolve_job_def("exams_job")
    assert exams_job.execute_in_process().success
    with duckdb.connect(str(project / "data" / "results.duckdb"), read_only=True) as connection:
        assert connection.execute("select distinct analysis from mlm.latest_fixed_effects").fetchall() == [("exams",)]
    with pytest.raises(ProjectError, match="nothing is overwritten"):
        scaffold(project, "exams")


def test_a_scaffold_without_a_table_is_an_example_that_loads(project: Path, load: Load) -> None:
    place = scaffold(project, "first-try")
    assert read_analysis(place / "analysis.yaml").analysis == "first_try"
    keys = load().resolve_asset_graph().materializable_asset_keys
    assert dg.AssetKey(["first_try", "results"]) in keys


def test_an_analysis_in_the_file_is_looked_into_before_it_is_loaded() -> None:
    """By the schema that `dg check yaml` takes; a path is looked into when it is loaded."""
    schema = mlm_ops.MultilevelAnalysis.get_model_cls().model_json_schema()
    of_text, of_mapping = schema["properties"]["analysis"]["anyOf"]
    assert of_text == {"type": "string"}
    assert of_mapping["required"] == ["analysis", "data", "models"]
    assert of_mapping["additionalProperties"] is False
    assert set(of_mapping["properties"]) == set(Analysis.model_fields)


def test_the_keys_of_steps_and_of_the_warehouse(project: Path, load: Load) -> None:
    keys = "pool: duckdb\n  retries: 2\n  key_prefix: [models]\n  centered: false\n  separate_steps: true"
    change(project, "group_name: survey", f"group_name: survey\n  {keys}")
    definitions = load()
    graph = definitions.resolve_asset_graph()
    ours = [key.path for key in graph.materializable_asset_keys if key.path[0] == "models"]
    assert ["models", "schools", "results"] in ours
    assert ["models", "schools", "centered"] not in ours
    assert graph.get(dg.AssetKey(["models", "schools", "results"])).pools == {"duckdb"}
    steps = {node.name for node in definitions.resolve_implicit_global_asset_job_def().nodes}
    assert {"models__schools__models__slope", "models__schools__comparisons"} <= steps


def test_another_database_is_attached_under_its_name(project: Path, load: Load) -> None:
    change(
        project,
        "database: data/shop.duckdb",
        "database: data/survey.duckdb\n  resource: survey\n  results_folder: data/survey\n  wait: 5\n  "
        "attach: {other: data/other.db, far: 'postgres:dbname=shop'}",
    )
    resources = load().resolve_implicit_global_asset_job_def().resource_defs
    assert {"warehouse", "survey"} <= set(resources)
    config = dg.Definitions.merge(load()).resources["survey"]
    assert (config.wait, config.attach) == (
        5.0,
        {"other": str(project / "data/other.db"), "far": "postgres:dbname=shop"},
    )
    for before, after in (("data/other.db", "../other.db"), ("../other.db", "sqlite:../other.db")):
        change(project, before, after)
        assert any("defs.yaml: The path of the other leaves the project. Got " in text for text in error_texts(load))


def test_an_unset_variable_of_the_environment_is_named(project: Path, load: Load) -> None:
    """Also where a part of a text names it, which would lead to another database."""
    change(project, "database: data/shop.duckdb", "database: '{{ env.SHOP_DATABASE }}'")
    sentence = "The variable SHOP_DATABASE of the environment is not set, which {{ env.SHOP_DATABASE }} names. Set it."
    assert any(sentence in text for text in error_texts(load))
    change(project, "'{{ env.SHOP_DATABASE }}'", "data/shop.duckdb\n  attach: {far: 'postgres:{{ env.SHOP_DSN }}'}")
    assert any("The variable SHOP_DSN of the environment is not set" in text for text in error_texts(load))
