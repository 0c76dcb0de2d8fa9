"""Check the values of options that users give: an `Option`, and functions that make the common kinds.

What takes a value returns it in the one form that the rest of the package uses, or raises `UnsuitableValueError`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any

from mlm_ops.errors import MlmError
from mlm_ops.language.other_programs import value_here

#: The most characters of a value in a message.
_MOST_CHARACTERS = 80
#: Lists and mappings of an argument may be nested so deep; no option needs more.
_DEEPEST = 10


class UnsuitableValueError(Exception):
    """Raised by an option's `take` for a value that the option does not allow."""


@dataclass(frozen=True)
class Option:
    """One option: its name, the values that it takes, and the sentence that refuses others.

    Attributes
    ----------
    name
        The name that users write.
    expected
        The values that it takes, as the end of a sentence.
    take
        Returns a value in its one form, or raises `UnsuitableValueError`.
    error
        The class of the refusal.
    what
        The first sentence of the refusal.
    default
        The value where a user gives none.
    words
        The words that it takes, if it takes one of several.
    """

    name: str
    expected: str
    take: Callable[[Any], Any]
    error: type[MlmError] = MlmError
    what: str = ""
    default: Any = None
    words: tuple[str, ...] = ()

    def of(self, value: Any) -> Any:
        """Return the value in its one form.

        Raises
        ------
        MlmError
            The option does not take this value.
        """
        try:
            return self.take(value)
        except UnsuitableValueError:
            what = self.what or f"{self.name} is not understood."
            hint = value_here(value, self.words)
            raise self.error(f"{what} Got {value_text(value)}; expected {self.expected}.{hint}") from None

    def or_none(self) -> Option:
        """Return the same option, which also takes None."""
        take = self.take
        return replace(self, take=lambda value: None if value is None else take(value))


def value_text(value: object) -> str:
    """Return a value as a message shows it: on one line, cut if it is long.

    >>> value_text("y"), value_text([1] * 100), value_text(object()).partition(" at ")[0]
    ("'y'", 'a list of 100', 'an object')
    """
    if isinstance(value, str) and not value:
        return "nothing"
    if value is None or isinstance(value, str | bytes | bool | numbers.Number):
        try:
            text = repr(value)
        except ValueError:  # an integer of more digits than Python prints
            text = "a number of too many digits"
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    kind = type(value).__name__
    phrase = f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
    if isinstance(value, list | tuple | set | frozenset | dict):
        try:
            text = repr(value) if len(value) <= _MOST_CHARACTERS else ""
        except Exception:  # an object of a user may raise anything when it is printed
            text = ""
        return text if text and len(text) <= _MOST_CHARACTERS and "\n" not in text else f"{phrase} of {len(value)}"
    return f"{fspath(value)!r}" if isinstance(value, PathLike) and isinstance(fspath(value), str) else phrase


def is_text(value: object) -> bool:
    """Tell whether a value is text that every program can read: without NUL and without lone surrogates."""
    return (
        isinstance(value, str)
        and "\0" not in value
        and not any("\ud800" <= character <= "\udfff" for character in value)
    )


def take_text(value: Any) -> str:
    """Return text that `is_text`."""
    if not is_text(value):
        raise UnsuitableValueError
    return str(value)


def take_any_text(value: Any) -> str:
    """Return any text: a parser checks it more closely."""
    if not isinstance(value, str):
        raise UnsuitableValueError
    return str(value)


def take_nonblank_text(value: Any) -> str:
    """Return text that is not blank."""
    if not take_text(value).strip():
        raise UnsuitableValueError
    return str(value)


def take_names(value: Any) -> tuple[str, ...]:
    """Return one text or a sequence of them as a tuple; a set has no order, and a generator can be read only once."""
    if isinstance(value, str):
        return (take_nonblank_text(value),)
    if type(value).__name__ == "ndarray" and getattr(value, "ndim", 0) == 1:
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview | range):
        raise UnsuitableValueError
    return tuple(take_nonblank_text(name) for name in value)


def take_flag(value: Any) -> bool:
    """Return True or False; numpy has these too, and numbers are none."""
    if not isinstance(value, bool) and type(value).__name__ not in {"bool_", "bool"}:
        raise UnsuitableValueError
    return bool(value)


