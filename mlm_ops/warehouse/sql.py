"""Renders the macros of sql/ with jinja2, as dbt would, so that one text serves both."""

from __future__ import annotations

import math
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlm_ops.errors import DataError
from mlm_ops.language.model import Column, Constant, Function, Indicator, Variable, label

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule


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
    prefix = re.match(r"~|[^/]*:", Path(path).as_posix())  # the path from the root is no home and no other file system
    text = (Path(path).absolute() if prefix else Path(path)).as_posix()
    if "\\" in text and re.search(r"[*?[]", text):
        raise DataError(
            f"A file's path with a backslash and one of * ? [ cannot be told to DuckDB. Got {text}. Rename the file."
        )
    return re.sub(r"[*?[]", r"[\g<0>]", text)


def file_literal(path: Path | str) -> str:
    """Write the path of one file as a SQL literal, as `file_pattern` does; the only way a path gets into SQL."""
    return literal(file_pattern(path))


def render(macro: str, **arguments: Any) -> str:
    """SQL of one macro of the dbt package, for DuckDB.

    Parameters
    ----------
    macro
        Name of a macro, which is the name of its file.
    arguments
        The macro's arguments; SQL expressions and relations must be quoted already.
    """
    text: str = getattr(_module(), macro)(**arguments)
    return text.strip()


def expression(variable: Variable) -> str:
    """SQL of an atom, as a double.

    Functions outside their domain give null, which the survey counts and reports by name.
    """
    match variable:
        case Column(name):
            return render("number", expression=identifier(name))
        case Constant(value):
            return literal(float(value))
        case Indicator(column, level, against):
            minus = f" when {category(column)} = {literal(against)} then -1.0e0" if against is not None else ""
            return f"case when {category(column)} = {literal(level)} then 1.0e0{minus} else 0.0e0 end"
        case Function("I", (inner,)):
            return expression(inner)
        case Function("log", (inner,)):
            return _guarded("ln", expression(inner), ">")
        case Function("sqrt", (inner,)):
            return _guarded("sqrt", expression(inner), ">=")
        case Function("exp" | "abs" as name, (inner,)):
            return f"{name}({expression(inner)})"
        case Function("**", (base, exponent)):
            return f"power({expression(base)}, {expression(exponent)})"
        case Function("/", (top, bottom)):
            return f"({expression(top)} / nullif({expression(bottom)}, 0))"
        case Function("+" | "-" as sign, (inner,)):
            return f"({sign} {expression(inner)})"
        case Function("+" | "-" | "*" as operator, (left, right)):
            return f"({expression(left)} {operator} {expression(right)})"
    raise DataError(f"{label(variable)} is not computed row by row.")


def category(column: str) -> str:
    """SQL of what a column's values are called, as units, levels, strata or partitions: the one way to name them."""
    return text(identifier(column))


def text(expression: str) -> str:
    """SQL of an expression as text, as `category` has that of a column."""
    return render("text", expression=expression)


def has_value(column: str) -> str:
    """The SQL condition that a column, of any type, has a value; NaN is none."""
    return render("has_value", column=column)


def _guarded(function: str, argument: str, comparison: str) -> str:
    return f"case when {argument} {comparison} 0 then {function}({argument}) end"


class _Package:
    """Stands for the dbt package ``mlm``: its macros by name."""

    def __init__(self) -> None:
        self.macros: dict[str, Any] = {}

    def __getattr__(self, macro: str) -> Any:
        return self.macros[macro]


class _Adapter:
    """Stands for dbt's adapter: quoting, and dispatch to ``duckdb__`` or ``default__`` macros."""

    def __init__(self, package: _Package) -> None:
        self.package = package

    def quote(self, name: str) -> str:
        # as dbt has it: the macro `identifier` sees to the quotes inside a name
        return f'"{name}"'

    def dispatch(self, macro: str, namespace: str) -> Any:
        macros = self.package.macros
        return macros.get(f"duckdb__{macro}") or macros[f"default__{macro}"]


class _Exceptions:
    """Stands for dbt's errors of macros."""

    def raise_compiler_error(self, message: str) -> NoReturn:
        raise DataError(message)


@cache
def _module() -> TemplateModule:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False)  # SQL, not HTML
    sources = sorted(_macro_directory().iterdir(), key=lambda entry: entry.name)
    text = "\n".join(entry.read_text(encoding="utf-8") for entry in sources if entry.name.endswith(".sql"))
    package = _Package()
    context = {
        "mlm": package,
        "adapter": _Adapter(package),
        "exceptions": _Exceptions(),
        # dbt's return() leaves the macro with a value; every use of ours is the macro's whole text
        "return": lambda value: value,
    }
    module = environment.from_string(text, globals=context).module
    package.macros.update({name: getattr(module, name) for name in dir(module) if not name.startswith("_")})
    return module


def _macro_directory() -> Traversable | Path:
    packaged = files("mlm_ops") / "sql" / "macros"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql" / "macros"
