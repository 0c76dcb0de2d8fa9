"""The wheel works away from the repository, and the tested versions are pinned."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import duckdb
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UV = os.environ.get("UV") or shutil.which("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of executables of a new environment that has the wheel and, from elsewhere, what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", *(["--without-pip"] if UV else []), folder)
    executables = folder / ("Scripts" if os.name == "nt" else "bin")
    python = executables / "python"
    if UV:
        run(UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    else:
        run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    # Dependencies are lent by the environment of the tests, so that no network is needed. Its own .pth files, by which
    # the repository is importable, are not followed.
    (_site_of(executables) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return executables


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_carries_the_package_and_the_macros_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"mlm_ops", f"mlm_ops-{PROJECT['project']['version']}.dist-info"}
    carried = {name.removeprefix("mlm_ops/sql/macros/") for name in names if name.startswith("mlm_ops/sql/")}
    macros = ROOT / "sql" / "macros"
    assert carried == {path.relative_to(macros).as_posix() for path in macros.rglob("*") if path.is_file()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "mlm_ops").rglob("*.py")}
    assert modules | {"mlm_ops/py.typed"} <= names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_command_fits_a_model_away_from_the_repository(installed, tmp_path):
    shutil.copy(ROOT / "pipelines" / "data" / "hsb.csv", tmp_path)
    printed = run(installed / "mlm", "fit", "mathach ~ ses + (ses | school)", "hsb.csv", cwd=tmp_path)
    assert re.search(r"\(Intercept\) .* 12\.6[67]", printed)


def test_the_package_fits_a_model_away_from_the_repository(installed, tmp_path):
    shutil.copy(ROOT / "pipelines" / "data" / "hsb.csv", tmp_path)
    code = """
import mlm_ops as mlm, polars as pl
fit = mlm.fit("mathach ~ within(ses) + (1 | school)", pl.read_csv("hsb.csv"))
print(mlm.__file__)
print(round(fit.fixed_effects["estimate"][1], 4))
"""
    where, estimate = run(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(installed.parent)
    assert estimate == "2.1912"


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in PROJECT["tool"]["uv"]["constraint-dependencies"]:
        requirement = Requirement(line)
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def test_pins_are_exact_versions_without_addresses():
    for name, requirements in pins().items():
        for requirement in requirements:
            assert requirement.url is None
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), name
        applying = [r for r in requirements if r.marker is None or r.marker.evaluate()]
        assert len(applying) == 1, name


def closure(wanted: Iterable[str]) -> dict[str, frozenset[str]]:
    """Every distribution that these requirements install, by its name, with the extras that are asked of it."""
    waiting = [Requirement(line) for line in wanted]
    seen: dict[str, frozenset[str]] = {}
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if extras <= seen.get(name, frozenset()) and name in seen:
            continue
        seen[name] = seen.get(name, frozenset()) | extras
        for line in metadata.requires(name) or []:
            below = Requirement(line)
            contexts = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if below.marker is None or any(below.marker.evaluate(context) for context in contexts):
                waiting.append(below)
    return seen


def test_everything_that_gets_installed_is_pinned():
    pinned = pins()
    for name in closure([*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]):
        assert name in pinned, f"{name} is not pinned: CONTRIBUTING.md says how to renew the pins"
        (pin,) = [r for r in pinned[name] if r.marker is None or r.marker.evaluate()]
        if UV:
            assert metadata.version(name) in pin.specifier, f"{name} is not installed as pinned"
    extras = PROJECT["project"]["optional-dependencies"].values()
    for line in (*itertools.chain(*extras), *PROJECT["dependency-groups"]["spark"]):
        assert canonicalize_name(Requirement(line).name) in pinned


def test_the_development_group_has_every_extra():
    """So that the two commands of the README need no extra of their own."""
    development = set(PROJECT["dependency-groups"]["dev"])
    assert set(itertools.chain(*PROJECT["project"]["optional-dependencies"].values())) <= development


@pytest.fixture(scope="module")
def plain(installed, wheel, tmp_path_factory) -> Path:
    """The same with what the package itself depends on, and neither Dagster nor dbt."""
    folder = tmp_path_factory.mktemp("plain")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    executables = folder / installed.name
    ours, lent = _site_of(installed), folder / "lent"
    lent.mkdir()
    for name in closure(PROJECT["project"]["dependencies"]):
        for file in metadata.distribution(name).files or ():
            top, place = file.parts[0], lent / file.parts[0]
            if top not in ("..", "__pycache__") and not place.exists():
                place.symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    site = _site_of(executables)
    (site / "dependencies.pth").write_text(f"{lent}\n")
    for path in ours.glob("mlm_ops*"):
        (site / path.name).symlink_to(path)
    return executables


def _site_of(executables: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(executables / "python", "-c", code).strip())


def test_without_extras_a_model_is_fitted_and_shown(plain, tmp_path):
    mlm = (plain / "python", "-m", "mlm_ops")
    shutil.copy(ROOT / "pipelines" / "data" / "hsb.csv", tmp_path)
    code = "from importlib.util import find_spec; from mlm_ops import *; print(find_spec('dagster'), find_spec('dbt'))"
    assert run(plain / "python", "-c", code).strip() == "None None"
    printed = run(*mlm, "fit", "mathach ~ ses + (ses | school)", "hsb.csv", cwd=tmp_path)
    assert re.search(r"\(Intercept\) .* 12\.6[67]", printed)
    made = run(*mlm, "init", "new", "hsb.csv", cwd=tmp_path)
    assert made.startswith("Guessed: mathach is the outcome, in groups of school.")
    analysis = "analysis: hsb\ndata: students\nmodels: {anova: mathach ~ 1 + (1 | school)}\n"
    (tmp_path / "hsb.yaml").write_text(analysis)
    with duckdb.connect(tmp_path / "my.duckdb") as connection:
        connection.execute("create table students as from read_csv(?)", [str(tmp_path / "hsb.csv")])
    run(*mlm, "fit", "hsb.yaml", "--database", "my.duckdb", cwd=tmp_path)
    assert "anova" in run(*mlm, "show", "--database", "my.duckdb", cwd=tmp_path)


@pytest.mark.parametrize("action", ["run", "ui"])
def test_without_dagster_one_sentence_says_what_is_missing(plain, tmp_path, action):
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
    done = subprocess.run([plain / "python", "-m", "mlm_ops", action], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (
        2,
        "",
        [f"mlm: mlm {action} needs Dagster, which is not installed. Install it with: pip install 'mlm-ops[dagster]'"],
    )


def test_without_python_docx_other_tables_are_written(plain, tmp_path):
    """Nothing is left of the document that cannot be written."""
    code = """
import polars as pl, mlm_ops as mlm
for path in ("t.tex", "t.csv", "t.docx"):
    try:
        mlm.write_table(pl.DataFrame({"a": [1]}), path)
    except mlm.MlmError as error:
        print(error)
"""
    sentence = (
        "Word documents need the package python-docx, which is not installed. "
        "Install it with: pip install 'mlm-ops[word]'"
    )
    assert run(plain / "python", "-c", code, cwd=tmp_path).strip() == sentence
    assert sorted(os.listdir(tmp_path)) == ["t.csv", "t.tex"]
    command = (plain / "python", "-m", "mlm_ops", "export", "--table", "icc", "--output", "t.docx")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"mlm: {sentence}\n")
