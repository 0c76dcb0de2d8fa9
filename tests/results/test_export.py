"""The same model as R code and as Mplus input.

The R code is parsed back: its formula, with the derived columns put back for their names, is the model's. That it runs
and gives lme4's numbers was seen in R 4.2 with lme4 1.1-31, from CSV files, also with odd names and missing values;
that the line for Parquet and the Mplus input run has not been seen.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Column, Model, Residual, Term
from mlm_ops.results.export.facts import facts_of
from mlm_ops.results.export.lme4 import RColumns, r_code, r_name, r_string
from tests.specification.reference import reference

HSB = reference.HERE / "data" / "hsb.csv"
CENTERED = "mathach ~ within(ses) * sector + between(ses) + center(size) + within(sex) + (within(ses) | school)"


def _formula(code: str) -> str:
    match = re.search(r"(?:lmer|lm|lme|gls)\(\n  (.*),\n", code)
    assert match is not None
    return match[1]


def _read_back(fit: mlm.Fit) -> Model:
    """The model of the R code's formula, derived columns put back for their names."""
    columns, facts = RColumns(facts_of(fit)), facts_of(fit)
    for variable in fit.model.variables:
        columns.name(variable)
    derived_variables = {Column(name): variable for name, variable in columns.derived.items()}

    def terms(group: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(Term(tuple(derived_variables.get(v, v) for v in term.variables)) for term in group)

    model = parse_formula(_formula(r_code(facts)))
    random = tuple(replace(block, terms=terms(block.terms)) for block in model.random)
    return replace(model, fixed=terms(model.fixed), random=random)


CASES = reference.names("lmer", "ols_cluster_robust", "lmer_cluster_robust")


@pytest.mark.parametrize("name", CASES)
def test_the_lme4_text_of_every_reference_case_is_the_cases_formula(name: str) -> None:
    code = reference.fitted(name).to_lme4()
    assert parse_formula(_formula(code)) == parse_formula(reference.case(name)["formula"])
    if reference.case(name)["kind"] != "ols_cluster_robust":
        assert f"REML = {str(reference.case(name)['estimator'] == 'REML').upper()}" in code


@cache
def _centered() -> mlm.Fit:
    return mlm.fit(CENTERED, HSB)


@pytest.mark.parametrize(
    ("suffix", "reading"),
    [
        (".csv", 'read.csv(\n  {},\n  na.strings = c("", "NA"),\n  check.names = FALSE,\n  colClasses = c({})\n)'),
        (".tsv", 'read.delim(\n  {},\n  na.strings = c("", "NA"),\n  check.names = FALSE,\n  colClasses = c({})\n)'),
        (".parquet", "as.data.frame(arrow::read_parquet({}))"),
    ],
)
def test_the_script_reads_the_file(suffix: str, reading: str, tmp_path: Path) -> None:
    """Columns of text are read as text, also where R would take T and F for truth values."""
    path, rows = tmp_path / f"a{suffix}", pl.read_csv(HSB).select("mathach", "ses", "sector", "school")
    rows.write_parquet(path) if suffix == ".parquet" else rows.write_csv(path, separator=",\t"[suffix == ".tsv"])
    code = mlm.fit("mathach ~ ses + sector + (1 | school)", path).to_lme4()
    head, first, rest = code.split("\n", 2)
    assert (head, first) == ("# mathach ~ ses + sector + (1 | school)", "library(lme4)")
    assert rest.startswith("data <- " + reading.format(f'"{path}"', '"sector" = "character"') + "\nused <- c(")


def test_labels_of_text_stay_text(tmp_path: Path) -> None:
    """R would read 01 and 1 as one unit."""
    rows = pl.read_csv(HSB).with_columns(school="s" + pl.col("school").cast(pl.String))
    rows.write_csv(tmp_path / "a.csv")
    code = mlm.fit("mathach ~ ses + (1 | school)", tmp_path / "a.csv").to_lme4()
    assert 'colClasses = c("school" = "character")' in code


def test_rows_without_a_file_have_a_place_in_the_script() -> None:
    lines = mlm.fit("mathach ~ ses + (1 | school)", pl.read_csv(HSB)).to_lme4().splitlines()
    assert lines[2:5] == [
        "# DATA.csv stands for your data: write the table there, or read it here in another way",
        "data <- read.csv(",
        '  "DATA.csv",',
    ]


def test_derived_columns() -> None:
    code = _centered().to_lme4()
    lines = code.splitlines()
    for line in (
        'data$sector <- factor(data$sector, levels = c("Catholic", "Public"))',
        "data$ses_within <- data$ses - ave(data$ses, data$school)",
        "data$ses_mean <- ave(data$ses, data$school)",
        "data$size_centered <- data$size - mean(data$size)",
        'data$sex_Male_within <- (data$sex == "Male") - ave((data$sex == "Male"), data$school)',
    ):
        assert line in lines
    assert _formula(code) == (
        "mathach ~ 1 + ses_within + sector + ses_mean + size_centered + sex_Male_within + ses_within:sector + "
        "(1 + ses_within | school)"
    )


def test_a_model_with_derived_columns_is_read_back() -> None:
    formula = "mathach ~ within(ses) * sector + between(ses) + center(size) + (within(ses) | school)"
    fit = mlm.fit(formula, HSB)
    assert _read_back(fit) == parse_formula(formula)


def _fit(name: str, formula: str | None = None, **options: Any) -> mlm.Fit:
    formula = formula or reference.case(name)["formula"]
    return mlm.fit(formula, reference.table(name), connection=reference.connection(), **options)


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("weights_ri", {"weights": "w"}, ["library(lme4)", "  weights = w"]),
        ("nlme_simw_varfixed", {"residual": "fixed(v)"}, ["library(lme4)", "  weights = 1 / v"]),
        (
            "nlme_simar1_both",
            {"residual": "by(arm) + ar1(t)", "estimator": "ml"},
            [
                "library(nlme)",
                "  y ~ 1 + t + arm + t:arm,",
                "  random = list(id = pdLogChol(~ 1)),",
                '  method = "ML",',
                "  weights = varIdent(form = ~ 1 | arm),",
                "  correlation = corAR1(form = ~ t | id)",
            ],
        ),
        ("sleep_rs", {"covariance": {"Subject": "compound"}}, ["  random = list(Subject = pdCompSymm(~ 1 + Days)),"]),
        (
            "sleep_rs",
            {"covariance": {"Subject": "diagonal"}},
            ["  Reaction ~ 1 + Days + (1 | Subject) + (0 + Days | Subject),"],
        ),
        (
            "sim3_nested",
            {"covariance": {"school": "identity"}},
            ["  random = list(school = pdIdent(~ 1 + x), class = pdLogChol(~ 1 + x)),"],
        ),
        (
            "orthodont_ri",
            {"formula": "distance ~ Sex", "residual": "by(Sex)"},
            ["fit <- gls(", "  distance ~ 1 + Sex,"],
        ),
    ],
)
def test_structures_in_r(name: str, options: dict[str, Any], lines: list[str]) -> None:
    assert set(lines) <= set(_fit(name, **options).to_lme4().splitlines())


