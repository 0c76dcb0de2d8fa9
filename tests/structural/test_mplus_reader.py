"""Mplus input that is read: what is written here comes back as the same model, and what is not read is told by line."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
import mlm_ops.cli.main as cli
from mlm_ops import AnalysisError, DataError, FormulaError
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.mplus.commands import new_names
from mlm_ops.warehouse.sql import render
from tests.structural import test_groups as groups
from tests.structural.cases import NAMES, case, data, fitted, slope_case
from tests.structural.test_quadrature import some_rows

GROUPS = """VARIABLE: NAMES = c r y1-y4;  USEVARIABLES = y1-y4;  CLUSTER = c;  GROUPING IS r (2 = South  1 = North);
ANALYSIS: TYPE = TWOLEVEL;  ESTIMATOR = ML;
MODEL: %WITHIN%
  fw BY y1-y4;
  %BETWEEN%
  fb BY y1-y4;
{0}
"""


def read_back(fit, rows):
    """The fit of the Mplus input of a fit, to the columns by their names there."""
    text = fit.equations("mplus")
    columns = dict(re.findall(r"^!   (\w+) +(\S+)$", text, re.MULTILINE))
    model = mlm.from_mplus(text)
    rows = rows.select(pl.col(long).alias(short) for short, long in columns.items())
    return model, mlm.sem(model.text, rows, **model.options)


def assert_same(one, other):
    """Log-likelihood, and each estimate with its error, whatever the order and the names."""
    assert other.estimate.log_likelihood == pytest.approx(one.estimate.log_likelihood, abs=1e-6)
    estimated = [
        fit.parameters.filter(pl.col("std_error").is_not_null())
        .select("level", "op", pl.col("estimate").round(3), "std_error")
        .sort("level", "op", "estimate", "std_error")
        for fit in (one, other)
    ]
    assert estimated[0]["op"].equals(estimated[1]["op"])
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(estimated[0][column], estimated[1][column], rtol=1e-3, atol=2e-3)
    assert one.estimate.n_parameters == other.estimate.n_parameters


@pytest.mark.parametrize("name", NAMES)
def test_models_of_the_reference_come_back(name):
    ours = fitted(name)
    _, again = read_back(ours, data(case(name)["data"]))
    assert_same(ours, again)


WRITTEN = {
    "slopes": ('level: 1\n y ~ rv("s")*v + x\nlevel: 2\n y + s ~ w\n y ~~ s', {"robust": True}),
    "constraints": (
        "level: 1\n y ~ a*x + b*v\nlevel: 2\n y ~ d*x + e*w\na == 2*b\nd > e\nproduct := a*exp(-d)^2 - 3.5/b",
        {},
    ),
    "equal and fixed": (
        'level: 1\n f =~ y1 + l*y2 + l*y3\n v ~ -.5*f + equal("f=~y2")*x\nlevel: 2\n y1 ~~ y2\n y1 ~ start(.2)*w + q*z',
        {},
    ),
    "a factor of one indicator": ("level: 1\n f =~ y1\n f ~ x\n y2 ~ f\nlevel: 2\n h =~ y1 + y2\n h ~ w", {}),
    "growth": ("growth: y ~ v", {}),
    "contextual": ("contextual: y ~ x | v + between(w)", {}),
    "factors of both levels": ("cfa: f =~ y1 + y2 + y3", {"missing": "ml"}),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_comes_back(name):
    text, options = WRITTEN[name]
    rows = some_rows(60)
    ours = mlm.sem(text, rows, cluster="g", **options)
    model, again = read_back(ours, rows)
    assert_same(ours, again)
    assert model.robust == options.get("robust", False)


@pytest.mark.parametrize("name", ["rs111", "rsfac"])
def test_slopes_of_the_reference_come_back(name):
    ours = mlm.sem(slope_case(name)["model"], data(name), cluster="g", slopes="observed")
    _, again = read_back(ours, data(name))
    assert_same(ours, again)


HEAD = """TITLE: of two levels; model: any
DATA: FILE = rows.dat;
VARIABLE: NAMES ARE g y y1-y3 x v w z;   ! all of them
  USEV = {use};
  CLUSTER IS g;
  WITHIN = {within};  BETWEEN = {between};
{more}ANALYSIS: TYPE = TWOLEVEL RANDOM;  ESTIMATOR = ML;
MODEL:
{model}
"""


def read(model, use="y x w", within="x", between="w", more=""):
    return mlm.from_mplus(HEAD.format(model=model, use=use, within=within, between=between, more=more))


@pytest.mark.parametrize("name", groups.CASES)
def test_models_of_groups_come_back(name):
    ours = groups.fitted(name)
    model, again = read_back(ours, groups.rows(name.rsplit("_", 1)[1]))
    assert model.group == "region"
    assert again.estimate.log_likelihood == pytest.approx(ours.estimate.log_likelihood, abs=1e-8)
    assert again.estimate.n_parameters == ours.estimate.n_parameters


OF_GROUPS = {
    "labels, values and constraints": (
        groups.PATH.format(a="c(a1, a2)", b="c(0, NA)") + "d := a1 - a2\na1 == 2*a2",
        {},
    ),
    "some loadings": (groups.CFA, {"group_equal": "loadings", "group_partial": "fb =~ y3"}),
    "values and labels at once": (groups.CFA.replace("fb =~ y1 + y2", "fb =~ c(1, NA)*y1 + c(l, 1)*y2"), {}),
    "slopes": (
        'level: 1\n y1 ~ rv("s")*x1\nlevel: 2\n y1 ~~ s\n s ~ c(m0, m1)*1 + w1',
        {"slopes": "observed"},
    ),
}


@pytest.mark.parametrize("name", OF_GROUPS)
def test_what_is_written_of_groups_comes_back(name):
    text, options = OF_GROUPS[name]
    ours = mlm.sem(text, groups.rows(), cluster="cluster", group="region", **options)
    _, again = read_back(ours, groups.rows())
    assert again.estimate.log_likelihood == pytest.approx(ours.estimate.log_likelihood, abs=1e-8)
    assert again.estimate.n_parameters == ours.estimate.n_parameters


def test_defaults_of_groups_are_those_of_mplus():
    """User's Guide, ch. 14: equal loadings and intercepts, factor means free but in the first group."""
    rows = groups.rows().select(pl.col("cluster").alias("c"), "^y[1-4]$", r=1 + (pl.col("region") == "south"))
    model = mlm.from_mplus(GROUPS.format(""))
    assert model.text.splitlines()[:2] == ["level: 1", "  fw =~ 1*y1 + same1*y2 + same2*y3 + same3*y4"]
    assert model.text.splitlines()[-1] == "  fb ~ c(0, NA)*1"
    ours = groups.fitted("scalar_even").estimate
    assert model.fit(rows).estimate.log_likelihood == pytest.approx(ours.log_likelihood, abs=1e-8)
    some = mlm.from_mplus(GROUPS.format("MODEL south: %BETWEEN%\n fb BY y3;  [y3 y4];  y2@1 (v);"))
    text = groups.CFA + "\n y2 ~~ c(NA, 1)*y2"
    partial = {"group_equal": ["loadings", "intercepts"], "group_partial": ["fb=~y3", "y3~1", "y4~1"]}
    ours = mlm.sem(text, groups.rows(), cluster="cluster", group="region", **partial).estimate
    theirs = some.fit(rows).estimate
    assert theirs.log_likelihood == pytest.approx(ours.log_likelihood, abs=1e-8)
    assert theirs.n_parameters == ours.n_parameters


