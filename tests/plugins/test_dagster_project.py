"""Finding a project, running it on its instance, and what it says when that fails."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mlm_ops.analyses.project import find_project
from mlm_ops.errors import AnalysisError, DataError, MlmError, ProjectError
from mlm_ops.plugins.dagster import run as runs
from mlm_ops.plugins.dagster import run_project

DEFINITIONS = """
import dagster as dg
from mlm_ops.errors import DataError
from mlm_ops.plugins.dagster import Warehouse

@dg.asset
def first(warehouse: Warehouse):
    return dg.MaterializeResult(metadata={"summary": warehouse.directory})

@dg.asset(deps=[first], check_specs=[dg.AssetCheckSpec("sound", asset="second", blocking=True)])
def second():
    FAULT
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=PASSED, description="It is unsound.")])

@dg.asset_check(asset=first)
def doubtful():
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, description="It is doubtful.")

defs = dg.Definitions(assets=[first, second], asset_checks=[doubtful], resources={"warehouse": Warehouse()})
"""


def make_project(folder: Path, module: str, fault: str = "pass", passed: bool = True) -> Path:
    """Every project has a module of its own name, because Python imports a name once."""
    (folder / "pyproject.toml").write_text(f'[tool.dagster]\nmodule_name = "{module}"\n')
    (folder / f"{module}.py").write_text(DEFINITIONS.replace("FAULT", fault).replace("PASSED", str(passed)))
    return folder


def test_project_is_found_from_a_folder_in_it(tmp_path: Path) -> None:
    make_project(tmp_path, "anything")
    below = tmp_path / "analyses" / "deep"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text("[project]\nname = 'not dagster'\n")
    assert find_project(below).root == tmp_path


@pytest.mark.parametrize(("content", "sentence"), [
    (None, r"no project in .* or above it.*mlm fit FILE"),
    ("[tool.dagster]\npython_file = 'a.py'\n", r"no code location\. Got python_file = 'a\.py'; expected module_name"),
    ("[tool.dagster]\nmodule_name = '..'\n", r"no code location\. Got module_name = '\.\.'; expected module_name"),
    ("tool = 1\n", r"Cannot read .*pyproject\.toml: tool is a table\. Got tool = 1; expected \[tool\.dagster\]\.$"),
    ("[tool.dagster\n", r"Cannot read .*pyproject\.toml"),
])  # fmt: skip
def test_no_project(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "pyproject.toml").write_text(content)
    with pytest.raises(ProjectError, match=sentence):
        run_project(tmp_path, warehouse=None, progress=str)


def test_run_reports_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "elsewhere")
    path = list(sys.path)
    lines: list[str] = []
    project = make_project(tmp_path, "sound_project")
    (project / "dagster_home").mkdir()
    report = run_project(project, warehouse=tmp_path / "other", progress=lines.append)
    assert lines == [
        f"first: {tmp_path / 'other'}",
        "  warn: It is doubtful.",
        "second",
    ]
    assert report.warnings == ("It is doubtful.",)
    assert sys.path == path
    with dg.DagsterInstance.from_config(str(project / "dagster_home")) as instance:
        (run,) = instance.get_runs()
    assert (run.run_id, run.status) == (report.run_id, dg.DagsterRunStatus.SUCCESS)
    assert run.tags[".dagster/repository"] == "__repository__@sound_project"


@pytest.mark.parametrize(("module", "fault", "passed", "kind", "sentence"), [
    ("bad_data", "raise DataError('Column x is not there.') from ValueError('inner')", True, DataError, r"Column x .*"),
    ("bad_check", "pass", False, MlmError, r"It is unsound\."),
    ("bug", "1 / 0", True, ProjectError, r"The step second failed: ZeroDivisionError: .* `mlm ui` .*"),
])  # fmt: skip
def test_failed_step_says_why(
    tmp_path: Path, module: str, fault: str, passed: bool, kind: type[MlmError], sentence: str
) -> None:
    project = make_project(tmp_path, module, fault, passed)
    (project / "dagster_home").mkdir()
    with pytest.raises(kind, match=f"^{sentence}$") as caught:
        run_project(project, warehouse=None, progress=str)
    assert type(caught.value) is kind
    with dg.DagsterInstance.from_config(str(project / "dagster_home")) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.parametrize(("module", "content", "kind", "sentence"), [
    ("gone", None, ProjectError, "Cannot import gone .* ModuleNotFoundError"),
    ("broken", "1 / 0\n", ProjectError, "Cannot import broken .* ZeroDivisionError: division by zero"),
    ("hollow", "x = 1\n", ProjectError, r"hollow must hold one dagster\.Definitions\. Got 0"),
    ("faulty", "from mlm_ops import errors\nraise errors.AnalysisError('a.yaml')\n", AnalysisError, "a.yaml"),
    ("json", None, ProjectError, "json was imported from .*, not from the project"),
])  # fmt: skip
def test_code_location_that_cannot_be_loaded(
    tmp_path: Path, module: str, content: str | None, kind: type[MlmError], sentence: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.dagster]\nmodule_name = "{module}"\n')
    if content is not None:
        (tmp_path / f"{module}.py").write_text(content)
    with pytest.raises(kind, match=sentence):
        run_project(tmp_path, warehouse=None, progress=str)


def test_another_warehouse_needs_the_resource(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "bare"\n')
    (tmp_path / "bare.py").write_text("import dagster\ndefs = dagster.Definitions()\n")
    with pytest.raises(
        ProjectError, match=r"^The code location has no warehouse, so --warehouse has not one folder to set\."
    ):
        run_project(tmp_path, warehouse=tmp_path, progress=str)


def test_interrupt_ends_the_run(tmp_path: Path) -> None:
    project = make_project(tmp_path, "stopped", fault="import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    (project / "dagster_home").mkdir()
    with pytest.raises(KeyboardInterrupt, match=r"^Interrupted after first; nothing was published; the last results"):
        run_project(project, warehouse=None, progress=str)
    with dg.DagsterInstance.from_config(str(project / "dagster_home")) as instance:
        assert [run.is_finished for run in instance.get_runs()] == [True]


def test_waiting_for_the_warehouse_is_told(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, "waiting", fault="\n    ".join(["dg.get_dagster_logger().warning('Waiting for the database.')"] * 2)
    )
    lines: list[str] = []
    run_project(project, warehouse=None, progress=lines.append)
    assert lines.count("  Waiting for the database.") == 1


def test_home_that_cannot_be_made(tmp_path: Path) -> None:
    (make_project(tmp_path, "homeless") / "dagster_home").write_text("a file")
    with pytest.raises(ProjectError, match="cannot be created"):
        run_project(tmp_path, warehouse=None, progress=str)


def test_a_run_whose_process_was_killed_is_closed(tmp_path: Path) -> None:
    project = make_project(tmp_path, "killed")
    (project / "dagster_home").mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        dead = {**runs.run_tags(), runs.PROCESS: runs.process_name(gone.pid)}
    job = dg.Definitions(assets=[dg.AssetSpec("nothing")]).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.from_config(str(project / "dagster_home")) as instance:
        ids = {
            name: instance.create_run_for_job(job, status=status, tags=tags).run_id
            for name, status, tags in (
                ("killed", dg.DagsterRunStatus.STARTED, dead),
                ("killed early", dg.DagsterRunStatus.NOT_STARTED, dead),
                ("alive", dg.DagsterRunStatus.STARTED, runs.run_tags()),
                ("elsewhere", dg.DagsterRunStatus.STARTED, dead | {runs.HOST: "elsewhere"}),
                ("not ours", dg.DagsterRunStatus.STARTED, {}),
            )
        }
    lines: list[str] = []
    run_project(project, warehouse=None, progress=lines.append)
    assert sum("was killed before it could finish; it is marked as failed now." in line for line in lines) == 2
    with dg.DagsterInstance.from_config(str(project / "dagster_home")) as instance:
        status = {name: instance.get_run_by_id(run_id).status.value for name, run_id in ids.items()}
    assert status == dict.fromkeys(("killed", "killed early"), "FAILURE") | dict.fromkeys(
        ("alive", "elsewhere", "not ours"), "STARTED"
    )


def test_definitions_that_clash_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "clashing"\n')
    one = "import dagster as dg\ndef make():\n    @dg.asset\n    def a(): pass\n    return a\n"
    (tmp_path / "clashing.py").write_text(one + "defs = dg.Definitions(assets=[make(), make()])\n")
    with pytest.raises(ProjectError, match="The assets of clashing do not go together"):
        run_project(tmp_path, warehouse=None, progress=str)


TWO = """
import dagster as dg
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

