"""Every macro and generic test of the package is documented as it is; read from the files, without dbt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

PACKAGE = Path(__file__).parents[3] / "sql"
MACROS = {path.stem: path for path in (PACKAGE / "macros").glob("*/*.sql")}
#: dbt's name of a generic test is that of a macro
TESTS = {f"test_{path.stem}": path for path in (PACKAGE / "tests" / "generic").glob("*.sql")}
DOCUMENTED: dict[str, Any] = {
    macro["name"]: macro
    for macro in yaml.safe_load((PACKAGE / "macros" / "schema.yml").read_text(encoding="utf-8"))["macros"]
}


def test_every_file_has_an_entry() -> None:
    assert sorted(DOCUMENTED) == sorted(MACROS | TESTS)


@pytest.mark.parametrize("name", MACROS)
def test_the_entry_has_the_arguments_of_the_macro(name: str) -> None:
    entries = DOCUMENTED[name]["arguments"]
    assert [argument["name"] for argument in entries] == arguments(name, MACROS[name].read_text(encoding="utf-8"))
    for entry in (DOCUMENTED[name], *entries):
        assert entry["description"].strip().endswith(".")
    assert all(argument["type"] for argument in entries)


@pytest.mark.parametrize("name", TESTS)
def test_the_description_names_the_arguments_of_the_test(name: str) -> None:
    text = re.sub(r"{% test (\w+)", r"{% macro test_\1", TESTS[name].read_text(encoding="utf-8"))
    names = set(arguments(name, text.replace("endtest", "endmacro"))) - {"model", "column_name"}
    assert names <= set(re.findall(r"`(\w+)`", DOCUMENTED[name]["description"]))


def arguments(name: str, text: str) -> list[str]:
    tree = Environment(autoescape=True).parse(text)
    (macro,) = [macro for macro in tree.find_all(nodes.Macro) if macro.name == name]
    return [argument.name for argument in macro.args]
