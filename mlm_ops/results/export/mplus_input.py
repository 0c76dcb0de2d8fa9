"""Write an Mplus input file: names of eight characters, lines of eighty-eight, and the sections in their order."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_KEYWORDS = frozenset({"on", "with", "by", "at", "pon", "pwith", "and", "all", "if", "then", "else", "eq", "ne"})
#: Names beyond this length are cut by Mplus, and so are lines.
NAME_LENGTH, _WIDTH = 8, 88


class MplusNames:
    """Give things names that Mplus accepts, each name once.

    Attributes
    ----------
    columns
        What each column of the data file holds, by its name.
    """

    def __init__(self) -> None:
        self.columns: dict[str, str] = {}
        self._by_content: dict[str, str] = {}
        self._names_in_use = set(_KEYWORDS)

    def column(self, content: str, stem: str) -> str:
        """A column of the data file."""
        if content not in self._by_content:
            self._by_content[content] = self.free(stem)
            self.columns[self._by_content[content]] = content
        return self._by_content[content]

    def free(self, stem: str) -> str:
        """A new name that Mplus accepts."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", stem)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"v{plain}"
        name, number = plain[:NAME_LENGTH], 2
        while name.lower() in self._names_in_use:
            name, number = f"{plain[: NAME_LENGTH - len(str(number))]}{number}", number + 1
        self._names_in_use.add(name.lower())
        return name


@dataclass(frozen=True)
class MplusInput:
    """Hold the sections of an input file for maximum likelihood.

    Attributes
    ----------
    remarks
        What a reader must know, one comment each.
    columns
        What each column of the data file holds, by its name, in the file's order.
    use_variables, within, between, clusters, grouping
        Names for USEVARIABLES, WITHIN, BETWEEN, CLUSTER and GROUPING.
    define, model, groups, constraint
        Statements without their semicolons; in `model`, and in `groups` by the name of each group of rows, also the
        ``%WITHIN%`` before a level's own.
    kind
        Of the analysis: ``TWOLEVEL RANDOM``.
    estimator
        ``ML``, or ``MLR`` with robust standard errors.
    missing, listwise
        Whether cells of the file may be missing, each a period, and whether rows that miss one are left out.
    """

    title: str
    kind: str
    columns: Mapping[str, str]
    use_variables: Sequence[str]
    model: Sequence[str]
    clusters: Sequence[str] = ()
    within: Sequence[str] = ()
    between: Sequence[str] = ()
    grouping: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    define: Sequence[str] = ()
    constraint: Sequence[str] = ()
    remarks: Sequence[str] = field(default=())
    estimator: str = "ML"
    missing: bool = False
    listwise: bool = False

    def text(self) -> str:
        """The whole file."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for remark in self.remarks:
            yield from _comment(remark)
        yield from _comment("The columns of the data file, in this order, all of them numbers:")
        for name, content in self.columns.items():
            yield from _comment(f"  {name.ljust(NAME_LENGTH)}  {' '.join(content.split())}", hanging=12)
        yield f"TITLE: {self.title};"
        yield f"DATA: FILE = data.dat;{' LISTWISE = ON;' if self.listwise else ''}"
        yield "VARIABLE:"
        lists = {
            "NAMES": list(self.columns),
            "USEVARIABLES": self.use_variables,
            "WITHIN": self.within,
            "BETWEEN": self.between,
            "CLUSTER": self.clusters,
            "GROUPING": self.grouping,
            "MISSING": ["."] if self.missing else [],
        }
        for keyword, names in lists.items():
            if names:
                yield from _statement(f"{keyword} = {' '.join(names)}")
        sections = {
            "DEFINE": self.define,
            "ANALYSIS": (f"TYPE = {self.kind}", f"ESTIMATOR = {self.estimator}"),
            "MODEL": self.model,
            **{f"MODEL {name}": statements for name, statements in self.groups.items()},
            "MODEL CONSTRAINT": self.constraint,
        }
        for section, statements in sections.items():
            if statements:
                yield f"{section}:"
            for statement in statements:
                yield from [f"  {statement}"] if statement.startswith("%") else _statement(statement)


def _statement(text: str) -> list[str]:
    lines = textwrap.wrap(f"{text};", _WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return [f"  {'  ' if i else ''}{line}" for i, line in enumerate(lines)]


def _comment(text: str, hanging: int = 0) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="! ", subsequent_indent="! " + " " * hanging)