def take_real(value: Any) -> float:
    """Return a finite number as a float; text and truth values are refused, though Python would convert them."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or type(value).__name__ == "bool_":
        raise UnsuitableValueError
    try:
        number = float(value)
    except OverflowError:
        raise UnsuitableValueError from None
    if not math.isfinite(number):
        raise UnsuitableValueError
    return number


def take_share(value: Any) -> float:
    """Return a number between 0 and 1, both excluded."""
    number = take_real(value)
    if not 0 < number < 1:
        raise UnsuitableValueError
    return number


def take_whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    """Return what takes a whole number from `least` to `most`."""

    def take(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise UnsuitableValueError
        if value < least or (most is not None and value > most):
            raise UnsuitableValueError
        return int(value)

    return take


def take_one_of(words: Sequence[str]) -> Callable[[Any], str]:
    """Return what takes one of several words, in any case of letters, as they are here."""
    own = {word.lower(): word for word in words}

    def take(value: Any) -> str:
        if not isinstance(value, str) or value.lower() not in own:
            raise UnsuitableValueError
        return own[value.lower()]

    return take


def take_by_name(take: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Return what takes a mapping of names to values, each of which `take` takes."""

    def take_mapping(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise UnsuitableValueError
        return {take_text(name): take(content) for name, content in value.items()}

    return take_mapping


def take_yaml_value(value: Any, depth: int = 0) -> Any:
    """Return texts, numbers and None, in lists and mappings of texts: anything that an analysis file can hold."""
    if depth > _DEEPEST:
        raise UnsuitableValueError
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return take_text(value)
    if type(value).__name__ == "ndarray":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {take_text(name): take_yaml_value(content, depth + 1) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [take_yaml_value(content, depth + 1) for content in value]
    number = take_real(value)
    # a whole number may be the label of a factor's level, which has no decimal point
    return int(value) if isinstance(value, numbers.Integral) else number


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, and one value as a list of one: a key with one value takes it without brackets."""
    return value if isinstance(value, list) else [value]


def take_path(value: Any) -> Any:
    """Return a path, as text or as an object of `os.PathLike`."""
    if isinstance(value, str):
        return take_nonblank_text(value)
    if not isinstance(value, PathLike) or not is_text(fspath(value)):
        raise UnsuitableValueError
    return value


def take_instance_of(name: str) -> Callable[[Any], Any]:
    """Return what takes an object of a class, or of a subclass, by the class's name.

    This room imports neither DuckDB nor the room of fits.
    """

    def take(value: Any) -> Any:
        if not any(kind.__name__ == name for kind in type(value).__mro__):
            raise UnsuitableValueError
        return value

    return take


def an_instance(name: str, of: str, expected: str) -> Option:
    """Make an option that takes an object of a class, or of a subclass."""
    return Option(name, expected, take_instance_of(of))


def choice(name: str, words: Sequence[str], what: str = "", default: str | None = None) -> Option:
    """Make an option that takes one of several words."""
    expected = f"one of {', '.join(words)}"
    return Option(
        name, expected, take_one_of(words), what=what or f"Unknown {name}.", default=default, words=tuple(words)
    )


def flag(name: str) -> Option:
    """Make an option that takes True or False."""
    return Option(name, "True or False", take_flag)


def number(name: str, expected: str) -> Option:
    """Make an option that takes a finite number; its limits are checked where it is used."""
    return Option(name, expected, take_real)


def whole_number(name: str, least: int, most: int | None = None) -> Option:
    """Make an option that takes a whole number from `least` to `most`."""
    limits = f"from {least:,} to {most:,}" if most is not None else f"of {least:,} or more"
    return Option(name, f"a whole number {limits}", take_whole(least, most))


def text(name: str, expected: str) -> Option:
    """Make an option that takes text that is not blank."""
    return Option(name, expected, take_nonblank_text)


def texts_by_name(name: str, expected: str) -> Option:
    """Make an option that takes a mapping of texts to texts."""
    return Option(name, expected, take_by_name(take_text))
