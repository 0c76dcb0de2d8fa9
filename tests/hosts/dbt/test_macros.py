"""Every macro and generic test of the package is documented as it is; read from the files, without dbt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, nodes

from mlm_ops.language.options import MODEL_OPTIONS
from mlm_ops.plugins.duckdb import FUNCTIONS
from tests.hosts.dbt.dialects import package_for

PACKAGE = Path(__file__).parents[3] / "sql"
MACROS = {path.stem: path for path in (PACKAGE / "macros").glob("*/*.sql")}
#: dbt's name of a generic test is that of a macro
TESTS = {f"test_{path.stem}": path for path in (PACKAGE / "tests" / "generic").glob("*.sql")}
DOCUMENTED: dict[str, Any] = {
    macro["name"]: macro
    for macro in yaml.safe_load((PACKAGE / "macros" / "schema.yml").read_text(encoding="utf-8"))["macros"]
}


def test_every_file_has_an_entry() -> None:
    assert sorted(DOCUMENTED) == sorted(MACROS | TESTS)


@pytest.mark.parametrize("name", MACROS)
def test_the_entry_has_the_arguments_of_the_macro(name: str) -> None:
    entries = DOCUMENTED[name]["arguments"]
    assert [argument["name"] for argument in entries] == arguments(name, MACROS[name].read_text(encoding="utf-8"))
    for entry in (DOCUMENTED[name], *entries):
        assert entry["description"].strip().endswith(".")
    assert all(argument["type"] for argument in entries)


@pytest.mark.parametrize("name", TESTS)
def test_the_description_names_the_arguments_of_the_test(name: str) -> None:
    text = re.sub(r"{% test (\w+)", r"{% macro test_\1", TESTS[name].read_text(encoding="utf-8"))
    names = set(arguments(name, text.replace("endtest", "endmacro"))) - {"model", "column_name"}
    assert names <= set(re.findall(r"`(\w+)`", DOCUMENTED[name]["description"]))


def test_fit_has_the_options_of_a_model() -> None:
    names = arguments("fit", MACROS["fit"].read_text(encoding="utf-8"))
    assert names == ["formula", "relation", "table", *MODEL_OPTIONS, "form"]


def test_fit_has_the_tables_and_calls_the_function_of_each() -> None:
    package = package_for("duckdb")
    for function, table in FUNCTIONS.items():
        call = str(package["fit"]("y ~ x + (1 | g)", "(select 'a' as g) t", table=table))
        assert call.split() == f"select * from {function}( 'y ~ x + (1 | g)', '(select ''a'' as g) t' )".split()
    covariance = {"g": [[1.5, 0.1], [0.1, 2]], "h'": "diagonal"}
    options = {"levels": ["g", "h'"], "covariance": covariance, "robust": "CR2", "form": "moments"}
    expected = (
        "select * from mlm( 'y ~ x', 't', levels := ['g', 'h'''], covariance := map { 'g': '[[1.5, 0.1], [0.1, 2]]', "
        "'h''': 'diagonal' }, robust := 'CR2', form := 'moments' )"
    )
    assert " ".join(str(package["fit"]("y ~ x", "t", **options)).split()) == expected


@pytest.mark.parametrize(
    ("dialect", "options", "sentence"),
    [
        (
            "duckdb",
            {"table": "coefficients"},
            "mlm.fit() gives one of the tables fixed_effects, variance_components, random_effects, fit_statistics, "
            "models. Got 'coefficients'.",
        ),
        (
            "duckdb",
            {"covariance": "diagonal"},
            "mlm.fit() takes covariance= by grouping factor, as in {'school': 'diagonal'}. Got 'diagonal'.",
        ),
        (
            "snowflake",
            {},
            "Models are fitted in DuckDB, by dbt-duckdb. Got another warehouse in mlm.fit(); make a table of moments "
            "here by mlm.group_moments(), and fit that where DuckDB is.",
        ),
    ],
)
def test_fit_refuses(dialect: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match="mlm") as refusal:
        package_for(dialect)["fit"]("y ~ x", "t", **options)
    assert str(refusal.value) == sentence


def arguments(name: str, text: str) -> list[str]:
    tree = Environment(autoescape=True).parse(text)
    (macro,) = [macro for macro in tree.find_all(nodes.Macro) if macro.name == name]
    return [argument.name for argument in macro.args]
