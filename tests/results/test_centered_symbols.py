"""Centered predictors in equations: the textbook's symbols in every format, and formulas that keep their words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

import mlm_ops as mlm

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"


def fitted(formula: str, data: str = "hsb", **options: Any) -> mlm.Fit:
    return mlm.fit(formula, DATA / f"{data}.csv", **options)


@pytest.mark.parametrize(
    ("formula", "data", "lines"),
    [
        (
            "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)",
            "hsb",
            [
                "Level 1: mathach_ij = beta_0j + beta_1j (ses_ij - mean(ses)_.j) + e_ij",
                "Level 2: beta_0j = gamma_00 + gamma_01 sector[Public]_j + gamma_02 mean(ses)_.j + u_0j",
                "Level 2: beta_1j = gamma_10 + gamma_11 sector[Public]_j + u_1j",
            ],
        ),
        # an uncentered predictor is written as ever
        ("mathach ~ ses + (1 | school)", "hsb", ["Level 1: mathach_ij = beta_0j + beta_1j ses_ij + e_ij"]),
        (
            "mathach ~ center(ses) + center(minority, at=-1) + center(size, at=1000) + center(meanses, over=school) + "
            "(1 | school)",
            "hsb",
            [
                "Level 1: mathach_ij = beta_0j + beta_1j (ses_ij - mean(ses)_..) + beta_2j (minority_ij + 1) + e_ij",
                "Level 2: beta_0j = gamma_00 + gamma_01 (size_j - 1000) + gamma_02 (meanses_j - mean(meanses)_.) + "
                "u_0j",
            ],
        ),
        (
            "mathach ~ within(sex) + center(between(ses)) + center(ses, over=school) + (1 | school)",
            "hsb",
            [
                "Level 1: mathach_ij = beta_0j + beta_1j (sex[Male]_ij - mean(sex[Male])_.j) + beta_2j (ses_ij - "
                "mean(mean(ses)_.j)_.) + e_ij",
                # the mean over all rows of the schools' means is that of the rows
                "Level 2: beta_0j = gamma_00 + gamma_01 (mean(ses)_.j - mean(ses)_..) + u_0j",
            ],
        ),
        (
            "between(mathach, school) ~ between(ses) + sector",
            "hsb",
            ["Level 1: mean(mathach)_.j = beta_0 + beta_1 mean(ses)_.j + beta_2 sector[Public]_j + e_j"],
        ),
        # the means are taken out of every predictor too
        (
            "within(mathach, school) ~ ses + ses:sector",
            "hsb",
            [
                "Level 1: mathach_ij - mean(mathach)_.j = beta_1 (ses_ij - mean(ses)_.j) + beta_2 (ses_ij - "
                "mean(ses)_.j) sector[Public]_j + e_ij"
            ],
        ),
        (
            "y ~ within(x, school:class) + within(between(x, school:class), school) + between(x, school) + between(z, "
            "school, over=school:class) + (1 | school/class)",
            "sim_3lev",
            [
                "Level 1: y_ijk = pi_0jk + pi_1jk (x_ijk - mean(x)_.jk) + e_ijk",
                "Level 2: pi_0jk = beta_00k + beta_01k (mean(x)_.jk - mean(x)_..k) + r_0jk",
                "Level 2: pi_1jk = beta_10k",
                "Level 3: beta_00k = gamma_000 + gamma_001 mean(x)_..k + gamma_002 mean(mean(z)_.jk)_.k + u_00k",
            ],
        ),
        (
            "between(y, school:class) ~ z + between(x, school:class) + (1 | school)",
            "sim_3lev",
            ["Level 1: mean(y)_.jk = beta_0k + beta_1k z_jk + beta_2k mean(x)_.jk + e_jk"],
        ),
        (
            "y ~ within(service, s) + between(service, d) + (1 | s) + (1 | d)",
            "insteval_small",
            # of crossed factors j is the one with most units, d
            [
                "Level 1: y_ijk = beta_0jk + beta_1jk (service_ijk - mean(service)_..k) + e_ijk",
                "Level 2: beta_0jk = gamma_00 + gamma_01 mean(service)_.j. + b_0j + c_0k",
            ],
        ),
    ],
)
def test_text(formula: str, data: str, lines: list[str]) -> None:
    assert fitted(formula, data).equations().splitlines()[: len(lines)] == lines


def test_a_group_without_an_index_stands_by_its_name() -> None:
    fit = fitted("mathach ~ within(ses) + between(ses)", levels="school")
    assert fit.equations().splitlines()[0] == (
        "Level 1: mathach_i = beta_0 + beta_1 (ses_i - mean(ses)_school) + beta_2 mean(ses)_school + e_i"
    )


def test_unicode_latex_and_markdown() -> None:
    fit = fitted("mathach ~ within(ses) + between(ses) + (1 | school)")
    assert fit.equations("reduced", "unicode").splitlines()[0] == (
        "mathachᵢⱼ = γ₀₀ + γ₁₀ (sesᵢⱼ − s\u0305e\u0305s\u0305.ⱼ) + γ₀₁ s\u0305e\u0305s\u0305.ⱼ + u₀ⱼ + eᵢⱼ"
    )
    assert "(sesᵢⱼ − s\u0305e\u0305s\u0305.ⱼ)" in fit.equations("levels", "markdown")
    assert fit.equations("reduced", "latex").splitlines()[1] == (
        r"  \text{mathach}_{ij} &= \gamma_{00} + \gamma_{10} \, (\text{ses}_{ij} - \overline{\text{ses}}_{\cdot j}) + "
        r"\gamma_{01} \, \overline{\text{ses}}_{\cdot j} + u_{0j} + e_{ij} \\"
    )
    short = fitted("y ~ within(x, school:class) + (1 | school/class)", "sim_3lev")
    assert "(xᵢⱼₖ − x\u0304.ⱼₖ)" in short.equations("reduced", "unicode")
    rows = fit.equations("matrix").splitlines()
    assert rows[2] == "x_ij' = (1, ses_ij - mean(ses)_.j, mean(ses)_.j), a row of X"


def test_mathml_is_well_formed_and_has_the_line_and_the_dot() -> None:
    fit = fitted("mathach ~ within(ses) + center(meanses, over=school) + (1 | school)")
    text = fit.equations("levels", "mathml")
    root = ElementTree.fromstring(text)
    over = root.findall(".//{http://www.w3.org/1998/Math/MathML}mover")
    assert ["".join(one.itertext()) for one in over] == ["ses¯", "meanses¯"]
    assert "<mrow><mi>·</mi><mi>j</mi></mrow>" in text
    for one in over:
        assert len(list(one)) == 2


def test_markup_in_a_name_is_escaped_under_the_line() -> None:
    rows = {"y": [1.0, 2, 4, 3, 6, 5], "a<b>": [1.0, 2, 3, 5, 4, 7], "g": list("aabbcc")}
    fit = mlm.fit("y ~ within(`a<b>`) + (1 | g)", pl.DataFrame(rows))
    assert "<b>" not in fit.equations("levels", "mathml")
    assert "a&lt;b&gt;" in fit.equations("levels", "mathml")


def test_formulas_and_level_equations_keep_their_words() -> None:
    fit = fitted("mathach ~ within(ses) + between(ses) + (within(ses) | school)")
    assert fit.to_levels() == (
        "levels: [school]\nlevel 1: mathach ~ 1 + within(ses)\nlevel 2:\n  intercept: between(ses) + random\n  "
        "within(ses): random"
    )
    again = mlm.fit(re.sub(r"^levels.*\n", "", fit.to_levels()), DATA / "hsb.csv", levels="school")
    assert again.equations() == fit.equations()
    assert again.fit_statistics["log_likelihood"][0] == fit.fit_statistics["log_likelihood"][0]