UNREAD_OF_GROUPS = {
    "MODEL east: %WITHIN% y1;": "Line 7 (%WITHIN%) is not read: MODEL EAST is not offered.",
    "  [fb];": "Line 7 ([fb]) is not read: whether a mean of all groups is equal in them is left open; give it a label "
    "or value, or write it in the MODEL of each group.",
    "MODEL north: %WITHIN%\n s | y1 ON y2;": "Line 8 (s | y1 ON y2) is not read: a random slope is in the MODEL of "
    "all groups.",
}


@pytest.mark.parametrize("part", UNREAD_OF_GROUPS)
def test_what_is_not_read_of_groups(part):
    with pytest.raises(FormulaError) as unread:
        mlm.from_mplus(GROUPS.format(part))
    assert str(unread.value).startswith(UNREAD_OF_GROUPS[part])


def test_the_mean_of_an_indicator_within_clusters_is_stated_in_each_group():
    text = GROUPS.replace("%BETWEEN%\n  fb BY y1-y4", "%BETWEEN%\n  fb BY y1-y3").replace(
        "CLUSTER", "WITHIN = y4;  CLUSTER"
    )
    with pytest.raises(FormulaError) as unread:
        mlm.from_mplus(text.format(""))
    assert str(unread.value) == (
        "Line 4 (fw BY y1-y4) is not read: of [y4], whether a mean of all groups is equal in them is left open; give "
        "it a label or value, or write it in the MODEL of each group."
    )


