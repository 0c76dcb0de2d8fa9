"""A message repeats no more of a long input than a reader needs to find it."""

from __future__ import annotations

import json

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.cli.main import main
from mlm_ops.errors import LONGEST_MESSAGE, FormulaError, MlmError

LONG = "n" * 5_000
SHORT = f"{'n' * 100}…{'n' * 100}"
ROWS = pl.DataFrame({"y": [1.0, 2, 3, 4, 5, 6], "x": [1.0, 3, 2, 5, 4, 6], "g": [1, 1, 2, 2, 3, 3]})


def sentence_of(where: str | None, data: str, formula: str) -> str:
    keys = {"analysis": "a", "data": data, "models": {"m": formula}, **({} if where is None else {"where": where})}
    with duckdb.connect() as connection:
        connection.register("t", ROWS)
        with pytest.raises(MlmError) as caught:
            fit_analysis(parse_analysis(json.dumps(keys)), connection)
    return str(caught.value)


def test_a_long_word_is_cut() -> None:
    assert str(MlmError(f"Got {LONG}; expected x.")) == f"Got {'n' * 100}…{'n' * 99}; expected x."
    assert sentence_of(None, LONG, "y ~ x") == (f"analysis a: Table {SHORT} does not exist. The database holds t.")
    assert sentence_of("(" * 4_000, "t", "y ~ x") == (
        f"analysis a: The row filter 'where' is one SQL condition. Got '{'(' * 99}…{'(' * 98}'."
    )
    assert len(sentence_of(f"x > {LONG}", "t", "y ~ x")) < 600


def test_a_formula_is_shown_around_the_fault() -> None:
    with pytest.raises(FormulaError) as caught:
        mlm.fit("(" * 5_000, ROWS)
    first, formula, caret = str(caught.value).split("\n")
    assert first == "The formula is nested more than 50 levels deep."
    assert len(formula) <= FormulaError.longest + 4
    assert formula[caret.index("^")] == "("


def test_many_names_are_counted() -> None:
    with pytest.raises(MlmError) as caught:
        mlm.fit(f"y ~ {' + '.join(f'a{i}' for i in range(10_000))}", ROWS)
    message = str(caught.value)
    assert message.startswith("Columns 'a0', 'a1', 'a2', ")
    assert "'a29' and 9,970 more are not in the data." in message


@pytest.mark.parametrize(
    "formula", ["y ~ C(x, ref='" + "\\" * 20_000 + "')", "y ~ x:" + "b" * 50_000, "~".join("abc" * 9_000), "z" * 99_000]
)
def test_no_message_is_a_page(formula: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MlmError) as caught:
        mlm.fit(formula, ROWS)
    assert len(str(caught.value)) <= LONGEST_MESSAGE + 60
    assert main(["fit", formula]) == 2
    assert len(capsys.readouterr().err) <= LONGEST_MESSAGE + 60
