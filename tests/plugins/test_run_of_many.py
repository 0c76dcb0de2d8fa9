"""Runs of projects with many analyses: the lines that are printed, one analysis alone, what stays open."""

import sqlite3
from pathlib import Path

import dagster as dg
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import DamagedError, DataError, MlmError, ProjectError, StoreError, joined
from mlm_ops.plugins.dagster import OpenWarehouse, Warehouse, build_analysis_assets
from mlm_ops.plugins.dagster import run as runs
from mlm_ops.plugins.dagster.event_log import open_event_log
from mlm_ops.plugins.dagster.progress import Progress

TEXT = "analysis: {name}\ndata: main.rows\nmodels:\n  m: y ~ x + (1 | g)\n  n: y ~ 1 + (1 | g)\n"


def definitions(*names: str) -> dg.Definitions:
    analyses = [parse_analysis(TEXT.format(name=name)) for name in names]
    return dg.Definitions.merge(
        dg.Definitions(assets=[dg.AssetSpec("rows"), dg.AssetSpec("a")], resources={"warehouse": Warehouse()}),
        *(build_analysis_assets(analysis, report=True, priority=-i) for i, analysis in enumerate(analyses)),
    )


def test_of_many_analyses_each_gets_a_line() -> None:
    progress = Progress(print, None, {f"{name}/results": name for name in "abcd"})
    assert progress.is_brief
    lines = [
        progress._line(dg.AssetKey(path.split("/")), "a summary")
        for path in ("a", "a/moments", "a/models/m", "b/models/m", "a/models/n", "a/sem/s", "a/results", "a/report")
    ]
    assert lines == [
        "a: a summary",
        *[None] * 5,
        "a: 2 models, 1 structural model, a summary",
        "a/report: a summary",
    ]


def test_of_few_analyses_each_asset_gets_a_line() -> None:
    progress = Progress(print, None, {"a/results": "a"})
    assert progress._line(dg.AssetKey(["a", "models", "m"]), "a summary") == "a/models/m: a summary"


def test_several_failures_are_one_error() -> None:
    same, other, damage = DataError("No rows."), StoreError("It is locked."), DamagedError("It is damaged.")
    assert repr(joined([same, DataError("No rows.")])) == repr(same)
    assert (type(joined([same, other])), str(joined([same, other]))) == (MlmError, "No rows.\nIt is locked.")
    # the project sets the file aside, which it would not at an error of another class
    assert joined([same, other, damage]) is damage


def test_an_analysis_alone_is_run_with_its_data() -> None:
    job = definitions("a", "ab").resolve_implicit_global_asset_job_def()
    keys = runs._keys_of(job, runs._analyses(job), "a")
    assert [key.to_user_string() for key in keys] == [
        *("a/centered", "a/models/m", "a/models/n", "a/moments", "a/report", "a/results")
    ]


def test_an_analysis_whose_prefix_is_the_name_of_another_is_not_run_with_it() -> None:
    other = build_analysis_assets(parse_analysis(TEXT.format(name="z")), key_prefix="a", report=True)
    job = dg.Definitions.merge(definitions("a"), other).resolve_implicit_global_asset_job_def()
    analyses = runs._analyses(job)
    assert analyses == {"a/results": "a", "a/z/results": "z"}
    keys = {name: {key.to_user_string() for key in runs._keys_of(job, analyses, name)} for name in ("a", "z")}
    parts = ("centered", "models/m", "models/n", "moments", "report", "results")
    assert keys == {"a": {f"a/{part}" for part in parts}, "z": {f"a/z/{part}" for part in parts}}


def test_an_unknown_analysis_is_one_sentence() -> None:
    job = definitions("a", "ab").resolve_implicit_global_asset_job_def()
    sentence = r"^There is no analysis abc in this project\. Did you mean 'ab'\? There are a, ab\.$"
    with pytest.raises(ProjectError, match=sentence):
        runs._keys_of(job, runs._analyses(job), "abc")