def test_a_grouping_without_labels_is_not_read():
    with pytest.raises(FormulaError) as unread:
        mlm.from_mplus(GROUPS.format("").replace("(2 = South  1 = North)", "(2)"))
    assert str(unread.value) == (
        "Line 1 (GROUPING IS r (2)) is not read: expected GROUPING = column (1 = label 2 = label), once."
    )


def test_a_random_slope_and_its_intercept_are_uncorrelated_unless_with_says_otherwise():
    """User's Guide, example 9.2: residuals of intercept and slope are uncorrelated as the default."""
    apart = read("%WITHIN%\n s | y ON x;\n%BETWEEN%\n y s ON w;")
    together = read("%WITHIN%\n S | Y on X;\n%Between%\n y s ON w;  y WITH s;")
    text = 'level: 1\n  y ~ rv("{0}")*x\nlevel: 2\n  y ~ w\n  {0} ~ w\n'
    assert apart.text == text.format("s") + "  s ~~ 0*y"
    assert together.text == text.format("S") + "  y ~~ S"
    assert (apart.cluster, apart.robust, apart.slopes, apart.missing) == ("g", False, "observed", "listwise")
    fit = apart.fit(some_rows(60))
    ours = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y + s ~ w\n y ~~ 0*s', some_rows(60), cluster="g")
    assert fit.estimate.log_likelihood == pytest.approx(ours.estimate.log_likelihood, abs=1e-9)


def test_a_column_of_no_list_has_a_part_at_each_level():
    model = read("%WITHIN%\n y ON x;\n%BETWEEN%\n y ON w;", within="v", use="y x v w")
    assert model.text == "level: 1\n  y ~ x\nlevel: 2\n  y ~ w\n  x ~~ x"
    assert model.remarks == ("Not in the model, and left out: v.",)


def test_lists_labels_and_values():
    model = read(
        "%WITHIN%\n fw BY y1\n y2-y3 (l2-l3);\n fw ON x*.5\n v@-1 (b);\n y1-y2 PWITH y2-y3;\n%BETWEEN%\n"
        " fb BY y1* y2\n y3 (1);\n fb@1;  [y1 y2] (i1-i2);  y1-y3@0;  fb ON w;",
        use="y1-y3 x v w",
        within="x v",
    )
    assert model.text.splitlines() == [
        "level: 1",
        "  fw =~ y1 + l2*y2 + l3*y3",
        "  fw ~ start(0.5)*x + b*-1*v",
        "  y1 ~~ y2",
        "  y2 ~~ y3",
        "level: 2",
        "  fb =~ NA*y1 + y2 + equal1*y3",
        "  fb ~~ 1*fb",
        "  y1 ~ i1*1",
        "  y2 ~ i2*1",
        "  y1 ~~ 0*y1",
        "  y2 ~~ 0*y2",
        "  y3 ~~ 0*y3",
        "  fb ~ w",
    ]


#: Statements with lists of numbers, and the terms that they are of level 1; the first two are the User's Guide's
#: (ch. 17, constraining parameter values to be equal), in names of ours.
NUMBERS = {
    "f BY y1\n y2-y3 (2-3); h BY x\n v-w (2-3)": ["f =~ y1 + equal2*y2 + equal3*y3", "h =~ x + equal2*v + equal3*w"],
    "f BY y1-y3 (1-3); h BY x-w (1-3)": ["f =~ y1 + equal2*y2 + equal3*y3", "h =~ x + equal2*v + equal3*w"],
    "f BY y1-y3* (1-3); f@1": ["f =~ equal1*NA*y1 + equal2*y2 + equal3*y3", "f ~~ 1*f"],
    "f BY y1 y2@.5 y3 (1 2 - 3)": ["f =~ y1 + 0.5*y2 + equal3*y3"],
    "y1-y3 ON x (4-6)": ["y1 ~ equal4*x", "y2 ~ equal5*x", "y3 ~ equal6*x"],
    "y1 ON x-w (1-3)": ["y1 ~ equal1*x + equal2*v + equal3*w"],
    "y1-y2 (09-10)": ["y1 ~~ equal9*y1", "y2 ~~ equal10*y2"],
}


@pytest.mark.parametrize("statements", NUMBERS)
def test_a_list_of_numbers_has_one_for_each_parameter_of_a_list(statements):
    text = read(f"%WITHIN%\n {statements};\n%BETWEEN%\n y;", use="y y1-y3 x v w", within="x v", between="z").text
    terms = [line.strip() for line in text.split("level: 2")[0].splitlines()]
    assert [line for line in terms if line in NUMBERS[statements]] == NUMBERS[statements]


