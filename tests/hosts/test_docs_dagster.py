"""Every example of docs/dagster.md, done as it says: commands, YAML, Python and SQL."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import pytest
import yaml
from dagster.components.component_scaffolding import scaffold_object

from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

pytestmark = pytest.mark.hosts
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dagster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"(?:^    .*\n)+", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), re.MULTILINE)
Load = Callable[[], dg.Definitions]


def blocks(kind: str) -> list[str]:
    return [text for block_kind, text in BLOCKS if block_kind == kind]


def shell(commands: str, folder: Path) -> str:
    """What the commands print; a shell in which `mlm` is that of this environment."""
    environment = os.environ | {"HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("DAGSTER_HOME", None)
    process = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_no_example_is_left_out() -> None:
    assert [kind for kind, _ in BLOCKS] == [
        *("python", "sql", "yaml", "python", "yaml", "yaml", "sql", "python", "yaml", "python")
    ]
    assert [len(text.splitlines()) for text in COMMANDS] == [4, 2, 1]


def test_the_executor_is_that_of_the_project() -> None:
    text = (ROOT / "tests/hosts/dagster_project/src/shop/defs/executor.py").read_text()
    assert text.endswith(blocks("python")[0])


def test_a_new_project_around_a_file(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pipelines" / "data" / "hsb.csv", tmp_path / "students.csv")
    install, commands = COMMANDS[0].split("\n", 1)
    assert install.split("#")[0].strip() == "pip install './mlm-ops[dagster,report]'"
    output = shell(commands, tmp_path)
    assert (tmp_path / "exams" / "warehouse" / "results.duckdb").exists()
    # lme4's 12.63697
    assert re.search(r"^ empty +\(Intercept\) +gamma_00 +12\.64 ", output, re.MULTILINE)


def test_a_project_that_is_there(project: Path, load: Load) -> None:
    """`dg` is no dependency of ours: what its commands call is called with their words."""
    (project / "data").mkdir()
    with duckdb.connect(str(project / "data" / "shop.duckdb")) as connection:
        connection.execute(f"create table students as from '{ROOT / 'pipelines' / 'data' / 'hsb.csv'}'")
    scaffolding, launching = (shlex.split(line) for line in COMMANDS[1].splitlines())
    assert scaffolding[:3] == ["dg", "scaffold", "defs"]
    kind, name, *options = scaffolding[3:]
    params = {option.removeprefix("--"): value for option, value in zip(options[::2], options[1::2], strict=True)}
    scaffold_object(project / "src" / "shop" / "defs" / name, kind, json.dumps(params), "yaml", project)
    assert launching[:3] == ["dg", "launch", "--assets"]
    job = dg.define_asset_job("launched", selection=launching[3])
    definitions = dg.Definitions.merge(load(), dg.Definitions(jobs=[job]))
    assert definitions.resolve_job_def("launched").execute_in_process().success
    with duckdb.connect(str(project / "data" / "results.duckdb"), read_only=True) as results:
        rows = results.execute(blocks("sql")[0]).fetchall()
    assert ("empty", "(Intercept)") in [row[:2] for row in rows]


def test_the_component_and_the_same_in_python(project: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    component, *_ = blocks("yaml")
    place = project / "src" / "shop" / "defs" / "hsb"
    assert yaml.safe_load(component) == yaml.safe_load((place / "defs.yaml").read_text())
    (place / "defs.yaml").write_text(component)
    graph = load().resolve_asset_graph()
    monkeypatch.chdir(place)
    names = {"build_analysis_assets": build_analysis_assets, "read_analysis": read_analysis}
    assets: dg.Definitions = eval(blocks("python")[1], names)
    warehouse = dg.Definitions(resources={"warehouse": Warehouse(directory=str(project / "data"))})
    own_graph = dg.Definitions.merge(assets, warehouse).resolve_asset_graph()
    assert own_graph.materializable_asset_keys
    for key in own_graph.materializable_asset_keys:
        assert graph.get(key).parent_keys == own_graph.get(key).parent_keys
        assert graph.get(key).group_name == own_graph.get(key).group_name == "survey"


def test_partitions_in_yaml_and_their_results(project: Path, load: Load) -> None:
    partitions = blocks("yaml")[2]
    place = project / "src" / "shop" / "defs" / "each_day" / "defs.yaml"
    text = place.read_text()
    old = re.search(r"  partitions_def:\n(?:    .*\n)+", text)
    assert old is not None
    place.write_text(text.replace(old[0], partitions))
    defs = load()
    each_day = defs.resolve_asset_graph().get(dg.AssetKey(["each_day", "results"])).partitions_def
    assert each_day == dg.DailyPartitionsDefinition("2026-01-05", timezone="Europe/Berlin")
    waves = dg.AssetSelection.assets(["waves", "results"])
    jobs = [dg.define_asset_job("tables", selection=waves.upstream() - waves), dg.define_asset_job("fits", waves)]
    definitions = dg.Definitions.merge(defs, dg.Definitions(jobs=jobs))
    *launching, key, option, keys = shlex.split(COMMANDS[2])
    assert (launching, key, option) == (["dg", "launch", "--assets"], "key:waves/results", "--partition-range")
    assert definitions.resolve_asset_graph().get(dg.AssetKey(["waves", "results"])).backfill_policy == (
        dg.BackfillPolicy.single_run()
    )
    first, last = keys.split("...")
    both = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.ephemeral() as instance:
        assert definitions.resolve_job_def("tables").execute_in_process(instance=instance).success
        assert definitions.resolve_job_def("fits").execute_in_process(instance=instance, tags=both).success
    with duckdb.connect(str(project / "data" / "results.duckdb"), read_only=True) as results:
        rows = results.execute(blocks("sql")[1]).fetchall()
    assert sorted({row[:2] for row in rows}) == [
        (f"waves[{wave}]", term) for wave in (2020, 2021) for term in ("(Intercept)", "x")
    ]


def test_schedules_in_python(project: Path, load: Load) -> None:
    (project / "src" / "shop" / "defs" / "at_night.py").write_text(blocks("python")[2])
    repository = load().get_repository_def()
    nightly, daily = (repository.get_schedule_def(name) for name in ("nightly_survey", "days_schedule"))
    with dg.DagsterInstance.ephemeral() as instance:
        at = datetime(2026, 1, 7, 5, tzinfo=ZoneInfo("Europe/Berlin"))
        context = dg.build_schedule_context(instance, scheduled_execution_time=at, repository_def=repository)
        assert len(nightly.evaluate_tick(context).run_requests or ()) == 1
        (request,) = daily.evaluate_tick(context).run_requests or ()
    assert (nightly.cron_schedule, daily.cron_schedule) == ("0 5 * * *", "0 5 * * *")
    assert request.partition_key == "2026-01-06"


@pytest.mark.parametrize("waits", [True, False])
def test_a_schedule_in_yaml(project: Path, load: Load, waits: bool) -> None:
    condition = blocks("yaml")[3]
    if not waits:
        assert "`cron_tick_passed` in the place of `on_cron`" in PAGE
        condition = condition.replace("on_cron", "cron_tick_passed")
    place = project / "src" / "shop" / "defs" / "hsb" / "defs.yaml"
    old = '  automation_condition: "{{ dg.AutomationCondition.eager() }}"\n'
    assert old in place.read_text()
    place.write_text(place.read_text().replace(old, condition))
    shop = load()
    definitions = dg.Definitions(
        assets=[
            each
            for each in shop.assets or ()
            if isinstance(each, dg.AssetsDefinition) and min(each.keys).path[0] == "schools"
        ],
        resources=shop.resources,
    )
    requested = []
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = None
        for minute in (-5, 1, 2):
            if minute == 2:
                instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["marts", "pupils"])))
            at = datetime(2026, 1, 7, 5, tzinfo=ZoneInfo("Europe/Berlin")) + timedelta(minutes=minute)
            answer = dg.evaluate_automation_conditions(definitions, instance, evaluation_time=at, cursor=cursor)
            cursor = answer.cursor
            requested.append(answer.total_requested > 0)
    assert requested == [False, not waits, waits]


def test_conditions_and_freshness(project: Path, load: Load) -> None:
    body = blocks("python")[3]
    names: dict[str, object] = {"dg": dg}
    exec("def condition():\n" + "".join(f"    {line}\n" for line in body.splitlines()), names)
    condition = names["condition"]
    assert callable(condition)
    graph = load().resolve_asset_graph()
    moments = graph.get(dg.AssetKey(["days", "moments"]))
    assert moments.automation_condition == condition()
    (template,) = re.findall(r'`("\{\{.*?\}\}")`', PAGE)
    assert f"freshness_policy: {template}" in (project / "src/shop/defs/days/defs.yaml").read_text()
    assert moments.freshness_policy_or_from_metadata is not None
