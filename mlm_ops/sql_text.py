"""Names and values as SQL text: the one place where anything is quoted."""

from __future__ import annotations

import math
import re
from pathlib import Path

from mlm_ops.errors import DataError


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


def file_pattern(path: Path | str) -> str:
    """Write the path of one file so that DuckDB reads that file alone, also where its name looks like a pattern.

    DuckDB takes ``*``, ``?`` and ``[`` in a path for a pattern of many files, a leading ``~`` for the home folder and
    ``s3:`` for another file system. A mark in brackets stands for itself.

    Raises
    ------
    DataError
        A name with a backslash and a mark, which DuckDB has no way to write.
    """
    odd = re.match(r"~|[^/]*:", Path(path).as_posix())  # the path from the root is no home and no other file system
    text = (Path(path).absolute() if odd else Path(path)).as_posix()
    if "\\" in text and re.search(r"[*?[]", text):
        raise DataError(
            f"A file's path with a backslash and one of * ? [ cannot be told to DuckDB. Got {text}. Rename the file."
        )
    return re.sub(r"[*?[]", r"[\g<0>]", text)


def file_literal(path: Path | str) -> str:
    """Write the path of one file as a SQL literal, as `file_pattern` does; the only way a path gets into SQL."""
    return literal(file_pattern(path))
