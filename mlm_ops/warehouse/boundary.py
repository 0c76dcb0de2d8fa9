"""The boundary of the package: a public function takes only values that its options take, and fails in sentences."""

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
    """Pass the arguments of a public function through their options, each by its parameter's name.

    A call with an argument too many or too few stays Python's own TypeError.
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
            except BaseException as error:  # a panic of polars is no Exception
                refuse_foreign(error)
                raise

        return door

    return decorate


def refuse_foreign(error: BaseException) -> None:
    """Put the sentence that another program's error calls for in its place; faults of ours are left as they are.

    Raises
    ------
    DataError
        Of DuckDB, polars, the operating system, arithmetic that broke down; raised from the error itself.
    """
    from mlm_ops.warehouse.faults import sentence_of

    sentence = sentence_of(error)
    if sentence is not None:
        raise DataError(sentence) from error
