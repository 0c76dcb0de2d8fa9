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
def test_what_is_written_here_parses(statement: str) -> None:
    within, between = ["q ~~ q"], ["q ~~ q", "s ~~ s"]
    (within if "rv(" in statement else between).append(statement)
    parse_sem("\n ".join(["level: 1", *within]) + "\n" + "\n ".join(["level: 2", *between]))


@pytest.mark.parametrize(("statement", "sentence"), REFUSALS)
def test_what_is_refused_has_its_sentence(statement: str, sentence: str) -> None:
    assert len(REFUSALS) == 10
    factor = " f =~ y1 + y2\n" if "*f" in statement else ""
    text = f"level: 1\n y ~ q\n{factor} {statement}\nlevel: 2\n y ~~ y\n s ~~ s".replace("\\|", "|")
    with pytest.raises(FormulaError) as caught:
        parameter_table(parse_sem(text))
    assert str(caught.value).split("\n")[0] == sentence.replace("\\|", "|")
