"""Silence numpy's warnings in public functions and classes; tables show null for what is not a number."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function in which overflows and undefined numbers become infinities and NaN without a warning."""

    @wraps(function)
    def without_warnings(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return without_warnings


def quiet_class(cls: C) -> C:
    """Make the methods and properties of a class `quiet`."""
    for name, member in list(vars(cls).items()):
        if isinstance(member, property):
            replacement: Any = property(quiet(member.fget), doc=member.__doc__) if member.fget else member
        elif isinstance(member, cached_property):
            replacement = cached_property(quiet(member.func))
            replacement.__set_name__(cls, name)
        elif callable(member) and not isinstance(member, type) and (not name.startswith("__") or name == "__str__"):
            replacement = quiet(member)
        else:
            continue
        setattr(cls, name, replacement)
    return cls
