"""Write the statements of equations as text, Unicode, LaTeX or Markdown: one class per format."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mlm_ops.language.model import number_text
from mlm_ops.results.equations.statements import (
    Association,
    Atom,
    Average,
    Deviation,
    Distribution,
    Equation,
    Heading,
    Power,
    Product,
    Sign,
    Statement,
    Symbol,
    Value,
    VariableName,
    Vector,
)
from mlm_ops.results.text.tables import markdown_table
from mlm_ops.results.words import code_span, latex_text, number

_LETTERS = "alpha beta gamma pi psi omega xi nu lambda kappa theta eta zeta tau phi"
#: Letters of parameters and what they look like.
GREEK = dict(zip(_LETTERS.split(), "αβγπψωξνλκθηζτφ", strict=True))
GREEK["sigma2"] = "σ²"
#: The line over a letter, behind it: joined to that over the next letter, or over one letter alone.
_OVERLINE, _MACRON = "\u0305", "\u0304"
#: A sum of more terms goes on in the next line, where lines are aligned.
TERMS_A_LINE = 5


class Writer(ABC):
    """Write what stands in the same order in every format: products, sums, signs."""

    def atom(self, atom: Atom) -> str:
        """One factor of a product."""
        match atom:
            case Symbol():
                return self.symbol(atom)
            case VariableName():
                return self.name(atom.text, atom.units, atom.part)
            case Power(base, time):
                return self.power(self.atom(base), time)
            case Average(of, units, named):
                return self.average(of, units, named)
            case Deviation():
                return self.deviation(atom, fenced=True)
            case Value(value, exact):
                return self.negative(number_text(value) if exact else number(value)) if value else self.zero

    def product(self, factors: Product) -> str:
        """Factors side by side, or with the signs between them."""
        text, between = "", ""
        for factor in factors:
            if isinstance(factor, Sign):
                between = self.signs[factor.text]
            else:
                text += between + self.atom(factor)
                between = self.between
        return text

    def alone(self, product: Product) -> str:
        """A product that is alone, as on the left side of an equation: a difference without parentheses."""
        first = product[0]
        return (
            self.deviation(first, fenced=False)
            if isinstance(first, Deviation) and len(product) == 1
            else self.product(product)
        )

    def deviation(self, deviation: Deviation, *, fenced: bool) -> str:
        """A variable minus a mean or a number, perhaps in parentheses; a negative number is added."""
        center, sign = deviation.center, self.negative("-")
        if isinstance(center, Value) and center.value < 0:
            center, sign = Value(-center.value, center.exact), self.plus
        of = deviation.of
        first = self.deviation(of, fenced=False) if isinstance(of, Deviation) else self.atom(of)
        return self.fence(f"{first} {sign} {self.atom(center)}", fenced=fenced)

    def fence(self, text: str, *, fenced: bool) -> str:
        """Put parentheses around it."""
        return f"({text})" if fenced else text

    def sum(self, terms: Sequence[Product]) -> str:
        """Products with their signs; a negative estimate is subtracted."""
        text = ""
        for factors in terms:
            first = factors[0]
            minus = isinstance(first, Value) and first.value < 0
            if minus and isinstance(first, Value):
                factors = (Value(-first.value, first.exact), *factors[1:])
            product = self.product(factors)
            sign = self.negative("-") if minus else self.plus
            text += f" {sign} {product}" if text else (f"{sign}{product}" if minus else product)
        return text or self.zero

    #: What stands between two factors, and what a `Sign` between them looks like.
    between = " "
    signs: ClassVar[Mapping[str, str]] = {"*": "*", "/": " / "}
    plus, zero = "+", "0"

    def negative(self, text: str) -> str:
        """A number with the format's minus sign."""
        return text

    @abstractmethod
    def symbol(self, symbol: Symbol) -> str:
        """A letter with its index and units."""

    @abstractmethod
    def name(self, text: str, units: str, part: str = "") -> str:
        """A variable's name with its units, and which part of it."""

    @abstractmethod
    def average(self, of: VariableName | Average | Deviation, units: str, named: bool) -> str:
        """A mean, with dots for the indices that it is taken over or the name of its grouping factor."""

    @abstractmethod
    def power(self, base: str, time: str) -> str:
        """An autocorrelation over the distance of two times."""

    @abstractmethod
    def page(self, statements: Sequence[Statement]) -> str:
        """All statements."""


