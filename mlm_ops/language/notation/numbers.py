"""Numbers as papers print them."""

from __future__ import annotations


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, trailing zeros kept, and thousands not hidden in exponents."""
    if value is None:
        return ""
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}"
    return f"{value:#.{max(digits, len(str(int(abs(value)))))}g}".rstrip(".")
