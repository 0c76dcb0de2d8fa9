"""Map names from R, SAS, SPSS, Stata, Mplus and statsmodels to their names here, ignoring letter case."""

from __future__ import annotations

from collections.abc import Iterable

_FACTOR = "A factor is C(x) here, and a column of text is one by itself."
_CENTER = "Centering at the grand mean is center(x) here."
_WITHIN = "Centering within the group is within(x) here, and between(x) is the group's mean."
_STANDARDISE = (
    "center(x) subtracts the mean here, and nothing is divided by its standard deviation: make z scores in a view or "
    "SELECT."
)
_SPLINE = "There are no splines: poly(x, 3) is a curve, and the columns of a spline may be made in a view or SELECT."
_RESIDUAL_AR1 = "Autocorrelation of residuals is no part of the formula: give residual ar1(time)."

_SELECT = "Make the column in a view or SELECT, and name it here."

#: Functions of formulas, in lower case.
FUNCTIONS = {
    **dict.fromkeys(("factor", "as.factor", "ordered", "as.ordered", "categorical"), _FACTOR),
    **dict.fromkeys(("scale", "standardize", "standardise", "zscore"), _STANDARDISE),
    **dict.fromkeys(("cgm", "gmc", "demean", "centre"), _CENTER),
    **dict.fromkeys(("cwc", "cmc", "groupcenter", "group_center"), _WITHIN),
    "log1p": "log1p(x) is log(1 + x) here.",
    "expm1": "expm1(x) is I(exp(x) - 1) here.",
    "log10": "log10(x) is I(log(x) / 2.302585092994046) here.",
    "log2": "log2(x) is I(log(x) / 0.6931471805599453) here.",
    "ln": "The natural logarithm is log(x) here.",
    "offset": "There are no offsets: subtract it from the outcome, as in I(y - x) ~ ….",
    **dict.fromkeys(("bs", "ns", "s", "te", "cr", "cc", "rcs", "pspline"), _SPLINE),
    "us": "A random part without a name is unstructured here: write (x | group).",
    "un": "A random part without a name is unstructured here: write (x | group).",
    "diag": "Independent random effects are (x || group) here.",
    "cs": "Equal variances and covariances are covariance compound here, an option beside the formula: (x | group).",
    "homcs": "Equal variances and covariances are covariance compound here, an option beside the formula: (x | group).",
    "ar1": _RESIDUAL_AR1,
    "ar": _RESIDUAL_AR1,
    "corar1": _RESIDUAL_AR1,
    "corcar1": _RESIDUAL_AR1,
    "varident": "A residual variance for each value of a column is residual by(column) here, beside the formula.",
    **dict.fromkeys(("lag", "lead", "diff", "ifelse", "if_else", "case_when", "cut", "recode"), _SELECT),
    "pow": "A power is I(x ** 2) here, and poly(x, 2) a curve.",
    "cbind": "A formula has one outcome; several are a structural model, mlm.sem().",
    "relevel": "The reference level is C(x, ref='b') here.",
}
#: Values of options, in lower case; to each the value here.
_VALUES = {
    **dict.fromkeys(("kr", "kenward", "kenward.roger", "kenwardroger", "kenward roger", "ddfm=kr"), "kenward-roger"),
    **dict.fromkeys(("sat", "satt", "satterth", "lmertest", "welch-satterthwaite"), "satterthwaite"),
    **dict.fromkeys(("z", "normal", "asymptotic", "inf", "wald"), "none"),
    **dict.fromkeys(("restricted", "rml", "mivque"), "reml"),
    **dict.fromkeys(("fiml", "full", "maximum likelihood"), "ml"),
    **dict.fromkeys(("us", "un", "pdsymm", "general"), "unstructured"),
    **dict.fromkeys(("diag", "vc", "pddiag", "independent"), "diagonal"),
    **dict.fromkeys(("cs", "homcs", "csh", "pdcompsymm", "exchangeable"), "compound"),
    **dict.fromkeys(("id", "pdident", "ident"), "identity"),
    **dict.fromkeys(("cluster", "stata", "vce(robust)", "sandwich"), "CR1S"),
    "white": "HC0",
    **dict.fromkeys(("pairwise", "delete", "complete"), "listwise"),
}
#: Arguments and keys, in lower case.
ARGUMENTS = {
    "estimator": "Structural models are fitted by ML; errors and chi-square of Mplus' MLR are robust=True here.",
    "reml": "REML and ML are estimator 'reml' and 'ml' here.",
    "method": "REML and ML are estimator 'reml' and 'ml' here.",
    **dict.fromkeys(("ddf", "ddfm", "lmer.df", "dof"), "Degrees of freedom are df here, as in df 'kenward-roger'."),
    **dict.fromkeys(("kr", "kenward_roger"), "Kenward and Roger's method is df 'kenward-roger' here."),
    **dict.fromkeys(("vcov", "se", "vce", "cov_type"), "Robust standard errors are robust 'CR2' here, with cluster."),
    "cr2": "Robust standard errors are robust 'CR2' here, with cluster.",
    **dict.fromkeys(("random", "re_formula", "vc_formula"), "Write random effects in the formula: (1 + x | group)."),
    **dict.fromkeys(("groups", "group"), "Write groups in the formula, (1 | group), and in levels."),
    **dict.fromkeys(("correlation", "ar1", "autocorr"), "Autocorrelation is residual 'ar1(time)' here."),
    "offset": FUNCTIONS["offset"],
    "subset": "Rows are chosen in the data: by a SELECT, or in an analysis file by where.",
    "family": "Outcomes are normal here; there is no family.",
    "contrasts": "Contrasts of levels are C(x, sum) or C(x, ref='a') in the formula; others are fit.contrast() here.",
}


