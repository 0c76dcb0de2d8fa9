"""Check the arguments of public functions, and turn other programs' errors into one sentence."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from mlm_ops.errors import ArgumentError, DataError, MlmError
from mlm_ops.language.option_values import Option
from mlm_ops.language.other_programs import argument_here
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.warehouse.faults import sentence_of

Result = TypeVar("Result")
Parameters = ParamSpec("Parameters")


def checked(**options: Option) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorate a public function so that each argument is checked by the option of its parameter's name.

    A call with too many or too few arguments raises Python's own TypeError; one with an argument of an unknown name an
    `ArgumentError`, which is one too.
    """

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        names = tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def wrapper(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            unknown = next((name for name in keywords if name not in names), None)
            if unknown is not None:
                raise _unknown_argument(function.__name__, unknown, names)
            positional: list[Any] = list(arguments)
            for place, (name, value) in enumerate(zip(names, arguments, strict=False)):
                if name in options:
                    positional[place] = options[name].of(value)
            by_name: dict[str, Any] = {
                name: options[name].of(value) if name in options else value for name, value in keywords.items()
            }
            try:
                return function(*positional, **by_name)
            except MlmError:
                raise
            except BaseException as error:  # polars' PanicException is not an Exception
                refuse_foreign(error)
                raise

        return wrapper

    return decorate


def _unknown_argument(function: str, name: str, names: tuple[str, ...]) -> ArgumentError:
    parameters = [each for each in names if each != "self"]
    hint = argument_here(name, parameters) or did_you_mean(name, parameters)
    return ArgumentError(f"{function}() has no argument {name!r}.{hint} It takes {', '.join(parameters) or 'none'}.")


def refuse_foreign(error: BaseException) -> None:
    """Raise a DataError with a plain sentence for an error of another program; do nothing for a bug of mlm-ops.

    Raises
    ------
    DataError
        For an error of DuckDB, polars, the operating system or arithmetic, which is its ``__cause__``.
    """
    sentence = sentence_of(error)
    if sentence is not None:
        raise DataError(sentence) from error
