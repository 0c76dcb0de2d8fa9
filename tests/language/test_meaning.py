"""What the intercept and the variance of the intercepts mean, in words, for every kind of centering and coding."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.meaning import Wording, intercept_meaning, variance_meaning
from mlm_ops.language.model import Column, Indicator
from mlm_ops.results.meaning import intercept_meanings

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"


@pytest.mark.parametrize(
    ("formula", "gamma_00", "tau_00"),
    [
        (
            "mathach ~ 1 + (1 | school)",
            "Predicted mathach, the same in all rows.",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ ses + (ses | school)",
            "Predicted mathach where ses is 0.",
            "Variance over school of predicted mathach where ses is 0.",
        ),
        (
            "mathach ~ within(ses) * sector + (within(ses) | school)",
            "Predicted mathach where ses is at the mean of its school and sector is Catholic.",
            "Variance over school of predicted mathach where ses is at the mean of its school.",
        ),
        (
            "mathach ~ center(ses) + center(meanses, over=school) + (1 | school)",
            "Predicted mathach where ses is at its mean over all rows and meanses is at its mean (each school counting "
            "once).",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ within(ses) + center(between(ses)) + (1 | school)",
            "Predicted mathach where ses is at the mean of its school and the mean of ses in school is at its mean "
            "over all rows.",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ center(ses, at=0.5) + C(sector, ref='Public') + (0 + ses | school)",
            "Predicted mathach where ses is 0.5 and sector is Public.",
            None,
        ),
        (
            "mathach ~ size + C(sector, sum) + (1 | school)",
            "Predicted mathach where size is 0, averaged over the levels of sector, each counting alike.",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ poly(ses, 2) + poly(meanses, 2, raw=True) + (1 | school)",
            "Predicted mathach where meanses is 0, averaged over the ses of all rows.",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ ses:sector + (1 | school)",
            "Predicted mathach where ses is 0.",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        (
            "mathach ~ 0 + ses + sector + (1 | school)",
            None,
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
        ("within(mathach, school) ~ within(ses, school)", None, None),
        (
            "between(mathach, school) ~ between(ses, school) + sector",
            "Predicted mean of mathach in school where the mean of ses in school is 0 and sector is Catholic.",
            None,
        ),
        (
            "mathach ~ log(size) + (1 | school)",
            "Predicted mathach where log(size) is 0 (about 9.8 standard deviations below its mean).",
            "Variance over school of predicted mathach, the same at all values of the predictors.",
        ),
    ],
)
def test_sentences_of_a_fit(formula: str, gamma_00: str | None, tau_00: str | None) -> None:
    assert intercept_meanings(mlm.fit(formula, DATA / "hsb.csv")) == (gamma_00, tau_00)


def test_three_levels_have_a_sentence_each() -> None:
    fit = mlm.fit("math ~ year + (year | schoolid) + (1 | schoolid:childid)", DATA / "egsingle.csv")
    assert intercept_meanings(fit)[1] == (
        "Variance over childid of predicted math, the same at all values of the predictors. Variance over schoolid of "
        "predicted math where year is 0."
    )


def test_crossed_factors_have_a_sentence_each() -> None:
    fit = mlm.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", DATA / "penicillin.csv")
    assert intercept_meanings(fit)[1] == (
        "Variance over plate of predicted diameter, the same at all values of the predictors. Variance over sample of "
        "predicted diameter, the same at all values of the predictors."
    )


def test_a_zero_far_outside_the_data_is_said_to_be_so() -> None:
    years = pl.DataFrame(
        {"year": [2001.0, 2002, 2003, 2001, 2002, 2003], "g": list("aaabbb"), "y": [1.0, 3, 2, 4, 7, 5]}
    )
    fit = mlm.fit("y ~ year + (1 | g)", years)
    # 2002 over the root of 2/3
    assert intercept_meanings(fit)[0] == "Predicted y where year is 0 (about 2500 standard deviations below its mean)."
    at = mlm.fit("y ~ center(year, at=2010) + (1 | g)", years)
    assert intercept_meanings(at)[0] == "Predicted y where year is 2010 (about 9.8 standard deviations above its mean)."


def test_a_factor_of_three_levels_names_its_reference_alone() -> None:
    columns = [DesignColumn(()), *(DesignColumn((Indicator("size", level),)) for level in ("m", "l"))]
    wording = Wording(Column("y"), {"size": ("l", "m", "s")})
    assert intercept_meaning(columns, wording) == "Predicted y where size is s."
    assert variance_meaning([(("g",), columns)], wording) == "Variance over g of predicted y where size is s."
