"""Hold the statements of a page of equations, before they are written as text, LaTeX or Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symbol:
    """A letter with an index and, of what varies, its units: ``beta_0j`` is letter beta, index 0, units j.

    Attributes
    ----------
    bold
        Whether it stands for a vector or a matrix.
    of
        The variable that it belongs to: ``e_y,ij`` is the residual of y.
    """

    letter: str
    index: str = ""
    units: str = ""
    bold: bool = False
    transposed: bool = False
    of: str = ""


@dataclass(frozen=True)
class VariableName:
    """A variable by its name, with the units over which it varies.

    Attributes
    ----------
    part
        ``W`` or ``B`` where it is a variable's part within or between clusters.
    """

    text: str
    units: str = ""
    part: str = ""


@dataclass(frozen=True)
class Value:
    """A number in the place of a parameter: an estimate, or the exact one that the model fixes it to."""

    value: float
    exact: bool = False


@dataclass(frozen=True)
class Sign:
    """``*`` or ``/`` between two factors that would not stand side by side."""

    text: str


@dataclass(frozen=True)
class Power:
    """An autocorrelation to the power of a distance in time."""

    base: Symbol | Value
    time: str


@dataclass(frozen=True)
class Average:
    """The mean of a variable, or of its means, with a dot for each index that it is taken over: ``x̄_.j``.

    Attributes
    ----------
    units
        The indices, with dots; or the name of a grouping factor that has no index.
    named
        Whether `units` is such a name.
    """

    of: VariableName | Average | Deviation
    units: str
    named: bool = False


@dataclass(frozen=True)
class Deviation:
    """A variable minus a mean or a number."""

    of: VariableName | Average | Deviation
    center: Average | Value


Atom = Symbol | VariableName | Value | Power | Average | Deviation
Product = tuple[Atom | Sign, ...]


@dataclass(frozen=True)
class Equation:
    """``left = a sum of products``; of a level, or of none; `relation` is ``=``, ``<`` or ``>``."""

    left: Atom
    terms: tuple[Product, ...]
    level: int | None = None
    relation: str = "="


@dataclass(frozen=True)
class Vector:
    """``left = (entries)'``, with a note on what it is."""

    left: Symbol
    entries: tuple[Product, ...]
    note: str = ""


@dataclass(frozen=True)
class Distribution:
    """``effects ~ N(0, variance)``; several effects have a matrix T, given by its lower triangle."""

    effects: tuple[Symbol, ...]
    variance: Product
    triangle: tuple[tuple[Atom, ...], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Association:
    """``corr(first, second) = phi^|t - t'|``, ``Cov(first, second) = psi``; `name` is ``corr`` or ``Cov``."""

    name: str
    first: Symbol
    second: Symbol
    value: Atom
    note: str = ""


@dataclass(frozen=True)
class Heading:
    """A line above the statements that follow."""

    text: str


Statement = Equation | Vector | Distribution | Association | Heading
