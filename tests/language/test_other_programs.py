"""What people from R, SAS and statsmodels write, and the sentence that says what it is called here."""

from __future__ import annotations

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import AnalysisError, FormulaError, MlmError

DATA = pl.DataFrame({"y": [1.0, 2, 4, 5, 7, 9], "x": [1.0, 3, 2, 5, 4, 6], "g": ["a", "a", "b", "b", "c", "c"]})
THERE_ARE = "There are within, between, center, C, I, poly, log, exp, sqrt, abs."


@pytest.mark.parametrize(
    ("term", "function", "sentence"),
    [
        ("as.factor(x)", "as.factor", "A factor is C(x) here, and a column of text is one by itself."),
        ("Factor(x)", "Factor", "A factor is C(x) here, and a column of text is one by itself."),
        (
            "scale(x)",
            "scale",
            "center(x) subtracts the mean here, and nothing is divided by its standard deviation: make z scores in a "
            "view or SELECT.",
        ),
        ("log1p(x)", "log1p", "log1p(x) is log(1 + x) here."),
        (
            "offset(x)",
            "offset",
            "There are no offsets: subtract it from the outcome, as in I(y - x) ~ ….",
        ),
        (
            "bs(x, df=3)",
            "bs",
            "There are no splines: poly(x, 3) is a curve, and the columns of a spline may be made in a view or SELECT.",
        ),
        (
            "ns(x, 3)",
            "ns",
            "There are no splines: poly(x, 3) is a curve, and the columns of a spline may be made in a view or SELECT.",
        ),
        ("us(1 + x | g)", "us", "A random part without a name is unstructured here: write (x | group)."),
        ("diag(x | g)", "diag", "Independent random effects are (x || group) here."),
        (
            "cs(1 | g)",
            "cs",
            "Equal variances and covariances are covariance compound here, an option beside the formula: (x | group).",
        ),
        (
            "ar1(x + 0 | g)",
            "ar1",
            "Autocorrelation of residuals is no part of the formula: give residual ar1(time).",
        ),
        ("cwc(x)", "cwc", "Centering within the group is within(x) here, and between(x) is the group's mean."),
        ("gmc(x)", "gmc", "Centering at the grand mean is center(x) here."),
        ("CGM(x)", "CGM", "Centering at the grand mean is center(x) here."),
    ],
)
def test_functions_of_other_programs(term: str, function: str, sentence: str) -> None:
    with pytest.raises(FormulaError) as error:
        mlm.fit(f"y ~ {term} + (1 | g)", DATA)
    assert str(error.value).splitlines()[0] == f"Unknown function {function!r}. {sentence} {THERE_ARE}"


def test_functions_inside_of_arithmetic() -> None:
    with pytest.raises(FormulaError) as error:
        mlm.fit("y ~ I(2 * log1p(x))", DATA)
    assert str(error.value).splitlines()[0] == (
        "I() and functions may contain columns, numbers, + - * / ** and log, exp, sqrt, abs. log1p(x) is log(1 + x) "
        "here."
    )


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"estimator": "restricted"}, "expected one of reml, ml. Did you mean 'reml'?"),
        ({"df": "KR"}, "expected one of satterthwaite, kenward-roger, none. Did you mean 'kenward-roger'?"),
        ({"robust": "sandwich"}, "expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3. Did you mean 'CR1S'?"),
        (
            {"covariance": {"g": "us"}},
            "Did you mean 'unstructured'? Got 'us' for g; expected one of unstructured, diagonal, compound, identity, "
            "a variance, or a matrix.",
        ),
        (
            {"covariance": {"g": "CS"}},
            "Did you mean 'compound'? Got 'CS' for g; expected one of unstructured, diagonal, compound, identity, a "
            "variance, or a matrix.",
        ),
    ],
)
def test_values_of_options(options: dict[str, object], end: str) -> None:
    with pytest.raises(MlmError) as error:
        mlm.fit("y ~ x + (1 | g)", DATA, **options)  # type: ignore[arg-type]
    assert str(error.value).endswith(end)


def test_errors_of_mplus_are_named() -> None:
    with pytest.raises(MlmError, match=r"True, for the errors and chi-square of Mplus' MLR, or False\.$"):
        mlm.sem("contextual: y ~ x", DATA, cluster="g", robust="MLR")  # type: ignore[arg-type]


def test_words_of_options_in_any_case_of_letters() -> None:
    fit = mlm.fit("y ~ x + (1 | g)", DATA, estimator="ML", df="None", robust="cr2")  # type: ignore[arg-type]
    assert (fit.estimator, fit.df, fit.robust) == ("ml", "none", "CR2")


def test_a_residual_structure_in_capitals() -> None:
    with pytest.raises(FormulaError, match=r"by\(column\), ar1\(column\) and fixed\(column\)\. Did you mean 'ar1'\?\n"):
        mlm.fit("y ~ 1 + (1 | g)", DATA, residual="AR1(x)")


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ({"estimater": "ml"}, " Did you mean 'estimator'?"),
        ({"REML": False}, " REML and ML are estimator 'reml' and 'ml' here."),
        ({"family": "poisson"}, " Outcomes are normal here; there is no family."),
        ({"nonsense": 1}, ""),
    ],
)
def test_arguments_of_unknown_names(argument: dict[str, object], hint: str) -> None:
    (name,) = argument
    with pytest.raises(TypeError) as error:
        mlm.fit("y ~ x + (1 | g)", DATA, **argument)  # type: ignore[arg-type]
    assert isinstance(error.value, MlmError)
    assert str(error.value) == (
        f"fit() has no argument {name!r}.{hint} It takes formula, data, levels, connection, estimator, df, weights, "
        "residual, covariance, robust, cluster."
    )


def test_arguments_of_structural_models_and_of_methods() -> None:
    with pytest.raises(MlmError) as error:
        mlm.sem("level: 1\ny ~~ y", DATA, "g", robst=True)  # type: ignore[call-arg]
    assert str(error.value) == (
        "sem() has no argument 'robst'. Did you mean 'robust'? It takes text, data, cluster, connection, robust, "
        "slopes, missing, group, group_equal, group_partial."
    )
    with pytest.raises(MlmError, match=r"^sem\(\) has no argument 'groups'\. Did you mean 'group'\? It takes"):
        mlm.sem("level: 1\ny ~~ y", DATA, "g", groups="r")  # type: ignore[call-arg]
    with pytest.raises(
        MlmError, match=r"^compare\(\) has no argument 'large'\. Did you mean 'larger'\? It takes larger"
    ):
        mlm.fit("y ~ x", DATA).compare(large=None)  # type: ignore[call-arg]


def test_keys_of_analysis_files() -> None:
    with pytest.raises(AnalysisError, match=r"'REML' \(REML and ML are estimator 'reml' and 'ml' here\)"):
        parse_analysis("analysis: a\ndata: main.t\nmodels: {m: y ~ 1}\nREML: false\n")
