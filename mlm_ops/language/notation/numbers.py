"""Numbers as papers print them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

#: Magnitudes that are written without an exponent.
_LEAST, _MOST = 1e-4, 1e7
#: Digits of the largest number of a column, and of the smallest where the two ask for different decimals.
_LARGEST, _SMALLEST = 7, 2


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, trailing zeros kept, and thousands not hidden in exponents."""
    if value is None:
        return ""
    if value != 0 and not _LEAST <= abs(value) < _MOST:
        return f"{value:.{digits - 1}e}"
    return f"{value:#.{max(digits, len(str(int(abs(value)))))}g}".rstrip(".")


def decimals(values: Iterable[float | None], digits: int = 4) -> int:
    """How many decimals a column of numbers has, so that its smallest shows so many significant digits.

    Fewer where the largest would then have more than seven, and never so few that the smallest shows less than two.

    >>> decimals([12.636972, 2.191]), decimals([1000.5, 0.0123]), decimals([])
    (3, 3, 3)
    """
    sizes = [abs(v) for v in values if v is not None and _LEAST <= abs(v) < _MOST] or [1.0]
    least, most = (math.floor(math.log10(size)) for size in (min(sizes), max(sizes)))
    return max(0, min(digits - 1 - least, _LARGEST - 1 - most), _SMALLEST - 1 - least)


def fixed(value: float, places: int) -> str:
    """A number with so many decimals, and zero without a sign.

    >>> fixed(-1e-14, 3), fixed(0.25, 3), fixed(-1234.5, 1)
    ('0.000', '0.250', '-1,234.5')
    """
    text = f"{value:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def column(values: Iterable[float | None], digits: int = 4) -> Callable[[float], str]:
    """How the numbers of a column are written: with the same decimals, but for the smallest and largest of all.

    >>> [column([12.636972, 2.191])(x) for x in (12.636972, 0.0, 0.00001234)]
    ['12.637', '0.000', '1.234e-05']
    """
    places = decimals(values, digits)

    def write(value: float) -> str:
        plain = value == 0 or _LEAST <= abs(value) < _MOST
        return fixed(value, places).replace(",", "") if plain else number(value)

    return write