@dg.asset
def rows(warehouse: Warehouse):
    with warehouse.connection() as connection:
        connection.execute(
            "create or replace table main.rows as select i % 30 as g, hash(i % 30) % 7 + hash(i) % 11 as y,"
            " hash(2 * i + 1) % 13 as x from range(300) t(i)"
        )

TEXT = "{analysis: NAME, data: main.rows, models: {null: y ~ 1 + (1 | g), full: y ~ PREDICTOR + (1 | g)}}"
analyses = [("good", "x"), ("bad", "within(z) + v"), ("ugly", "x")]
defs = dg.Definitions.merge(
    dg.Definitions(assets=[rows], resources={"warehouse": Warehouse(directory="w")}),
    *(build_analysis_assets(parse_analysis(TEXT.replace("NAME", n).replace("PREDICTOR", p))) for n, p in analyses),
)
"""


def test_a_bad_analysis_is_named_and_the_others_are_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "two_analyses"\n')
    (tmp_path / "two_analyses.py").write_text(TWO)
    lines: list[str] = []
    with pytest.raises(DataError, match=r"^analysis bad, model full: Columns 'z', 'v' are not in table main\.rows"):
        run_project(tmp_path, warehouse=None, progress=lines.append)
    assert lines[-3:] == ["analysis bad: not published", "analysis good: published", "analysis ugly: published"]
