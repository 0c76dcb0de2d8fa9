"""Equations out: the textbook's forms, in four alphabets, with the symbols of the result tables."""

from __future__ import annotations

import re
from typing import Any

import pytest

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from tests.specification.reference import reference

LEVELS = """\
Level 1: mathach_ij = beta_0j + beta_1j ses_cwc_ij + e_ij
Level 2: beta_0j = gamma_00 + gamma_01 meanses_j + gamma_02 catholic_j + u_0j
Level 2: beta_1j = gamma_10 + gamma_11 meanses_j + gamma_12 catholic_j + u_1j
e_ij ~ N(0, sigma2)
(u_0j, u_1j) ~ N(0, T), for each school j
    T = [ tau_00         ]
        [ tau_10  tau_11 ]"""
#: Raudenbush and Bryk (2002), table 4.5, on the rows of the case; four digits as the tables have them.
ESTIMATED = """\
Level 1: mathachᵢⱼ = β₀ⱼ + β₁ⱼ ses_cwcᵢⱼ + eᵢⱼ
Level 2: β₀ⱼ = 12.10 + 5.333 meansesⱼ + 1.226 catholicⱼ + u₀ⱼ
Level 2: β₁ⱼ = 2.939 + 1.039 meansesⱼ − 1.643 catholicⱼ + u₁ⱼ
eᵢⱼ ∼ N(0, 36.72)
(u₀ⱼ, u₁ⱼ) ∼ N(0, T), for each school j
    T = [ 2.379          ]
        [ 0.1920  0.1013 ]"""
THREE_LEVELS = """\
Level 1: y_ijk = pi_0jk + pi_1jk x_ijk + e_ijk
Level 2: pi_0jk = beta_00k + beta_01k z_jk + r_0jk
Level 2: pi_1jk = beta_10k + r_1jk
Level 3: beta_00k = gamma_000 + gamma_001 q_k + u_00k
Level 3: beta_01k = gamma_010
Level 3: beta_10k = gamma_100 + gamma_101 q_k + u_10k
e_ijk ~ N(0, sigma2)
(r_0jk, r_1jk) ~ N(0, T_pi), for each school:class jk
    T_pi = [ tau_00         ]
           [ tau_10  tau_11 ]
(u_00k, u_10k) ~ N(0, T_beta), for each school k
    T_beta = [ tau_00,00            ]
             [ tau_10,00  tau_10,10 ]"""
CROSSED = """\
Level 1: diameter_ijk = beta_0jk + e_ijk
Level 2: beta_0jk = gamma_00 + b_0j + c_0k
e_ijk ~ N(0, sigma2)
b_0j ~ N(0, tau_b00), for each plate j
c_0k ~ N(0, tau_c00), for each sample k"""
BLOCKS = """\
(u_0j, u_1j, u_2j, u_3j) ~ N(0, T), for each g j
    T = [ tau_00                         ]
        [ tau_10  tau_11                 ]
        [ tau_20  tau_21  tau_22         ]
        [ 0       0       0       tau_33 ]"""
FACTOR_SLOPES = """\
Level 1: score_ij = beta_0j + beta_1j machine[B]_ij + beta_2j machine[C]_ij + beta_3j machine[A]_ij + e_ij
Level 2: beta_0j = gamma_00
Level 2: beta_1j = gamma_10 + u_1j
Level 2: beta_2j = gamma_20 + u_2j
Level 2: beta_3j = u_3j
e_ij ~ N(0, sigma2)
(u_1j, u_2j, u_3j) ~ N(0, T), for each worker j
    T = [ tau_11                 ]
        [ tau_21  tau_22         ]
        [ tau_31  tau_32  tau_33 ]"""
REGRESSION = "Level 1: mathach_i = beta_0 + beta_1 ses_i + beta_2 catholic_i + e_i\ne_i ~ N(0, sigma2)"
MATRIX = """\
y_j = X_j gamma + Z_j u_j + e_j
y_ij = mathach_ij, a row of y
x_ij' = (1, ses_cwc_ij, meanses_j, catholic_j, ses_cwc_ij meanses_j, ses_cwc_ij catholic_j), a row of X
gamma = (gamma_00, gamma_10, gamma_01, gamma_02, gamma_11, gamma_12)'
z_ij' = (1, ses_cwc_ij), a row of Z
"""
LATEX = r"""
  \text{Level 2:}\quad \beta_{1j} &= \gamma_{10} + \gamma_{11} \, \text{meanses}_{j} + """
CASES = [n for n in reference.names("lmer", "ols_cluster_robust") if not n.startswith("weights")]


@pytest.mark.parametrize(
    ("name", "equations"),
    [
        ("hsb_cross_level", LEVELS),
        ("sim3_nested", THREE_LEVELS),
        ("penicillin_reml", CROSSED),
        ("machines_factor_slopes", FACTOR_SLOPES),
        ("ols_hsb", REGRESSION),
    ],
)
def test_levels(name: str, equations: str) -> None:
    assert reference.fitted(name).equations() == equations


def test_blocks_are_zeros_between_them() -> None:
    assert reference.fitted("slopes5_blocks").equations().endswith(BLOCKS)


def test_estimates() -> None:
    assert reference.fitted("hsb_cross_level").equations("levels", "unicode", estimates=True) == ESTIMATED


