"""The Python of docs/from_mplus_and_lavaan.md prints what it says; what it writes parses, what it refuses does not."""

from __future__ import annotations

import re

import pytest

from mlm_ops import FormulaError
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from tests.specification.examples import ROOT, blocks, check_printed, page

PAGE = "from_mplus_and_lavaan"
_ROWS = re.findall(r"^\| (.*) \| (.*) \|$", page(PAGE), re.MULTILINE)
_REFUSED = page(PAGE).split("## What is refused")[1]
REFUSALS = [(match[0], match[1]) for match in re.findall(r"^\| `(.*)` \| ([A-Z].*\.) \|$", _REFUSED, re.MULTILINE)]
#: Statements in the right column that say what is written at a level.
WRITTEN = [
    statement
    for _, here in _ROWS
    for statement in re.findall(r"`([^`]*)`", here)
    if re.match(r"\w+ (=~|~~|~) ", statement)
]


def test_the_page_prints_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_printed(blocks(PAGE, "python", "text"))


@pytest.mark.parametrize("statement", sorted(set(WRITTEN)))
def test_what_is_written_here_is_read_as_it_stands(statement: str) -> None:
    """Each part is a parameter of its level, with the label, value, start or random slope that stands before it."""
    within, between = ["q ~~ q"], ["q ~~ q", "s ~~ s"]
    (within if "rv(" in statement else between).append(statement)
    model = parse_sem("\n ".join(["level: 1", *within]) + "\n" + "\n ".join(["level: 2", *between]))
    level = 1 if "rv(" in statement else 2
    read = {(i.lhs, i.op, i.rhs, i.label, i.fixed, i.start, i.slope, i.freed) for i in model.at(level)}
    assert {as_read(statement, part) for part in statement.split(maxsplit=2)[2].split(" + ")} <= read


def as_read(statement: str, part: str) -> tuple[object, ...]:
    """A part of a statement as lhs, op, rhs, label, fixed, start, slope, freed."""
    lhs, op, _ = statement.split(maxsplit=2)
    modifier, _, rhs = part.rpartition("*")
    if rhs == "1":
        op, rhs = "~1", ""
    number, start, slope = (
        re.fullmatch(form, modifier) for form in (r"[\d.]+", r"start\(([\d.]+)\)", r'rv\("(\w+)"\)')
    )
    freed = modifier == "NA"
    label = modifier if modifier and not (number or start or slope or freed) else None
    values = (float(number[0]) if number else None, float(start[1]) if start else None, slope[1] if slope else None)
    return (lhs, op, rhs, label, *values, freed)


@pytest.mark.parametrize(("statement", "sentence"), REFUSALS)
def test_what_is_refused_has_its_sentence(statement: str, sentence: str) -> None:
    assert len(REFUSALS) == 10
    factor = " f =~ y1 + y2\n" if "*f" in statement else ""
    text = f"level: 1\n y ~ q\n{factor} {statement}\nlevel: 2\n y ~~ y\n s ~~ s".replace("\\|", "|")
    with pytest.raises(FormulaError) as caught:
        parameter_table(parse_sem(text))
    assert str(caught.value).split("\n")[0] == sentence.replace("\\|", "|")