def test_parameters_of_one_number_are_one():
    """The same model with named labels has the same likelihood."""
    rows = data("demo_twolevel")
    head = "VARIABLE: NAMES = y1-y6 cluster; CLUSTER = cluster; ANALYSIS: TYPE = TWOLEVEL;\nMODEL: %WITHIN%\n"
    head = head.replace(" ANALYSIS", "\nANALYSIS")
    model = mlm.from_mplus(f"{head} f BY y1-y3 (1-3); h BY y4-y6 (1-3);\n %BETWEEN%\n y1-y6;")
    named = "level: 1\n f =~ y1 + b*y2 + c*y3\n h =~ y4 + b*y5 + c*y6\nlevel: 2\n"
    named += "\n".join(f" y{i} ~~ y{i}" for i in range(1, 7))
    ours, theirs = (mlm.sem(text, rows, cluster="cluster") for text in (model.text, named))
    assert ours.estimate.n_parameters == theirs.estimate.n_parameters
    assert ours.estimate.log_likelihood == pytest.approx(theirs.estimate.log_likelihood, abs=1e-7)


def test_new_parameters_and_constraints():
    model = read(
        "%WITHIN%\n y ON x (a);\n%BETWEEN%\n y ON w (b);\nMODEL CONSTRAINT:\n NEW(ratio*.5 gap);\n"
        " ratio = EXP(gap)**2/-b;\n gap = a - b;\n a > 0;  0 = a*b - .25;"
    )
    assert model.text.splitlines()[-4:] == ["gap := a - b", "ratio := exp(gap)^2/-b", "a > 0", "0 == a*b - .25"]


def test_define_and_missing_make_columns():
    rows = some_rows(60).with_columns(y=pl.when(pl.col("x") < 3).then(pl.col("y")).otherwise(-9.0))
    model = read(
        "%WITHIN%\n y ON x xv;\n%BETWEEN%\n y ON w xm;",
        use="y x xv w xm",
        within="x xv",
        between="w xm",
        more="  MISSING = ALL (-9);\nDEFINE: xm = CLUSTER_MEAN(x);\n  CENTER x (GROUPMEAN);\n  xv = x*v**2 - 1;\n",
    )
    assert model.missing == "ml"
    within, mean = (render(macro, column="x", group=["g"]) for macro in ("within", "between"))
    assert model.select("t") == (
        'select *, (("x" * pow("v", 2)) - 1) as "xv" from '
        f'(select * replace ({within} as "x") from (select *, {mean} as "xm" from (select * replace ('
        'case when "y" in (-9) then null else "y" end as "y", '
        'case when "x" in (-9) then null else "x" end as "x", case when "v" in (-9) then null else "v" end as "v", '
        'case when "w" in (-9) then null else "w" end as "w") from t)))'
    )
    mean = pl.col("x").mean().over("g")
    made = rows.with_columns(
        y=pl.when(pl.col("y") != -9).then(pl.col("y")),
        xm=mean,
        x=pl.col("x") - mean,
        xv=(pl.col("x") - mean) * pl.col("v") ** 2 - 1,
    )
    ours = mlm.sem(model.text, made, **model.options)
    assert model.fit(rows).estimate.log_likelihood == pytest.approx(ours.estimate.log_likelihood, abs=1e-8)
    with pytest.raises(DataError) as lacking:
        model.fit(rows.drop("v"))
    assert str(lacking.value).startswith("Column 'v' is not in the data. Its columns are g, w, z, x, y, ")
    with pytest.raises(DataError) as text:
        model.fit(rows.with_columns(pl.col("v").cast(pl.String)))
    assert str(text.value) == (
        "DEFINE and MISSING of an Mplus input need columns of numbers. Got 'v' of another kind; give them as numbers."
    )


@pytest.mark.parametrize(
    ("expression", "value"),
    [("-x**2", -9), ("2**3**2", 512), ("x - v - 1", 0), ("-x*v", -6), ("(x - v)/4", 0.25), ("SQRT(x + 1)**-1", 0.5)],
)
def test_signs_and_powers_of_define_bind_as_in_arithmetic(expression, value):
    model = read("%WITHIN%\n y ON z;\n%BETWEEN%\n y;", use="y z", within="z", more=f"DEFINE: z = {expression};\n")
    rows = f"({model.select('(select 3.0::double as x, 2.0::double as v, 1.0 as g, 0.0 as z)')})"
    assert duckdb.sql(f"select z from {rows}").fetchall() == [(value,)]