class TextWriter(Writer):
    """Plain ASCII."""

    def symbol(self, symbol: Symbol) -> str:
        """``beta_0j``."""
        subscript = _subscript(symbol)
        return symbol.letter + (f"_{subscript}" if subscript else "") + ("'" if symbol.transposed else "")

    def name(self, text: str, units: str, part: str = "") -> str:
        """``ses_ij``; ``ses_W,ij``."""
        subscript = ",".join(filter(None, (part, units)))
        return f"{text}_{subscript}" if subscript else text

    def average(self, of: VariableName | Average | Deviation, units: str, named: bool) -> str:
        """``mean(ses)_.j``; ``mean(ses)_school`` without an index."""
        return f"mean({self.alone((of,))})_{units}"

    def power(self, base: str, time: str) -> str:
        """``phi^|t_i - t_i'|``."""
        other_time = self.name(time, "i'")
        return f"{base}^|{self.name(time, 'i')} - {other_time}|"

    def page(self, statements: Sequence[Statement]) -> str:
        """One line per statement; T has one line per row."""
        return "\n".join(line for statement in statements for line in self.lines(statement)).lstrip("\n")

    def lines(self, statement: Statement) -> list[str]:
        """One statement, perhaps over several lines."""
        match statement:
            case Equation(left, terms, level, relation):
                heading = f"Level {level}: " if level is not None else ""
                return [f"{heading}{self.alone((left,))} {relation} {self.sum(terms)}"]
            case Vector(left, entries, note):
                row = f"({', '.join(map(self.alone, entries))})"
                entries_text = row[1:-1] if len(entries) == 1 else row
                return [
                    f"{self.atom(left)} = {entries_text}'"
                    if note == "transposed"
                    else f"{self.atom(left)} = {entries_text}, {note}"
                ]
            case Distribution(effects, variance, triangle, note):
                names = ", ".join(map(self.atom, effects))
                effects_text = f"({names})" if len(effects) > 1 else names
                suffix = f", {note}" if note else ""
                rows = self.triangle(self.product(variance), triangle)
                return [f"{effects_text} {self.distribution_sign} N(0, {self.product(variance)}){suffix}", *rows]
            case Association(name, first, second, value, note):
                suffix = f", {note}" if note else ""
                return [f"{name}({self.atom(first)}, {self.atom(second)}) = {self.atom(value)}{suffix}"]
            case Heading(text):
                return ["", text]

    distribution_sign = "~"

    def triangle(self, name: str, rows: Sequence[Sequence[Atom]]) -> list[str]:
        """The lower triangle of T, its columns under each other."""
        cells = [[self.atom(entry) for entry in row] for row in rows]
        widths = [max(len(row[j]) for row in cells if j < len(row)) for j in range(len(cells))]
        lines = []
        for i, row in enumerate(cells):
            entries = "  ".join([*row, *[""] * (len(cells) - len(row))][j].ljust(w) for j, w in enumerate(widths))
            lines.append(f"    {f'{name} =' if i == 0 else ' ' * (len(name) + 2)} [ {entries} ]")
        return lines


