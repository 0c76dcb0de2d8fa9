"""Write statements as MathML Core: one ``math`` element, one table row per line, names of variables as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
    Statement,
    Symbol,
    Value,
    VariableName,
    Vector,
)
from mlm_ops.results.equations.writers import GREEK, TERMS_A_LINE, Writer
from mlm_ops.results.words import html_text, number

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
#: The class of the ``math`` element; its columns are aligned by `STYLE`, as MathML Core has no attribute for it. The
#: content of a cell is a block, which Chromium moves to a side by the value with a prefix alone.
CLASS = "mlm-equations"
STYLE = (
    f".{CLASS}{{width:fit-content;margin:.6em 0}}"
    f".{CLASS} mtd{{text-align:left;text-align:-webkit-left;padding:.2em .1em}}"
    f".{CLASS} mtd mtd{{padding:.2em .4em}}"
    f".{CLASS} mtd[columnspan]{{font-weight:bold;padding-top:.6em}}"
    f".{CLASS}>mtable>mtr>mtd:first-child:not([columnspan]){{text-align:right;text-align:-webkit-right}}"
    # Chromium stretches no line over a name: the border of what is below takes its place where there is this style
    f".{CLASS} mover>mo{{display:none}}"
    f".{CLASS} mover>mrow{{border-top:1px solid;padding-top:1px}}"
)
#: The first of the bold italic letters A, a, alpha; MathML Core has no other way to bold letters.
_BOLD = {"A": 0x1D468, "a": 0x1D482, "α": 0x1D736}
_TIMES = '<mo lspace="0" rspace="0.17em">&#x2062;</mo>'
_COMMA = '<mo separator="true">,</mo>'
#: At the beginning of a cell they would be taken for prefixes, without space around them.
_EQUALS, _DISTRIBUTED = '<mo form="infix">=</mo>', '<mo form="infix">∼</mo>'
_QUAD = '<mspace width="1em"/>'
#: A row's two cells, or one across both.
_Row = tuple[str, str] | tuple[str]


class MathmlWriter(Writer):
    """A table of lines with the signs between left and right aligned."""

    between = _TIMES
    signs: ClassVar[Mapping[str, str]] = {"*": _TIMES, "/": "<mo>/</mo>"}
    plus, zero = "<mo>+</mo>", "<mn>0</mn>"

    def atom(self, atom: Atom) -> str:
        """Numbers are elements too, a minus sign before them another."""
        if isinstance(atom, Value) and atom.value:
            text = number_text(atom.value) if atom.exact else number(atom.value)
            digits = f"<mn>{text.removeprefix('-')}</mn>"
            return f"<mrow>{self.negative('-')}{digits}</mrow>" if text.startswith("-") else digits
        return super().atom(atom)

    def negative(self, text: str) -> str:
        """The minus sign; `atom` writes the digits behind it."""
        return text.replace("-", "<mo>−</mo>", 1)

    def symbol(self, symbol: Symbol) -> str:
        """``<msub><mi>β</mi><mrow><mn>0</mn><mi>j</mi></mrow></msub>``."""
        below = [*((_text(symbol.of), _COMMA) if symbol.of else ()), *_index(symbol.index), *_units(symbol.units)]
        above = ["<mo>⊤</mo>"] if symbol.transposed else []
        if symbol.letter == "sigma2":
            return _scripts("<mi>σ</mi>", below, ["<mn>2</mn>"])
        letter = GREEK.get(symbol.letter, symbol.letter)
        kind = "mn" if letter.isdigit() else "mi"
        return _scripts(f"<{kind}>{_bold(letter) if symbol.bold else letter}</{kind}>", below, above)

    def name(self, text: str, units: str, part: str = "") -> str:
        """``<msub><mtext>ses</mtext>…</msub>``, with the part within or between above."""
        return _scripts(_text(text), list(_units(units)), [f"<mi>{part}</mi>"] if part else [])

    def average(self, of: VariableName | Average | Deviation, units: str, named: bool) -> str:
        """``<msub><mover><mtext>ses</mtext>…</mover><mrow>·j</mrow></msub>``."""
        mean = f'<mover><mrow>{self.alone((of,))}</mrow><mo stretchy="true">¯</mo></mover>'
        return _scripts(mean, [_text(units)] if named else list(_units(units)), [])

    def fence(self, text: str, *, fenced: bool) -> str:
        """A row, perhaps with parentheses around it."""
        return f"<mrow>{_mark('(')}{text}{_mark(')')}</mrow>" if fenced else text

    def power(self, base: str, time: str) -> str:
        """``phi`` with the distance of two times above."""
        there = self.name(time, "i'")
        distance = f"{self.name(time, 'i')}<mo>−</mo>{there}"
        return f"<msup>{base}<mrow>{_mark('|')}{distance}{_mark('|')}</mrow></msup>"

    def page(self, statements: Sequence[Statement]) -> str:
        """One element for all of them."""
        rows = "\n".join(_row(row) for statement in statements for row in self.rows(statement))
        return f'<math xmlns="{NAMESPACE}" display="block" class="{CLASS}"><mtable>\n{rows}\n</mtable></math>'

    def rows(self, statement: Statement) -> Iterator[_Row]:
        """One statement: its left side, and the sign with its right side; a long sum goes on below."""
        match statement:
            case Equation(left, terms, level, relation):
                tag = f"<mtext>Level {level}:</mtext>{_QUAD}" if level is not None else ""
                pieces = [terms[i : i + TERMS_A_LINE] for i in range(0, len(terms), TERMS_A_LINE)] or [()]
                yield tag + self.alone((left,)), f'<mo form="infix">{html_text(relation)}</mo>{self.sum(pieces[0])}'
                for piece in pieces[1:]:
                    first = piece[0][0]
                    sign = "" if isinstance(first, Value) and first.value < 0 else self.plus
                    yield "", f"{_QUAD}{sign}{self.sum(piece)}"
            case Vector(left, entries, note):
                transposed = note == "transposed"
                vector = _list([self.alone(entry) for entry in entries], fenced=transposed or len(entries) > 1)
                right = f"<msup>{vector}<mo>⊤</mo></msup>" if transposed else f"{vector}{_QUAD}{_text(f'({note})')}"
                yield self.atom(left), f"{_EQUALS}{right}"
            case Distribution(effects, variance, triangle, note):
                names = _list([self.atom(effect) for effect in effects], fenced=len(effects) > 1)
                together = f"<msup>{names}<mo>⊤</mo></msup>" if len(effects) > 1 else names
                normal = f"<mi>N</mi>{_list(['<mn>0</mn>', self.product(variance)], fenced=True)}"
                yield together, f"{_DISTRIBUTED}{normal}{_remark(note)}"
                if triangle:
                    yield self.product(variance), f"{_EQUALS}{self.matrix(triangle)}"
            case Association(name, first, second, value, note):
                pair = _list([self.atom(first), self.atom(second)], fenced=True)
                yield f"<mi>{name}</mi><mo>&#x2061;</mo>{pair}", f"{_EQUALS}{self.atom(value)}{_remark(note)}"
            case Heading(text):
                yield (_text(text),)

    def matrix(self, rows: Sequence[Sequence[Atom]]) -> str:
        """The lower triangle of T."""
        cells = [[*map(self.atom, row), *[""] * (len(rows) - len(row))] for row in rows]
        lines = "".join(f"<mtr>{''.join(f'<mtd>{entry}</mtd>' for entry in row)}</mtr>" for row in cells)
        return f"<mrow><mo>(</mo><mtable>{lines}</mtable><mo>)</mo></mrow>"


def _row(cells: _Row) -> str:
    if len(cells) == 1:
        return f'<mtr><mtd columnspan="2">{cells[0]}</mtd></mtr>'
    return f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in cells)}</mtr>"


def _text(text: str) -> str:
    return f"<mtext>{html_text(text)}</mtext>"


def _remark(note: str) -> str:
    return f"{_QUAD}{_text(note)}" if note else ""


def _list(elements: Sequence[str], fenced: bool) -> str:
    """Elements with commas between them, perhaps in parentheses."""
    inside = _COMMA.join(elements)
    return f"<mrow>{_mark('(')}{inside}{_mark(')')}</mrow>" if fenced else inside


def _mark(mark: str) -> str:
    """A parenthesis or bar of the height of a letter."""
    return f'<mo stretchy="false">{mark}</mo>'


def _scripts(base: str, below: Sequence[str], above: Sequence[str]) -> str:
    """A base with what stands at its foot and at its head."""
    foot, head = (part[0] if len(part) == 1 else f"<mrow>{''.join(part)}</mrow>" for part in (below, above))
    match bool(below), bool(above):
        case True, True:
            return f"<msubsup>{base}{foot}{head}</msubsup>"
        case True, False:
            return f"<msub>{base}{foot}</msub>"
        case False, True:
            return f"<msup>{base}{head}</msup>"
    return base


def _index(index: str) -> Iterator[str]:
    """Numbers, with the letter of a crossed factor before them; the name of a stratum is text."""
    if index in GREEK:
        yield f"<mi>{GREEK[index]}</mi>"
    elif re.fullmatch(r"[a-z]?[0-9]*(,[0-9]+)*", index):
        for letter, digits in re.findall(r"([a-z])|([0-9]+)|,", index):
            yield f"<mi>{letter}</mi>" if letter else f"<mn>{digits}</mn>" if digits else _COMMA
    else:
        yield _text(index)


def _units(units: str) -> Iterator[str]:
    """A letter a level; a prime makes it another unit of that level."""
    for letter, prime in re.findall(r"([a-z.])('?)", units):
        if letter == ".":
            yield "<mi>·</mi>"
            continue
        yield f"<msup><mi>{letter}</mi><mo>′</mo></msup>" if prime else f"<mi>{letter}</mi>"


def _bold(letter: str) -> str:
    for first, code in _BOLD.items():
        if first <= letter <= ("ω" if first == "α" else chr(ord(first) + 25)):
            return chr(code + ord(letter) - ord(first))
    return letter