@pytest.mark.parametrize("expression", ["x v", "x +", "x) + (v", "x:v", "nothing"])
def test_what_is_no_arithmetic_of_columns_is_refused_by_line(expression):
    sentence = re.escape(f"Line 7 (z = {expression}) is not read: of DEFINE only CENTER, CLUSTER_MEAN and arithmetic")
    with pytest.raises(FormulaError, match=sentence):
        read("%WITHIN%\n y ON z;\n%BETWEEN%\n y;", use="y z", within="z", more=f"DEFINE: z = {expression};\n")


def test_what_is_not_read_is_told_by_line_and_at_once():
    text = """VARIABLE: NAMES = y x g c;
  CLUSTER = g;
  CATEGORICAL = y;
  KNOWNCLASS = c (g = 1 2);
ANALYSIS: TYPE = TWOLEVEL MIXTURE;
  ESTIMATOR = BAYES;
MODEL:
  %WITHIN%
  y ON x
    z;
  f BY y;
  xz | f XWITH x;
  [y$1];
  %BETWEEN%
  s | y ON x;
MODEL INDIRECT: y IND x;
"""
    with pytest.raises(FormulaError) as unread:
        mlm.from_mplus(text)
    assert str(unread.value) == (
        "Line 3 (CATEGORICAL = y) is not read: categorical outcomes are not offered. "
        "Line 4 (KNOWNCLASS = c (g = 1 2)) is not read: mixtures are not offered. "
        "Line 5 (TYPE = TWOLEVEL MIXTURE) is not read: TYPE is TWOLEVEL or TWOLEVEL RANDOM here. "
        "Line 6 (ESTIMATOR = BAYES) is not read: estimators are ML and MLR here. "
        "Line 12 (xz | f XWITH x) is not read: products of latent variables are not offered. "
        "Line 13 ([y$1]) is not read: thresholds are for categorical outcomes, which are not offered. "
        "Line 15 (s | y ON x) is not read: a random slope must be below %WITHIN%. "
        "Line 16 (y IND x) is not read: label the paths and define their product in MODEL CONSTRAINT."
    )


#: One fault each: the statement, and what is said of it.
FAULTS = {
    "y ON w": "w is listed in BETWEEN",
    "y ON x (a b)": "2 labels stand for 1 parameters",
    "y ON x@": "a number is missing",
    "y x": None,
    "y ON x 5": "'5' is out of place",
    "i q | y@0 x@1": "of the names before | only slopes of regressions are offered, as in s | y ON x",
    "s1 s2 | y ON x": "each slope belongs to one regression, and 2 names stand for 1",
    "y-f ON x": "y-f is no list of variables",
    "y ON x (1-3)": "3 labels stand for 1 parameters",
    "y ON x (2-1)": "numbers in parentheses are whole, and rise, as in (1-3)",
    "y ON x (1.5)": "numbers in parentheses are whole, and rise, as in (1-3)",
    "y ON x (1-)": "numbers in parentheses are whole, and rise, as in (1-3)",
    f"y ON x ({'9' * 20})": "numbers in parentheses are whole, and rise, as in (1-3)",
    "y x ON y x (1-4)": "a list of numbers needs a list on one side only; write a statement for each on the left",
    "y AT x": "individually varying times of observation are not offered; make time a column of level 1",
}


@pytest.mark.parametrize("statement", FAULTS)
def test_faults_of_statements(statement):
    why = FAULTS[statement]
    text = f"%WITHIN%\n {statement};\n%BETWEEN%\n y ON w;"
    if why is None:
        assert "y ~~ y" in read(text).text
        return
    with pytest.raises(FormulaError) as fault:
        read(text)
    assert str(fault.value) == f"Line 10 ({statement}) is not read: {why}."


