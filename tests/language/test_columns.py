"""Coding of factors: R's rule, checked by the rank that R's model.matrix has."""

from __future__ import annotations

import pytest

from mlm_ops.errors import DataError
from mlm_ops.language.columns import expand
from mlm_ops.language.formula import parse_formula

LEVELS = {"s": ("F", "M"), "k": ("a", "b", "c")}
TEXT = frozenset(LEVELS)


def _names(formula: str) -> list[str]:
    return [c.name for c in expand(parse_formula(formula, ("g",)).fixed, LEVELS, TEXT)]


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("y ~ s", ["(Intercept)", "s[M]"]),
        ("y ~ 0 + k", ["k[a]", "k[b]", "k[c]"]),
        ("y ~ 0 + k + s", ["k[a]", "k[b]", "k[c]", "s[M]"]),
        ("y ~ s * x", ["(Intercept)", "s[M]", "x", "s[M]:x"]),
        ("y ~ s:x", ["(Intercept)", "s[F]:x", "s[M]:x"]),
        ("y ~ s:k", ["(Intercept)", "s[F]:k[a]", "s[F]:k[b]", "s[F]:k[c]", "s[M]:k[a]", "s[M]:k[b]", "s[M]:k[c]"]),
        ("y ~ C(k, ref='b')", ["(Intercept)", "k[a]", "k[c]"]),
        ("y ~ within(s) + between(s)", ["(Intercept)", "within(s[M])", "between(s[M])"]),
    ],
)
def test_coding(formula: str, columns: list[str]) -> None:
    assert _names(formula) == columns


def test_unknown_reference() -> None:
    with pytest.raises(DataError, match="Got 'z'; expected one of a, b, c"):
        _names("y ~ C(k, ref='z')")


def test_text_inside_a_function() -> None:
    with pytest.raises(DataError, match="needs numbers"):
        _names("y ~ log(k)")
