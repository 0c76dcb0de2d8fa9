"""What the models of one analysis have in common is computed once, and each has the tables that it has alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis, fit_analysis_model, model_tables
from mlm_ops.inference.effect_sizes import r_squared
from mlm_ops.moments.record import Moments
from mlm_ops.results.tables import columns
from tests.specification.reference import reference

MODELS = {
    "null": "mathach ~ 1 + (1 | school)",
    "fixed": "mathach ~ ses + female + sector + (1 | school)",
    "slope": "mathach ~ ses * sector + (ses | school)",
    "centered": "mathach ~ within(ses) + between(ses) + (within(ses) | school)",
    "ml": "{formula: mathach ~ ses + (ses | school), estimator: ml}",
    "other_outcome": "ses ~ mathach + (1 | school)",
}


#: Models that are measured against one model without predictors.
OF_ONE_NULL = {
    "a": "mathach ~ ses + (1 | school)",
    "b": "mathach ~ ses + female + (1 | school)",
    "c": "mathach ~ ses * sector + (1 | school)",
}
NESTED = "{formula: mathach ~ ses + (1 | school/class), levels: [class, school]}"


@pytest.fixture
def fits_and_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed: each fit of a model without predictors, and each column of the names of units."""
    computed: list[str] = []

    def counted(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            computed.append(what)
            return function(*arguments, **options)

        return count

    monkeypatch.setattr(r_squared, "estimate_design", counted("null fit", r_squared.estimate_design))
    monkeypatch.setattr(columns, "unit_names", counted("names", columns.unit_names))
    return computed


@pytest.mark.parametrize(
    ("models", "settings", "null_fits"),
    [
        (OF_ONE_NULL, "levels: school\n", 1),
        (OF_ONE_NULL, "levels: school\nmin_publish_n: 5\n", 1),
        ({n: f"{{formula: {m}, levels: school}}" for n, m in OF_ONE_NULL.items()}, "min_publish_n: 5\n", 1),
        # the classes of a model's own levels are others, and so is what is derived from them
        ({"a": OF_ONE_NULL["a"], "b": NESTED, "c": NESTED.replace("ses", "ses + sector")}, "", 2),
    ],
    ids=["plain", "small groups are not named", "own levels", "own nested levels"],
)
def test_the_model_without_predictors_is_fitted_once(models, settings, null_fits, fits_and_names) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "create table rows as select *, row_number() over (partition by school) % 3 as class"
            f" from '{reference.HERE / 'data' / 'hsb.csv'}'"
        )
        listed = "".join(f"  {name}: {model}\n" for name, model in models.items())
        fit_analysis(parse_analysis(f"analysis: hsb\ndata: rows\n{settings}models:\n{listed}"), connection)
    assert fits_and_names.count("null fit") == null_fits


def test_the_names_of_the_units_of_each_factor_are_made_once(fits_and_names) -> None:
    """Also where two factors have as many units."""
    with duckdb.connect() as connection:
        connection.execute(
            "create table rows as select i % 12 as a, i // 3 % 12 as b, sin(i) as x, cos(i * i) + i % 12 as y"
            " from range(600) r(i)"
        )
        crossed = {"one": "y ~ x + (1 | a) + (1 | b)", "two": "y ~ 1 + (1 | a) + (1 | b)", "three": "y ~ x + (1 | b)"}
        listed = "".join(f"  {name}: {model}\n" for name, model in crossed.items())
        analysis = parse_analysis(f"analysis: t\ndata: rows\nmodels:\n{listed}")
        tables = fit_analysis(analysis, connection).tables
    assert fits_and_names.count("names") == 2
    effects = tables["random_effects"].filter(model="one")
    assert effects["group"].to_list() == ["a"] * 12 + ["b"] * 12
    assert effects["unit"].to_list() == [str(i) for i in range(12)] * 2


def drawn(models: dict[str, str], moments: Moments, connection: duckdb.DuckDBPyConnection) -> dict[str, pl.DataFrame]:
    listed = "".join(f"  {name}: {model}\n" for name, model in models.items())
    analysis = parse_analysis(f"analysis: hsb\ndata: rows\nlevels: school\nmodels:\n{listed}")
    tables = [
        model_tables(analysis, name, fit_analysis_model(analysis, name, moments, connection), connection)
        for name in analysis.models
    ]
    return {table: pl.concat([one[table] for one in tables]) for table in tables[0]}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_beside_others_has_the_tables_that_it_has_alone(name):
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{reference.HERE / 'data' / 'hsb.csv'}'")
        listed = "".join(f"  {other}: {model}\n" for other, model in MODELS.items())
        analysis = parse_analysis(f"analysis: hsb\ndata: rows\nlevels: school\nmodels:\n{listed}")
        # of one scan, as another would sum in another order; a copy has nothing that was derived
        moments = collect_analysis(analysis, connection)
        alone = drawn({name: MODELS[name]}, replace(moments), connection)
        together = drawn(MODELS, moments, connection)
    for table, frame in alone.items():
        own = together[table].filter(model=name)
        assert_frame_equal(
            own.drop("seconds", "position", strict=False), frame.drop("seconds", "position", strict=False)
        )
