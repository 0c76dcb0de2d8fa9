"""Silence numpy's warnings in what a user calls; what is not a number becomes null in a table.

Every door through which a user reaches the numbers is marked with one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """A function in which overflows and undefined numbers become infinities and NaN without a warning."""

    @wraps(function)
    def without_warnings(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return without_warnings


def quiet_class(cls: C) -> C:
    """A class whose own methods and properties are `quiet`."""
    for name, member in list(vars(cls).items()):
        if isinstance(member, property):
            made: Any = property(quiet(member.fget), doc=member.__doc__) if member.fget else member
        elif isinstance(member, cached_property):
            made = cached_property(quiet(member.func))
            made.__set_name__(cls, name)
        elif callable(member) and not isinstance(member, type) and (not name.startswith("__") or name == "__str__"):
            made = quiet(member)
        else:
            continue
        setattr(cls, name, made)
    return cls
