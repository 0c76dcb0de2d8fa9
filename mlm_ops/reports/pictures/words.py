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
#: The end of a name that says that values are numbers or names of units: ``school_id``, ``Employee ID``, ``teamNr``.
_NUMBERING = re.compile(r"[ _.-](?i:id|nr|no|num|number|code|key|name)$|(?<=[a-z])(?:I[Dd]|N[Rr])$")
#: What data often have numbers of in one word with "id".
_HAVE_IDS = frozenset(
    {"child", "class", "client", "clinic", "country", "employee", "family", "firm", "group", "hospital", "item"}
    | {"participant", "patient", "person", "pupil", "rater", "school", "student", "subject", "teacher", "team", "user"}
)
#: Plurals that take no ending.
_PLURALS = {"child": "children", "man": "men", "woman": "women"}
#: Where a long name may be parted.
_PARTS_MEET = re.compile(r"[ :_.*+/]|(?<=[^\s(\[])(?=[(\[])")
#: A name that a formula has in backticks.
_IN_BACKTICKS = re.compile("`((?:[^`]|``)+)`")


def shown(name: str | None) -> str:
    """A name from the data as it is read, in one line; a replacement character for what cannot be seen or written.

    >>> shown("a" + chr(27) + "b"), shown("")
    ('a�b', '(empty)')
    """
    return _NO_XML.sub("\ufffd", one_line(name or "")).strip() or "(empty)"


def term_text(name: str | None) -> str:
    """A term or a variable in a sentence: what a formula has in backticks stands in quotation marks.

    >>> term_text("within(`job satisfaction`)"), term_text("ses")
    ('within(“job satisfaction”)', 'ses')
    """
    return shown(_IN_BACKTICKS.sub(lambda found: f"“{found[1].replace('``', '`')}”", name or ""))


def term_label(name: str | None) -> str:
    """A term or a variable on an axis or in a table, without the backticks of formulas.

    >>> term_label("`Leadership style`[remote]")
    'Leadership style[remote]'
    """
    return shown(_IN_BACKTICKS.sub(lambda found: found[1].replace("``", "`"), name or ""))


def model_text(name: str | None) -> str:
    """A model in a sentence, where its name would be read as a word of it.

    >>> model_text("slopes")
    '“slopes”'
    """
    return f"“{shown(name)}”"


def labels(names: Sequence[str], width: float = LABEL, *, lines: int = 1) -> list[str]:
    r"""The names short enough for an axis, each another: those that are cut alike or look alike are numbered.

    Parameters
    ----------
    names
        As they are written.
    width
        Of a line.
    lines
        How many there is room for, one or two; they are parted by a line feed.

    >>> labels(["a" * 30, "a" * 31, "b"])
    ['aaaaaaaaaaaaaaaaaaaaaaa…', 'aaaaaaaaaaaaaaaaaaaaaaa… (2)', 'b']
    >>> labels(["within(stress):condition[therapy]"], lines=2)
    ['within(stress):\ncondition[therapy]']
    """
    texts: list[str] = []
    for name in names:
        text, copies = (short if lines == 1 else _two_lines)(name, width), 1
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


def _two_lines(name: str, width: float) -> str:
    """A name that is too long for one line, in two: parted where its parts meet, the second cut where it must be."""
    text = shown(name)
    if short(text, width) == text:
        return text
    ends = [found.end() for found in _PARTS_MEET.finditer(text) if short(text[: found.end()], width)[-1:] != "…"]
    if not ends:
        return short(text, width)
    # between words or factors rather than within one, and as late as may be
    end = max(ends, key=lambda end: (short(text[end:], width) == shown(text[end:]), text[end - 1] in " :", end))
    return f"{text[:end].rstrip()}\n{short(text[end:], width)}"


def _width(character: str) -> float:
    """About how wide a character is, of a usual one."""
    if character > "\u1100" and (character > "\uffff" or east_asian_width(character) in "WF"):
        return 2.0
    if character in "iljft()[]:;.,|' ":
        return 0.6
    return 1.7 if character in "mMW@%—" else 1.2 if character.isupper() or character in "w_" else 1.0


def units(group: str) -> str:
    """Several units of a grouping factor.

    >>> units("school"), units("Team"), units("School_ID"), units("childid"), units("class"), units("g")
    ('schools', 'Teams', 'Schools', 'children', 'classes', 'groups of g')
    """
    word = _word(group)
    if word is None:
        return f"groups of {shown(group)}"
    start, stem = word[: -len(word.split()[-1])], word.split()[-1]
    if stem.lower() in _PLURALS:
        plural = stem[0] + _PLURALS[stem.lower()][1:]
    elif stem.endswith(("s", "x", "z", "ch", "sh")):
        plural = f"{stem}es"
    else:
        plural = f"{stem[:-1]}ies" if re.search("[^aeiou]y$", stem) else f"{stem}s"
    return start + plural


def unit(group: str) -> str:
    """One unit of a grouping factor, without an article.

    >>> unit("school"), unit("School_ID"), unit("g")
    ('school', 'School', 'group of g')
    """
    return _word(group) or f"group of {shown(group)}"


def unit_name(group: str, name: str) -> str:
    """A unit by its name.

    >>> unit_name("school", "1224"), unit_name("School_ID", "1224"), unit_name("g", "7")
    ('school 1224', 'School 1224', 'g 7')
    """
    return f"{_word(group) or shown(group)} {shown(name)}"


def a_unit(group: str) -> str:
    """One unit of a grouping factor.

    >>> a_unit("school"), a_unit("area"), a_unit("g")
    ('a school', 'an area', 'a group of g')
    """
    return f"{'an' if unit(group)[0] in 'aeioAEIO' else 'a'} {unit(group)}"


def _word(group: str) -> str | None:
    """The word that a grouping factor's name is for one of its units; None where it is none, or one for several.

    >>> _word("work_team"), _word("SCHOOLID"), _word("PSU"), _word("school:class"), _word("schools")
    ('work team', 'school', 'PSU', None, None)
    """
    text = _NUMBERING.sub("", group)
    stem = text[:-2] if text.lower().endswith("id") else ""
    text = (stem if stem.lower() in _HAVE_IDS else text).replace("_", " ")
    if re.fullmatch(r"[^\W\d_]{2,}( [^\W\d_]{2,})*", text) is None or len(text) > LABEL:
        return None
    if re.search("[^sui]s$", text, re.IGNORECASE):
        return None
    return text.lower() if text.isupper() and len(text) > 4 else text


def figure(value: float) -> str:
    """A number in a sentence: three significant digits, thousands apart, and a minus that is one.

    >>> figure(2.191172), figure(-0.5), figure(36667.2)
    ('2.19', '−0.500', '36,667')
    """
    text = number(value, 3)
    return "0" if value == 0 else minus(count(int(text)) if text.lstrip("-").isdigit() else text)


def upper_first(text: str) -> str:
    """A beginning of a sentence; a name of the data as it is.

    >>> upper_first("the residual variance"), upper_first("within(ses)")
    ('The residual variance', 'within(ses)')
    """
    return f"T{text[1:]}" if text.startswith("the ") else text


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
    return "level" if term == "(Intercept)" else f"the slope of {term_text(term)}"
