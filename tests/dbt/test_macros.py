"""Every macro of the package is documented as it is; read from the files, without dbt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

MACROS = Path(__file__).parents[2] / "sql" / "macros"
DOCUMENTED: dict[str, Any] = {
    macro["name"]: macro for macro in yaml.safe_load((MACROS / "schema.yml").read_text(encoding="utf-8"))["macros"]
}


def test_every_macro_file_has_an_entry() -> None:
    assert sorted(DOCUMENTED) == sorted(path.stem for path in MACROS.glob("*.sql"))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_entry_has_the_arguments_of_the_macro(name: str) -> None:
    parsed = Environment(autoescape=True).parse((MACROS / f"{name}.sql").read_text(encoding="utf-8"))
    (macro,) = [macro for macro in parsed.find_all(nodes.Macro) if macro.name == name]
    arguments = DOCUMENTED[name]["arguments"]
    assert [argument["name"] for argument in arguments] == [argument.name for argument in macro.args]
    for described in (DOCUMENTED[name], *arguments):
        assert described["description"].strip().endswith(".")
    assert all(argument["type"] for argument in arguments)
