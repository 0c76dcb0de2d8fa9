"""Write the sentences of pictures: names as they are, numbers with the digits of the tables, intervals, p values.

A sentence states numbers of rows and their intervals; no cause, no verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from unicodedata import east_asian_width

from mlm_ops.results.words import LEAST, count, number, one_line, p_value

#: The most characters of a label; of a longer name the rest stands in the hover text.
LABEL = 24
#: What XML cannot hold beside the control characters that `visible` replaces.
_NO_XML = re.compile("[\ud800-\udfff\ufffe\uffff]")
#: Words whose plural takes more than an s.
_NO_PLAIN_PLURAL = ("s", "x", "z", "ch", "sh", "y")


def shown(name: str | None) -> str:
    """A name from the data as it is read, in one line; a replacement character for what cannot be seen or written.

    >>> shown("a" + chr(27) + "b"), shown("")
    ('a�b', '(empty)')
    """
    return _NO_XML.sub("\ufffd", one_line(name or "")).strip() or "(empty)"


def labels(names: Sequence[str], width: float = LABEL) -> list[str]:
    """The names short enough for an axis, each another: those that are cut alike or look alike are numbered.

    >>> labels(["a" * 30, "a" * 31, "b"])
    ['aaaaaaaaaaaaaaaaaaaaaaa…', 'aaaaaaaaaaaaaaaaaaaaaaa… (2)', 'b']
    """
    texts: list[str] = []
    for name in names:
        text, copies = short(name, width), 1
        label = text
        while label in texts:
            copies += 1
            label = f"{text} ({copies})"
        texts.append(label)
    return texts


def short(name: str | None, width: float = LABEL) -> str:
    """A name in so many characters of usual width, with an ellipsis where it is cut.

    It is cut here and never by Vega, which would cut a character of two code units in half.
    """
    text = shown(name)
    if len(text) <= width and sum(map(_width, text)) <= width:
        return text
    room = width - 1
    length = 0
    while length < width - 1 and (room := room - _width(text[length])) >= 0:
        length += 1
    return f"{text[:length]}…"


def _width(character: str) -> float:
    """About how wide a character is, of a usual one."""
    if character > "\u1100" and (character > "\uffff" or east_asian_width(character) in "WF"):
        return 2.0
    if character in "iljft()[]:;.,|' ":
        return 0.6
    return 1.7 if character in "mMW@%—" else 1.2 if character.isupper() or character in "w_" else 1.0


def units(group: str) -> str:
    """Several units of a grouping factor.

    >>> units("school"), units("class"), units("School_ID")
    ('schools', 'units of class', 'units of School_ID')
    """
    plain = _is_word(group) and not group.endswith(_NO_PLAIN_PLURAL)
    return f"{group}s" if plain else f"units of {shown(group)}"


def unit(group: str) -> str:
    """One unit of a grouping factor, without an article.

    >>> unit("school"), unit("School_ID")
    ('school', 'unit of School_ID')
    """
    return group if _is_word(group) else f"unit of {shown(group)}"


def unit_name(group: str, name: str) -> str:
    """A unit by its name.

    >>> unit_name("school", "1224"), unit_name("School_ID", "1224")
    ('school 1224', 'unit of School_ID 1224')
    """
    return f"{unit(group)} {shown(name)}"


def a_unit(group: str) -> str:
    """One unit of a grouping factor.

    >>> a_unit("school"), a_unit("area"), a_unit("School_ID")
    ('a school', 'an area', 'a unit of School_ID')
    """
    return f"{'an' if _is_word(group) and group[0] in 'aeio' else 'a'} {unit(group)}"


def _is_word(name: str) -> bool:
    return re.fullmatch("[a-z]{2,24}", name) is not None


def figure(value: float) -> str:
    """A number in a sentence: three significant digits, and a minus that is one.

    >>> figure(2.191172), figure(-0.5)
    ('2.19', '−0.500')
    """
    return "0" if value == 0 else minus(number(value, 3))


def minus(text: str) -> str:
    """The text of a number with a minus instead of a hyphen."""
    return text.replace("-", "−")


def percent(share: float) -> str:
    """A share of a whole.

    >>> percent(0.1796), percent(0.0009), percent(0)
    ('18%', '0.1%', '0%')
    """
    size = abs(share)
    places = 0 if size >= 0.0095 or size < LEAST / 2 else 1 if size >= 0.0005 else 2
    text = f"{100 * share:.{places}f}%"
    return minus(text.removeprefix("-") if not text.strip("-0.%") else text)


def interval(low: float | None, high: float | None) -> str:
    """A 95% interval in brackets, with a space before; nothing where there is none.

    >>> interval(1.978176, 2.404168)
    ' (95% interval 1.98 to 2.40)'
    """
    return "" if low is None or high is None else f" (95% interval {figure(low)} to {figure(high)})"


def chance(p: float | None) -> str:
    """A p value in a sentence, with a comma before; nothing where there is none.

    >>> chance(0.00001), chance(0.163)
    (', p < 0.001', ', p = 0.163')
    """
    if p is None:
        return ""
    text = p_value(p)
    return f", p < {text[1:]}" if text.startswith("<") else f", p = {text}"


def of(some: int, all_of: int, things: str) -> str:
    """So many of so many.

    >>> of(40, 160, "intervals")
    '40 of 160 intervals'
    """
    return f"{count(some)} of {count(all_of)} {things}"


def listing(items: Iterable[str]) -> str:
    """Items as a sentence lists them.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    texts = list(items)
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def factors(term: str) -> list[str]:
    """The variables whose product a term is; a colon in brackets parts no two, as in a grouping factor's name.

    >>> factors("within(x, school:class):z[a:b]"), factors("x")
    (['within(x, school:class)', 'z[a:b]'], ['x'])
    """
    parts, depth = [""], 0
    for character in term:
        depth += (character in "([") - (character in ")]")
        if character == ":" and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def departure(term: str) -> str:
    """What a random coefficient is, of the line of a unit."""
    return "level" if term == "(Intercept)" else f"the slope of {shown(term)}"
