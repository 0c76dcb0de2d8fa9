"""Fill in the templates of new projects and components: `templates/` holds the files as they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def fill(template: str, values: Mapping[str, str | bool | list[str] | None]) -> str:
    """Write one file's text. What comes from the data is a value, never a template.

    Parameters
    ----------
    template
        Its path below ``templates/``, without ``.jinja``.
    values
        By the names that the template has; each place quotes them by one of the filters ``python``, ``json``, ``yaml``
        (inside single quotes) and ``as_is`` (for files that dbt's Jinja reads).
    """
    return _environment().get_template(f"{template}.jinja").render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML: Python, SQL and YAML, each quoted by its own filter
    )
    environment.filters |= {
        "python": repr,
        "json": partial(json.dumps, ensure_ascii=False),
        "yaml": lambda text: text.replace("'", "''"),
        "as_is": _as_is,
    }
    return environment


def _as_is(text: str) -> str:
    """Text that dbt's Jinja leaves as it is, where it could take it for its own."""
    # brace by brace, as text in a raw block could end the block
    return text.replace("{", '{{ "{" }}') if any(mark in text for mark in ("{{", "{%", "{#")) else text