#: Structures of the User's Guide, chapter 9, in words of ours, and what is said where they are not read.
GUIDE = {
    "9.1": ("%WITHIN% y ON x; %BETWEEN% y ON w;", None),
    "9.2": ("%WITHIN% s | y ON x; %BETWEEN% y s ON w; y WITH s;", None),
    "9.4": ("%WITHIN% y1 ON x; y2 ON y1 x; %BETWEEN% y1 y2 ON w;", None),
    "9.5": ("%WITHIN% s1 | y1 ON x; s2 | y2 ON y1; %BETWEEN% y1 y2 s1 s2 ON w; s1 WITH s2;", None),
    "9.6": ("%WITHIN% fw BY y1-y3; fw ON x; %BETWEEN% fb BY y1-y3; y1-y3@0; fb ON w;", None),
    "9.9": ("%WITHIN% fw BY y1-y3; s | fw ON x; %BETWEEN% fb BY y1-y3; fb s ON w; fb WITH s;", None),
    "9.10": (
        "%WITHIN% fw BY y1-y3; s | y ON fw; %BETWEEN% y s ON w;",
        "A random slope needs an observed variable. Got y ~ rv(\"s\")*fw, and 'fw' is a latent variable of level 1, "
        "whose product with a slope has no likelihood in closed form; give it a fixed slope.",
    ),
}


@pytest.mark.parametrize("example", GUIDE)
def test_structures_of_the_users_guide(example):
    text, refusal = GUIDE[example]
    use = "y1-y3 x w" if "y1-y3" in text and refusal is None else "y1 y2 x w" if "y1" in text else "y x w"
    use = use if refusal is None else "y y1-y3 w"
    arguments = {"use": use, "within": "x" if " x" in f" {use}" else "v"}
    if refusal is None:
        model = read(text, **arguments)
        assert parameter_table(parse_sem(model.text), model.slopes).n_free > 5
        return
    with pytest.raises(FormulaError) as fault:
        read(text, **arguments)
    assert str(fault.value) == refusal


WHOLE = [
    ("ANALYSIS: TYPE = TWOLEVEL;\nMODEL: %WITHIN% y;", "VARIABLE: NAMES = … with all of them."),
    ("VARIABLE: NAMES = y g;\nMODEL: %WITHIN% y;", "A two-level model has one variable of clusters. Got none"),
    ("VARIABLE: NAMES = y g; CLUSTER = g;\nMODEL: %WITHIN% y;", "Write ANALYSIS: TYPE = TWOLEVEL."),
    ("VARIABLE: NAMES = y g; CLUSTER = g;\nANALYSIS: TYPE = TWOLEVEL;", "The input has no MODEL."),
    (
        "VARIABLE: NAMES = y g; CLUSTER = g;\nANALYSIS: TYPE = TWOLEVEL;\nMODEL: y;",
        "(y) is not read: a statement must be",
    ),
    (
        "VARIABLE: NAMES = y1-y900 g; CLUSTER = g;\nANALYSIS: TYPE = TWOLEVEL;\nMODEL: %WITHIN% y1-y900 WITH y1-y900;",
        "The model has more than 200 variables.",
    ),
    (
        "VARIABLE: NAMES = y x g; CLUSTER = g;\nANALYSIS: TYPE = TWOLEVEL;\nMODEL: %WITHIN% y ON x (a);\n"
        "MODEL CONSTRAINT: NEW(d); a > 0;",
        "The new parameter 'd' of MODEL CONSTRAINT has no equation d = ….",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), WHOLE)
def test_what_an_input_has_to_have(text, sentence):
    with pytest.raises(FormulaError) as fault:
        mlm.from_mplus(text)
    assert sentence in str(fault.value)


def test_files_are_read(tmp_path):
    path = tmp_path / "model.inp"
    text = HEAD.format(model="%WITHIN%\n y ON x;\n%BETWEEN%\n y ON w;", use="y x w", within="x", between="w", more="")
    path.write_text(text)
    assert mlm.from_mplus(path).text == mlm.from_mplus(str(path)).text == "level: 1\n  y ~ x\nlevel: 2\n  y ~ w"
    with pytest.raises(DataError) as missing:
        mlm.from_mplus("no_such.inp")
    assert str(missing.value) == "Cannot read the Mplus input 'no_such.inp': No such file or directory."
    with pytest.raises(FormulaError) as other:
        mlm.from_mplus("level: 1\n y ~ x")
    assert str(other.value) == (
        "This is no Mplus input. Expected commands such as VARIABLE: and MODEL:, each at the beginning of a line."
    )


