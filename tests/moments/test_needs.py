"""What models need of the rows."""

from __future__ import annotations

import polars as pl
import pytest

from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Column, Factor, Indicator, label
from mlm_ops.language.structures import parse_residual
from mlm_ops.moments.needs import check_models, find_needs, needs_of
from mlm_ops.warehouse.source import open_source

ROWS = pl.DataFrame(
    {"g": [1, 2], "h": [1, 2], "c": ["p", "q"], "y": [1.0, 2.0], "x": [0.5, 1.5], "w": [3.0, 4.0], "sex": ["a", "b"]}
)
MODELS = [
    parse_formula("y ~ within(x) * sex + log(w) + (1 + within(x) | g)"),
    parse_formula("y ~ C(h) + x + (1 | g)", residual=parse_residual("by(c)", "w")),
]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (
            MODELS[:1],
            {
                "keys": ("g", "k", "h"),
                "numbers": ["y", "x", "log(w)"],
                "categories": ("sex",),
                "known": [],
                "strata": (),
                "inside": ("w",),
                "columns": ("y", "x", "sex", "w"),
                "gaps": {"g", "k", "h", "y", "x", "log(w)", "w", "sex"},
            },
        ),
        (
            MODELS,
            {
                "keys": ("g", "k", "h"),
                "numbers": ["y", "x", "log(w)"],
                "categories": ("sex", "h"),
                "known": ["w"],
                "strata": ("c",),
                # the precision stands alone too
                "inside": (),
                "columns": ("y", "x", "sex", "w", "h"),
                "gaps": {"g", "k", "h", "y", "x", "log(w)", "w", "sex", "c"},
            },
        ),
    ],
)
def test_needs_of_models(models, expected) -> None:
    needs = find_needs(open_source(ROWS.with_columns(k="h")), models, ["g", "k"], ["h", "g"])
    content = {
        "keys": needs.keys,
        "numbers": list(map(label, needs.numbers)),
        "categories": needs.categories,
        "known": list(map(label, needs.residual_numbers)),
        "strata": needs.strata,
        "inside": needs.inside_functions,
        "columns": needs.columns,
        "gaps": set(needs.gaps()),
    }
    assert content == expected
    assert needs.text_columns == {"sex"}
    assert needs.outcomes == {Column("y")}


def test_products_of_what_varies_within_units() -> None:
    needs = needs_of(MODELS[:1], text_columns=frozenset({"sex"}))
    levels = {"sex": ("a", "b")}
    x, y, sex = Column("x"), Column("y"), Indicator("sex", "b")
    (log,) = (n for n in needs.numbers if n not in (x, y))
    assert set(needs.monomials(levels, ())) == {(y,), (x,), (sex,), (sex, x), (log,)}
    assert set(needs.monomials(levels, (Factor("sex"), log))) == {(y,), (x,)}


def test_some_of_the_models_need_less_of_the_same_rows() -> None:
    needs = find_needs(open_source(ROWS.with_columns(k="h")), MODELS, ["g"], ["k"])
    first = needs.of(MODELS[:1])
    assert first.keys == ("g", "k")
    assert (first.categories, first.strata, first.residuals) == (("sex",), (), ())
    assert needs.of(MODELS) == needs


def test_an_error_says_which_of_several_models_have_what() -> None:
    def check(some):
        names = [name for model in some for name in needs_of([model]).columns if name in ("w", "sex")]
        if names:
            raise DataError(f"too many: {', '.join(names)}")

    plain = parse_formula("y ~ x + (1 | g)")
    with pytest.raises(DataError, match="too many: sex, w, sex, w, sex, w") as error:
        check_models([plain, MODELS[0], MODELS[0], MODELS[0]], check)
    assert error.value.by_model == {"too many: sex, w": [1, 2, 3]}
    with pytest.raises(DataError) as error:
        check_models(MODELS[:1], check)
    assert error.value.by_model == {}
    assert str(error.value.before("day 3")) == "day 3: too many: sex, w"
