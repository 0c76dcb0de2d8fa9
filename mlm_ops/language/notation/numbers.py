"""Numbers as papers print them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

#: Magnitudes that are written without an exponent.
LEAST, MOST = 1e-4, 1e7


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, trailing zeros kept, and thousands not hidden in exponents."""
    if value is None:
        return ""
    if value != 0 and not LEAST <= abs(value) < MOST:
        return f"{value:.{digits - 1}e}"
    return f"{value:#.{max(digits, len(str(int(abs(value)))))}g}".rstrip(".")


def decimals(values: Iterable[float | None], *, largest: int = 4, smallest: int = 3) -> int:
    """How many decimals a column of numbers has, so that its largest and its smallest show so many significant digits.

    >>> decimals([12.636972, 2.191]), decimals([12.636972, 0.0123]), decimals([])
    (2, 4, 3)
    """
    sizes = [abs(v) for v in values if v is not None and LEAST <= abs(v) < MOST] or [1.0]
    least, most = (math.floor(math.log10(size)) for size in (min(sizes), max(sizes)))
    return max(0, largest - 1 - most, smallest - 1 - least)


def fixed(value: float, places: int) -> str:
    """A number with so many decimals, and zero without a sign.

    >>> fixed(-1e-14, 3), fixed(0.25, 3), fixed(-1234.5, 1)
    ('0.000', '0.250', '-1,234.5')
    """
    text = f"{value:,.{places}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def column(values: Iterable[float | None], *, largest: int = 4, smallest: int = 3) -> Callable[[float], str]:
    """How the numbers of a column are written: with `decimals`, but for those that need more, or an exponent.

    >>> [column([12.636972, 2.191])(x) for x in (12.636972, 0.0, 0.0012, 0.00001234)]
    ['12.64', '0.00', '0.001200', '1.234e-05']
    """
    places = decimals(values, largest=largest, smallest=smallest)

    def write(value: float) -> str:
        plain = value == 0 or (LEAST <= abs(value) < MOST and round(value, places) != 0)
        return fixed(value, places).replace(",", "") if plain else number(value)

    return write