def test_the_command_line_fits_an_mplus_input(tmp_path, capsys):
    path, rows = tmp_path / "model.inp", tmp_path / "rows.csv"
    some_rows(60).write_csv(rows)
    model = "%WITHIN%\n y ON x;\n%BETWEEN%\n y ON w;\nOUTPUT: SAMPSTAT;"
    path.write_text(HEAD.format(model=model, use="y x w", within="x", between="w", more=""))
    assert cli.main(["fit", str(path), str(rows)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Note: OUTPUT plays no part here.\n")
    assert str(mlm.from_mplus(path).fit(rows)).splitlines()[5] in printed
    assert cli.main(["fit", str(path), str(rows), "--estimator", "ml"]) == 2
    assert f"An Mplus input sets its options itself. Got --estimator beside {path}; drop them." in (
        " ".join(capsys.readouterr().err.split())
    )
    assert cli.main(["fit", str(path)]) == 2
    assert "The data file of the Mplus input is not there. Looked for " in " ".join(capsys.readouterr().err.split())


PLAIN = """DATA: FILE = rows.dat;{more}
VARIABLE: NAMES = g y x w;  CLUSTER = g;  WITHIN = x;  BETWEEN = w;{missing}
ANALYSIS: TYPE = TWOLEVEL;
MODEL: %WITHIN% y ON x;  %BETWEEN% y ON w;
"""
#: How Mplus' free format may separate the numbers of a row.
SEPARATED = {
    "blanks": lambda row: " ".join(f"{value:>24}" for value in row),
    "commas": ",".join,
    "tabs": "\t".join,
    "one blank": " ".join,
    "commas and blanks": ", ".join,
}


def write_input(folder, separate, more="", missing=""):
    """An input and its data file, and the rows with their names."""
    rows = some_rows(60).select("g", "y", "x", "w")
    lines = [separate([repr(value) for value in row]) for row in rows.iter_rows()]
    (folder / "rows.dat").write_text("\n".join(lines) + "\n")
    (folder / "model.inp").write_text(PLAIN.format(more=more, missing=missing))
    return rows


@pytest.mark.parametrize("separated", SEPARATED)
def test_the_data_file_of_an_input_has_the_names_of_the_input(tmp_path, separated):
    rows = write_input(tmp_path, SEPARATED[separated])
    model = mlm.from_mplus(tmp_path / "model.inp")
    expected = model.fit(rows).parameters
    for fit in (model.fit(), model.fit(tmp_path / "rows.dat"), model.fit(str(tmp_path / "rows.dat"))):
        assert fit.parameters.equals(expected)


def test_an_input_is_fitted_to_its_own_data_at_a_terminal(tmp_path, capsys):
    rows = write_input(tmp_path, SEPARATED["blanks"])
    assert cli.main(["fit", str(tmp_path / "model.inp")]) == 0
    assert str(mlm.from_mplus(tmp_path / "model.inp").fit(rows)) in capsys.readouterr().out


def test_a_data_file_of_windows_is_found_beside_the_input(tmp_path):
    rows = write_input(tmp_path, SEPARATED["tabs"])
    path = tmp_path / "model.inp"
    path.write_text(path.read_text().replace("rows.dat", r"\"C:\Users\me\rows.dat\""))
    model = mlm.from_mplus(path)
    assert model.fit().parameters.equals(model.fit(rows).parameters)


def test_signs_of_missing_cells_and_a_number_of_rows(tmp_path):
    rows = write_input(tmp_path, SEPARATED["commas"], " NOBSERVATIONS = 300;", "  MISSING = *;")
    path = tmp_path / "rows.dat"
    cells = [line.split(",") for line in path.read_text().splitlines()]
    cells[0][1], cells[1][2] = "*", "."
    path.write_text("".join(",".join(row) + "\n" for row in cells))
    model = mlm.from_mplus(tmp_path / "model.inp")
    assert model.missing == "ml"
    numbered = rows.head(300).with_row_index("row")
    y, x = pl.when(pl.col("row") > 0).then("y"), pl.when(pl.col("row") != 1).then("x")
    expected = model.fit(numbered.with_columns(y=y, x=x))
    assert model.fit().estimate.log_likelihood == pytest.approx(expected.estimate.log_likelihood, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("FILE = rows.dat", "VARIANCES = NOCHECK"), "The Mplus input names no data file. Write DATA: FILE = …, or"),
        (("g y x w;", "g y x;"), "rows.dat has 4 columns, and NAMES of the Mplus input lists 3. They have to be"),
        (
            ("rows.dat;", "rows.dat; FORMAT = 4F8.2;"),
            "has a fixed format, which is not read. Got FORMAT = 4F8.2; write",
        ),
        (("rows.dat;", "rows.dat; NOBS = many;"), "NOBSERVATIONS of the Mplus input is a number of rows. Got 'many'."),
        (("rows.dat", "none.dat"), "The data file of the Mplus input is not there. Looked for "),
    ],
)
def test_a_data_file_that_is_not_read_is_told_in_one_sentence(tmp_path, change, sentence):
    write_input(tmp_path, SEPARATED["commas"])
    path = tmp_path / "model.inp"
    text = path.read_text().replace(*change)
    path.write_text(text.replace("BETWEEN = w;", "").replace("%BETWEEN% y ON w;", "%BETWEEN% y;"))
    with pytest.raises(DataError) as caught:
        mlm.from_mplus(path).fit()
    assert sentence in str(caught.value)