class UnicodeWriter(TextWriter):
    """Greek letters and small subscripts."""

    distribution_sign = "∼"
    signs: ClassVar[Mapping[str, str]] = {"*": "·", "/": " / "}
    _SMALL = str.maketrans("0123456789ijklmnoprst'", "₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₗₘₙₒₚᵣₛₜ′")
    _PARTS = str.maketrans("WB", "ᵂᴮ")

    def symbol(self, symbol: Symbol) -> str:
        """``β₀ⱼ``."""
        letter = GREEK.get(symbol.letter, symbol.letter)
        return letter + self.subscript(_subscript(symbol)) + ("′" if symbol.transposed else "")

    def name(self, text: str, units: str, part: str = "") -> str:
        """``sesᵢⱼ``; ``sesᵂᵢⱼ``."""
        return text + part.translate(self._PARTS) + self.subscript(units)

    def average(self, of: VariableName | Average | Deviation, units: str, named: bool) -> str:
        """A line over each letter of a name, and the indices; ``mean(…)`` of what is more than a name."""
        if not isinstance(of, VariableName):
            text = f"mean({self.alone((of,))})"
        else:
            line = _OVERLINE if len(of.text) > 1 else _MACRON
            text = "".join(f"{letter}{line}" for letter in of.text)
        return text + (f"_{units}" if named else self.subscript(units))

    def subscript(self, text: str) -> str:
        """Small letters; where there is none, an underscore and the letters as they are."""
        plain = GREEK.get(text, text)
        small = plain.translate(self._SMALL)
        return small if all(c in ",.′" or c not in plain for c in small) else f"_{plain}"

    def negative(self, text: str) -> str:
        """A true minus."""
        return text.replace("-", "−", 1) if text.startswith("-") else text


def symbol_in_unicode(text: str) -> str:
    """A symbol of the result tables as `UnicodeWriter` writes it.

    >>> symbol_in_unicode("gamma_10"), symbol_in_unicode("tau_10,00"), symbol_in_unicode("sigma2")
    ('γ₁₀', 'τ₁₀,₀₀', 'σ²')
    """
    letter, _, index = text.partition("_")
    return UnicodeWriter().symbol(Symbol(letter, index))


class MarkdownWriter(UnicodeWriter):
    """Unicode in code spans under headings, and T as a table: it reads well where LaTeX is not rendered."""

    def page(self, statements: Sequence[Statement]) -> str:
        """One list per level, and one of the distributions; a `Heading` replaces theirs for what follows it."""
        parts: list[str] = []
        heading, own_heading = "", ""
        for statement in statements:
            if isinstance(statement, Heading):
                own_heading = statement.text
                continue
            above = own_heading or self._heading(statement)
            if above != heading:
                parts.append(f"\n**{above}**\n" if above else "")
                heading = above
            first, *rest = self.lines(statement)
            parts.append(f"- {code_span(first)}")
            parts += rest
        return "\n".join(parts).strip()

    @staticmethod
    def _heading(statement: Statement) -> str:
        if isinstance(statement, Equation):
            return "Model" if statement.level is None else f"Level {statement.level}"
        return "Model" if isinstance(statement, Vector) else "Distributions"

    def lines(self, statement: Statement) -> list[str]:
        """The lines without their level, which the heading names."""
        first, *rest = super().lines(statement)
        if isinstance(statement, Distribution) and statement.triangle:
            rest = self._table(statement)
        level = isinstance(statement, Equation) and statement.level is not None
        return [first.partition(": ")[2] if level else first, *rest]

    def _table(self, normal: Distribution) -> list[str]:
        names = [code_span(self.atom(effect)) for effect in normal.effects]
        triangle = [[code_span(self.atom(entry)) for entry in row] for row in normal.triangle]
        rows = [[name, *row, *[""] * (len(names) - len(row))] for name, row in zip(names, triangle, strict=True)]
        heading = [code_span(self.product(normal.variance)), *names]
        return ["", markdown_table([heading, *rows], [False] * len(heading), indent="  "), ""]


