"""Text of strangers on a terminal: names and values of the data may hold what moves its cursor or turns its text."""

from __future__ import annotations

import re

#: Control characters but tab and line feed, and marks that change the direction of writing; for Python and for polars.
UNSEEN = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """The text with a replacement character for each that a terminal would obey.

    >>> visible("a" + chr(27) + "[2Jb")
    'a�[2Jb'
    """
    return re.sub(UNSEEN, REPLACEMENT, text)
