"""Statements -> LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from mlm_ops.language.notation.statements import Correlation, Equation, Normal, Product, Statement, Symbol, Vector
from mlm_ops.language.notation.writers import GREEK, Writer


class Latex(Writer):
    r"""An ``align*`` environment of amsmath."""

    between = r" \, "
    #: A sum longer than this goes on in the next line.
    _TERMS = 5

    def symbol(self, symbol: Symbol) -> str:
        r"""``\beta_{0j}``."""
        letter = {"sigma2": r"\sigma^2", "/": "/"}.get(symbol.letter)
        if letter is None:
            letter = symbol.letter if len(symbol.letter) == 1 else rf"\{symbol.letter}"
        if symbol.bold:
            letter = rf"\boldsymbol{{{letter}}}"
        subscript = _latex_subscript(symbol.index) + symbol.units.replace("'", r"^{\prime}")
        if symbol.letter == "sigma2" and subscript:
            return rf"\sigma^2_{{{subscript}}}"
        return letter + (f"_{{{subscript}}}" if subscript else "") + (r"^{\top}" if symbol.transposed else "")

    def name(self, text: str, units: str) -> str:
        r"""``\text{ses}_{ij}``."""
        subscript = units.replace("'", r"^{\prime}")
        return rf"\text{{{escaped(text)}}}" + (f"_{{{subscript}}}" if units else "")

    def power(self, base: str, time: str) -> str:
        r"""``\phi^{|t_i - t_{i'}|}``."""
        there = self.name(time, "i'")
        return rf"{base}^{{|{self.name(time, 'i')} - {there}|}}"

    def page(self, statements: Sequence[Statement]) -> str:
        """Aligned at the equals signs."""
        body = " \\\\\n".join(f"  {self.line(statement)}" for statement in statements)
        return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"

    def line(self, statement: Statement) -> str:
        """One statement."""
        match statement:
            case Equation(left, terms, level):
                pieces = [terms[i : i + self._TERMS] for i in range(0, len(terms), self._TERMS)]
                sums = [self.sum(piece) for piece in pieces]
                joined = " \\\\\n  &\\quad ".join(
                    part if i == 0 or part.startswith("-") else f"+ {part}" for i, part in enumerate(sums)
                )
                tag = rf"\text{{Level {level}:}}\quad " if level is not None else ""
                return f"{tag}{self.atom(left)} &= {joined}"
            case Vector(left, entries, note):
                row = ", ".join(map(self.product, entries))
                if note == "transposed":
                    return rf"{self.atom(left)} &= ({row})^{{\top}}"
                shown = row if len(entries) == 1 else f"({row})"
                return rf"{self.atom(left)} &= {shown} \quad \text{{({escaped(note)})}}"
            case Normal(effects, variance, triangle, note):
                names = ", ".join(map(self.atom, effects))
                together = f"({names})^{{\\top}}" if len(effects) > 1 else names
                told = rf" \quad \text{{{escaped(note)}}}" if note else ""
                line = rf"{together} &\sim N(0, {self.product(variance)}){told}"
                return f"{line} \\\\\n  {self.matrix(self.product(variance), triangle)}" if triangle else line
            case Correlation(first, second, value, note):
                pair = f"{self.atom(first)}, {self.atom(second)}"
                return rf"\operatorname{{corr}}({pair}) &= {self.atom(value)} \quad \text{{{escaped(note)}}}"

    def matrix(self, name: str, rows: Sequence[Product]) -> str:
        """The lower triangle of T."""
        size = len(rows)
        lines = [" & ".join([*map(self.atom, row), *[""] * (size - len(row))]).rstrip() for row in rows]
        body = " \\\\ ".join(lines)
        return rf"{name} &= \begin{{pmatrix}} {body} \end{{pmatrix}}"


def escaped(text: str) -> str:
    """Text for LaTeX's text mode."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "_&%$#{}" else c) for c in text)


def _latex_subscript(text: str) -> str:
    greek = text in GREEK
    words = len(text) > 1 and text.isalpha() and not greek
    return rf"\{text}" if greek else rf"\text{{{escaped(text)}}}" if words else escaped(text)
