"""Level equations compile to the model of the formula, and every mistake in them has its sentence."""

from __future__ import annotations

from functools import cache
from typing import Any

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.file.keys import ModelSpec
from mlm_ops.errors import AnalysisError, DataError, FormulaError
from mlm_ops.language.formula import formula_text, parse_formula
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.model import Model, Variable, columns_of
from mlm_ops.language.structures import with_covariance
from mlm_ops.results.equations.levels import LevelEquations, level_equations_of
from tests.specification.reference import reference

HSB = """
level 1: mathach ~ within(ses)
level 2:
  intercept:   between(ses) + sector + random
  within(ses): sector + random
"""
HSB_FORMULA = "mathach ~ within(ses) * sector + between(ses) + (1 + within(ses) | school)"

#: Grouping factors cross, which level equations do not say.
CROSSED = {"insteval_small", "penicillin_ml", "penicillin_reml"}


def _formulas() -> list[tuple[str, str]]:
    formulas = []
    for name in reference.names("lmer", "nlme", "lrt_ladder", "ols_cluster_robust", "lmer_cluster_robust"):
        case = reference.case(name)
        models = [m["formula"] for m in case["models"].values()] if "models" in case else [case["formula"]]
        formulas += [(name, formula) for formula in models if name not in CROSSED]
    return formulas


@cache
def _rows(name: str) -> pl.DataFrame:
    return reference.connection().sql(f"select * from {reference.table(name)}").pl()


def _nest(name: str, model: Model) -> list[tuple[str, ...]]:
    return sorted(model.groups, key=lambda group: -_rows(name).select(group).unique().height)


def _varies_at(name: str, groups: list[tuple[str, ...]], variable: Variable) -> int:
    """The textbook's level of a variable, looked up in the rows."""
    columns = columns_of(variable)
    constant = [
        g for g in groups if _rows(name).group_by(g).agg(pl.struct(columns).n_unique().alias("n"))["n"].max() == 1
    ]
    return max((groups.index(group) + 2 for group in constant), default=1)


def _equations(name: str, formula: str) -> tuple[Model, LevelEquations]:
    model = parse_formula(formula)
    groups = _nest(name, model)
    return model, level_equations_of(model, groups, lambda variable: _varies_at(name, groups, variable))


def _content(model: Model) -> tuple[Any, ...]:
    """A model without the order of its terms and blocks, in which a formula may mix the levels."""
    blocks = frozenset((frozenset(b.terms), b.group, b.covariance) for b in model.random)
    return model.outcome, frozenset(model.fixed), blocks, model.default_group, model.residual


@pytest.mark.parametrize(("name", "formula"), _formulas())
def test_every_reference_case_written_as_level_equations_compiles_to_its_model(name: str, formula: str) -> None:
    model, equations = _equations(name, formula)
    ours = parse_model(equations.text, equations.levels)
    assert _content(ours) == _content(model)
    assert len(ours.fixed) == len(model.fixed)
    assert parse_formula(ours.text, equations.levels) == ours


@pytest.mark.parametrize(("name", "formula"), _formulas())
def test_every_model_prints_as_the_formula_that_it_came_from(name: str, formula: str) -> None:
    assert parse_formula(formula_text(parse_formula(formula))) == parse_formula(formula)


@pytest.mark.parametrize("name", ["hsb_cross_level", "sim3_nested", "slopes5_blocks", "machines_factor_slopes"])
def test_the_yaml_of_level_equations_is_a_model_of_an_analysis(name: str) -> None:
    model, equations = _equations(name, reference.case(name)["formula"])
    lines = "".join(f"    {line}\n" for line in equations.yaml.splitlines())
    analysis = parse_analysis(f"analysis: a\ndata: t\nmodels:\n  m:\n{lines}")
    assert _content(analysis.compiled_models["m"]) == _content(model)


