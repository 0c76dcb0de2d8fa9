"""Split an Mplus input file into commands and statements with their line numbers, and read its lists of names.

A command begins a line, as in ``VARIABLE:``; a statement ends at a semicolon, and ``%WITHIN%`` at itself; an
exclamation mark begins a comment. Upper and lower case are one, and words may be cut to four letters (Muthen and Muthen
1998-2017, Mplus User's Guide, ch. 14 to 19).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from mlm_ops.errors import DataError, FormulaError
from mlm_ops.structural.language.model import MOST_VARIABLES, TOO_MANY_VARIABLES

#: The commands, and what a line may shorten them to.
_COMMANDS = (
    "TITLE",
    "DATA",
    "VARIABLE",
    "DEFINE",
    "ANALYSIS",
    "MODEL",
    "OUTPUT",
    "SAVEDATA",
    "PLOT",
    "MONTECARLO",
)
_HEAD = re.compile(r"[ \t]*([A-Za-z]{4,})((?:[ \t]+[A-Za-z0-9_-]+)*)[ \t]*:")
_BLOCK = re.compile(r"%[^%\n]*%")
_RANGE = re.compile(r"([A-Za-z]\w*?)(\d+)-([A-Za-z]\w*?)(\d+)")
#: Of one list: a data file may have many columns that the model does not.
_MOST_NAMES = 100 * MOST_VARIABLES
#: More than any input has: another file was named.
_MOST_CHARACTERS = 1_000_000
#: A statement's text in a message is cut here.
_SHOWN = 50


@dataclass(frozen=True)
class StatementOfInput:
    """One statement without its semicolon.

    Attributes
    ----------
    command
        ``MODEL CONSTRAINT``.
    text, line
        As it is written, without comments, and the line that it begins on.
    """

    command: str
    text: str
    line: int

    @property
    def option(self) -> tuple[str, str]:
        """``NAMES ARE y x`` as NAMES and its value; an empty value where there is none."""
        match = re.match(r"\s*([A-Za-z]\w*)\s*(?:=|\bARE\b|\bIS\b)\s*(.*)", self.text, re.DOTALL | re.IGNORECASE)
        return (match[1].upper(), match[2].strip()) if match else (self.text.split()[0].upper(), "")


@dataclass
class Refusals:
    """The parts of an input file that are not read, collected for one error."""

    faults: list[tuple[int, str]] = field(default_factory=list)

    def add(self, statement: StatementOfInput, why: str, line: int | None = None) -> None:
        """A statement that is not read, and why."""
        shown = " ".join(statement.text.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 2]} …"
        line = statement.line if line is None else line
        self.faults.append((line, f"Line {line} ({shown}) is not read: {why}."))

    def check(self) -> None:
        """Refuse the file if there are any.

        Raises
        ------
        FormulaError
            All of them, in the order of the lines.
        """
        if self.faults:
            raise FormulaError(" ".join(text for _, text in sorted(dict.fromkeys(self.faults))))


def content_of(path: Path) -> str:
    """The text of an input file.

    Raises
    ------
    DataError
        It cannot be read, or is longer than an input.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_CHARACTERS + 1)
    except OSError as error:
        raise DataError(f"Cannot read the Mplus input {str(path)!r}: {error.strerror or 'unreadable'}.") from error
    if len(content) > _MOST_CHARACTERS:
        raise DataError(f"The Mplus input {str(path)!r} has more than {_MOST_CHARACTERS:,} characters; is it another?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # which Mplus writes on Windows, and which has every byte


def statements_of(text: str) -> list[StatementOfInput]:
    """The statements of an input file.

    Raises
    ------
    FormulaError
        No command, or text before the first.
    """
    text = _without_comments(text.replace("\r\n", "\n").replace("\r", "\n"))
    breaks = [match.start() for match in re.finditer("\n", text)]
    statements: list[StatementOfInput] = []
    command, start, position, seen = "", 0, 0, False
    for line in [*text.splitlines(keepends=True), ""]:
        head = _HEAD.match(line)
        name = _command(head) if head is not None else None
        if name is None and line:
            position += len(line)
            continue
        statements += _cut(command, text, start, position, breaks)
        if head is not None and name is not None:
            command, start, seen = name, position + head.end(), True
        position += len(line)
    if not seen or any(not statement.command for statement in statements):
        raise FormulaError(
            "This is no Mplus input. Expected commands such as VARIABLE: and MODEL:, each at the beginning of a line."
        )
    return statements


def _command(head: re.Match[str]) -> str | None:
    """The full name of a command, with what stands behind its first word; None where it is none."""
    word, rest = head[1].upper(), " ".join(head[2].upper().split())
    full = next((name for name in _COMMANDS if name.startswith(word)), None)
    if full is None or (rest and full not in {"MODEL", "DATA"}):
        return None
    if full == "MODEL" and rest:
        parts = ("CONSTRAINT", "TEST", "INDIRECT", "PRIORS", "POPULATION", "COVERAGE", "MISSING")
        rest = next((part for part in parts if len(rest) >= 4 and part.startswith(rest)), rest)
    return f"{full} {rest}".strip()


def _without_comments(text: str) -> str:
    """The text with blanks for comments: behind an exclamation mark, or between ``!*`` and ``*!``."""
    parts: list[str] = []
    place, last = 0, text.rfind("*!")
    while (start := text.find("!", place)) >= 0:
        if text.startswith("!*", start) and start + 2 <= last:
            stop = text.find("*!", start + 2) + 2
        else:
            stop = text.find("\n", start)
            stop = len(text) if stop < 0 else stop
        parts += [text[place:start], re.sub(r"[^\n]", " ", text[start:stop])]
        place = stop
    return "".join([*parts, text[place:]])


def _cut(command: str, text: str, start: int, end: int, breaks: Sequence[int]) -> Iterator[StatementOfInput]:
    """The statements of one command, none of a title; `breaks` are the ends of lines."""
    while start < end and command != "TITLE":
        stop = text.find(";", start, end)
        stop = end if stop < 0 else stop
        block = _BLOCK.search(text, start, stop) if command.startswith("MODEL") else None
        # %WITHIN% has no semicolon
        stops = [stop] if block is None else [block.start(), block.end()]
        for first, behind in pairwise([start, *stops]):
            part = text[first:behind]
            if part.strip():
                place = first + len(part) - len(part.lstrip())
                yield StatementOfInput(command, part.strip(), bisect_left(breaks, place) + 1)
        start = stop + 1 if block is None else block.end()


@dataclass(frozen=True)
class NamesOfInput:
    """The names of a file, whose upper and lower case are one.

    Attributes
    ----------
    order
        Columns in the file's order.
    spelling
        Each name by its lower case; names of latent variables and labels are added as they come.
    """

    order: tuple[str, ...]
    spelling: dict[str, str] = field(default_factory=dict)

    def of(self, word: str) -> str:
        """A name as it was first written."""
        return self.spelling.setdefault(word.lower(), word)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name.lower(): place for place, name in enumerate(self.order)}

    def is_column(self, word: str) -> bool:
        """Whether the data have it."""
        return word.lower() in self._places

    def between(self, first: str, last: str) -> list[str] | None:
        """``y1-y4``: columns in their order, or names that differ in a number; None where it is neither."""
        if self.is_column(first) and self.is_column(last):
            start, stop = self._places[first.lower()], self._places[last.lower()]
            return list(self.order[start : stop + 1]) or None
        numbered = numbered_names(first, last)
        return None if numbered is None else [self.of(name) for name in numbered]

    def listed(self, text: str) -> list[str] | None:
        """The columns of a list such as ``y1-y4 x``; None where a word is none of them."""
        result: list[str] = []
        # each word once, however often it is repeated
        for word in dict.fromkeys(text.replace(",", " ").split()):
            if word.upper() == "ALL" and not self.is_column(word):
                result += self.order
                continue
            first, dash, last = word.partition("-")
            names = self.between(first, last) if dash else [self.of(word)]
            if names is None or not all(map(self.is_column, names)):
                return None
            result += names
        return list(dict.fromkeys(result))


