"""The dbt package as others take it from a package hub: what stands beside the macros."""

from __future__ import annotations

import re
import tomllib

import yaml

from tests.hosts.dbt.conftest import PACKAGE, ROOT
from tests.hosts.dbt.test_macros import TESTS


def test_the_licence_is_that_of_the_repository() -> None:
    assert (PACKAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_version_is_that_of_mlm_ops() -> None:
    project = yaml.safe_load((PACKAGE / "dbt_project.yml").read_text(encoding="utf-8"))
    assert (
        project["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    )


def test_the_page_names_what_is_for_users() -> None:
    """Each macro for models and each generic test; parts of expressions have their entries in dbt docs."""
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bmlm\.(\w+)\(", text)) == {
        *("between", "within", "center", "centered", "group_means", "decomposition"),
        *("group_moments", "merge_group_moments", "fit"),
    }
    assert set(re.findall(r"`mlm\.(\w+)`", text)) == {name.removeprefix("test_") for name in TESTS}


def test_the_descriptions_are_of_columns_that_there_are() -> None:
    """Doc blocks have names of their own, so that a project's blocks cannot be meant."""
    blocks = [
        name
        for path in sorted((PACKAGE / "docs").glob("*.md"))
        for name in re.findall(r"{% docs (\w+) %}", path.read_text(encoding="utf-8"))
    ]
    assert len(blocks) == len(set(blocks))
    assert all(name.startswith("mlm_") for name in blocks)
    used = {
        name
        for path in (PACKAGE / "integration_tests" / "models").rglob("*.yml")
        for name in re.findall(r"doc\('(\w+)'\)", path.read_text(encoding="utf-8"))
    }
    assert used <= set(blocks)
