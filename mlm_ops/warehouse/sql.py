"""Quote names and values in SQL, and render the dbt macros of ``sql/macros`` with jinja2, as dbt would."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlm_ops.errors import DataError
from mlm_ops.language.model import Column, Constant, Function, Indicator, Variable, label

if TYPE_CHECKING:
    from jinja2 import BytecodeCache
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
    """Write the path of one file so that DuckDB reads exactly that file, even if its name looks like a glob pattern.

    DuckDB reads ``*``, ``?`` and ``[`` in a path as a pattern of several files, a leading ``~`` as the home folder and
    ``s3:`` as another file system. A pattern character in brackets is read as itself.

    Raises
    ------
    DataError
        The path has a backslash and a pattern character, which DuckDB cannot escape.
    """
    prefix = re.match(r"~|[^/]*:", Path(path).as_posix())  # an absolute path has neither
    text = (Path(path).absolute() if prefix else Path(path)).as_posix()
    if "\\" in text and re.search(r"[*?[]", text):
        raise DataError(
            f"DuckDB cannot read a file whose path has a backslash and one of * ? [. Got {text}. Rename the file."
        )
    return re.sub(r"[*?[]", r"[\g<0>]", text)


def file_literal(path: Path | str) -> str:
    """Write the path of one file as a SQL literal, as `file_pattern` does. No path gets into SQL in another way."""
    return literal(file_pattern(path))


def render(macro: str, **arguments: Any) -> str:
    """Render one macro of the dbt package as SQL for DuckDB.

    Parameters
    ----------
    macro
        The name of the macro, which is the name of its file.
    arguments
        The macro's arguments; names in SQL expressions and relations must be quoted already.
    """
    text: str = getattr(_package(), macro)(**arguments)
    return text.strip()


def category(column: str) -> str:
    """Write a column's values as text in SQL: the names of units, factor levels, strata and partitions."""
    return text(identifier(column))


def expression(variable: Variable, name: Callable[[str], str] = category) -> str:
    """Write a variable that is computed row by row as a SQL expression of type double.

    A function outside its domain gives null, which the survey counts and reports by name.

    Parameters
    ----------
    name
        SQL of what a column's values are called; a query that computes it once gives the column that holds it.
    """
    match variable:
        case Column(column):
            return render("number", expression=identifier(column))
        case Constant(value):
            return literal(float(value))
        case Indicator(column, level, against):
            minus = f" when {name(column)} = {literal(against)} then -1.0e0" if against is not None else ""
            return f"case when {name(column)} = {literal(level)} then 1.0e0{minus} else 0.0e0 end"
        case Function("I", (inner,)):
            return expression(inner)
        case Function("log", (inner,)):
            return _guarded("ln", expression(inner), ">")
        case Function("sqrt", (inner,)):
            return _guarded("sqrt", expression(inner), ">=")
        case Function("exp" | "abs" as function, (inner,)):
            return f"{function}({expression(inner)})"
        case Function("**", (base, exponent)):
            return f"power({expression(base)}, {expression(exponent)})"
        case Function("/", (top, bottom)):
            return f"({expression(top)} / nullif({expression(bottom)}, 0))"
        case Function("+" | "-" as sign, (inner,)):
            return f"({sign} {expression(inner)})"
        case Function("+" | "-" | "*" as operator, (left, right)):
            return f"({expression(left)} {operator} {expression(right)})"
    raise DataError(f"{label(variable)} is not computed row by row.")


def text(expression: str) -> str:
    """Write a SQL expression as text, in the same way as `category` does for a column."""
    return render("text", expression=expression)


def has_value(column: str) -> str:
    """Write the SQL condition that a column, of any type, has a value; NaN counts as missing."""
    return render("has_value", column=column)


def _guarded(function: str, argument: str, comparison: str) -> str:
    return f"case when {argument} {comparison} 0 then {function}({argument}) end"


class _Package:
    """Stands for the dbt package ``mlm``: its macros by name, each compiled when it is first called, with its file."""

    def __init__(self) -> None:
        from jinja2 import Environment, FunctionLoader, StrictUndefined

        folders = [entry for entry in _macro_directory().iterdir() if entry.is_dir()]
        self._files = {file.name.removesuffix(".sql"): file for folder in folders for file in folder.iterdir()}
        self._environment = Environment(
            undefined=StrictUndefined,
            autoescape=False,  # SQL, not HTML
            loader=FunctionLoader(lambda macro: self._files[macro].read_text(encoding="utf-8")),
            bytecode_cache=_compiled_macros(),
        )
        self._modules: dict[str, TemplateModule] = {}
        self._context = {
            "mlm": self,
            "adapter": _Adapter(self),
            "exceptions": _Exceptions(),
            # dbt's return() ends a macro with a value; in ours it is always the whole text of the macro
            "return": lambda value: value,
        }

    def __getattr__(self, macro: str) -> Any:
        if macro not in self._files:
            raise AttributeError(f"There is no macro {macro} in sql/macros.", name=macro, obj=self)
        return getattr(self.module(macro), macro)

    def module(self, macro: str) -> TemplateModule:
        """What is in the file that is named for a macro: it, and what it is dispatched to."""
        if macro not in self._modules:
            self._modules[macro] = self._environment.get_template(macro, globals=self._context).module
        return self._modules[macro]


class _Adapter:
    """Stands for dbt's adapter: quoting, and dispatch to ``duckdb__`` or ``default__`` macros."""

    def __init__(self, package: _Package) -> None:
        self.package = package

    def quote(self, name: str) -> str:
        # as in dbt: the macro `identifier` doubles the quotes inside a name
        return f'"{name}"'

    def dispatch(self, macro: str, namespace: str) -> Any:
        module = self.package.module(macro)
        return getattr(module, f"duckdb__{macro}", None) or getattr(module, f"default__{macro}")


class _Exceptions:
    """Stands for dbt's ``exceptions``."""

    def raise_compiler_error(self, message: str) -> NoReturn:
        raise DataError(message)


def _compiled_macros() -> BytecodeCache | None:
    """Where compiled macros are kept: beside this file's own bytecode, if Python keeps that; they take longer than it.

    Each is kept by jinja's version, with a checksum of its text and Python's version, and made anew if these differ.
    """
    from jinja2 import FileSystemBytecodeCache, __version__

    folder = Path(cache_from_source(__file__)).parent
    if sys.dont_write_bytecode or not os.access(folder, os.W_OK):
        return None
    return FileSystemBytecodeCache(str(folder), f"macro-{__version__}-%s.jinja2")


@cache
def _package() -> _Package:
    return _Package()


def _macro_directory() -> Traversable | Path:
    packaged = files("mlm_ops") / "sql" / "macros"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "sql" / "macros"
