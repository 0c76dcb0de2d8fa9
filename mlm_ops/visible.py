"""Text of strangers on a terminal: names and values of the data may hold what moves its cursor or turns its text."""

from __future__ import annotations

import re

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
