"""Renders the package's macros as dbt would for other warehouses, without their adapters."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, StrictUndefined

PACKAGE = Path(__file__).parents[3] / "sql"
#: The quotes of names, which adapters put around what the macro `identifier` has escaped.
QUOTES = {
    "spark": "`",
    "databricks": "`",
    "bigquery": "`",
    "snowflake": '"',
    "trino": '"',
    "duckdb": '"',
    "postgres": '"',
    "redshift": '"',
}
#: Adapters whose macros serve another's warehouse where it has none of its own.
PARENTS = {"databricks": "spark", "redshift": "postgres"}
#: What dbt's own macro says, which ours call.
_STRINGS = {
    "bigquery": "string",
    "spark": "string",
    "databricks": "string",
    "snowflake": "TEXT",
    "trino": "varchar",
    "duckdb": "varchar",
    "postgres": "TEXT",
    "redshift": "TEXT",
}


class Package(dict[str, Any]):
    """The dbt package ``mlm``: its macros by name."""

    def __getattr__(self, macro: str) -> Any:
        return self[macro]


@cache
def package_for(dialect: str, **variables: Any) -> Package:
    """The macros, and the generic tests as ``test_<name>``, for one warehouse; `variables` are those of the project."""
    return package_in(dialect, {}, **variables)


def package_in(dialect: str, names: Mapping[str, Any], **variables: Any) -> Package:
    """The same, where dbt gives other names too, or other values of them."""
    macros = Package()

    def raise_compiler_error(message: str) -> None:
        raise ValueError(message)

    context = {
        "mlm": macros,
        "adapter": SimpleNamespace(
            quote=lambda name: f"{QUOTES[dialect]}{name}{QUOTES[dialect]}",
            dispatch=lambda macro, _: next(
                macros[name]
                for name in (f"{adapter}__{macro}" for adapter in (dialect, PARENTS.get(dialect), "default"))
                if name in macros
            ),
        ),
        "dbt": SimpleNamespace(type_string=lambda: _STRINGS[dialect]),
        "exceptions": SimpleNamespace(raise_compiler_error=raise_compiler_error),
        "execute": True,
        "flags": SimpleNamespace(EMPTY=False),
        "return": lambda value: value,
        "var": lambda name, default: variables.get(name, default),
        **names,
    }
    texts = [path.read_text(encoding="utf-8") for path in sorted((PACKAGE / "macros").glob("*/*.sql"))]
    for path in sorted((PACKAGE / "tests" / "generic").glob("*.sql")):
        text = path.read_text(encoding="utf-8").replace("{% endtest", "{% endmacro")
        texts.append(text.replace("{% test ", "{% macro test_"))
    module = (
        Environment(undefined=StrictUndefined, autoescape=False).from_string("\n".join(texts), globals=context).module
    )
    macros.update({name: getattr(module, name) for name in dir(module) if not name.startswith("_")})
    return macros