HAND_WRITTEN = {
    "regression": ("level 1: y ~ x * z", "", "y ~ x * z"),
    "means as outcomes": ("level 1: y ~ 1\nlevel 2:\n  intercept: w + random", "g", "y ~ w + (1 | g)"),
    "nonrandomly varying slope": (
        "level 1: y ~ x\nlevel 2:\n  intercept: random\n  x: w",
        "g",
        "y ~ x + x:w + (1 | g)",
    ),
    "slope without a mean": ("level 1: y ~ x\nlevel 2:\n  intercept: random\n  x: 0 + random", "g", "y ~ 1 + (x | g)"),
    "slope without an intercept's effect": ("level 1: y ~ x\nlevel 2:\n  x: random", "g", "y ~ x + (0 + x | g)"),
    "factor slopes": ("level 1: y ~ k\nlevel 2:\n  k: random", "g", "y ~ k + (0 + k | g)"),
    "independent effects": (
        "level 1: y ~ x + z\nlevel 2:\n  intercept: random(independent)\n  x: random(independent)\n"
        "  z: random(independent)",
        "g",
        "y ~ x + z + (x + z || g)",
    ),
    "blocks": (
        "level 1: y ~ x + z + v\nlevel 2:\n  intercept: random(block=a)\n  x: random(block=a)\n  z: random(block=b)\n"
        "  v: random(block=b)",
        "g",
        "y ~ x + z + v + (x | g) + (0 + z + v | g)",
    ),
    "no intercept": ("level 1: y ~ 0 + x\nlevel 2:\n  x: w + random", "g", "y ~ 0 + x + x:w + (0 + x | g)"),
    "interactions": (
        "level 1: y ~ x * z\nlevel 2:\n  intercept: v * w + random\n  z:x: w + random",
        "g",
        "y ~ x + z + x:z + v + w + v:w + x:z:w + (x:z | g)",
    ),
    "three levels": (
        "level 1: y ~ x\nlevel 2:\n  intercept: z + random\n  x: z + random\n"
        "level 3:\n  intercept: q + random\n  x: q + random\n  z: random\n  x:z: q",
        ("class", "school"),
        "y ~ x + z + q + x:z + x:q + z:q - z:q + x:z:q + (x | class) + (x + z | school)",
    ),
    "random at level 3 alone": (
        "level 1: y ~ x\nlevel 2:\n  intercept: random\nlevel 3:\n  x: random",
        ("school:class", "school"),
        "y ~ x + (1 | school:class) + (0 + x | school)",
    ),
    "four levels": (
        "level 1: y ~ 1\nlevel 2:\n  intercept: random\nlevel 3:\n  intercept: random\n"
        "level 4:\n  intercept: w + random",
        ("a:b:c", "a:b", "a"),
        "y ~ w + (1 | a:b:c) + (1 | a:b) + (1 | a)",
    ),
    "functions and odd names": (
        "level 1: log(y) ~ `odd: name` + center(x, at=5)\nlevel 2:\n  `odd: name`: `random` + random",
        "my school",
        "log(y) ~ `odd: name` + center(x, at=5) + `odd: name`:random + (0 + `odd: name` | `my school`)",
    ),
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_written_by_hand(name: str) -> None:
    text, levels, formula = HAND_WRITTEN[name]
    levels = (levels,) if isinstance(levels, str) and levels else tuple(levels)
    ours = parse_model(text, levels)
    assert _content(ours) == _content(parse_formula(formula, levels))
    assert parse_formula(ours.text, levels) == ours


def test_the_order_of_terms_is_that_of_a_formula_which_begins_at_level_1() -> None:
    assert parse_model(HSB, ("school",)) == parse_formula(
        "mathach ~ within(ses) + between(ses) + sector + within(ses):sector + (within(ses) | school)"
    )


def test_covariance_structures() -> None:
    text = "level 1: y ~ x\nlevel 2:\n  intercept: random(covariance=compound)\n  x: random"
    formula = with_covariance(parse_formula("y ~ x + (x | g)"), {"g": "compound"})
    assert parse_model(text, ("g",)).random == formula.random


def test_level_equations_in_python_give_the_fit_of_the_formula() -> None:
    table, connection = reference.table("hsb_null_reml"), reference.connection()
    mapping = {
        "level 1": "mathach ~ within(ses)",
        "level 2": {"intercept": "between(ses) + sector + random", "within(ses)": "sector + random"},
    }
    formula = mlm.fit(HSB_FORMULA, table, connection=connection).fixed_effects
    for specification in (mapping, HSB):
        fit = mlm.fit(specification, table, connection=connection, levels="school")
        ours = fit.fixed_effects.sort("term")
        assert ours["term"].to_list() == sorted(formula["term"])
        # one optimum, approached from designs whose columns stand in another order
        assert ours["estimate"].to_list() == pytest.approx(formula.sort("term")["estimate"].to_list(), rel=1e-8)


def test_an_analysis_file_with_level_equations() -> None:
    analysis = parse_analysis(
        "analysis: hsb\ndata: t\nlevels: school\nmodels:\n"
        "  mapping:\n    level 1: mathach ~ within(ses)\n    level 2:\n"
        "      intercept:   between(ses) + sector + random\n      within(ses): sector + random\n    estimator: ml\n"
        "  block: |\n" + "".join(f"    {line}\n" for line in HSB.strip().splitlines())
    )
    assert analysis.compiled_models["mapping"] == analysis.compiled_models["block"] == parse_model(HSB, ("school",))
    assert analysis.requests["mapping"].estimator == "ml"
    assert analysis.models["mapping"].formula.startswith("level 1: mathach ~ within(ses)\nlevel 2:\n  intercept: betw")


def test_levels_of_a_formula_say_which_labels_nest() -> None:
    rows = pl.DataFrame({"y": [1.0, 2, 3, 5, 8, 7, 6, 4], "c": [1, 1, 2, 2] * 2, "s": ["a"] * 4 + ["b"] * 4})
    fit = mlm.fit("y ~ 1 + (1 | c)", rows, levels=["c", "s"])
    assert fit.random_effects["unit"].to_list() == ["a:1", "a:2", "b:1", "b:2"]


LEVEL_1 = "level 1: y ~ x + z\nlevel 2:\n"
FAULTS: list[tuple[str, tuple[str, ...], str, str | None]] = [
    (
        LEVEL_1 + "  w: random",
        ("g",),
        "Level 2 has an equation for 'w', but level 1 has no such coefficient. There are intercept, x, z.",
        None,
    ),
    (
        LEVEL_1 + "  intercpt: random",
        ("g",),
        "Level 2 has an equation for 'intercpt', but level 1 has no such coefficient. Did you mean 'intercept'? There "
        "are intercept, x, z.",
        None,
    ),
    (
        LEVEL_1 + "  x: w + random\n  w: random",
        ("g",),
        "Level 2 has an equation for 'w', but level 1 has no such coefficient. There are intercept, x, z. w explains "
        "coefficients at level 2, the highest: its own cannot be random, as there is no higher unit for it to "
        "vary over.",
        None,
    ),
    (
        LEVEL_1 + "  x: w + random\n  w: random",
        ("g", "h"),
        "Level 2 has an equation for 'w', but level 1 has no such coefficient. There are intercept, x, z. w explains "
        "coefficients at level 2: its own can be random at level 3.",
        None,
    ),
    (
        LEVEL_1 + "  x: w + random\nlevel 3:\n  x:w: random",
        ("g",),
        "The coefficient of x:w cannot be random at level 3: level 2 is the highest, so there is no higher unit for it "
        "to vary over. Got levels g; add the column of the level-3 units, levels: [g, …], or remove random.",
        None,
    ),
    (
        LEVEL_1 + "  x: w + random\nlevel 3:\n  x:v: random",
        ("g", "h"),
        "Level 3 has an equation for 'x:v', but the levels below have no such coefficient. Did you mean 'x:w'? There "
        "are intercept, x, z, x:w.",
        None,
    ),
    (
        LEVEL_1 + "  x: w",
        (),
        "Level 2 needs the column that names its units. Got no levels; add it, as in levels: school.",
        None,
    ),
    (
        LEVEL_1 + "  x: w * random",
        ("g",),
        "Level 2, equation of x: random must be a separate term of the sum: write … + random.",
        "w * random\n      ^",
    ),
    (LEVEL_1 + "  x: w - random", ("g",), "Level 2, equation of x: random cannot be subtracted; leave it out.", "w - "),
    (LEVEL_1 + "  x: random + random", ("g",), "Level 2, equation of x: random is given twice; keep one.", "random + "),
    (
        LEVEL_1 + "  x: random(free)",
        ("g",),
        "Level 2, equation of x: random takes independent, block=name and covariance=structure.",
        "random(free)\n  ^",
    ),
    (
        LEVEL_1 + "  x: random(independent, block=2)",
        ("g",),
        "Level 2, equation of x: An independent effect is a block of its own, of one variance; drop the other options.",
        "random(",
    ),
    (
        LEVEL_1 + "  x: random(covariance=diagonal)\n  z: random(covariance=compound)",
        ("g",),
        "Random effects of level 2 that covary have one covariance structure. Got compound and diagonal; say it once, "
        "or separate them by random(block=…).",
        None,
    ),
    (
        LEVEL_1 + "  x: w +",
        ("g",),
        "Level 2, equation of x: The formula does not parse: expected a column, a number or '(' but found the end of "
        "the formula.",
        "w +\n     ^",
    ),
    (
        LEVEL_1 + "  x + z: w",
        ("g",),
        "Level 2: An equation explains one coefficient; give each its own line.",
        "x + z\n    ^",
    ),
    (LEVEL_1 + "  x: w\n  x: v", ("g",), "Level 2 has two equations for 'x'; put them together.", "x: v\n  ^"),
    (LEVEL_1 + "  1: w\n  intercept: v", ("g",), "Level 2 has two equations for 'intercept'; put them together.", None),
    (
        LEVEL_1 + "  x: (w | g)",
        ("g",),
        "Level 2, equation of x: Level equations mark random coefficients by random, not by (… | group).",
        "(w | g)",
    ),
    (
        "level 1: y ~ x + (x | g)",
        ("g",),
        "Level 1: Level equations mark random coefficients by random, not by (… | group).",
        "y ~ x + (x | g)\n             ^",
    ),
    (
        "level 1: y ~ x + random",
        ("g",),
        "Level 1: random marks a coefficient in its equation at level 2; at level 1 the residual is always there.",
        "y ~ x + random\n          ^",
    ),
    (
        "level 1: y ~ x + x:w\nlevel 2:\n  x: w",
        ("g",),
        "The term x:w is given twice: the level-2 equation of x brings it in, and it was there before. Remove one "
        "of them.",
        None,
    ),
    ("level 1: y = x", (), "Level 1: A formula has ~ between the outcome and its predictors, not =; use ~.", "y = x"),
    ("level 1: y ~ x + y", (), "The outcome 'y' is also among the predictors; remove it from one side.", "y ~ "),
    (
        "level 2:\n  intercept: random",
        ("g",),
        "Level equations begin with level 1, the equation of the outcome. Got none; write level 1: outcome ~ "
        "predictors, and below level 2: a line such as intercept: predictors + random.",
        None,
    ),
    (
        "level 1: y ~ x\nlevel 3:\n  x: random",
        ("g", "h"),
        "Level 2 is missing below level 3. If it explains nothing, write level 2: with the line intercept: 1.",
        None,
    ),
    ("level 1: y ~ x\nlevel 1: y ~ z", ("g",), "Level 1 is given twice in the level equations.", "level 1: y ~ z"),
    (
        "level 1: y ~ x\nlevel 2: random",
        ("g",),
        "Level 2 has an equation for each coefficient, on lines of their own; write level 1: outcome ~ predictors, and "
        "below level 2: a line such as intercept: predictors + random.",
        "level 2: random",
    ),
    (
        "level 1: y ~ x\n  x: random",
        ("g",),
        "The level equations do not parse: write level 1: outcome ~ predictors, and below level 2: a line such as "
        "intercept: predictors + random.",
        "x: random",
    ),
    (
        "level 1: y ~ within(x)\nlevel 2:\n  intercept: random\nlevel 3:\n  intercept: random",
        ("g", "h"),
        "within(…) needs the groups over which to take means, because the model does not have exactly one grouping "
        "factor. Got g, h; write within(x, group).",
        "y ~ within(x)\n      ^",
    ),
]


@pytest.mark.parametrize(("text", "levels", "sentence", "shown"), FAULTS)
def test_faults(text: str, levels: tuple[str, ...], sentence: str, shown: str | None) -> None:
    with pytest.raises(FormulaError) as error:
        parse_model(text, levels)
    first, _, rest = str(error.value).partition("\n")
    assert first == sentence
    assert rest.startswith(f"  {shown}") if shown is not None else rest == ""


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        (
            {"levl 1": "y ~ x"},
            "Unknown key 'levl 1' in level equations. Did you mean 'level 1'? Expected level 1, level 2, ",
        ),
        ({"level 1": 3}, "Level equations are text. Got 3 under 'level 1'; write level 1: outcome ~ predictors"),
        ({"level 1": "y ~ x", "level 2": {"x": 1}}, "Level equations are text. Got {'x': 1} under 'level 2'"),
    ],
)
def test_faulty_mappings(mapping: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FormulaError) as error:
        mlm.fit(mapping, pl.DataFrame({"y": [1.0]}))
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("{level 1: y ~ x, formula: y ~ z}", "models.m has a formula and level equations; keep one of them."),
        ("{level 1: [y]}", "models.m: Level equations are text. Got ['y'] under 'level 1'"),
        (
            "{level 1: y ~ x, level 2: {w: random}}",
            "Model 'm': Level 2 has an equation for 'w', but level 1 has no such",
        ),
        (
            "{levl 1: y ~ x}",
            "unknown key 'models.m.levl 1' (did you mean 'level 1'?); expected one of formula, estimator",
        ),
    ],
)
def test_faulty_models_in_an_analysis(model: str, sentence: str) -> None:
    with pytest.raises(AnalysisError) as error:
        _ = parse_analysis(f"analysis: a\ndata: t\nlevels: g\nmodels:\n  m: {model}\n").compiled_models
    assert sentence in str(error.value)


