"""Malformed formulas and analysis files: each has its exact sentence, and whatever else is typed has some sentence.

Those of level equations stand in test_levels.py.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.errors import AnalysisError, FormulaError
from mlm_ops.estimation.covariance import COVARIANCES
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.model import Model

KEYS = ", ".join(Analysis.model_fields)
HEAD = "analysis: a\ndata: t\n"
FILE = HEAD + "levels: g\nmodels:\n  m: y ~ x + (1 | g)\n  n: y ~ x + (x | g)\n"
LEVELS = HEAD + "levels: g\nmodels:\n  m:\n"

FORMULAS: list[tuple[str, str, int | None]] = [
    ("y ~ x" + ":x" * 102, "The formula joins more than 100 parts here; split it.", 205),
    ("", "The formula is empty; write outcome ~ predictors + (1 | group).", None),
    ("   ", "The formula is empty; write outcome ~ predictors + (1 | group).", None),
    ("~", "The outcome before the ~ is missing; write outcome ~ predictors.", 0),
    ("~ x", "The outcome before the ~ is missing; write outcome ~ predictors.", 0),
    ("y ~", "The predictors after the ~ are missing; write ~ 1 for an intercept alone.", 3),
    (
        "x + (1 | g)",
        "The formula does not parse: expected '~' but found the end of the formula; a formula has the form "
        "outcome ~ predictors.",
        11,
    ),
    (
        "y x",
        "The formula does not parse: expected '~' but found 'x'; a formula has the form outcome ~ predictors. "
        "If 'y x' is one column, write it in backticks: `y x`.",
        2,
    ),
    (
        "y ~ x + (1 | unit 2 no)",
        "The formula does not parse: expected ')' but found '2'; the parenthesis opened at column 9 is not closed. "
        "If 'unit 2 no' is one column, write it in backticks: `unit 2 no`.",
        18,
    ),
    (
        "y ~ within(job  satisfaction)",
        "The formula does not parse: expected ')' but found 'satisfaction'; the parenthesis of within( is not closed. "
        "If 'job  satisfaction' is one column, write it in backticks: `job  satisfaction`.",
        16,
    ),
    ("y = x + (1 | g)", "A formula has ~ between the outcome and its predictors, not =; use ~.", 2),
    ("y ~ x ~ z", "The formula does not parse: '~' is out of place here; a formula has one ~; remove this one.", 6),
    ("y ~~ x", "The formula does not parse: expected a column, a number or '(' but found '~'.", 3),
    (
        "y ~ x + (1 | g",
        "The formula does not parse: expected ')' but found the end of the formula; the parenthesis opened "
        "at column 9 is not closed.",
        14,
    ),
    (
        "y ~ x + 1 | g)",
        "The formula does not parse: ')' is out of place here; no '(' before it is open; remove it or open one.",
        13,
    ),
    (
        "y ~ (x",
        "The formula does not parse: expected ')' but found the end of the formula; the parenthesis opened "
        "at column 5 is not closed.",
        6,
    ),
    (
        "y ~ x)",
        "The formula does not parse: ')' is out of place here; no '(' before it is open; remove it or open one.",
        5,
    ),
    ("y ~ x + (x | )", "The grouping factor after the bar is missing; write (1 | group) or (x | group).", 13),
    ("y ~ x + ( | g)", "The terms before the bar are missing; write (1 | group) or (x | group).", 10),
    ("y ~ x + (|)", "The terms before the bar are missing; write (1 | group) or (x | group).", 9),
    (
        "y ~ x + (1 | g) + (x | g)",
        "The random effect of (Intercept) over g is given twice; keep one of them, as in (x | group), or (1 | group) + "
        "(0 + x | group) without a covariance.",
        21,
    ),
    (
        "y ~ x + (0 + x | g) + (x | h) + (0 + x | g)",
        "The random effect of x over g is given twice; keep one of them, as in (x | group), or (1 | group) + "
        "(0 + x | group) without a covariance.",
        39,
    ),
    ("y ~ x | g", "A random part needs parentheses: write (… | group), with + before what follows it.", 6),
    ("y ~ x + ()", "The formula does not parse: expected a column, a number or '(' but found ')'.", 9),
    ("y ~ within()", "within() takes one or two arguments. Got none.", 4),
    (
        "y ~ within(x",
        "The formula does not parse: expected ')' but found the end of the formula; the parenthesis of "
        "within( is not closed.",
        12,
    ),
    (
        "y ~ withn(x)",
        "Unknown function 'withn'. Did you mean 'within'? There are within, between, center, C, I, poly, "
        "log, exp, sqrt, abs.",
        4,
    ),
    ("y ~ mean(x)", "Unknown function 'mean'. There are within, between, center, C, I, poly, log, exp, sqrt, abs.", 4),
    ("y ~ within(x, g, h)", "within() takes one or two arguments. Got 3.", 4),
    ("y ~ log(x, 2)", "log() takes one argument. Got 2.", 4),
    ("y ~ center(x, 50)", "center() takes one argument. Got 2. Its options have names: at=50 or over=school.", 4),
    ("y ~ center(x, at=)", "The formula does not parse: expected a column, a number or '(' but found ')'.", 17),
    ("y ~ center(x, at=a)", "center(x, at=…) takes a number, as in center(x, at=50).", 17),
    ("y ~ center(x, at='5')", "center(x, at=…) takes a number, as in center(x, at=50).", 17),
    ("y ~ center(x, to=5)", "center() has no option 'to'; it takes at, over.", 4),
    ("y ~ center(x, at=5, over=g)", "center() takes at= or over=, not both.", 4),
    ("y ~ center(x, at=5, at=6)", "The option 'at' of center() is given twice; keep one.", 23),
    ("y ~ log(x, base=2)", "log() has no option 'base' and takes none.", 4),
    ("y ~ within(x, ref='a')", "within() has no option 'ref'; it takes over.", 4),
    ("y ~ poly(x)", "poly() takes a variable and a degree: write poly(x, 2).", 4),
    ("y ~ poly(x, 0)", "The degree of poly() is a whole number from 1 to 8. Got 0.", 12),
    ("y ~ poly(x, 1.5)", "The degree of poly() is a whole number from 1 to 8. Got 1.5.", 12),
    ("y ~ poly(x, z)", "The degree of poly() is a whole number from 1 to 8.", 12),
    ("y ~ poly(x, 2, raw=yes)", "poly() takes raw=True or raw=False.", 19),
    ("y ~ poly(poly(x,2),2)", "A poly() cannot be inside another; take a higher degree.", 4),
    ("y ~ C()", "C() takes one or two arguments. Got none.", 4),
    ("y ~ C(log(x))", "C() takes the name of a column; make other factors in a view or SELECT.", 4),
    ("y ~ C(k, helmert)", "The coding of C(x, coding) is one of treatment, sum, without quotes.", 9),
    ("y ~ C(k, ref=a)", "Put the reference level of C(x, ref=…) in quotes: write C(x, ref='a').", 13),
    ("y ~ C(k, 'sum')", "The coding of C(x, coding) is one of treatment, sum, without quotes.", 9),
    ("y ~ I()", "I() takes one argument. Got none.", 4),
    ("y ~ I(within(x))", "I() and functions may contain columns, numbers, + - * / ** and log, exp, sqrt, abs.", 6),
    ("y ~ I(x:z)", "I() and functions may contain columns, numbers, + - * / ** and log, exp, sqrt, abs.", 7),
    ("y ~ 'x'", "A quoted string is no column; put unusual column names in backticks.", 4),
    ("y ~ x^2", "A term to a power is the term itself in a formula; write I(x**2) for x squared.", 6),
    ("y ~ (x + z)^0", "The power of a sum of terms is a whole number from 1 to 8; write I(x**2) for x squared.", 12),
    ("y ~ (x+z)^w", "The power of a sum of terms is a whole number from 1 to 8; write I(x**2) for x squared.", 10),
    ("y ~ 3*x", "The number 3 is no predictor; 1 and 0 add and remove the intercept.", 4),
    ("y ~ x + 2.5", "The number 2.5 is no predictor; 1 and 0 add and remove the intercept.", 8),
    ("y ~ x - (1 | g)", "A random part cannot be subtracted; leave it out, or write + before it.", 8),
    ("y ~ x*(1 | g)", "A random part (… | group) cannot be inside a product.", 9),
    ("y ~ (0 | g)", "A random part without any term: write (1 | group) or (0 + x | group).", 7),
    ("y ~ (x - 1 - x | g)", "A random part without any term: write (1 | group) or (0 + x | group).", 15),
    ("y ~ (1 | log(g))", "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones.", 9),
    ("y ~ (1 | 1)", "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones.", 9),
    (
        "y ~ (1 | g + h)",
        "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones. Crossed "
        "factors have a random part each: (1 | a) + (1 | b).",
        11,
    ),
    ("y ~ (1 | 'g')", "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones.", 9),
    ("y ~ (1 | g | h)", "A random part has one bar; write (1 | g) + (1 | h) for two grouping factors.", 11),
    ("y ~ (1 ||| g)", "The terms before the bar are missing; write (1 | group) or (x | group).", 9),
    ("y ~ (x | g)(1 | h)", "The formula does not parse: '(' is out of place here; join terms with +, : or *.", 11),
    (
        "y ~ (1 | g*h)",
        "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones. Crossed "
        "factors have a random part each: (1 | a) + (1 | b).",
        10,
    ),
    ("y ~ (1 | g/)", "The formula does not parse: expected a column, a number or '(' but found ')'.", 11),
    ("y ~ x + + z", "A term has two signs. Got '+'; remove one.", 8),
    ("y ~ x + * z", "The formula does not parse: expected a column, a number or '(' but found '*'.", 8),
    (
        "y ~ x, z",
        "The formula does not parse: ',' is out of place here; a comma is allowed only between a function's "
        "arguments; join terms with +.",
        5,
    ),
    ("y ~ x; z", "The formula does not parse: unexpected character ';'; put unusual column names in backticks.", 5),
    (
        "y ~ x + $",
        "The formula does not parse: unexpected character '$'. A column is named alone, without its data.",
        8,
    ),
    ("y ~ x %in% z", "The formula does not parse: unexpected character '%'. Nesting is x:z here.", 6),
    ("y ~ x + `z", "The formula does not parse: unexpected character '`'; close the backtick.", 8),
    ("y ~ ``", "The formula does not parse: unexpected character '`'; put a column's name between backticks.", 4),
    ("y ~ x + 'z", 'The formula does not parse: unexpected character "\'"; close the quotation mark.', 8),
    (
        "y ~ 1x",
        "The formula does not parse: 'x' is out of place here; join terms with +, : or *. "
        "If '1x' is one column, write it in backticks: `1x`.",
        5,
    ),
    (
        "y ~ data[x]",
        "The formula does not parse: unexpected character '['. A column is named alone, without its data.",
        8,
    ),
    (
        "y ~ .",
        "The formula does not parse: unexpected character '.'. There is no . for all columns: name the predictors.",
        4,
    ),
    ("y ~ y + x", "The outcome 'y' is also among the predictors; remove it from one side.", 0),
    ("y ~ log(y)", "The outcome 'y' is also among the predictors, in log(y); remove it from one side.", 0),
    ("log(y) ~ y", "The outcome 'log(y)' is also among the predictors; remove it from one side.", 0),
    ("y ~ I(y**2)", "The outcome 'y' is also among the predictors, in I(y**2); remove it from one side.", 0),
    ("y ~ x + (y | g)", "The outcome 'y' is also among the predictors; remove it from one side.", 0),
    (
        "y ~ (1 | y)",
        "The outcome 'y' is also the grouping factor y; name the column of the units after the bar.",
        0,
    ),
    ("y + z ~ x", "The outcome is one column, or I(…) or a function of columns.", 2),
    (
        "cbind(y, z) ~ x",
        "Unknown function 'cbind'. A formula has one outcome; several are a structural model, mlm.sem(). There are "
        "within, between, center, C, I, poly, log, exp, sqrt, abs.",
        0,
    ),
    ("1 ~ x", "The number 1 is no column; a column is expected here.", 0),
    ("(1|g) ~ x", "A random part (… | group) must be a separate term among the predictors.", 2),
    ("'y' ~ x", "A quoted string is no column; put unusual column names in backticks.", 0),
    ("C(y) ~ x", "The outcome is one number a row, and C(y) is several columns.", 0),
    ("poly(y,2) ~ x", "The outcome is one number a row, and poly(y, 2) is several columns.", 0),
    (
        "within(y) ~ x",
        "within(…) needs the groups over which to take means, because the model does not have exactly one "
        "grouping factor. Got none; write within(x, group).",
        0,
    ),
    (
        "y ~ within(x)",
        "within(…) needs the groups over which to take means, because the model does not have exactly one "
        "grouping factor. Got none; write within(x, group).",
        4,
    ),
    (
        "y ~ between(x) + (1|g) + (1|h)",
        "between(…) needs the groups over which to take means, because the model does not have exactly one "
        "grouping factor. Got g, h; write between(x, group).",
        4,
    ),
    ("y ~ within(x, 3)", "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones.", 14),
    (
        "y ~ within(x, g+h)",
        "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones. Crossed "
        "factors have a random part each: (1 | a) + (1 | b).",
        15,
    ),
    ("y ~ within(2)", "The number 2 is no column; a column is expected here.", 11),
    ("y ~ within(x + z)", "Put arithmetic on columns inside I(…): write I(x * z), I(x + z).", 13),
    ("y ~ " + "(" * 60 + "x" + ")" * 60, "The formula is nested more than 50 levels deep.", 54),
    ("y ~ x\ny ~ z", "The formula does not parse: 'y' is out of place here; join terms with +, : or *.", 6),
    (
        "y ~ center(x, over=log(g))",
        "A grouping factor is expected here: a column, a/b for nested or a:b for combined ones.",
        19,
    ),
    ("y ~ C(k, ref='a', ref='b')", "The option 'ref' of C() is given twice; keep one.", 22),
    ("y ≈ x", "The formula does not parse: unexpected character '≈'; put unusual column names in backticks.", 2),
    ("y ~ x – z", "The formula does not parse: unexpected character '–'; put unusual column names in backticks.", 6),
    ("y ~ “x”", "The formula does not parse: unexpected character '“'; put unusual column names in backticks.", 4),
    ("y ~ within(x, g)(z)", "The formula does not parse: '(' is out of place here; join terms with +, : or *.", 16),
    ("y ~ a*b*c*d*e*f*g*h*i*j*k*l*m*n", "The product multiplies out to more than 4000 terms; write fewer.", 27),
]

FILES: list[tuple[str, str]] = [
    ("", "The file is not a mapping. Got nothing; expected the keys analysis, data and models."),
    ("just text", "The file is not a mapping. Got text; expected the keys analysis, data and models."),
    ("[1, 2]", "The file is not a mapping. Got a list; expected the keys analysis, data and models."),
    ("3", "The file is not a mapping. Got text; expected the keys analysis, data and models."),
    ("a: [", "The file is not valid YAML at line 1, column 5: expected the node content, but found '<stream end>'."),
    ("a: b: c", "The file is not valid YAML at line 1, column 5: mapping values are not allowed here."),
    (
        "\tanalysis: a",
        "The file is not valid YAML at line 1, column 1: found character '\\t' that cannot start any token.",
    ),
    ("- a\n- b", "The file is not a mapping. Got a list; expected the keys analysis, data and models."),
    ("a: 'x", "The file is not valid YAML at line 1, column 6: found unexpected end of stream."),
    (
        "--- \na: 1\n---\nb: 2\n",
        "The file is not valid YAML at line 3, column 1: expected a single document in the stream, but found "
        "another document.",
    ),
    (
        "!!python/object/apply:os.system ['echo hi']",
        "The file is not valid YAML at line 1, column 1: the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; remove it.",
    ),
    (
        "!!set {a, b}",
        "The file is not valid YAML at line 1, column 1: the tag 'tag:yaml.org,2002:set' is not allowed; remove it.",
    ),
    (
        "analysis: !!python/name:os.system a\n",
        "The file is not valid YAML at line 1, column 11: the tag "
        "'tag:yaml.org,2002:python/name:os.system' is not allowed; remove it.",
    ),
    (
        "analysis: !mine a",
        "The file is not valid YAML at line 1, column 11: the tag '!mine' is not allowed; remove it.",
    ),
    (
        "analysis: !!int 5\ndata: t\nmodels: {m: y ~ x}",
        "The file is not valid YAML at line 1, column 11: the tag 'tag:yaml.org,2002:int' is not allowed; remove it.",
    ),
    ("analysis: &a hsb\ndata: *b", "The file is not valid YAML at line 2, column 7: found undefined alias 'b'."),
    (
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "The file is not valid YAML at line 1, column 4: an alias stands for a text, and at most 100 do; write it out.",
    ),
    (
        "a: &a x\nb: [" + "*a , " * 101 + "]\n",
        "The file is not valid YAML at line 1, column 4: an alias stands for a text, and at most 100 do; write it out.",
    ),
    (
        'analysis: "a\\0b"',
        "The file is not valid YAML at line 1, column 11: a text holds the character NUL; remove it.",
    ),
    (
        "#" * 1_000_001,
        "The file is too long for an analysis. Got more than 1,000,000 characters; put data and long conditions into a "
        "table or view.",
    ),
    (
        "? [a, b]\n: c",
        "The file is not valid YAML at line 1, column 3: a key must be text, not a list or mapping.",
    ),
    (
        "? {a: b}\n: c",
        "The file is not valid YAML at line 1, column 3: a key must be text, not a list or mapping.",
    ),
    ("analysis: a\n", "the key 'data' is missing; the key 'models' is missing."),
    ("data: t\n", "the key 'analysis' is missing; the key 'models' is missing."),
    ("{}", "the key 'analysis' is missing; the key 'data' is missing; the key 'models' is missing."),
    (FILE + "modles: 1\n", "unknown key 'modles' (did you mean 'models'?); expected one of " + KEYS + "."),
    (
        FILE + "were: x > 1\nfoo: 2\n",
        "unknown keys 'were' (did you mean 'where'?), 'foo'; expected one of " + KEYS + ".",
    ),
    (FILE + "models: {m: y ~ z}\n", "The file is not valid YAML at line 7, column 1: the key 'models' appears twice."),
    (FILE + "  m: y ~ z\n", "The file is not valid YAML at line 7, column 3: the key 'm' appears twice."),
    (
        HEAD + "models: [y ~ x]\n",
        "models is a mapping of names to formulas, as in models: {null: y ~ 1 + (1 | school)}.",
    ),
    (HEAD + "models: y ~ x\n", "models is a mapping of names to formulas, as in models: {null: y ~ 1 + (1 | school)}."),
    (HEAD + "models:\n", "models is a mapping of names to formulas, as in models: {null: y ~ 1 + (1 | school)}."),
    (
        HEAD + "models: {}\n",
        "models is empty: got none; expected at least one, as in null: y ~ 1 + (1 | school).",
    ),
    (HEAD + "models: {m: }\n", "models without a formula: m; write m: outcome ~ predictors + (1 | group)."),
    (HEAD + "models: {m: [y ~ x]}\n", "models.m: got ['y ~ x']; expected a formula such as y ~ x + (1 | school)."),
    (
        HEAD + "models: {m: {formula: [y]}}\n",
        "models.m.formula: got ['y']; expected a formula such as y ~ x + (1 | school).",
    ),
    (
        HEAD + "models: {m: {formla: y ~ x}}\n",
        "the key 'models.m.formula' is missing; unknown key 'models.m.formla' (did you mean 'formula'?); "
        "expected one of formula, estimator, df, residual, covariance, levels, robust, level 1, level 2, level 3.",
    ),
    (HEAD + "models: {m: {}}\n", "the key 'models.m.formula' is missing."),
    (
        HEAD + "models: {m: {formula: ''}}\n",
        "models.m.formula: got nothing; expected a formula such as y ~ x + (1 | school).",
    ),
    (HEAD + "models: {m: '   '}\n", "Model 'm': The formula is empty; write outcome ~ predictors + (1 | group)."),
    ("analysis: ''\ndata: t\nmodels: {m: y ~ x}\n", "analysis: got nothing; expected a name."),
    ("analysis: [a]\ndata: t\nmodels: {m: y ~ x}\n", "analysis: got ['a']; expected a name."),
    ("analysis: a\ndata: [t]\nmodels: {m: y ~ x}\n", "data: got ['t']; expected a table name or one SELECT."),
    ("analysis: a\ndata:\nmodels: {m: y ~ x}\n", "data: got nothing; expected a table name or one SELECT."),
    (FILE + "compare: 7\n", "compare is a list of model names, or of pairs [reference, model]."),
    (FILE + "compare: m\n", "compare is a list of model names, or of pairs [reference, model]."),
    (FILE + "compare: [m]\n", "compare needs two models or more. Got 'm' alone; add another, or drop the key."),
    (FILE + "compare: [m, m]\n", "compare sets 'm' against itself; name two different models."),
    (FILE + "compare: [m, z]\n", "compare names no model of this file: 'z'; models are m, n."),
    (FILE + "compare: [[m, n, m]]\n", "compare is a list of model names, or of pairs [reference, model]."),
    (FILE + "compare: [[m], n]\n", "compare is a list of model names, or of pairs [reference, model]."),
    (FILE + "compare: {m: n}\n", "compare is a list of model names, or of pairs [reference, model]."),
    (
        FILE + "compare: [[m, [n]]]\n",
        "compare.0.0: got ['n']; expected a list of model names, or of pairs [reference, model].",
    ),
    (FILE + "estimator: mle\n", "Unknown estimator. Got 'mle'; expected one of reml, ml."),
    (FILE + "estimator: RML\n", "Unknown estimator. Got 'RML'; expected one of reml, ml. Did you mean 'reml'?"),
    (FILE + "estimator: [reml]\n", "Unknown estimator. Got ['reml']; expected one of reml, ml."),
    (FILE + "df: welch\n", "Unknown df. Got 'welch'; expected one of satterthwaite, kenward-roger, none."),
    (
        FILE + "df: kenward-roger\nestimator: ml\n",
        "Model 'm': Kenward-Roger's method is for REML. Got estimator 'ml' and df 'kenward-roger'; change one of them.",
    ),
    (FILE + "weights: [a]\n", "weights is not understood. Got ['a']; expected a column."),
    (
        FILE + "residual: ar1\n",
        "Model 'm': The residual structure is a sum of by(column), ar1(column) and fixed(column).\n  ar1\n  ^",
    ),
    (FILE + "residual: ar1()\n", "Model 'm': ar1() takes one column.\n  ar1()\n  ^"),
    (
        FILE + "residual: ar2(t)\n",
        "Model 'm': The residual structure is a sum of by(column), ar1(column) and fixed(column).\n  ar2(t)\n  ^",
    ),
    (FILE + "residual: by(a, b)\n", "Model 'm': by() takes one column.\n  by(a, b)\n  ^"),
    (
        FILE + "residual: by(a) + by(b)\n",
        "Model 'm': The residual structure has by(…) twice.\n  by(a) + by(b)\n          ^",
    ),
    (
        FILE + "residual: fixed(v)\nweights: w\n",
        "Model 'm': Known variances are given twice: weights=w and fixed(v); keep one of them.\n  fixed(v)\n  ^",
    ),
    (
        FILE + "residual: ''\n",
        "residual is not understood. Got nothing; expected a sum of by(column), ar1(column) and fixed(column).",
    ),
    (
        FILE + "residual: 3\n",
        "Model 'm': The residual structure is a sum of by(column), ar1(column) and fixed(column).\n  3\n  ^",
    ),
    (
        FILE + "covariance: diagonal\n",
        "covariance is not understood. Got 'diagonal'; expected for each grouping factor a structure's name, a "
        "variance, or a matrix.",
    ),
    (
        FILE + "covariance: {g: toeplitz}\n",
        "Model 'm': Unknown covariance structure. Got 'toeplitz' for g; expected one of unstructured, "
        "diagonal, compound, identity, a variance, or a matrix.",
    ),
    (
        FILE + "covariance: {h: diagonal}\n",
        "covariance names a grouping factor that is not there. Got 'h'; expected one of g.",
    ),
    (
        FILE + "covariance: {g: [[1, 2], [2, 1]]}\n",
        "Model 'm': covariance of g is a structure's name, one variance, or a symmetric matrix of variances "
        "and covariances without a negative variance in any direction. Got [[1, 2], [2, 1]].",
    ),
    (
        FILE + "covariance: {g: [1, 2]}\n",
        "Model 'm': covariance of g is a structure's name, one variance, or a symmetric matrix of variances "
        "and covariances without a negative variance in any direction. Got [1, 2].",
    ),
    (
        FILE + "covariance: {g: -1}\n",
        "Model 'm': covariance of g is a structure's name, one variance, or a symmetric matrix of variances "
        "and covariances without a negative variance in any direction. Got -1.",
    ),
    (
        FILE + "covariance: {g: }\n",
        "Model 'm': Unknown covariance structure. Got '' for g; expected one of unstructured, diagonal, "
        "compound, identity, a variance, or a matrix.",
    ),
    (
        HEAD + "models: {m: y ~ x + (1 | g)\n",
        "The file is not valid YAML at line 4, column 1: expected ',' or '}', but got '<stream end>'.",
    ),
    (FILE + "robust: CR3\n", "Unknown robust. Got 'CR3'; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3."),
    (FILE + "robust: yes\n", "Unknown robust. Got 'yes'; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3."),
    (
        FILE + "robust: CR2\ndf: kenward-roger\n",
        "Model 'm': Kenward-Roger's errors and robust errors exclude each other. Got df 'kenward-roger' and "
        "robust 'CR2'; drop one of them.",
    ),
    (
        FILE + "cluster: g\n",
        "Model 'm': A cluster is for robust errors. Got cluster 'g' without robust; add robust 'CR2'.",
    ),
    (
        HEAD + "models: {m: y ~ x}\nrobust: CR2\n",
        "Model 'm': Robust errors of single-level regression need clusters. Got robust 'CR2', no cluster and "
        "no levels; name the column that holds them as cluster.",
    ),
    (
        FILE + "robust: CR2\ncluster: 'a:'\n",
        "cluster is not understood. Got 'a:'; expected a column, or several joined by a colon.",
    ),
    (FILE + "where: [x > 1]\n", "where: got ['x > 1']; expected one SQL condition."),
    (FILE + "where: ''\n", "where: got nothing; expected one SQL condition."),
    (FILE + "partition: {a: b}\n", "partition: got {'a': 'b'}; expected a column."),
    (FILE + "description: {a: b}\n", "description: got {'a': 'b'}; expected text."),
    (FILE + "strategy: stepwise\n", "unknown strategy: got 'stepwise'; expected one of a_priori, build_up, tear_down."),
    (FILE + "strategy: build_up\n", "strategy build_up needs start, the name of the model to start from."),
    (FILE + "strategy: build_up\nstart: z\n", "start names no model of this file: 'z'; models are m, n."),
    (
        FILE + "strategy: build_up\nstart: m\n",
        "strategy build_up needs candidates, a mapping of fixed, level 2, level 3, random, cross-level to "
        "lists of terms.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: [z]\n",
        "candidates is a mapping of fixed, level 2, level 3, random, cross-level to lists of terms.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixd: z}\n",
        "unknown candidates: fixd; expected one of fixed, level 2, level 3, random, cross-level.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: x}\n",
        "candidates, fixed: x is in the start 'm' already; remove it from one of them.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: [z, z]}\n",
        "candidates, fixed: z is listed twice; remove one.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {level 2: z, random: within(x), cross-level: z}\n",
        "candidates, cross-level: z is listed twice; remove one. A cross-level term is a product, such as within(x):z.",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: z +}\n",
        "candidates, fixed: The formula does not parse: expected a column, a number or '(' but found the end "
        "of the formula.\n  z +\n     ^",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: (z | g)}\n",
        "candidates, fixed: A fixed term is expected here, such as x or x:z. Got '(z | g)'.\n  (z | g)\n  ^",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {random: z | }\n",
        "candidates, random: The formula does not parse: expected a column, a number or '(' but found the "
        "end of the formula.\n  z |\n     ^",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: z}\nkeep: p < 5\n",
        "Unknown rule under keep. Got 'p < 5'; expected p < 0.05, aic, bic or r_squared > 0.01 (with any "
        "bound between 0 and 1).",
    ),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: z}\nkeep: best\n",
        "Unknown rule under keep. Got 'best'; expected p < 0.05, aic, bic or r_squared > 0.01 (with any "
        "bound between 0 and 1).",
    ),
    (
        FILE + "strategy: tear_down\nstart: m\ncandidates: {fixed: z}\n",
        "strategy tear_down drops what start has, and takes no candidates.",
    ),
    (FILE + "start: m\n", "start: only for the strategies build_up and tear_down; say which."),
    (FILE + "keep: aic\n", "keep: only for the strategies build_up and tear_down; say which."),
    (
        FILE + "strategy: build_up\nstart: m\ncandidates: {fixed: {z: 1}}\n",
        "candidates.fixed: got {'z': '1'}; expected a list of terms.",
    ),
    (FILE + "diagnostics: z\n", "diagnostics names no model of this file: 'z'; models are m, n."),
    (FILE + "diagnostics: {m: 1}\n", "diagnostics: got {'m': '1'}; expected the name of a model, or a list of them."),
    (
        FILE + "simple_slopes: m\n",
        "simple_slopes is a mapping of models to slopes, as in simple_slopes: {slopes: [{slope: within(ses), "
        "at: sector}]}.",
    ),
    (
        FILE + "simple_slopes: {m: x}\n",
        "simple_slopes.m: got 'x'; expected the keys slope and at, as in simple_slopes: {slopes: [{slope: "
        "within(ses), at: sector}]}.",
    ),
    (
        FILE + "simple_slopes: {z: {slope: x, at: w}}\n",
        "simple_slopes names no model of this file: 'z'; models are m, n.",
    ),
    (
        FILE + "simple_slopes: {m: {slope: x, at: w}}\n",
        "Model 'm': The moderator does not occur in the model. Got 'w'; expected one of x.",
    ),
    (
        FILE + "simple_slopes: {m: {slope: xx, at: x}}\n",
        "Model 'm': The slope does not occur in the model. Did you mean 'x'? Got 'xx'; expected one of x.",
    ),
    (
        FILE + "simple_slopes: {m: {slope: x, at: x}}\n",
        "Model 'm': x does not moderate itself. Name another predictor as its moderator.",
    ),
    (
        FILE + "simple_slopes: {m: {slope: x, at: }}\n",
        "simple_slopes.m: got no moderator; expected one or more under at, as in simple_slopes: {slopes: "
        "[{slope: within(ses), at: sector}]}.",
    ),
    (
        FILE + "contrasts: {m: x}\n",
        "contrasts is a mapping of models to named contrasts, as in contrasts: {slopes: {contextual: "
        "{between(ses): 1, within(ses): -1}}}.",
    ),
    (
        FILE + "contrasts: {m: {d: {x: one}}}\n",
        "contrasts.m.d: got ['one']; expected numbers, as in contrasts: {slopes: {contextual: {between(ses): "
        "1, within(ses): -1}}}.",
    ),
    (
        FILE + "contrasts: {m: {d: {}}}\n",
        "contrasts.m.d is a mapping of coefficients to weights, as in contrasts: {slopes: {contextual: "
        "{between(ses): 1, within(ses): -1}}}.",
    ),
    (FILE + "contrasts: {z: {d: {x: 1}}}\n", "contrasts names no model of this file: 'z'; models are m, n."),
    (
        FILE + "contrasts: {m: {d: {x: nan}}}\n",
        "contrasts.m.d: got ['nan']; expected numbers, as in contrasts: {slopes: {contextual: {between(ses): "
        "1, within(ses): -1}}}.",
    ),
    (FILE + "predictions: maybe\n", "predictions: got 'maybe'; expected true or false."),
    (FILE + "predictions: 3\n", "predictions: got '3'; expected true or false."),
    (FILE + "levels: {a: b}\n", "The file is not valid YAML at line 7, column 1: the key 'levels' appears twice."),
    (
        "analysis: a\ndata: t\nlevels: [g, g]\nmodels:\n  m: y ~ x + (1 | g)\n  n: y ~ x + (x | g)\n",
        "Model 'm': levels has 'g' twice; name the column of each level once, lowest first.",
    ),
    (
        "analysis: a\ndata: t\nlevels: ''\nmodels:\n  m: y ~ x + (1 | g)\n  n: y ~ x + (x | g)\n",
        "levels is not understood. Got nothing; expected a column, or a list of columns, lowest level first.",
    ),
    (
        "analysis: a\ndata: t\nlevels: [[g]]\nmodels:\n  m: y ~ x + (1 | g)\n  n: y ~ x + (x | g)\n",
        "levels is not understood. Got [['g']]; expected a column, or a list of columns, lowest level first.",
    ),
    (FILE + "sem: 3\n", "sem: got '3'; expected a mapping of names to texts of structural equation models."),
    (
        FILE + "sem: {s: }\n",
        "sem.s.model: got nothing; expected the text of a structural equation model, as in f =~ a + b + c.",
    ),
    (FILE + "sem: {s: [a]}\n", "sem.s: got ['a']; expected a mapping of names to texts of structural equation models."),
    (
        FILE + "sem: {s: {model: 'f =~ a', clustr: g}}\n",
        "unknown key 'sem.s.clustr' (did you mean 'cluster'?); expected one of model, cluster, robust, slopes, "
        "missing, group, group_equal, group_partial, score_tests, mplus.",
    ),
    (
        FILE + "sem: {s: {model: 'f =~ a', mplus: x}}\n",
        "sem takes either model, or mplus with the text of an Mplus input; write one of them.",
    ),
    (
        FILE + "sem:\n  s:\n    mplus: |\n      VARIABLE: NAMES = y g; CLUSTER = g;\n      ANALYSIS: TYPE = TWOLEVEL;\n"
        "        ESTIMATOR = BAYES;\n      MODEL: %WITHIN% y;\n",
        "Line 12 (ESTIMATOR = BAYES) is not read: estimators are ML and MLR here.",
    ),
    (
        FILE + "sem:\n  s:\n    mplus: |\n      VARIABLE: NAMES = y x g; CLUSTER = g; WITHIN = x;\n"
        "      DEFINE: CENTER x (GRANDMEAN);\n      ANALYSIS: TYPE = TWOLEVEL;\n      MODEL: %WITHIN% y ON x;\n",
        "DEFINE and MISSING codes of an Mplus input make columns, and an analysis takes those of its data; make them "
        'in a view: select * replace ((case when not isnan(cast("x" as double)) then cast("x" as double) end - '
        'avg(case when not isnan(cast("x" as double)) then cast("x" as double) end) over ()) as "x") from ….',
    ),
    (
        FILE + "sem: {s: 'nonsense'}\n",
        "Model 's' of sem: The model does not parse: expected one of =~ ~ ~~ := but found the end of the "
        "line.\n  nonsense\n          ^",
    ),
    (
        FILE + "sem: {s: {model: 'f =~ a + b', score_tests: yes please}}\n",
        "sem.s.score_tests: got 'yes please'; expected true or false.",
    ),
    (
        FILE + "sem: {s: {model: 'f =~ a + b', groups: r}}\n",
        "unknown key 'sem.s.groups' (did you mean 'group'?); expected one of model, cluster, robust, slopes, "
        "missing, group, group_equal, group_partial, score_tests, mplus.",
    ),
    (
        FILE + "sem: {s: {model: 'f =~ a + b', robust: perhaps}}\n",
        "sem.s.robust: got 'perhaps'; expected true or false.",
    ),
    (
        LEVELS + "    level 1: y ~ x\n    formula: y ~ x\n",
        "models.m has a formula and level equations; keep one of them.",
    ),
    (
        LEVELS + "    level 1: y ~ x\n    level 2: random\n",
        "Model 'm': Level 2 has an equation for each coefficient, on lines of their own; write level 1: "
        "outcome ~ predictors, and below level 2: a line such as intercept: predictors + random.\n  level 2: "
        "random\n  ^",
    ),
    (
        LEVELS + "    level 1: y ~ x\n    level 2: {x: [w]}\n",
        "models.m: Level equations are text. Got {'x': ['w']} under 'level 2'; write level 1: outcome ~ "
        "predictors, and below level 2: a line such as intercept: predictors + random.",
    ),
    (
        LEVELS + "    level 1: y ~ x\n    levl 2: {x: w}\n",
        "unknown key 'models.m.levl 2' (did you mean 'level 2'?); expected one of formula, estimator, df, "
        "residual, covariance, levels, robust, level 1, level 2, level 3.",
    ),
    (
        LEVELS + "    level 2: {x: w}\n",
        "Model 'm': Level equations begin with level 1, the equation of the outcome. Got none; write level "
        "1: outcome ~ predictors, and below level 2: a line such as intercept: predictors + random.",
    ),
    (
        HEAD + "models:\n  m:\n    level 1: y ~ x\n    level 2: {x: w}\n",
        "Model 'm': Level 2 needs the column that names its units. Got no levels; add it, as in levels: school.",
    ),
    (
        HEAD + "models:\n  m: {formula: y ~ x, estimator: ols}\n",
        "Model 'm': Unknown estimator. Got 'ols'; expected one of reml, ml.",
    ),
    (
        HEAD + "models:\n  m: {formula: y ~ x, levels: {a: 1}}\n",
        "Model 'm': levels is not understood. Got {'a': '1'}; expected a column, or a list of columns, lowest "
        "level first.",
    ),
    (
        HEAD + "models:\n  m: y ~ x + (1 | g\n",
        "Model 'm': The formula does not parse: expected ')' but found the end of the formula; the "
        "parenthesis opened at column 9 is not closed.\n  y ~ x + (1 | g\n                ^",
    ),
    (
        HEAD + "models:\n  m: y ~ within(x)\n",
        "Model 'm': within(…) needs the groups over which to take means, because the model does not have exactly one "
        "grouping factor. Got none; write within(x, group).\n  y ~ within(x)\n      ^",
    ),
    ("a: \u0000", "The file is not valid YAML: special characters are not allowed."),
    (
        HEAD + "models: &x {m: *x}\n",
        "The file is not valid YAML at line 3, column 9: an alias stands for a text, and at most 100 do; write it out.",
    ),
    (
        HEAD + "models: {m: &x {formula: y ~ x, covariance: {g: *x}}}\n",
        "The file is not valid YAML at line 3, column 13: an alias stands for a text, and at most 100 do; write it "
        "out.",
    ),
    (
        "<<: {analysis: a}\ndata: t\nmodels: {m: y ~ x}\n",
        "the key 'analysis' is missing; unknown key '<<'; expected one of " + KEYS + ".",
    ),
    ("[a]: b", "The file is not valid YAML at line 1, column 1: a key must be text, not a list or mapping."),
    (
        HEAD + "models: {[m]: y ~ x}\n",
        "The file is not valid YAML at line 3, column 10: a key must be text, not a list or mapping.",
    ),
    (
        HEAD + "models: {m: {? [formula] : y ~ x}}\n",
        "The file is not valid YAML at line 3, column 16: a key must be text, not a list or mapping.",
    ),
    ("analysis: a\ndata: t\n~: 3\nmodels: {m: y ~ x}\n", "unknown key '~'; expected one of " + KEYS + "."),
    (
        "%YAML 9.0\n---\na: b",
        "The file is not valid YAML at line 1, column 1: found incompatible YAML document (version 1.* is required).",
    ),
    (
        "a: !!binary xx",
        "The file is not valid YAML at line 1, column 4: the tag 'tag:yaml.org,2002:binary' is not allowed; remove it.",
    ),
    (
        "a: !!timestamp 99",
        "The file is not valid YAML at line 1, column 4: the tag "
        "'tag:yaml.org,2002:timestamp' is not allowed; remove it.",
    ),
    (HEAD + "models: {m: y ~ x, M: y ~ z}\n", "models 'm' and 'M' differ in letter case alone; rename one."),
    (
        HEAD + "models: {? {a: b} : y ~ x}\n",
        "The file is not valid YAML at line 3, column 12: a key must be text, not a list or mapping.",
    ),
    (
        HEAD + "models: {m: {level 1: y ~ x, level 2: {? [x] : w}}}\nlevels: g\n",
        "The file is not valid YAML at line 3, column 42: a key must be text, not a list or mapping.",
    ),
]


@pytest.mark.parametrize(("formula", "sentence", "caret"), FORMULAS)
def test_formulas(formula: str, sentence: str, caret: int | None) -> None:
    shown = "" if caret is None else f"\n  {' '.join(formula.splitlines())}\n  {' ' * caret}^"
    with pytest.raises(FormulaError) as error:
        parse_formula(formula)
    assert str(error.value) == sentence + shown


@pytest.mark.parametrize(("text", "sentence"), FILES)
def test_analysis_files(text: str, sentence: str) -> None:
    with pytest.raises(AnalysisError) as error:
        _ = parse_analysis(text).models_to_scan
    assert str(error.value) == sentence


def test_a_file_nested_too_deeply() -> None:
    with pytest.raises(AnalysisError, match=r"^The file is nested too deeply to be read; expected keys,"):
        parse_analysis("a: " + "[" * 500)


def test_a_sum_of_any_length_is_a_formula() -> None:
    assert len(parse_formula("y ~ " + " + ".join(f"x{i}" for i in range(3000))).fixed) == 3001


def test_structures_have_the_names_of_the_engine() -> None:
    assert tuple(COVARIANCES) == tuple(STRUCTURES)


TOKENS = (
    *("y", "x", "z", "g", "h", "`odd name`", "0", "1", "2", "2.5", "'a'", '"b"', "True", "random", "$", "`", "\n"),
    *("~", "+", "-", "*", "/", ":", "^", "**", "|", "||", "(", ")", ",", "=", "at=", "over=", "ref=", "level 2:"),
    *("within(", "between(", "center(", "C(", "I(", "poly(", "log(", "abs(", "foo(", "(1 | g)", "(x | g/h)"),
)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(TOKENS), max_size=14), st.sampled_from(["", "y ~ ", "level 1: y ~ x\nlevel 2:\n  x: "]))
def test_any_soup_of_tokens_is_a_model_or_a_formula_error(tokens: list[str], begin: str) -> None:
    with suppress(FormulaError):
        assert isinstance(parse_model(begin + " ".join(tokens), ("g",)), Model)


LEAVES = st.sampled_from(
    ["", "m", "n", "g", "y ~ x", "y ~ x + (x | g)", "aic", "p < 0.1", "build_up", "1", "-1", "CR2"]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LEAVES | st.sampled_from(["formula", "at"]), inner),
    max_leaves=5,
)
MODELS = st.just({"m": "y ~ x + (1 | g)"}) | VALUES


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from([*Analysis.model_fields, "modles"]), VALUES, max_size=4), MODELS)
def test_any_mapping_is_an_analysis_or_an_analysis_error(content: dict[str, Any], models: Any) -> None:
    keys = {"analysis": "a", "data": "t", "models": models} | content
    with suppress(AnalysisError):
        assert parse_analysis(yaml.safe_dump(keys)).models_to_scan


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="am: \n-[]{}&*!|>'\"#%@`,?~<y\t", max_size=30))
def test_any_text_is_an_analysis_or_an_analysis_error(text: str) -> None:
    with pytest.raises(AnalysisError):
        parse_analysis(text)
