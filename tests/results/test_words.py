"""Names and formulas where they are read: on a terminal, and in Markdown that a browser renders."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.cli.main import main
from mlm_ops.cli.terminal import console, show_table
from mlm_ops.results.words import code_block, code_span, markdown_text, visible


@pytest.mark.parametrize(
    "character", ["\x1b", "\x00", "\x07", "\r", "\x7f", "\x9b", "\u202e", "\u2066", "\u2028", "\x85"]
)
def test_what_a_terminal_would_obey_is_replaced(character: str) -> None:
    assert visible(f"a{character}[2J\tb\n") == "a\ufffd[2J\tb\n"


def test_a_name_is_no_message_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line feed in a column's name begins no line that looks like ours."""
    rows = pl.DataFrame({"y": [1.0, 2.0], "x\nmlm: everything is fine.": [0.0, 1.0]})
    rows.write_csv(tmp_path / "rows.csv")
    assert main(["fit", "y ~ z", str(tmp_path / "rows.csv")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("mlm: Column 'z' is not in ")
    assert "everything is fine." in errors
    assert not any(line.startswith("mlm:") for line in errors.splitlines()[1:])


def test_a_name_is_no_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    unit = "a\nb  (Intercept)  9.9"
    frame = pl.DataFrame({"model": ["m"], "group": ["g"], "unit": [unit], "term": ["(Intercept)"], "estimate": [1.0]})
    show_table(console(), "random_effects", frame, "")
    assert "a b  (Intercept)  9.9" in capsys.readouterr().out


def test_letters_stay_as_they_are() -> None:
    assert visible("größe Ω 数 γ₀₀ a\u0301") == "größe Ω 数 γ₀₀ a\u0301"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sector[Public]", "sector[Public]"),
        ("a|b*c`d\\", "a\\|b\\*c\\`d\\\\"),
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("![i](http://e)", "![i]\\(http://e)"),
        ("a\n# b", "a # b"),
    ],
)
def test_text_in_a_table(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y ~ x", "`y ~ x`"),
        ("`a` ~ x", "`` `a` ~ x ``"),
        ("a``` ~ x", "```` a``` ~ x ````"),
        ("a\n\n# b", "`a  # b`"),
    ],
)
def test_a_code_span_ends_where_we_end_it(text: str, expected: str) -> None:
    assert code_span(text) == expected


def test_a_block_of_code_ends_where_we_end_it() -> None:
    assert code_block("x") == "```\nx\n```"
    assert code_block("```\n<b>\n", "text") == "````text\n```\n<b>\n\n````"


def test_names_in_r_are_never_a_line_of_their_own() -> None:
    """A line feed in a name would end a comment, and what follows it would be code."""
    name = "z\nsystem('id') #"
    means = [float(i // 4 % 5) for i in range(40)]
    rows = pl.DataFrame({f"{name}y": [(7.0 * i) % 11 for i in range(40)], f"{name}x": means, f"{name}g": means})
    text = mlm.fit(f"`{name}y` ~ between(`{name}x`, `{name}g`)", rows, levels=[f"`{name}g`"]).to_lme4()
    code = re.sub(r"`(\\.|[^`\\])*`|\"(\\.|[^\"\\])*\"", "", "\n".join(text.splitlines()[1:]))
    assert "system" in text
    assert "system" not in code