#: Signs of formulas and of models' texts that are none here.
_SIGNS = {
    "=>": "A path is -> here.",
    "%in%": "Nesting is x:z here.",
    "$": "A column is named alone, without its data.",
    "[": "A column is named alone, without its data.",
    ".": "There is no . for all columns: name the predictors.",
}


def sign_here(text: str) -> str:
    """Return " …", a sentence on the sign of another program that a text begins with; empty where none is known.

    >>> sign_here("=> m"), sign_here("; z")
    (' A path is -> here.', '')
    """
    sentence = next((sentence for sign, sentence in _SIGNS.items() if text.startswith(sign)), "")
    return f" {sentence}" if sentence else ""


def function_here(name: str) -> str:
    """Return " …", a sentence that says what another program's function is called here; empty where none is known.

    >>> function_here("log1P"), function_here("mean")
    (' log1p(x) is log(1 + x) here.', '')
    """
    sentence = FUNCTIONS.get(name.lower(), "")
    return f" {sentence}" if sentence else ""


def argument_here(name: str, names: Iterable[str] = ()) -> str:
    """Return " …", a sentence that says what another program's argument is called here.

    It is empty where none is known, and where the name is one of those that there are, `names`, with an s too much.

    >>> argument_here("groups"), argument_here("groups", ["group"])
    (' Write groups in the formula, (1 | group), and in levels.', '')
    """
    word = name.lower()
    sentence = "" if word.removesuffix("s") in names else ARGUMENTS.get(word, "")
    return f" {sentence}" if sentence else ""


def value_here(value: object, words: Iterable[str]) -> str:
    """Return " Did you mean …?" where a value is one of `words` but for its case, or by another program's name.

    >>> value_here("Cr2", ["CR1", "CR2"]), value_here("KR", ["kenward-roger"]), value_here("CR3", ["CR2"])
    (" Did you mean 'CR2'?", " Did you mean 'kenward-roger'?", '')
    """
    lower = value.lower() if isinstance(value, str) else ""
    meant = [word for word in words if word.lower() == lower or word == _VALUES.get(lower)]
    return f" Did you mean {meant[0]!r}?" if meant else ""
