"""Names and values as SQL text: the one place where anything is quoted."""

from __future__ import annotations

import math


def identifier(name: str) -> str:
    """Quote `name` as one SQL identifier; a dot in it is part of the name."""
    return '"' + name.replace('"', '""') + '"'


def qualified(*names: str) -> str:
    """Quote each of `names` and join them with dots: ``qualified("mlm", "runs")``."""
    return ".".join(identifier(name) for name in names)


def literal(value: str | bool | int | float | None) -> str:
    """Write `value` as a SQL literal."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        # repr() gives the shortest text that reads back as the same double; without an exponent SQL would take it for a
        # decimal and round it.
        return f"{value!r}::double" if math.isfinite(value) else f"'{value}'::double"
    return str(value)