def test_parts_of_an_outcome() -> None:
    between = mlm.fit("between(mathach, school) ~ between(ses, school)", HSB)
    assert "data <- data[!duplicated(data$school), ]  # one row per unit\nfit <- lm(" in between.to_lme4()
    within = mlm.fit("within(mathach, school) ~ within(ses, school)", HSB)
    assert "# the residual has N - J - p degrees of freedom" in within.to_lme4()
    with pytest.raises(MlmError, match="not written for a part of an outcome"):
        between.to_mplus()


def test_what_r_does_not_have() -> None:
    facts = facts_of(reference.fitted("penicillin_ml"))
    facts = replace(facts, model=replace(facts.model, residual=Residual(strata="run")))
    with pytest.raises(MlmError, match=r"^Neither lme4 nor nlme has this model: .* Got plate, sample\.$"):
        r_code(facts)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ses", "ses"),
        ("my x", "`my x`"),
        ("if", "`if`"),
        ("a`); q() #", "`a\\`); q() #`"),
        ("é", "`é`"),
        (".1", "`.1`"),
    ],
)
def test_names_in_r(name: str, text: str) -> None:
    assert r_name(name) == text


def test_text_in_r() -> None:
    assert r_string('a"; q()\n\\') == '"a\\"; q()\\n\\\\"'


TWO_LEVELS = """\
VARIABLE:
  NAMES = mathach ses sexMal_w sectPubl size_c school;
  USEVARIABLES = mathach ses sexMal_w sectPubl size_c ses_m;
  WITHIN = ses sexMal_w;
  BETWEEN = sectPubl ses_m size_c;
  CLUSTER = school;
DEFINE:
  ses_m = CLUSTER_MEAN(ses);
  CENTER ses (GROUPMEAN);
ANALYSIS:
  TYPE = TWOLEVEL RANDOM;
  ESTIMATOR = ML;
MODEL:
  %WITHIN%
  s1 | mathach ON ses;
  mathach ON sexMal_w;
  %BETWEEN%
  mathach ON sectPubl ses_m size_c;
  s1 ON sectPubl;
  mathach;
  s1;
  mathach WITH s1;
  [mathach];
  [s1];"""
THREE_LEVELS = """\
  WITHIN = x;
  BETWEEN = (class) z (school) q;
  CLUSTER = school class;
ANALYSIS:
  TYPE = THREELEVEL RANDOM;
  ESTIMATOR = ML;
MODEL:
  %WITHIN%
  s1 | y ON x;
  %BETWEEN class%
  y ON z;
  y;
  s1;
  y WITH s1;
  %BETWEEN school%
  y ON q;
  s1 ON q;
  y;
  s1;
  y WITH s1;
  [y];
  [s1];"""


