"""What a page of equations says, before it is written in an alphabet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """A letter with an index and, of what varies, its units: ``beta_0j`` is letter beta, index 0, units j.

    Attributes
    ----------
    bold
        Whether it stands for a vector or a matrix.
    """

    letter: str
    index: str = ""
    units: str = ""
    bold: bool = False
    transposed: bool = False


@dataclass(frozen=True)
class Name:
    """A variable by its name, with the units over which it varies."""

    text: str
    units: str = ""


@dataclass(frozen=True)
class Number:
    """An estimate in the place of a parameter."""

    value: float


@dataclass(frozen=True)
class Power:
    """An autocorrelation to the power of a distance in time."""

    base: Symbol | Number
    time: str


Atom = Symbol | Name | Number | Power
Product = tuple[Atom, ...]


@dataclass(frozen=True)
class Equation:
    """``left = a sum of products``; of a level, or of none."""

    left: Atom
    terms: tuple[Product, ...]
    level: int | None = None


@dataclass(frozen=True)
class Vector:
    """``left = (entries)'``, with a word on what it is."""

    left: Symbol
    entries: tuple[Product, ...]
    note: str = ""


@dataclass(frozen=True)
class Normal:
    """``effects ~ N(0, variance)``; several effects have a matrix T, given by its lower triangle."""

    effects: tuple[Symbol, ...]
    variance: Product
    triangle: tuple[Product, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Correlation:
    """``corr(first, second) = phi^|t - t'|``."""

    first: Symbol
    second: Symbol
    value: Power
    note: str = ""


Statement = Equation | Vector | Normal | Correlation
