"""Read the part after the colon of a ready model: variables, covariates and a moderator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mlm_ops.errors import FormulaError
from mlm_ops.language.tokens import Token, TokenCursor
from mlm_ops.structural.language.model import MOST_VARIABLES, TOO_MANY_VARIABLES

_Part = TypeVar("_Part")


@dataclass(frozen=True)
class Covariates:
    """Predictors of every outcome of a ready model: those of level 1, and those of level 2; of both in each."""

    within: tuple[str, ...] = ()
    between: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*self.within, *self.between)))

    def line(self, outcomes: Sequence[str], level: int) -> str:
        """A line of their regressions at a level; empty where there are none."""
        names = self.within if level == 1 else self.between
        return f"  {' + '.join(outcomes)} ~ {' + '.join(names)}\n" if names and outcomes else ""


@dataclass(frozen=True)
class Moderator:
    """``by w``: a variable of level 2, the stages that it moderates, and the columns of its products, if there are."""

    name: str
    products: dict[str, str | None]


class ReadyLine(TokenCursor):
    """A ready model's line from the colon on; whatever is not as it should be is refused by its form."""

    def __init__(self, text: str, tokens: Sequence[Token], form: str) -> None:
        super().__init__(text, [*tokens, Token("end", "", len(text.rstrip()))])
        self.form = form

    def fail(self, message: str | None = None) -> FormulaError:
        """The error, at the next token."""
        return FormulaError(message or self.form, self.text, self.token.position)

    def expect(self, *operators: str) -> None:
        """Move over these operators."""
        for operator in operators:
            if not self.at(operator):
                raise self.fail()
            self.advance()

    def name(self) -> str:
        """A variable."""
        if self.token.kind != "name":
            raise self.fail()
        return self.advance().text

    def names(self) -> tuple[str, ...]:
        """Variables joined by ``+``."""
        return tuple(self._joined(self.name))

    def covariates(self) -> Covariates:
        """``| z + within(u) + between(w)`` at the end of the line; none without the bar."""
        if not self.at("|"):
            self.end()
            return Covariates()
        self.advance()
        within: list[str] = []
        between: list[str] = []
        for mark, (name, *_) in self._joined(lambda: self.marked({"within", "between"}, 1)):
            within += [name] * (mark != "between")
            between += [name] * (mark != "within")
        self.end()
        self.check_distinct(within)
        self.check_distinct(between)
        return Covariates(tuple(within), tuple(between))

    def moderator(self) -> Moderator | None:
        """``by w``, ``by first(w)`` or ``by first(w, xw) + second(w, mw)``; None without ``by``."""
        if (self.token.kind, self.token.text) != ("name", "by"):
            return None
        self.advance()
        products: dict[str, str | None] = {}
        names = set()
        for mark, (name, *product) in self._joined(lambda: self.marked({"first", "second"}, 2)):
            names.add(name)
            stages = ("first", "second") if mark is None else (mark,)
            twice = next((stage for stage in stages if stage in products), None)
            if twice is not None:
                raise self.fail(f"Each stage of a mediation is moderated once. Got {twice} twice.")
            products |= dict.fromkeys(stages, product[0] if product else None)
        if len(names) != 1:
            raise self.fail(f"One moderator is offered. Got {', '.join(sorted(names))}; write a model of your own.")
        return Moderator(names.pop(), products)

    def marked(self, marks: Collection[str], most: int) -> tuple[str | None, tuple[str, ...]]:
        """A variable, or up to so many of them in brackets behind one of the marks, with the mark."""
        name = self.name()
        if name not in marks or not self.at("("):
            return None, (name,)
        self.advance()
        inside = [self.name()]
        while self.at(",") and len(inside) < most:
            self.advance()
            inside.append(self.name())
        self.expect(")")
        return name, tuple(inside)

    def end(self) -> None:
        """Refuse anything more."""
        if self.token.kind != "end":
            raise self.fail()

    def check_distinct(self, names: Sequence[str]) -> None:
        """Refuse a variable that stands twice, and more than a model may have, before their pairs are written out."""
        if len(names) > MOST_VARIABLES:
            raise FormulaError(TOO_MANY_VARIABLES, self.text, 0)
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise FormulaError(
                f"Each variable of a ready model may have one place only. Got {twice!r} twice.", self.text, 0
            )

    def _joined(self, read: Callable[[], _Part]) -> Iterator[_Part]:
        yield read()
        while self.at("+"):
            self.advance()
            yield read()


def free_names(names: Sequence[str], used: Collection[str], prefix: str) -> list[str]:
    """The names, each with a prefix where it is in use or one of those before it."""
    free: list[str] = []
    for name in names:
        while name in used or name in free:
            name = f"{prefix}_{name}"
        free.append(name)
    return free


def all_covariances(names: Sequence[str]) -> str:
    """Lines of the covariances of each pair."""
    lines = [f"  {first} ~~ {' + '.join(names[i + 1 :])}\n" for i, first in enumerate(names[:-1])]
    return "".join(lines)