PROJECT = """
import dagster as dg
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

@dg.asset
def rows(warehouse: Warehouse):
    with warehouse.connection() as connection:
        connection.execute("create or replace table main.rows as select i % 20 as g, sin(i) as x, cos(7 * i) + "
                           "sin(i % 20) as y from range(200) as t(i)")

TEXT = %TEXT%
assets = [build_analysis_assets(parse_analysis(TEXT.format(name=name)), report=True) for name in NAMES]
defs = dg.Definitions.merge(dg.Definitions(assets=[rows], resources={"warehouse": Warehouse()}), *assets)
"""


@pytest.mark.parametrize("names", [("first", "second"), ("alone",)])
def test_reports_of_several_analyses_are_listed(tmp_path: Path, names: tuple[str, ...]) -> None:
    """`mlm show` and a reader open the list: without it there would be files and no page to begin with."""
    module = f"listed_{len(names)}"
    (tmp_path / "pyproject.toml").write_text(f'[tool.dagster]\nmodule_name = "{module}"\n')
    text = TEXT.replace("data: main.rows", "data: main.rows\nlevels: g")
    (tmp_path / f"{module}.py").write_text(PROJECT.replace("%TEXT%", repr(text)).replace("NAMES", repr(names)))
    lines: list[str] = []
    runs.run_project(tmp_path, warehouse=tmp_path, progress=lines.append)
    folder = tmp_path / "report"
    several = len(names) > 1
    expected = {f"{name}.html" for name in names} | ({"index.html"} if several else set())
    assert {path.name for path in folder.iterdir()} == expected
    assert ("All reports are listed in report/index.html." in lines) is several
    if several:
        page = (folder / "index.html").read_text()
        assert [page.count(f'<a href="{name}.html">{name}</a>') for name in names] == [1, 1]


def test_steps_are_in_the_order_of_analyses_and_reports_come_last() -> None:
    job = definitions("b", "a").resolve_implicit_global_asset_job_def()
    priorities = {
        node.name: int(node.tags["dagster/priority"]) for node in job.nodes if "dagster/priority" in node.tags
    }
    order = sorted(priorities, key=lambda name: -priorities[name])
    assert [name for name in order if "__fits" in name or "report" in name] == [
        *("b__fits", "a__fits", "b__report", "a__report")
    ]
    assert priorities["a__moments"] == priorities["a__results"] < priorities["b__fits"]


def test_the_event_log_stays_open_for_a_run(tmp_path: Path) -> None:
    @dg.asset
    def first() -> None: ...

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        with open_event_log(instance):
            result = dg.materialize([first], instance=instance)
            log = Path(storage.path_for_shard(result.run_id))
            # the write-ahead log has not been copied into the database yet
            assert log.with_name(f"{log.name}-wal").stat().st_size > 0
        assert "_connect" not in vars(storage)
        assert instance.get_latest_materialization_event(dg.AssetKey("first")) is not None
    assert not log.with_name(f"{log.name}-wal").exists()
    with sqlite3.connect(log) as connection:
        ((events,),) = connection.execute("select count(*) from event_logs").fetchall()
    assert events > 5


@pytest.mark.parametrize("kind", [OpenWarehouse, Warehouse])
def test_a_warehouse_may_stay_open_between_steps(tmp_path: Path, kind: type[Warehouse]) -> None:
    seen = []

    @dg.asset
    def first(warehouse: Warehouse) -> None:
        with warehouse.connection() as connection:
            connection.execute("create table t as select 1 as a")

    @dg.asset(deps=[first])
    def second(warehouse: Warehouse) -> None:
        # closed, it has no write-ahead log
        seen.append((tmp_path / "warehouse.duckdb.wal").exists())
        with warehouse.connection() as connection:
            seen.append(connection.execute("from t").fetchall())

    warehouse = kind(directory=str(tmp_path))
    dg.materialize([first, second], resources={"warehouse": warehouse})
    assert seen == [kind is OpenWarehouse, [(1,)]]
    assert not (tmp_path / "warehouse.duckdb.wal").exists()