def test_words_in_a_data_file_of_mplus_are_told(tmp_path):
    write_input(tmp_path, SEPARATED["commas"])
    path = tmp_path / "rows.dat"
    path.write_text(path.read_text().replace(",", ",a", 1))
    with pytest.raises(
        DataError, match=r"rows\.dat holds something else than numbers in y\. Mplus reads numbers alone"
    ):
        mlm.from_mplus(tmp_path / "model.inp").fit()


def test_ranges_keep_their_zeros():
    assert new_names("y08-y11 x") == ["y08", "y09", "y10", "y11", "x"]
    assert new_names("y8-y10") == ["y8", "y9", "y10"]


@pytest.mark.parametrize("kind", ["IMPUTATION", "COVARIANCE"])
def test_data_of_another_kind_than_rows_are_refused(kind):
    with pytest.raises(FormulaError, match=r"Line \d+ \(TYPE = \w+\) is not read: a model is fitted to the rows"):
        read("%WITHIN%\n y ON z;\n%BETWEEN%\n y;", use="y z", within="z", more=f"DATA: TYPE = {kind};\n")


def test_one_statement_that_is_not_read_is_told_alone():
    with pytest.raises(FormulaError) as caught:
        read("%WITHIN%\n y ON q;\n%BETWEEN%\n y;", use="y q", within="q", more="DEFINE: q = LN(x);\n")
    assert str(caught.value).count("is not read") == 1


def test_clusters_that_names_lack_are_told_so():
    text = "VARIABLE: NAMES = y x;\n CLUSTER = school;\nANALYSIS: TYPE = TWOLEVEL;\nMODEL:\n%WITHIN%\n y ON x;\n"
    with pytest.raises(FormulaError, match=r"^Line 2 \(CLUSTER = school\) is not read: it lists what NAMES does not"):
        mlm.from_mplus(text)


def test_inputs_of_windows(tmp_path):
    text = "TITLE: \u00e9t\u00e9\nVARIABLE: NAMES = g y x; CLUSTER = g;\nANALYSIS: TYPE = TWOLEVEL;\n"
    text += "MODEL:\n%WITHIN%\n y ON x;\n"
    (tmp_path / "model.inp").write_bytes(text.encode("latin-1"))
    assert mlm.from_mplus(tmp_path / "model.inp") == mlm.from_mplus("\ufeff" + text)


def test_an_analysis_file_holds_the_text_of_an_input_and_no_path(tmp_path):
    secret = tmp_path / "model.inp"
    secret.write_text("MODEL: y WITH hunter2 secret;", encoding="utf-8")
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(f"analysis: a\ndata: t\nmodels: {{m: 'y ~ 1 + (1 | g)'}}\nsem: {{s: {{mplus: '{secret}'}}}}\n")
    assert "This is no Mplus input." in str(caught.value)
    assert "hunter2" not in str(caught.value)


LINES = ["VARIABLE: NAMES = y x g;", " CLUSTER = g;", "ANALYSIS: TYPE = TWOLEVEL;", "MODEL: %WITHIN%", " y ON x @;"]


@pytest.mark.parametrize(
    ("under", "sentence"),
    [
        ("|\n      " + "\n      ".join(LINES), "Line 12 (y ON x @) is not read: a number is missing."),
        (
            "|-  # as Mplus has it\n\n      " + "\n      ".join(LINES),
            "Line 13 (y ON x @) is not read: a number is missing.",
        ),
        (
            '"' + "\\n".join(LINES) + '"',
            "Line 5 (y ON x @) is not read: a number is missing. Lines are those of the text under mplus.",
        ),
        (
            "'y WITH x;'",
            "This is no Mplus input. Expected commands such as VARIABLE: and MODEL:, each at the beginning of a line.",
        ),
    ],
)
def test_lines_of_an_input_in_an_analysis_file_are_those_of_the_file(under, sentence):
    head = "# an analysis\nanalysis: a\ndata: t\nmodels: {m: 'y ~ 1 + (1 | g)'}\nsem:"
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(f"{head}\n  s:\n    mplus: {under}\n")
    assert str(caught.value).strip() == sentence