class LatexWriter(Writer):
    r"""An ``align*`` environment of amsmath."""

    between = r" \, "
    signs: ClassVar[Mapping[str, str]] = {"*": r" \, ", "/": " / "}

    def symbol(self, symbol: Symbol) -> str:
        r"""``\beta_{0j}``."""
        letter = symbol.letter if len(symbol.letter) == 1 else rf"\{symbol.letter}"
        letter = r"\sigma^2" if symbol.letter == "sigma2" else letter
        if symbol.bold:
            letter = rf"\boldsymbol{{{letter}}}"
        of = rf"\text{{{latex_text(symbol.of)}}}," if symbol.of else ""
        subscript = of + _latex_subscript(symbol.index) + symbol.units.replace("'", r"^{\prime}")
        if symbol.letter == "sigma2" and subscript:
            return rf"\sigma^2_{{{subscript}}}"
        return letter + (f"_{{{subscript}}}" if subscript else "") + (r"^{\top}" if symbol.transposed else "")

    def name(self, text: str, units: str, part: str = "") -> str:
        r"""``\text{ses}_{ij}``; ``\text{ses}^{W}_{ij}``."""
        subscript = units.replace("'", r"^{\prime}")
        return (
            rf"\text{{{latex_text(text)}}}" + (f"^{{{part}}}" if part else "") + (f"_{{{subscript}}}" if units else "")
        )

    def average(self, of: VariableName | Average | Deviation, units: str, named: bool) -> str:
        r"""``\overline{\text{ses}}_{\cdot j}``."""
        subscript = rf"\text{{{latex_text(units)}}}" if named else _dotted(units)
        return rf"\overline{{{self.alone((of,))}}}_{{{subscript}}}"

    def power(self, base: str, time: str) -> str:
        r"""``\phi^{|t_i - t_{i'}|}``."""
        other_time = self.name(time, "i'")
        return rf"{base}^{{|{self.name(time, 'i')} - {other_time}|}}"

    def page(self, statements: Sequence[Statement]) -> str:
        """Aligned at the equals signs."""
        body = " \\\\\n".join(f"  {self.line(statement)}" for statement in statements)
        return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"

    def line(self, statement: Statement) -> str:
        """One statement."""
        match statement:
            case Equation(left, terms, level, relation):
                pieces = [terms[i : i + TERMS_A_LINE] for i in range(0, len(terms), TERMS_A_LINE)]
                sums = [self.sum(piece) for piece in pieces]
                lines = " \\\\\n  &\\quad ".join(
                    part if i == 0 or part.startswith("-") else f"+ {part}" for i, part in enumerate(sums)
                )
                tag = rf"\text{{Level {level}:}}\quad " if level is not None else ""
                return f"{tag}{self.alone((left,))} &{relation} {lines}"
            case Vector(left, entries, note):
                row = ", ".join(map(self.alone, entries))
                if note == "transposed":
                    return rf"{self.atom(left)} &= ({row})^{{\top}}"
                entries_text = row if len(entries) == 1 else f"({row})"
                return rf"{self.atom(left)} &= {entries_text} \quad \text{{({latex_text(note)})}}"
            case Distribution(effects, variance, triangle, note):
                names = ", ".join(map(self.atom, effects))
                effects_text = f"({names})^{{\\top}}" if len(effects) > 1 else names
                suffix = rf" \quad \text{{{latex_text(note)}}}" if note else ""
                line = rf"{effects_text} &\sim N(0, {self.product(variance)}){suffix}"
                return f"{line} \\\\\n  {self.matrix(self.product(variance), triangle)}" if triangle else line
            case Association(name, first, second, value, note):
                pair = f"{self.atom(first)}, {self.atom(second)}"
                suffix = rf" \quad \text{{{latex_text(note)}}}" if note else ""
                return rf"\operatorname{{{name}}}({pair}) &= {self.atom(value)}{suffix}"
            case Heading(text):
                return rf"\text{{{latex_text(text)}}}"

    def matrix(self, name: str, rows: Sequence[Sequence[Atom]]) -> str:
        """The lower triangle of T."""
        size = len(rows)
        lines = [" & ".join([*map(self.atom, row), *[""] * (size - len(row))]).rstrip() for row in rows]
        body = " \\\\ ".join(lines)
        return rf"{name} &= \begin{{pmatrix}} {body} \end{{pmatrix}}"


def _dotted(units: str) -> str:
    r"""``\cdot j``: a dot in the middle for each index that a mean is taken over."""
    return re.sub(r"\.(?=[a-z])", r"\\cdot ", units).replace(".", r"\cdot")


def _subscript(symbol: Symbol) -> str:
    """Its variable, its index and its units: ``e_y,ij`` has ``y,ij``."""
    return (f"{symbol.of}," if symbol.of else "") + symbol.index + symbol.units


def _latex_subscript(text: str) -> str:
    greek = text in GREEK
    words = len(text) > 1 and text.isalpha() and not greek
    return rf"\{text}" if greek else rf"\text{{{latex_text(text)}}}" if words else latex_text(text)
