"""Names and formulas where they are read: on a terminal, and in Markdown that a browser renders."""

from __future__ import annotations

import re

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.language.notation.markdown import fenced, plain, span
from mlm_ops.visible import visible


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x07", "\r", "\x7f", "\x9b", "\u202e", "\u2066"])
def test_what_a_terminal_would_obey_is_replaced(character: str) -> None:
    assert visible(f"a{character}[2J\tb\n") == "a\ufffd[2J\tb\n"


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
    assert plain(text) == expected


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
    assert span(text) == expected


def test_a_block_of_code_ends_where_we_end_it() -> None:
    assert fenced("x") == "```\nx\n```"
    assert fenced("```\n<b>\n", "text") == "````text\n```\n<b>\n\n````"


def test_names_in_r_are_never_a_line_of_their_own() -> None:
    """A line feed in a name would end a comment, and what follows it would be code."""
    name = "z\nsystem('id') #"
    means = [float(i // 4 % 5) for i in range(40)]
    rows = pl.DataFrame({f"{name}y": [(7.0 * i) % 11 for i in range(40)], f"{name}x": means, f"{name}g": means})
    text = mlm.fit(f"`{name}y` ~ between(`{name}x`, `{name}g`)", rows, levels=[f"`{name}g`"]).to_lme4()
    code = re.sub(r"`(\\.|[^`\\])*`|\"(\\.|[^\"\\])*\"", "", "\n".join(text.splitlines()[1:]))
    assert "system" in text
    assert "system" not in code
