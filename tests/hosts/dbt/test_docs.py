"""The examples of docs/dbt.md are those of the project that is built, and the package installs as it says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hosts.dbt.conftest import PACKAGE, ROOT, Project

TEXT = (ROOT / "docs" / "dbt.md").read_text(encoding="utf-8")
#: The file that an example stands in is the last one named before it.
EXAMPLES = re.findall(r"`((?:models/|profiles)[\w./]+)`[^`]*```\w+\n(.*?)```", TEXT, re.DOTALL)


def test_every_example_is_found() -> None:
    assert len(EXAMPLES) == TEXT.count("```") / 2 - 2  # two are of packages.yml


@pytest.mark.parametrize(("file", "example"), EXAMPLES, ids=[file for file, _ in EXAMPLES])
def test_the_example_stands_in_the_project(file: str, example: str) -> None:
    assert example.strip("\n") in (PACKAGE / "integration_tests" / file).read_text(encoding="utf-8")


@pytest.mark.hosts
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_package_installs_from_a_folder_of_a_git_repository(tmp_path: Path) -> None:
    repository, folder = tmp_path / "repository", tmp_path / "project"
    shutil.copytree(PACKAGE, repository / "sql")
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.com")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*author, "commit", "-q", "-m", "Package")):
        subprocess.run(["git", *command], cwd=repository, check=True)
    shutil.copytree(PACKAGE / "integration_tests", folder)
    (folder / "packages.yml").write_text(
        f"packages:\n  - git: {repository.as_uri()}\n    subdirectory: sql\n    revision: main\n", encoding="utf-8"
    )
    done = Project(folder).dbt("deps")
    assert done.returncode == 0, done.stdout + done.stderr
    installed = folder / "dbt_packages" / "mlm"
    for file in PACKAGE.rglob("*.sql"):
        assert (installed / file.relative_to(PACKAGE)).read_bytes() == file.read_bytes()
