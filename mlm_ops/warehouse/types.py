"""Tell what a column of DuckDB holds by the name of its type: whole numbers, numbers, or text."""

from __future__ import annotations

import re

#: Whole numbers that are no longer than a bigint.
WHOLE = re.compile(r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT", re.IGNORECASE)
#: Numbers that a double holds, or rounds.
ROUNDED = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*", re.IGNORECASE)
#: All numbers; some that are longer still are beyond every double.
NUMERIC = re.compile(rf"{ROUNDED.pattern}|REAL|BIGNUM|VARINT", re.IGNORECASE)
#: Beginnings of types of whole numbers, or decimals, with more digits than a double has.
LONG = re.compile(r"U?(BIG|HUGE)INT|DECIMAL", re.IGNORECASE)
TEXT = re.compile(r"VARCHAR|ENUM.*|BOOLEAN|UUID|CHAR|STRING|TEXT", re.IGNORECASE)
