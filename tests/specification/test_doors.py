"""Every option through every door: the same numbers, or the same refusal.

The doors are Python (with rows, and with moments that were collected before), an analysis file, ``FROM mlm()``, which
is dbt's too, and an asset of Dagster, which reads an analysis. What an option means is known to `language.request`
alone; a door may only put the name of a model, or of what fails, before a sentence, and that is taken off here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

import mlm_ops as mlm
import mlm_ops.cli.main as cli
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis, fit_analysis_model
from mlm_ops.analyses.store.runs import read_latest
from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.level_equations import level_text
from mlm_ops.language.request import Request, compile_request
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets
from mlm_ops.plugins.duckdb import register

#: Every door adds the same squares, SQL's one statement in another order, which is rounding in the last digits; a p
#: value far in the tail has a hundred times the error of its statistic.
NUMBERS, P_VALUES = 1e-12, 1e-9
TABLES = ("fixed_effects", "variance_components", "fit_statistics")
#: The search for the optimum, and the clock.
OF_THE_SEARCH = ("gradient", "evaluations", "seconds")
Numbers = dict[str, pl.DataFrame]
Door = Callable[[Any, Mapping[str, Any]], Numbers]


def _rows() -> pl.DataFrame:
    """Nine schools of four classes of eight pupils; `c` numbers the classes of each school anew."""
    random = np.random.default_rng(11)
    school, c, t = np.repeat(np.arange(9), 32), np.tile(np.repeat(np.arange(4), 8), 9), np.tile(np.arange(8), 36)
    class_ = school * 4 + c
    x = random.normal(size=288) + random.normal(size=36)[class_]
    z = random.normal(size=9)[school]
    effects = random.normal(size=(2, 36))[:, class_]
    sex = np.array(["f", "m"])[random.integers(0, 2, 288)]
    noise = random.normal(size=288) * np.where(sex == "f", 1.0, 1.4)
    y = 1 + 0.5 * x + 0.3 * z + random.normal(size=9)[school] + effects[0] + 0.5 * effects[1] * x + noise
    columns = {"school": school, "class": class_, "c": c, "t": t, "x": x, "z": z, "sex": sex, "y": y}
    return pl.DataFrame(columns | {"w": random.integers(1, 5, 288), "district": school // 3})


ROWS = _rows()


@pytest.fixture(scope="module")
def connection() -> Any:
    with duckdb.connect() as opened:
        register(opened)
        opened.register("frame", ROWS.to_arrow())
        opened.execute("create table pupils as from frame")
        yield opened


def _analysis(formula: Any, given: Mapping[str, Any]) -> Analysis:
    """The analysis file that says the same; a model has its own levels, and what it may say itself, too."""
    content = {"analysis": "doors", "data": "pupils", "models": {"m": formula}, "predictions": False}
    return parse_analysis(yaml.safe_dump(content | dict(given), sort_keys=False))


def _argument(name: str, value: Any) -> str:
    """An option as a named argument in SQL, where one level is a list of one."""
    value = [value] if name == "levels" and isinstance(value, str) else value
    return f", {name} := {'map ' if isinstance(value, dict) else ''}{value!r}"


@pytest.fixture(scope="module")
def doors(connection: duckdb.DuckDBPyConnection) -> dict[str, Door]:
    def python(formula: Any, given: Mapping[str, Any]) -> Numbers:
        fitted = mlm.fit(formula, ROWS, **given)
        return {table: getattr(fitted, table) for table in TABLES}

    def moments(formula: Any, given: Mapping[str, Any]) -> Numbers:
        request = compile_request(formula, **given)
        plain = {"levels": [*request.keys]} if request.keys else {}
        residual = {name: given[name] for name in ("weights", "residual") if name in given}
        collected = mlm.fit(formula, ROWS, **{**plain, **residual}).moments
        fitted = mlm.fit(formula, collected, **given)
        return {table: getattr(fitted, table) for table in TABLES}

    def file(formula: Any, given: Mapping[str, Any]) -> Numbers:
        analysis = _analysis(formula, given)
        fitted = fit_analysis_model(analysis, "m", collect_analysis(analysis, connection), connection)
        return {table: getattr(fitted, table) for table in TABLES}

    def model_of_a_file(formula: Any, given: Mapping[str, Any]) -> Numbers:
        """The same where the model says itself what a model may say itself."""
        own = {name: value for name, value in given.items() if name in OWN}
        equations = formula if isinstance(formula, dict) else {"formula": formula}
        return file(equations | own, {name: value for name, value in given.items() if name not in OWN})

    def sql(formula: Any, given: Mapping[str, Any]) -> Numbers:
        functions = ("mlm", "mlm_variance_components", "mlm_fit_statistics")
        text = level_text(formula) if isinstance(formula, dict) else formula
        asked = f"(?, 'pupils'{''.join(_argument(*option) for option in given.items())})"
        answers = (connection.sql(f"from {function}{asked}", params=[text]).pl() for function in functions)
        return dict(zip(TABLES, answers, strict=True))

    return {"python": python, "moments": moments, "file": file, "model of a file": model_of_a_file, "sql": sql}


#: What a model of an analysis file may say for itself.
OWN = ("estimator", "df", "residual", "covariance", "levels", "robust")
SLOPES = "y ~ x + z + (x | class)"
LEVELS_TEXT = "level 1: y ~ x\nlevel 2:\n  intercept: z + random\n  x: random"
LEVELS_MAPPING = {"level 1": "y ~ x", "level 2": {"intercept": "z + random", "x": "random"}}
TWO = ["class", "school"]

#: A name, the formula, the options.
FITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "defaults": (SLOPES, {}),
    "estimator reml": (SLOPES, {"estimator": "reml"}),
    "estimator ml": (SLOPES, {"estimator": "ml"}),
    "df satterthwaite": (SLOPES, {"df": "satterthwaite"}),
    "df kenward-roger": (SLOPES, {"df": "kenward-roger"}),
    "df none": (SLOPES, {"df": "none"}),
    "weights": (SLOPES, {"weights": "w"}),
    "residual by": (SLOPES, {"residual": "by(sex)"}),
    "residual ar1": ("y ~ x + (1 | class)", {"residual": "ar1(t)"}),
    "residual fixed": (SLOPES, {"residual": "fixed(w)"}),
    "residual by and weights": ("y ~ x + (1 | class)", {"residual": "by(sex)", "weights": "w"}),
    **{f"covariance {name}": (SLOPES, {"covariance": {"class": name}}) for name in ("unstructured", "diagonal")},
    **{f"covariance {name}": (SLOPES, {"covariance": {"class": name}}) for name in ("compound", "identity")},
    "covariance a variance": ("y ~ x + (1 | class)", {"covariance": {"class": "0.8"}}),
    "covariance a matrix": (SLOPES, {"covariance": {"class": [[1.0, 0.2], [0.2, 0.5]]}}),
    "covariance of a block": (
        "y ~ x + (x || class) + (1 | school)",
        {"covariance": {"0 + x | class": "0.3", "school": "diagonal"}},
    ),
    **{f"robust {name}": (SLOPES, {"robust": name}) for name in get_args(options.ClusterKind)},
    "robust over the top factor": ("y ~ x + (1 | class) + (1 | school)", {"robust": "CR2"}),
    "robust and normal": (SLOPES, {"robust": "CR2", "df": "none"}),
    "cluster": (SLOPES, {"robust": "CR2", "cluster": "school"}),
    "cluster of two columns": ("y ~ x", {"robust": "CR2", "cluster": "school:c"}),
    "regression": ("y ~ x + z", {}),
    "regression, cluster": ("y ~ x + z", {"robust": "CR2", "cluster": "school"}),
    "regression, one level": ("y ~ x + z", {"robust": "CR2", "levels": ["school"]}),
    "regression, two levels": ("y ~ x + z", {"robust": "CR1", "levels": TWO}),
    "regression, level of two columns": ("y ~ x + z", {"robust": "CR1S", "levels": ["school:c"]}),
    "regression, levels and cluster": ("y ~ x + z", {"robust": "CR2", "levels": TWO, "cluster": "class"}),
    "regression as level equations": ("level 1: y ~ x", {"robust": "CR2", "levels": ["school"]}),
    "levels a text": ("y ~ within(x) + z", {"levels": "school"}),
    "levels that nest labels": ("y ~ x + (1 | c)", {"levels": ["c", "school"]}),
    "levels that nest labels, robust": ("y ~ within(x, c) + (1 | c)", {"levels": ["c", "school"], "robust": "CR2"}),
    "level equations": (LEVELS_TEXT, {"levels": "class", "estimator": "ml"}),
    "level equations by key": (LEVELS_MAPPING, {"levels": "class", "covariance": {"class": "diagonal"}}),
}


@pytest.fixture(scope="module")
def expected(doors: dict[str, Door]) -> Callable[[str], Numbers]:
    known: dict[str, Numbers] = {}

    def of(name: str) -> Numbers:
        if name not in known:
            known[name] = doors["python"](*FITS[name])
        return known[name]

    return of


def assert_same(here: Numbers, there: Numbers) -> None:
    for table in TABLES:
        ours, theirs = (numbers[table].drop(OF_THE_SEARCH, strict=False) for numbers in (here, there))
        assert_frame_equal(
            ours.drop("p_value", strict=False), theirs.drop("p_value", strict=False), rel_tol=NUMBERS, abs_tol=NUMBERS
        )
        if "p_value" in ours.columns:
            assert_frame_equal(ours.select("p_value"), theirs.select("p_value"), rel_tol=P_VALUES, abs_tol=0)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("door", ["moments", "file", "model of a file", "sql"])
def test_the_same_numbers(doors: dict[str, Door], expected: Callable[[str], Numbers], door: str, name: str) -> None:
    assert_same(doors[door](*FITS[name]), expected(name))


#: Errors that are sums over rows, by the doors that have rows.
OF_ROWS = {
    **{name: ("y ~ x*sex + z", {"robust": name}) for name in get_args(options.RowKind)},
    "levels": ("y ~ within(x) + z", {"robust": "HC3", "levels": "school"}),
    "weights": ("y ~ x + z", {"robust": "HC2", "weights": "w"}),
    "residual": ("y ~ x + z", {"robust": "HC3", "residual": "by(sex)", "df": "none"}),
}
NO_ROWS = (
    "{} errors are sums over rows, which moments do not hold. Got moments alone, as mlm() in SQL and kept moments are; "
    "give the rows to mlm_ops.fit or in an analysis file, or use CR2 with cluster."
)


@pytest.mark.parametrize("name", OF_ROWS)
def test_errors_of_rows_where_there_are_rows(doors: dict[str, Door], name: str) -> None:
    formula, given = OF_ROWS[name]
    expected = doors["python"](formula, given)
    for door in ("file", "model of a file"):
        assert_same(doors[door](formula, given), expected)
    for door in ("moments", "sql"):
        with pytest.raises((MlmError, duckdb.Error)) as refused:
            doors[door](formula, given)
        assert NO_ROWS.format(given["robust"]) in str(refused.value)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Numbers]:
    """A few of the fits as assets of Dagster, materialized in one run."""
    warehouse = Warehouse(directory=str(tmp_path_factory.mktemp("doors")))
    names = {f"fit_{i}": name for i, name in enumerate(AS_ASSETS)}

    @dg.asset(key="pupils")
    def load(warehouse: Warehouse) -> None:
        with warehouse.connection() as opened:
            opened.register("frame", ROWS.to_arrow())
            opened.execute("create or replace table main.pupils as from frame")

    graph = dg.Definitions(assets=[load], resources={"warehouse": warehouse}, executor=dg.in_process_executor)
    for analysis, name in names.items():
        one = _analysis(*FITS[name]).model_copy(update={"analysis": analysis})
        graph = dg.Definitions.merge(graph, build_analysis_assets(one))
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert graph.resolve_implicit_global_asset_job_def().execute_in_process(run_config=quiet).success
    with warehouse.connection() as opened:
        latest = {table: read_latest(opened, table) for table in TABLES}
    ours = {"run_id", "analysis", "model"}
    return {
        name: {table: rows.filter(pl.col("analysis") == analysis).drop(ours) for table, rows in latest.items()}
        for analysis, name in names.items()
    }


#: A run of a graph takes a second, so that a handful stands for all: the asset reads an analysis, as the file's door.
AS_ASSETS = ("defaults", "df kenward-roger", "residual by and weights", "regression, two levels", "level equations")


@pytest.mark.parametrize("name", AS_ASSETS)
def test_an_asset_has_the_same_numbers(
    published: dict[str, Numbers], expected: Callable[[str], Numbers], name: str
) -> None:
    assert_same(published[name], expected(name))


COLUMNS = "expected a column, or a list of columns, lowest level first."
JOINED = "expected a column, or several joined by a colon."
MATRIX = (
    "covariance of class is a structure's name, one variance, or a symmetric matrix of variances and covariances "
    "without a negative variance in any direction."
)
PARTS = "The residual structure is a sum of by(column), ar1(column) and fixed(column)."
STRUCTURES = "expected one of unstructured, diagonal, compound, identity, a variance, or a matrix."
MISSPELT = "level 1: y ~ x\nlevel 2:\n  intercept: random(covariance=toeplitz)"
#: A formula, the options, and the whole sentence.
REFUSALS: list[tuple[Any, dict[str, Any], str]] = [
    (SLOPES, {"estimator": "mle"}, "Unknown estimator. Got 'mle'; expected one of reml, ml."),
    (SLOPES, {"estimator": ""}, "Unknown estimator. Got nothing; expected one of reml, ml."),
    (SLOPES, {"df": "welch"}, "Unknown df. Got 'welch'; expected one of satterthwaite, kenward-roger, none."),
    (SLOPES, {"robust": "HC4"}, "Unknown robust. Got 'HC4'; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3."),
    (
        SLOPES,
        {"robust": "HC3"},
        "HC3 errors are for single-level regression, as they take rows for independent. Got random effects of class; "
        "use CR2, which allows for unequal variances too.",
    ),
    (
        "y ~ x",
        {"robust": "HC2", "cluster": "class"},
        "HC2 errors have no clusters. Got cluster 'class'; drop it, or use CR2.",
    ),
    (
        "within(y) ~ within(x)",
        {"robust": "HC2", "levels": "class"},
        "HC2 errors need single rows, and within(y) is not the value of a single row. Use CR2 with cluster.",
    ),
    (SLOPES, {"weights": ""}, "weights is not understood. Got nothing; expected a column."),
    (
        SLOPES,
        {"residual": " "},
        "residual is not understood. Got ' '; expected a sum of by(column), ar1(column) and fixed(column).",
    ),
    (SLOPES, {"residual": "ar2(t)"}, f"{PARTS}\n  ar2(t)\n  ^"),
    (SLOPES, {"residual": "by(sex, t)"}, "by() takes one column.\n  by(sex, t)\n  ^"),
    (
        SLOPES,
        {"residual": "by(sex) + by(t)"},
        "The residual structure has by(…) twice.\n  by(sex) + by(t)\n            ^",
    ),
    (
        SLOPES,
        {"residual": "fixed(x)", "weights": "w"},
        "Known variances are given twice: weights=w and fixed(x); keep one of them.\n  fixed(x)\n  ^",
    ),
    (
        SLOPES,
        {"covariance": {"class": "toeplitz"}},
        f"Unknown covariance structure. Got 'toeplitz' for class; {STRUCTURES}",
    ),
    (MISSPELT, {"levels": "class"}, f"Unknown covariance structure. Got 'toeplitz' for class; {STRUCTURES}"),
    (
        SLOPES,
        {"covariance": {"school": "diagonal"}},
        "covariance names a grouping factor that is not there. Got 'school'; expected one of class.",
    ),
    (
        "y ~ x",
        {"covariance": {"school": "diagonal"}},
        "covariance names a grouping factor that is not there. Got 'school'; expected one of none.",
    ),
    (SLOPES, {"covariance": {"class": "-1"}}, f"{MATRIX} Got -1."),
    (SLOPES, {"covariance": {"class": [[1, 2], [2, 1]]}}, f"{MATRIX} Got [[1, 2], [2, 1]]."),
    (
        "y ~ x + (x || class)",
        {"covariance": {"class": "1"}},
        "covariance gives one value for the 2 random blocks of class. Name them one by one: '1 | class', "
        "'0 + x | class'.",
    ),
    (SLOPES, {"robust": "CR2", "cluster": ""}, f"cluster is not understood. Got nothing; {JOINED}"),
    (SLOPES, {"robust": "CR2", "cluster": "school:"}, f"cluster is not understood. Got 'school:'; {JOINED}"),
    (SLOPES, {"levels": [""]}, f"levels is not understood. Got ['']; {COLUMNS}"),
    (
        SLOPES,
        {"levels": ["class", "class"]},
        "levels has 'class' twice; name the column of each level once, lowest first.",
    ),
    (
        SLOPES,
        {"estimator": "ml", "df": "kenward-roger"},
        "Kenward-Roger's method is for REML. Got estimator 'ml' and df 'kenward-roger'; change one of them.",
    ),
    (
        SLOPES,
        {"robust": "CR2", "df": "kenward-roger"},
        "Kenward-Roger's errors and robust errors exclude each other. Got df 'kenward-roger' and robust 'CR2'; drop "
        "one of them.",
    ),
    (
        SLOPES,
        {"cluster": "school"},
        "A cluster is for robust errors. Got cluster 'school' without robust; add robust 'CR2'.",
    ),
    (
        "y ~ x",
        {"robust": "CR1"},
        "Robust errors of single-level regression need clusters. Got robust 'CR1', no cluster and no levels; name the "
        "column that holds them as cluster.",
    ),
    (
        "level 1: y ~ x",
        {"robust": "CR2"},
        "Robust errors of single-level regression need clusters. Got robust 'CR2', no cluster and no levels; name the "
        "column that holds them as cluster.",
    ),
    ("  ", {}, "The formula is empty; write outcome ~ predictors + (1 | group)."),
    (
        "y ~ x + (1 | class",
        {},
        "The formula does not parse: expected ')' but found the end of the formula; the parenthesis opened at column 9 "
        "is not closed.\n  y ~ x + (1 | class\n                    ^",
    ),
    (
        LEVELS_TEXT,
        {},
        "Level 2 needs the column that names its units. Got no levels; add it, as in levels: school.",
    ),
    (
        f"{LEVELS_TEXT}\n  w: random",
        {"levels": "class"},
        "Level 2 has an equation for 'w', but level 1 has no such coefficient. There are intercept, x.",
    ),
    (
        "y ~ x + (1 | class)",
        {"robust": "CR2", "cluster": "t"},
        "The clusters of t cut through units of the grouping factor class. Got 0 in 8 clusters; cluster by a column "
        "that holds its units whole.",
    ),
]
#: What a door says before a sentence: which model, or whose error it is. It is taken off before sentences are compared.
BEFORE = {
    "python": "",
    "moments": "",
    "file": r"Model 'm': |analysis doors, model m: |",
    "model of a file": r"Model 'm': |analysis doors, model m: |",
    "sql": r"Invalid Input Error: ",
    "dagster": r"Model 'm': |",
    "command line": r"mlm: ",
}


def refusal(door: str, call: Callable[[], object]) -> str:
    """The sentence with which a door refuses, without what it says before it."""
    with pytest.raises((MlmError, duckdb.InvalidInputException)) as caught:
        call()
    return re.sub(f"^(?:{BEFORE[door]})", "", str(caught.value))


@pytest.mark.parametrize(("formula", "given", "sentence"), REFUSALS)
@pytest.mark.parametrize("door", ["python", "moments", "file", "model of a file", "sql"])
def test_the_same_refusal(
    doors: dict[str, Door], door: str, formula: Any, given: dict[str, Any], sentence: str
) -> None:
    if door == "moments":
        collected = mlm.fit("y ~ x + z + (1 | class) + (1 | school)", ROWS, levels=["t"]).moments
        assert refusal(door, lambda: mlm.fit(formula, collected, **given)) == sentence
        return
    assert refusal(door, lambda: doors[door](formula, given)) == sentence


@pytest.mark.parametrize(("formula", "given", "sentence"), [one for one in REFUSALS if "cut through" not in one[2]])
def test_an_asset_is_not_even_made(formula: Any, given: dict[str, Any], sentence: str) -> None:
    assert refusal("dagster", lambda: build_analysis_assets(_analysis(formula, given))) == sentence


#: Of a formula the command line takes two options; where a formula itself is at fault, it says so in its own way.
IN_A_COMMAND = [one for one in REFUSALS if {*one[1]} <= {"estimator", "df"} and one[1]]


@pytest.mark.parametrize(("formula", "given", "sentence"), IN_A_COMMAND)
def test_the_command_line_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], formula: Any, given: dict[str, Any], sentence: str
) -> None:
    ROWS.write_csv(tmp_path / "pupils.csv")
    named = [part for name, value in given.items() for part in (f"--{name}", value)]
    assert cli.main(["fit", formula, str(tmp_path / "pupils.csv"), *named]) == cli.EXIT_BAD_INPUT
    assert capsys.readouterr().err.removeprefix("mlm: ") == f"{sentence}\n"


def test_every_option_has_a_fit_and_a_refusal() -> None:
    fitted = {name for _, given in FITS.values() for name in given}
    refused = {name for _, given, _ in REFUSALS for name in given}
    assert fitted == refused == set(options.MODEL_OPTIONS)
    for name, known in (("estimator", options.Estimator), ("df", options.DfMethod), ("robust", options.Robust)):
        tried = {given[name] for _, given in (*FITS.values(), *OF_ROWS.values()) if name in given}
        assert tried == set(get_args(known))


def test_doors_have_the_same_options_and_defaults() -> None:
    defaults = {name: option.default for name, option in options.MODEL_OPTIONS.items()}
    for door, others in (
        (mlm.fit, {"formula", "data", "connection"}),
        (compile_request, {"formula", "default_covariance"}),
    ):
        parameters = inspect.signature(door).parameters
        assert {name: p.default for name, p in parameters.items() if name not in others} == defaults
    assert {name: Analysis.model_fields[name].default for name in defaults} == defaults
    made = Request(compile_request("y ~ x").model)
    assert (made.estimator, made.df, made.robust, made.levels) == (
        defaults["estimator"],
        defaults["df"],
        defaults["robust"],
        defaults["levels"],
    )


def test_a_model_with_levels_of_its_own(connection: duckdb.DuckDBPyConnection) -> None:
    """One scan serves models that nest labels differently; each is fitted, and compared, as it would be alone."""
    formula, given = "y ~ x + (1 | school) + (1 | c)", {"levels": ["c", "school"]}
    models = {"schools": "y ~ x + (1 | school)", "nested": {"formula": formula, **given}}
    content = {"analysis": "a", "data": "pupils", "models": models, "compare": ["schools", "nested"]}
    result = fit_analysis(parse_analysis(yaml.safe_dump(content)), connection)
    alone, schools = mlm.fit(formula, ROWS, **given), mlm.fit(models["schools"], ROWS)
    assert alone.random_effects.filter(group="c")["unit"].n_unique() == 36
    assert_same(*({table: getattr(fit, table) for table in TABLES} for fit in (result.fits["nested"], alone)))
    (statistic,) = result.tables["comparisons"]["statistic"]
    # a difference of numbers of some hundreds, of which each has twelve digits
    assert statistic == pytest.approx(2 * (alone.estimate.log_likelihood - schools.estimate.log_likelihood), abs=1e-9)
