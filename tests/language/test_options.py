"""Options: the values that they take, and the sentence that refuses others."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, get_args

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis, read_analyses, read_analysis
from mlm_ops.errors import AnalysisError, DataError, FormulaError, MlmError
from mlm_ops.inference.fixed.tests import DF_METHODS
from mlm_ops.language import options
from mlm_ops.language.option_values import value_text
from mlm_ops.plugins.dagster import build_analysis_assets
from mlm_ops.plugins.duckdb import register

DATA = pl.DataFrame({"g": list("aabbccdd"), "x": [1.0, 2, 3, 5, 4, 6, 8, 7], "y": [2.0, 1, 4, 7, 5, 9, 9, 8]})
COLUMNS = "expected a column, or a list of columns, lowest level first."


@pytest.mark.parametrize(
    ("argument", "value", "sentence"),
    [
        ("levels", None, f"levels is not understood. Got None; {COLUMNS}"),
        ("levels", [None], f"levels is not understood. Got [None]; {COLUMNS}"),
        ("levels", {"g"}, f"levels is not understood. Got {{'g'}}; {COLUMNS}"),
        ("estimator", ["reml"], "Unknown estimator. Got ['reml']; expected one of reml, ml."),
        ("df", None, "Unknown df. Got None; expected one of satterthwaite, kenward-roger, none."),
        ("weights", 1, "weights is not understood. Got 1; expected a column."),
        (
            "residual",
            b"by(g)",
            "residual is not understood. Got b'by(g)'; expected a sum of by(column), ar1(column) and fixed(column).",
        ),
        (
            "covariance",
            {3: "diagonal"},
            "covariance is not understood. Got {3: 'diagonal'}; expected for each grouping factor a structure's name, "
            "a variance, or a matrix.",
        ),
        ("robust", True, "Unknown robust. Got True; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3."),
        ("cluster", ["g"], "cluster is not understood. Got ['g']; expected a column, or several joined by a colon."),
        ("connection", "a.duckdb", "connection is not understood. Got 'a.duckdb'; expected a DuckDB connection."),
    ],
)
def test_an_argument_of_a_wrong_type_is_one_sentence(argument: str, value: Any, sentence: str) -> None:
    with pytest.raises(MlmError, match=f"^{re.escape(sentence)}$"):
        mlm.fit("y ~ x + (1 | g)", DATA, **{argument: value})


@pytest.mark.parametrize("formula", [None, 3, b"y ~ x", ["y ~ x"], {1: "y ~ x"}, {"level 1": object()}, "y ~ \ud800"])
def test_a_formula_is_text_or_level_equations(formula: Any) -> None:
    with pytest.raises(FormulaError, match="expected a formula such as y ~ x"):
        mlm.fit(formula, DATA)


@pytest.mark.parametrize("data", [[1, 2], {"y": [1.0]}, (1,), {1, 2}])
def test_containers_of_python_are_no_table(data: Any) -> None:
    fit = mlm.fit("y ~ x", DATA)
    for call in (lambda: mlm.fit("y ~ x", data), lambda: fit.predict(data), lambda: mlm.read_moments(data, "g")):
        with pytest.raises(DataError) as error:
            call()
        assert str(error.value) == (
            f"The data are not a table. Got {data!r}; expected a polars, Arrow or pandas frame, a DuckDB relation, the "
            "path of a CSV or Parquet file, or a table name with connection=. polars.DataFrame(data) makes a table of "
            "columns by name."
        )


@pytest.mark.parametrize("data", [None, 3, object(), pl.col("x"), b"abc", np.datetime64("2020-01-01")])
def test_other_objects_are_no_table(data: Any) -> None:
    fit = mlm.fit("y ~ x", DATA)
    for call in (lambda: mlm.fit("y ~ x", data), lambda: fit.predict(data)):
        with pytest.raises(DataError, match=r"^The data are not a table\. Got "):
            call()


def test_a_lazy_frame_that_fails_says_so_in_polars_words() -> None:
    with pytest.raises(DataError, match=r"^The lazy frame cannot be collected: ColumnNotFoundError: "):
        mlm.fit("y ~ x", DATA.lazy().select("nowhere"))


@pytest.mark.parametrize("levels", ["g", ["g"], ("g",), np.array(["g"]), [np.str_("g")]])
def test_columns_are_text_or_a_sequence_of_texts(levels: Any) -> None:
    fit = mlm.fit("y ~ within(x) + (1 | g)", DATA, levels=levels)
    assert fit.model == mlm.fit("y ~ within(x) + (1 | g)", DATA, levels=["g"]).model


def test_arguments_of_the_methods_of_a_fit() -> None:
    fit = mlm.fit("y ~ x + (1 | g)", DATA)
    for call, sentence in (
        (lambda: fit.intervals(level=1), "level is not understood. Got 1; expected a number between 0 and 1, such as"),
        (lambda: fit.intervals(level="0.9"), "level is not understood. Got '0.9'; expected a number between 0 and 1"),  # type: ignore[arg-type]
        (
            lambda: fit.intervals("bootstrap", samples=10**9),
            "Got 1000000000; expected a whole number from 2 to 100,000",
        ),
        (lambda: fit.intervals(seed=1.5), "seed is not understood. Got 1.5; expected a whole number of 0 or more"),  # type: ignore[arg-type]
        (lambda: fit.intervals(["wald"]), "Unknown method. Got ['wald']; expected one of wald, profile"),  # type: ignore[arg-type]
        (lambda: fit.predict(DATA, {}), "Unknown kind. Got {}; expected one of "),  # type: ignore[arg-type]
        (
            lambda: fit.equations(None),
            "Unknown form of equations. Got None; expected one of levels, reduced, matrix (LaTeX is format='latex').",
        ),  # type: ignore[arg-type]
        (lambda: fit.equations(estimates="yes"), "estimates is not understood. Got 'yes'; expected True or False."),  # type: ignore[arg-type]
        (lambda: fit.test(np.array(1.0)), "contrasts is not understood. Got a ndarray; expected names of terms"),  # type: ignore[arg-type]
        (lambda: fit.test({"x": 1}), "contrasts is not understood. Got {'x': 1}; expected names of terms, or a matrix"),  # type: ignore[arg-type]
        (lambda: fit.contrasts(["x"]), "expected weights by the name of a contrast, as in"),  # type: ignore[arg-type]
        (lambda: fit.r_squared("null"), "reference is not understood. Got 'null'; expected a fit to compare with."),  # type: ignore[arg-type]
        (
            lambda: fit.prediction_sql(None),
            "relation is not understood. Got None; expected a table name or one SELECT.",
        ),  # type: ignore[arg-type]
    ):
        with pytest.raises(MlmError) as error:
            call()
        assert sentence in str(error.value)


def test_sql_says_the_same() -> None:
    connection = duckdb.connect()
    register(connection)
    connection.register("t", DATA)
    for option, sentence in {
        "levels := [null]": f"levels is not understood. Got [None]; {COLUMNS}",
        "levels := ['']": f"levels is not understood. Got ['']; {COLUMNS}",
        "estimator := null": "Unknown estimator. Got None; expected one of reml, ml.",
        "covariance := map {'g': null}": "covariance is not understood. Got {'g': None}; expected for each grouping",
    }.items():
        with pytest.raises(duckdb.Error) as error:
            connection.sql(f"from mlm('y ~ x + (1 | g)', 't', {option})").fetchall()
        assert sentence in str(error.value)


def test_files_and_texts_of_analyses(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"^text is not understood\. Got 3; expected the YAML text of an analysis"):
        parse_analysis(3)  # type: ignore[arg-type]
    with pytest.raises(
        AnalysisError, match=r"^path is not understood\. Got 'a\\x00\.yaml'; expected the path of a file"
    ):
        read_analysis("a\0.yaml")
    with pytest.raises(
        AnalysisError, match=r"^Cannot read the folder of analysis files .*: No such file or directory\.$"
    ):
        read_analyses(tmp_path / "nowhere")


def test_the_factory_of_dagster_says_what_it_takes() -> None:
    analysis = parse_analysis("analysis: a\ndata: t\nmodels: {m: y ~ x}")
    for arguments, sentence in (
        ({"owners": "a b"}, "Dagster refuses the assets of a: "),
        ({"group_name": "a b"}, "Dagster refuses the assets of a: "),
        (
            {"severities": {"converged": 1}},
            "severities is not understood. Got {'converged': 1}; expected error or warn by the name of a check.",
        ),
        ({"partitions_def": "daily"}, "partitions_def is not understood. Got 'daily'; expected Dagster's partitions."),
    ):
        with pytest.raises(MlmError, match=re.escape(sentence)):
            build_analysis_assets(analysis, **arguments)  # type: ignore[arg-type]


def test_a_message_that_repeats_a_long_text_is_cut() -> None:
    with pytest.raises(MlmError) as error:
        mlm.fit("y ~ x", DATA, levels="x" * 100_000)
    assert len(str(error.value)) < 11_000
    assert "xxx…xxx" in str(error.value)
    with pytest.raises(
        FormulaError, match=r"^The formula is too long\. Got 100,004 characters; expected at most 100,000"
    ):
        mlm.fit("y ~ " + "x" * 100_000, DATA)


def test_unknown_and_missing_arguments_raise_pythons_own_error() -> None:
    with pytest.raises(TypeError, match=r"^fit\(\) has no argument 'familly'\. It takes formula, data, levels, "):
        mlm.fit("y ~ x", DATA, familly="poisson")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'data'"):
        mlm.fit("y ~ x")  # type: ignore[call-arg]


def test_a_value_in_a_message_is_one_short_line() -> None:
    assert value_text("a" * 200) == "'" + "a" * 79 + "…"
    assert value_text(10**5000) == "a number of too many digits"
    assert value_text(DATA) == "a DataFrame"
    assert value_text([DATA]) == "a list of 1"
    assert value_text(Path("x.csv")) == "'x.csv'"


def test_methods_are_those_of_the_option() -> None:
    assert tuple(DF_METHODS) == get_args(options.DfMethod)


def _texts(node: ast.expr) -> frozenset[str]:
    """The texts of a tuple, list or set of nothing else."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else []
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return frozenset(texts) if len(texts) == len(parts) > 1 else frozenset()


def test_a_list_of_allowed_values_stands_once() -> None:
    """The values of an option stand in `language.options`; whoever needs them takes them from there."""
    literals = (options.Estimator, options.DfMethod, options.ClusterKind, options.RowKind)
    allowed = {frozenset(get_args(literal)) for literal in literals}
    package = Path(mlm.__file__).parent
    places = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Tuple | ast.List | ast.Set) and _texts(node) in allowed
    ]
    assert {place.partition(":")[0] for place in places} == {"language/options.py"}
    assert len(places) == len(allowed)
