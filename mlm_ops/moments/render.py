"""Renders the macros of sql/ with jinja2, as dbt would, so that one text serves both."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlm_ops.errors import DataError
from mlm_ops.language.model import Column, Constant, Function, Indicator, Variable, label
from mlm_ops.sql_text import identifier, literal

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule


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