def numbered_names(first: str, last: str) -> list[str] | None:
    """``p1`` to ``p3``; None of names that do not differ in a number alone, or that run down."""
    match = _RANGE.fullmatch(f"{first}-{last}")
    if match is None or match[1].lower() != match[3].lower() or not int(match[2]) <= int(match[4]):
        return None
    if int(match[4]) - int(match[2]) > _MOST_NAMES:
        raise FormulaError(TOO_MANY_VARIABLES)
    # y01 to y12 keep their zeros
    digits = len(match[2]) if match[2].startswith("0") else 1
    return [f"{match[1]}{number:0{digits}}" for number in range(int(match[2]), int(match[4]) + 1)]


def new_names(text: str) -> list[str] | None:
    """The names that ``NAMES = y1-y4 x`` gives; None where a range is none."""
    result: list[str] = []
    for word in re.sub(r"\s*-\s*", "-", text.replace(",", " ")).split():
        first, dash, last = word.partition("-")
        names = numbered_names(first, last) if dash else [word]
        if names is None or not all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names):
            return None
        result += names
        if len(result) > _MOST_NAMES:
            raise FormulaError(TOO_MANY_VARIABLES)
    return result


def option_named(word: str, options: Sequence[str] | Mapping[str, str]) -> str | None:
    """The option that a word of four letters or more stands for."""
    return next((name for name in options if name == word or (len(word) >= 4 and name.startswith(word))), None)