def test_matrices() -> None:
    assert reference.fitted("hsb_cross_level").equations("matrix").startswith(MATRIX)
    assert reference.fitted("sim3_nested").equations("matrix").startswith("y = X gamma + Z_beta u + Z_pi r + e\n")


def test_reduced() -> None:
    assert (
        reference.fitted("hsb_rancova_raw")
        .equations("reduced")
        .startswith("mathach_ij = gamma_00 + gamma_10 ses_ij + u_0j + e_ij\n")
    )


def _fit(name: str, **options: Any) -> mlm.Fit:
    return mlm.fit(reference.case(name)["formula"], reference.table(name), connection=reference.connection(), **options)


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        (
            "nlme_simar1_both",
            {"residual": "by(arm) + ar1(t)"},
            [
                "e_ij ~ N(0, sigma2_A), where arm is A",
                "e_ij ~ N(0, sigma2_B), where arm is B",
                "corr(e_ij, e_i'j) = phi^|t_i - t_i'|, for rows i, i' of the same id",
            ],
        ),
        ("nlme_simw_varfixed", {"residual": "fixed(v)"}, ["e_ij ~ N(0, sigma2 v_ij)"]),
        ("weights_ri", {"weights": "w"}, ["e_ij ~ N(0, sigma2 / w_ij)"]),
        (
            "sleep_rs",
            {"covariance": {"Subject": "diagonal"}},
            ["    T = [ tau_00         ]", "        [ 0       tau_11 ]"],
        ),
        (
            "sleep_rs",
            {"covariance": {"Subject": "compound"}},
            ["(u_0j, u_1j) ~ N(0, T), for each Subject j; equal variances, equal covariances"],
        ),
    ],
)
def test_structures_are_said(name: str, options: dict[str, Any], lines: list[str]) -> None:
    text_lines = _fit(name, **options).equations().splitlines()
    assert set(lines) <= set(text_lines)


@pytest.mark.parametrize("name", CASES)
def test_symbols_are_those_of_the_tables(name: str) -> None:
    fit = reference.fitted(name)
    text = fit.equations()
    top = "beta" if fit.equation_structure.n_levels == 1 else "gamma"
    coefficients = re.findall(rf"{top}_[\d,]+", text)
    assert sorted(coefficients) == sorted(fit.fixed_effects["symbol"])
    parameters = re.findall(r"tau_[\w,]*\d|sigma2", text)
    assert sorted(parameters) == sorted(fit.variance_components["symbol"])
    # every fixed effect multiplies its own variables, in the reduced form too
    products = fit.equations("reduced").partition("\n")[0].partition(" = ")[2].split(" + ")
    for term, symbol in fit.fixed_effects.select("term", "symbol").iter_rows():
        (product,) = [p for p in products if p.split(" ")[0] == symbol]
        names = [re.sub(r"_[ijkl]+$", "", factor) for factor in product.split(" ")[1:]]
        assert names == ([] if term == "(Intercept)" else term.split(":"))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("form", ["levels", "reduced", "matrix"])
def test_latex_is_balanced(name: str, form: Any) -> None:
    for estimates in (False, True):
        text = reference.fitted(name).equations(form, "latex", estimates=estimates)
        assert text.startswith("\\begin{align*}\n")
        assert text.endswith("\n\\end{align*}")
        environments = re.findall(r"\\begin\{(\w+\*?)\}", text)
        assert sorted(environments) == sorted(re.findall(r"\\end\{(\w+\*?)\}", text))
        bare = re.sub(r"\\[{}_&%$#]", "", text)
        assert bare.count("{") == bare.count("}")
        outside = re.sub(r"\\begin\{pmatrix\}.*?\\end\{pmatrix\}", "", bare)
        lines = outside.removeprefix("\\begin{align*}\n").removesuffix("\n\\end{align*}").split("\\\\\n")
        assert all(line.count("&") == 1 for line in lines)
        # a second subscript on one letter does not compile
        assert not re.search(r"_\{[^{}]*\}_", bare)


def test_latex() -> None:
    assert LATEX in reference.fitted("hsb_cross_level").equations("levels", "latex")


def test_markdown_escapes_nothing_and_draws_t_as_a_table() -> None:
    text = reference.fitted("hsb_cross_level").equations("levels", "markdown", estimates=True)
    assert text.startswith("**Level 1**\n\n- `mathachᵢⱼ = β₀ⱼ + β₁ⱼ ses_cwcᵢⱼ + eᵢⱼ`\n\n**Level 2**\n\n- `β₀ⱼ = 12.10")
    assert (
        "  | `T` | `u₀ⱼ` | `u₁ⱼ` |\n  |---|---|---|\n  | `u₀ⱼ` | `2.379` | |\n  | `u₁ⱼ` | `0.1920` | `0.1013` |" in text
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("level",),
            "Unknown form of equations. Got 'level'; expected one of levels, reduced, matrix (LaTeX is "
            "format='latex').",
        ),
        (
            ("levels", "tex"),
            "Unknown format of equations. Got 'tex'; expected one of text, unicode, latex, markdown, mathml.",
        ),
    ],
)
def test_unknown_forms(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(MlmError, match=re.escape(sentence)):
        reference.fitted("dyestuff_reml").equations(*arguments)


def test_the_report_and_the_table_have_them() -> None:
    fit = reference.fitted("hsb_cross_level")
    assert LEVELS in str(fit)
