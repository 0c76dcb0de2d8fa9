"""Whatever stands in a Python call: a result, or one of our own errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis, read_analyses, read_analysis
from mlm_ops.plugins.dagster import build_analysis_assets
from mlm_ops.plugins.duckdb import register
from tests.fuzz.check import fault
from tests.fuzz.zoo import zoo

Doors = dict[str, tuple[Callable[..., Any], dict[str, Any]]]
ANALYSIS = "analysis: a\ndata: t\nmodels: {m: y ~ x + (1 | g)}"
SEM = "level: 1\n y ~ x\nlevel: 2\n y ~~ y"


def rows() -> pl.DataFrame:
    """30 groups of 4 rows."""
    random = np.random.default_rng(5)
    g = np.repeat(np.arange(30), 4)
    x, w = random.normal(size=120).round(3), random.normal(size=30).round(3)[g]
    y = x + 0.5 * w * x + random.normal(size=30)[g] + random.normal(size=120)
    return pl.DataFrame({"g": g, "x": x, "w": w, "f": np.where(g % 2, "a", "b"), "y": y})


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    """Every public function and method with arguments that it takes."""
    folder = tmp_path_factory.mktemp("tables")
    data, connection = rows(), duckdb.connect()
    connection.register("t", data)
    fit = mlm.fit("y ~ x * w + f + (1 | g)", data)
    sem = mlm.sem("contextual: y ~ x", data, "g")
    moments = pl.DataFrame({"g": ["a", "b", "c"], "n": [2, 2, 2], "mean_y": [1.5, 4.5, 8], "scatter_y_y": [0.5, 1, 2]})
    options = {
        "levels": "g",
        "connection": None,
        "estimator": "reml",
        "df": "none",
        "weights": None,
        "residual": None,
        "covariance": None,
        "robust": "CR0",
        "cluster": "g",
    }
    analysis = parse_analysis(ANALYSIS)
    return {
        "fit": (mlm.fit, {"formula": "y ~ x + (1 | g)", "data": data, **options}),
        "fit of a table": (mlm.fit, {"formula": "y ~ x + (1 | g)", "data": "t", "connection": connection}),
        "sem": (mlm.sem, {"text": SEM, "data": data, "cluster": "g", "connection": None, "robust": False}),
        "read_moments": (mlm.read_moments, {"data": moments, "group": "g", "connection": None}),
        "test": (fit.test, {"contrasts": "x"}),
        "r_squared": (fit.r_squared, {"reference": None}),
        "diagnostics": (fit.diagnostics, {"data": data, "connection": None}),
        "simple_slopes": (fit.simple_slopes, {"slope": "x", "at": "w"}),
        "curves": (fit.curves, {"slope": "x", "at": "w"}),
        "johnson_neyman": (fit.johnson_neyman, {"slope": "x", "moderator": "w", "level": 0.9}),
        "contrasts": (fit.contrasts, {"contrasts": {"c": {"x": 1}}}),
        "equations": (fit.equations, {"form": "levels", "format": "text", "estimates": True}),
        "intervals": (fit.intervals, {"method": "bootstrap", "level": 0.9, "seed": 1, "samples": 3}),
        "predict": (fit.predict, {"data": data, "kind": "marginal", "connection": None}),
        "prediction_sql": (fit.prediction_sql, {"relation": "t"}),
        "sem defined": (sem.defined, {"level": 0.9, "draws": 10, "seed": 1}),
        "sem compare": (sem.compare, {"larger": sem}),
        "sem equations": (sem.equations, {"format": "text"}),
        "sem diagram": (sem.diagram, {"format": "mermaid"}),
        "side_by_side": (mlm.side_by_side, {"models": {"m": fit}}),
        "write_table": (mlm.write_table, {"table": fit.fixed_effects, "path": folder / "table.tex"}),
        "register": (register, {"connection": connection, "on_note": None}),
        "parse_analysis": (parse_analysis, {"text": ANALYSIS}),
        "read_analysis": (read_analysis, {"path": "nowhere.yaml", "shown": None, "allow_files": False}),
        "read_analyses": (read_analyses, {"folder": "nowhere", "allow_files": False}),
        "build_analysis_assets": (
            build_analysis_assets,
            {
                "analysis": analysis,
                "upstream": None,
                "group_name": None,
                "partitions_def": None,
                "fit_by": None,
                "severities": None,
                "automation_condition": None,
                "freshness_policy": None,
                "owners": None,
                "tags": None,
            },
        ),
    }


def faults(function: Callable[..., Any], arguments: dict[str, Any], names: list[str], values: list[str]) -> list[str]:
    """What comes out of calls that are wrong in these arguments, but for results and our own errors."""
    wrong = []
    for name in names:
        for value in values:
            given = zoo()[value]
            if name in {"samples", "draws"} and isinstance(given, int) and given > 10:
                given = 3
            found = fault(lambda name=name, given=given: function(**{**arguments, name: given}))  # type: ignore[misc]
            if found is not None:
                wrong.append(f"{name}={value}: {found}")
    return wrong


@pytest.mark.fuzz
def test_every_argument_of_every_door(doors: Doors) -> None:
    animals = list(zoo())
    wrong = {
        door: found
        for door, (f, arguments) in doors.items()
        if (found := faults(f, arguments, list(arguments), animals))
    }
    assert wrong == {}


def test_some_arguments_of_every_door(doors: Doors) -> None:
    """Of each argument a few values, others for each argument."""
    animals, wrong = list(zoo()), []
    quick = {name: door for name, door in doors.items() if name not in {"diagnostics", "build_analysis_assets"}}
    for i, (door, (function, arguments)) in enumerate(quick.items()):
        for j, name in enumerate(arguments):
            wrong += [
                f"{door}: {fault}" for fault in faults(function, arguments, [name], animals[(i + 5 * j) % 23 :: 23])
            ]
    assert wrong == []