def test_a_model_has_its_own_levels() -> None:
    spec = ModelSpec(formula="level 1: y ~ x", levels="school")
    assert spec.levels == ("school",)


@pytest.mark.parametrize(
    ("level_2", "sentence"),
    [
        (
            {"intercept": "ses + random"},
            "ses explains coefficients at level 2, but it varies within 160 of 160 units of school. Put ses at "
            "level 1, or between(ses) in its place.",
        ),
        (
            {"intercept": "sex + random"},
            "sex explains coefficients at level 2, but it varies within 123 of 160 units of",
        ),
    ],
)
def test_a_predictor_of_level_2_that_varies_within_the_units(level_2: dict[str, str], sentence: str) -> None:
    table, connection = reference.table("hsb_null_reml"), reference.connection()
    with pytest.raises(DataError) as error:
        mlm.fit({"level 1": "mathach ~ 1", "level 2": level_2}, table, connection=connection, levels="school")
    assert str(error.value).startswith(sentence)


def test_predictors_stand_at_the_level_of_their_units() -> None:
    equations: dict[str, Any] = {
        "level 1": "y ~ x",
        "level 2": {"intercept": "z + random"},
        "level 3": {"intercept": "q + random"},
    }
    table, connection = reference.table("sim3_nested"), reference.connection()
    fit = mlm.fit(equations, table, connection=connection, levels=["class", "school"])
    assert fit.equation_structure.n_levels == 3
    with pytest.raises(
        DataError, match=r"^z explains coefficients at level 3, but it varies within \d+ of \d+ units of s"
    ):
        mlm.fit(
            equations | {"level 2": {"intercept": "random"}, "level 3": {"intercept": "z + random"}},
            table,
            connection=connection,
            levels=["class", "school"],
        )
