"""Numbers as papers print them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def aligned(rows: Sequence[tuple[str, ...]], left: int) -> str:
    """Columns under each other; the first `left` begin at the left, the numbers end at the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def p_value(value: float | None) -> str:
    """A p value as papers print it."""
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


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


#: What every such note says, and no other.
LEFT_OUT = "rows left out for missing values"


def left_out(n_obs: int, n_rows: int, n_dropped: Mapping[str, int]) -> str:
    """Say how many rows were left out, and which columns' values they lack.

    >>> left_out(8, 10, {"x": 2, "y": 0})
    '2 of 10 rows left out for missing values (x 2)'
    """
    counts = ", ".join(f"{name} {count}" for name, count in n_dropped.items() if count)
    return f"{n_rows - n_obs} of {n_rows} {LEFT_OUT} ({counts})"


def plain(text: str) -> str:
    """Text in one line that makes no table, emphasis, code, tag, link or picture."""
    text = " ".join(text.splitlines())
    for character in "\\|*`":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;").replace("](", "]\\(")


def span(text: str) -> str:
    """A code span in one line, also of text with backticks."""
    text = " ".join(text.splitlines())
    ticks = "`" * (_longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def fenced(text: str, language: str = "") -> str:
    """A block of code, also of text with fences."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


#: Control characters but tab and line feed, other ends of lines, and marks that change the direction of writing; for
#: Python and for polars.
UNSEEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """The text with a replacement character for each that a terminal would obey.

    >>> visible("a" + chr(27) + "[2Jb")
    'a�[2Jb'
    """
    return re.sub(UNSEEN, REPLACEMENT, text)


def one_line(text: str) -> str:
    r"""The visible text in one line: a name with a line feed begins no line of its own.

    >>> one_line("x\nmlm: everything is fine.")
    'x mlm: everything is fine.'
    """
    return re.sub(r"\s*\n\s*", " ", visible(text).strip("\n"))


def message(text: str) -> str:
    r"""The visible text of one message: its first line begins at the margin, and no other does.

    So nothing in it, such as a name from the data, looks like another message.

    >>> message("mlm: no column x\nmlm: everything is fine.")
    'mlm: no column x\n     mlm: everything is fine.'
    """
    return visible(text).replace("\n", "\n     ")
