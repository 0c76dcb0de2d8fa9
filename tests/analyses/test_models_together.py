"""What the models of one analysis have in common is computed once, and each has the tables that it has alone."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis_model, model_tables
from mlm_ops.moments.record import Moments
from tests.specification.reference import reference

MODELS = {
    "null": "mathach ~ 1 + (1 | school)",
    "fixed": "mathach ~ ses + female + sector + (1 | school)",
    "slope": "mathach ~ ses * sector + (ses | school)",
    "centered": "mathach ~ within(ses) + between(ses) + (within(ses) | school)",
    "ml": "{formula: mathach ~ ses + (ses | school), estimator: ml}",
    "other_outcome": "ses ~ mathach + (1 | school)",
}


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
