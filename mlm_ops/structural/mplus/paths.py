"""Read the MODEL command of Mplus: loadings, regressions, covariances, means, slopes, their values and labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mlm_ops.errors import FormulaError
from mlm_ops.structural.language.model import BETWEEN, MOST_VARIABLES, TOO_MANY_VARIABLES, WITHIN, Item, Operator
from mlm_ops.structural.mplus.commands import NamesOfInput, Refusals, StatementOfInput, numbered_names

_TOKEN = re.compile(r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\S))")
_OPERATORS: dict[str, Operator] = {"BY": "=~", "ON": "~", "WITH": "~~", "PON": "~", "PWITH": "~~"}
#: Words and signs that stand for what is not offered.
_NOT_OFFERED = {
    "XWITH": "products of latent variables are not offered",
    "AT": "individually varying times of observation are not offered; make time a column of level 1",
    "$": "thresholds are for categorical outcomes, which are not offered",
    "#": "classes and zero inflation are not offered",
    "{": "scale factors are for categorical outcomes, which are not offered",
    "&": "lagged variables are not offered; make them in a view",
    "^": "lagged variables are not offered; make them in a view",
    "~": "priors are for Bayesian estimation, which is not offered",
}
#: Before a number in parentheses, as labels begin with a letter.
_EQUAL = "equal"
#: Numbers of so many digits are no numbers of parameters.
_MOST_DIGITS = 10


@dataclass(frozen=True)
class _Entry:
    """Names of a list that have one value: ``y1-y3*.5``."""

    names: tuple[str, ...]
    line: int
    fixed: float | None = None
    start: float | None = None
    freed: bool = False


@dataclass
class Paths:
    """The items of a MODEL command by level and parameter.

    Attributes
    ----------
    slopes
        Names of random slopes.
    lines
        Of each item, its statement.
    of_group
        Whether it is the MODEL of one group: no loading is one there without a word.
    within_only
        Columns without a part at level 2.
    """

    names: NamesOfInput
    refusals: Refusals
    items: dict[tuple[int, str, Operator, str], Item] = field(default_factory=dict)
    slopes: list[str] = field(default_factory=list)
    lines: dict[tuple[int, str, Operator, str], StatementOfInput] = field(default_factory=dict)
    level: int | None = None
    of_group: bool = False
    within_only: Collection[str] = ()

    def read(self, statement: StatementOfInput) -> None:
        """Add the items of one statement, or refuse it."""
        text = statement.text
        if text.startswith("%"):
            level = {"%WITHIN%": WITHIN, "%BETWEEN%": BETWEEN}.get("".join(text.upper().split()))
            if level is None:
                self.refusals.add(statement, "levels are %WITHIN% and %BETWEEN%, without classes or groups")
            self.level = level
            return
        if self.level is None:
            self.refusals.add(statement, "a statement must be below %WITHIN% or %BETWEEN%")
            return
        try:
            self._read(_Words(statement, self.names), self.level)
        except _UnreadError as error:
            self.refusals.add(statement, str(error))

    def _read(self, words: _Words, level: int) -> None:
        statement = words.statement
        for word in (word.upper() for _, word, _ in words.tokens):
            if word in _NOT_OFFERED and not self.names.is_column(word):
                raise _UnreadError(_NOT_OFFERED[word])
        if words.at("["):
            while words.take("["):
                pairs = [(name, entry, "") for entry in words.entries() for name in entry.names]
                words.expect("]")
                self._add_pairs(statement, level, "~1", pairs, words.labels())
            words.end()
            return
        left = words.entries()
        if words.take("|"):
            self._read_slopes(statement, level, left, words)
            return
        operator = words.operator()
        if operator is None:
            labelled = words.labelled(left)
            words.end()
            for entries, labels in labelled:
                self._add_pairs(statement, level, "~~", [(n, e, n) for e in entries for n in e.names], labels)
            return
        if any(entry.fixed is not None or entry.freed for entry in left):
            raise _UnreadError("values must follow the variables on the right")
        self._read_relation(statement, level, [name for entry in left for name in entry.names], operator, words)

    def _read_relation(
        self, statement: StatementOfInput, level: int, left: list[str], word: str, words: _Words
    ) -> None:
        labelled = words.labelled(words.entries())
        words.end()
        if len(left) * sum(len(entry.names) for entries, _ in labelled for entry in entries) > MOST_VARIABLES**2:
            raise FormulaError(TOO_MANY_VARIABLES)
        if word in {"PON", "PWITH"}:
            flat = [(e, n) for entries, _ in labelled for e in entries for n in e.names]
            if len(flat) != len(left) or any(labels for _, labels in labelled):
                raise _UnreadError(f"{word} takes lists of one length on both sides, without labels")
            pairs = [(name, entry, other) for name, (entry, other) in zip(left, flat, strict=True)]
            self._add_pairs(statement, level, _OPERATORS[word], pairs, ())
            return
        for entries, labels in labelled:
            pairs = [(a, e, n) for a in left for e in entries for n in e.names]
            if len(_numbers_of(labels)) > 1 and 1 < len(left) < len(pairs):
                raise _UnreadError(
                    "a list of numbers needs a list on one side only; write a statement for each on the left"
                )
            if word == "WITH":
                pairs = [pair for pair in pairs if pair[0] != pair[2]]
            self._add_pairs(statement, level, _OPERATORS[word], pairs, labels)

    def _read_slopes(self, statement: StatementOfInput, level: int, left: Sequence[_Entry], words: _Words) -> None:
        names = [name for entry in left for name in entry.names]
        outcomes = [name for entry in words.entries() for name in entry.names]
        if words.operator() != "ON":
            raise _UnreadError("of the names before | only slopes of regressions are offered, as in s | y ON x")
        predictors = [name for entry in words.entries() for name in entry.names]
        words.end()
        pairs = [(y, x) for y in outcomes for x in predictors]
        if len(pairs) != len(names):
            raise _UnreadError(f"each slope belongs to one regression, and {len(names)} names stand for {len(pairs)}")
        if level == BETWEEN:
            raise _UnreadError("a random slope must be below %WITHIN%")
        for name, (outcome, predictor) in zip(names, pairs, strict=True):
            self.slopes.append(name)
            item = Item(level, outcome, "~", predictor, slope=name)
            self.items[level, outcome, "~", predictor] = item
            self.lines[level, outcome, "~", predictor] = statement

    def _add_pairs(
        self,
        statement: StatementOfInput,
        level: int,
        op: Operator,
        pairs: list[tuple[str, _Entry, str]],
        labels: tuple[str, ...],
    ) -> None:
        if len(labels) not in {0, 1, len(pairs)}:
            raise _UnreadError(f"{len(labels)} labels stand for {len(pairs)} parameters")
        for number, (lhs, entry, rhs) in enumerate(pairs):
            label = (labels[number] if len(labels) > 1 else labels[0]) if labels else None
            is_marker = op == "=~" and not entry.freed and not self._has_indicators(level, lhs) and not self.of_group
            is_of_list = len(pairs) > 1 and (len(labels) == 1 or label in _numbers_of(labels))
            if is_of_list and (entry.fixed is not None or is_marker):
                # what is fixed is equal to nothing
                label = None
            key = (level, lhs, op, rhs)
            if op == "~~" and (level, rhs, op, lhs) in self.items:
                key = (level, rhs, op, lhs)
            before = self.items.get(key)
            if before is not None and before.slope is not None:
                raise _UnreadError(f"{lhs} ON {rhs} has the random slope {before.slope}")
            freed = entry.freed or (self.of_group and entry.fixed is None)
            new = Item(level, key[1], op, key[3], label, entry.fixed, freed, entry.start)
            if before is not None:
                said = new.fixed is not None or new.start is not None or entry.freed
                new = replace(new if said else before, label=label or before.label)
            self.items[key] = new
            self.lines[key] = statement

    def _has_indicators(self, level: int, factor: str) -> bool:
        return any(key[:3] == (level, factor, "=~") for key in self.items)


def _numbers_of(labels: Sequence[str]) -> list[str]:
    """The labels that are numbers in the input."""
    return [label for label in labels if label.removeprefix(_EQUAL).isdecimal()]


class _UnreadError(Exception):
    """Why a statement is not read."""


class _Words:
    """The words of a statement, one after the other."""

    def __init__(self, statement: StatementOfInput, names: NamesOfInput) -> None:
        self.statement, self.names, self.index = statement, names, 0
        self.tokens: list[tuple[str, str, int]] = []
        line = statement.line
        for match in _TOKEN.finditer(statement.text):
            line += match[0].count("\n")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0], line))

    @property
    def kind(self) -> str:
        return self.tokens[self.index][0] if self.index < len(self.tokens) else "end"

    def at(self, text: str) -> bool:
        return self.index < len(self.tokens) and self.tokens[self.index][1] == text

    def take(self, text: str) -> bool:
        found = self.at(text)
        self.index += found
        return found

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise _UnreadError(f"{text} is missing")

    def end(self) -> None:
        if self.kind != "end":
            raise _UnreadError(f"{self.tokens[self.index][1]!r} is out of place")

    def advance(self) -> str:
        self.index += 1
        return self.tokens[self.index - 1][1]

    def operator(self) -> str | None:
        if self.kind == "name" and self.tokens[self.index][1].upper() in _OPERATORS:
            return self.advance().upper()
        return None

    def number(self) -> float:
        sign = -1.0 if self.take("-") else 1.0
        if self.kind != "number":
            raise _UnreadError("a number is missing")
        return sign * float(self.advance())

    def entries(self) -> list[_Entry]:
        """Names with their values, as far as they go."""
        return list(self._entries())

    def _entries(self) -> Iterator[_Entry]:
        count = 0
        while self.kind == "name" and self.tokens[self.index][1].upper() not in _OPERATORS:
            line = self.tokens[self.index][2]
            first = self.advance()
            names: list[str] | None = [self.names.of(first)]
            if self.take("-"):
                if self.kind != "name":
                    raise _UnreadError(f"the list that begins with {first} has no end")
                last = self.advance()
                names = self.names.between(first, last)
                if names is None:
                    raise _UnreadError(f"{first}-{last} is no list of variables")
            assert names is not None
            count += len(names)
            if count > MOST_VARIABLES**2:
                raise FormulaError(TOO_MANY_VARIABLES)
            entry = _Entry(tuple(names), line)
            if self.take("@"):
                entry = replace(entry, fixed=self.number())
            elif self.take("*"):
                has_value = self.kind == "number" or self.at("-")
                entry = replace(entry, freed=True, start=self.number() if has_value else None)
            yield entry

    def labels(self) -> tuple[str, ...]:
        """Labels in parentheses; none where there are none."""
        if not self.take("("):
            return ()
        labels: list[str] = []
        while not self.take(")"):
            if len(labels) > MOST_VARIABLES**2:
                raise FormulaError(TOO_MANY_VARIABLES)
            if self.kind == "number":
                labels += self._numbers()
                continue
            if self.kind != "name":
                raise _UnreadError("labels in parentheses are names or numbers")
            first = self.advance()
            names: list[str] | None = [first]
            if self.take("-"):
                last = self.advance() if self.kind == "name" else ""
                names = numbered_names(first, last)
            if names is None:
                raise _UnreadError("labels in parentheses are names or numbers")
            labels += [self.names.of(name) for name in names]
        return tuple(labels)

    def _numbers(self) -> list[str]:
        """``1``, or ``1-3``: a number for each of a list of parameters, and equal ones make parameters equal.

        Mplus User's Guide, ch. 17, on constraining parameter values to be equal.
        """
        first = last = self.advance()
        if self.take("-"):
            last = self.advance() if self.kind == "number" else ""
        is_whole = all(text.isdecimal() and len(text) < _MOST_DIGITS for text in (first, last))
        if not is_whole or int(first) > int(last):
            raise _UnreadError("numbers in parentheses are whole, and rise, as in (1-3)")
        if int(last) - int(first) > MOST_VARIABLES**2:
            raise FormulaError(TOO_MANY_VARIABLES)
        return [f"{_EQUAL}{number}" for number in range(int(first), int(last) + 1)]

    def labelled(self, entries: list[_Entry]) -> list[tuple[list[_Entry], tuple[str, ...]]]:
        """The list by its labels: those in parentheses are of what stands before them on their line."""
        parts: list[tuple[list[_Entry], tuple[str, ...]]] = []
        while True:
            if not self.at("("):
                return [*parts, (entries, ())] if entries else parts
            line = self.tokens[self.index][2]
            labels = self.labels()
            own = [entry for entry in entries if entry.line == line]
            if not own:
                raise _UnreadError("labels must follow parameters of their line")
            parts += [([e for e in entries if e.line != line], ()), (own, labels)]
            entries = self.entries()
