"""Check the arguments of public functions, and say other programs' errors in one sentence."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from mlm_ops.errors import DataError, MlmError
from mlm_ops.language.options import Option

Answer = TypeVar("Answer")

Parameters = ParamSpec("Parameters")


def checked(**options: Option) -> Callable[[Callable[Parameters, Answer]], Callable[Parameters, Answer]]:
    """Decorate a public function so that each argument is checked by the option of its parameter's name.

    A call with too many or too few arguments raises Python's own TypeError.
    """

    def decorate(function: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
        names = tuple(inspect.signature(function).parameters)

        @functools.wraps(function)
        def door(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Answer:
            given: list[Any] = list(arguments)
            for place, (name, value) in enumerate(zip(names, arguments, strict=False)):
                if name in options:
                    given[place] = options[name].of(value)
            named: dict[str, Any] = {
                name: options[name].of(value) if name in options else value for name, value in keywords.items()
            }
            try:
                return function(*given, **named)
            except MlmError:
                raise
            except BaseException as error:  # polars' PanicException is not an Exception
                refuse_foreign(error)
                raise

        return door

    return decorate


def refuse_foreign(error: BaseException) -> None:
    """Raise a DataError with a plain sentence for an error of another program; do nothing for a bug of mlm-ops.

    Raises
    ------
    DataError
        For an error of DuckDB, polars, the operating system or arithmetic, which is its ``__cause__``.
    """
    from mlm_ops.warehouse.faults import sentence_of

    sentence = sentence_of(error)
    if sentence is not None:
        raise DataError(sentence) from error