def test_two_levels_in_mplus() -> None:
    text = _centered().to_mplus()
    assert text.endswith(TWO_LEVELS)
    assert "!   sexMal_w  within(sex[Male])\n" in text
    assert "! Mplus has no REML: the numbers are those of estimator ml.\n" in text


def test_three_levels_in_mplus() -> None:
    assert reference.fitted("sim3_nested").to_mplus().endswith(THREE_LEVELS)


@pytest.mark.parametrize(
    ("name", "options", "lines"),
    [
        ("hsb_cross_level_fixed_slope", {}, ["  s1 ON meanses catholic;", "  s1@0;", "  mathach WITH s1@0;"]),
        ("slopes5_blocks", {}, ["  y WITH s1;", "  y WITH s3@0;", "  s1 WITH s2;", "  s2 WITH s3@0;"]),
        ("machines_factor_slopes", {}, ["  score@0;", "  [score];", "  [s3@0];", "  s1 WITH s3;"]),
        ("sleep_rs", {"covariance": {"Subject": "compound"}}, ["  Reaction (v20);", "  s1 (v20);"]),
        ("sleep_rs", {"covariance": {"Subject": "diagonal"}}, ["  Reaction;", "  Reaction WITH s1@0;"]),
        ("hsb_rancova_raw", {}, ["  TYPE = TWOLEVEL;", "  mathach ON ses;"]),
        ("ols_hsb", {}, ["  TYPE = GENERAL;", "  mathach ON ses catholic;"]),
        ("sleep_rs", {"formula": "log(Reaction) ~ I(Days**2) + (1 | Subject)"}, ["  Days2 = (Days ** 2);"]),
        (
            "hsb_null_ml",
            {"formula": "mathach ~ ses + within(ses) + (1 | school)"},
            ["  NAMES = mathach ses ses_w school;", "!   ses_w     within(ses)"],
        ),
    ],
)
def test_structures_in_mplus(name: str, options: dict[str, Any], lines: list[str]) -> None:
    assert set(lines) <= set(_fit(name, **options).to_mplus().splitlines())


@pytest.mark.parametrize("name", CASES)
def test_mplus_input_is_within_its_limits(name: str) -> None:
    fit = reference.fitted(name)
    if fit.equation_structure.crossed:
        with pytest.raises(MlmError, match="crossed grouping factors by Bayes alone"):
            fit.to_mplus()
        return
    text = fit.to_mplus()
    assert max(map(len, text.splitlines())) <= 90
    (names,) = re.findall(r"NAMES = ([^;]*);", text)[:1]
    words = names.split()
    assert all(re.fullmatch(r"[A-Za-z]\w{0,7}", word) for word in words)
    assert len({word.lower() for word in words}) == len(words)
    model = text.partition("MODEL:\n")[2]
    define_names = re.findall(r"  (\w+) = .*;", text.partition("DEFINE:\n")[2].partition("ANALYSIS:")[0])
    slopes = re.findall(r"(\w+) \| ", model)
    # every word of the model is a variable, a slope or a keyword
    model_words = set(re.findall(r"[A-Za-z]\w*", re.sub(r"%.*%|\(\w+\)", "", model))) - {"ON", "WITH"}
    assert model_words <= {*words, *define_names, *slopes}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("nlme_sleep_ri_ar1", {"residual": "ar1(Days)"}, "have one residual variance"),
        ("weights_ri", {"weights": "w"}, "no precision weights"),
    ],
)
def test_what_mplus_does_not_have(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MlmError, match=sentence):
        _fit(name, **options).to_mplus()


def test_the_table_of_models_has_them() -> None:
    from mlm_ops.results.tables.whole_models import models

    row = models(reference.fitted("penicillin_ml")).row(0, named=True)
    assert "library(lme4)" in row["lme4"]
    assert row["mplus"].startswith("! Mplus has crossed grouping factors by Bayes alone")


def test_level_equations_of_a_formula() -> None:
    assert _centered().to_levels() == (
        "levels: [school]\nlevel 1: mathach ~ 1 + within(ses) + within(sex)\nlevel 2:\n"
        "  intercept: sector + between(ses) + center(size) + random\n  within(ses): sector + random"
    )
    with pytest.raises(
        MlmError, match="Level equations are for nested levels, and the units of plate and sample cross"
    ):
        reference.fitted("penicillin_ml").to_levels()


def test_control_characters_reach_an_r_script_as_escapes() -> None:
    """R has no text with a raw NUL or escape sequence in it, and a terminal would obey one."""
    assert r_string('a\x1b[31m"b') == '"a\\U0000001b[31m\\"b"'
    assert r_name("a\tb`c") == "`a\\U00000009b\\`c`"
