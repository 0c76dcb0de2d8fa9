"""min_publish_n: no published table names a small group or has its effects."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyze import fit_analysis
from mlm_ops.errors import AnalysisError
from mlm_ops.language.analysis import parse_analysis
from mlm_ops.prediction_views import create_prediction_views, prediction_views
from mlm_ops.provenance import run_facts
from mlm_ops.store import Run, publish, write_run

FILE = "analysis: a\ndata: rows\nmodels: {m: 'y ~ within(x) + (1 | g)'}\ndiagnostics: m\n"
SMALL = {"tiny 1", "tiny 2"}


@pytest.fixture
def connection():
    rng = np.random.default_rng(2)
    groups = [(f"class {i}", 12) for i in range(15)] + [(name, 3) for name in sorted(SMALL)]
    g = np.repeat([name for name, _ in groups], [size for _, size in groups])
    level = np.repeat(rng.normal(size=len(groups)), [size for _, size in groups])
    x = rng.normal(size=len(g))
    y = 1 + x + level + rng.normal(size=len(g)) + 4 * np.isin(g, sorted(SMALL))
    with duckdb.connect() as connection:
        connection.register("frame", pl.DataFrame({"g": g, "x": x, "y": y}).to_arrow())
        connection.execute("create table rows as from frame")
        connection.unregister("frame")
        yield connection


def written(connection, text: str):
    analysis = parse_analysis(text)
    result, now = fit_analysis(analysis, connection), datetime.now(UTC)
    run = Run(run_id="r", analysis="a", started_at=now, finished_at=now, **run_facts(analysis, result.moments))
    write_run(connection, run, result.tables, analysis.history)
    create_prediction_views(connection, analysis, prediction_views(connection, analysis, result.fits))
    return result


def test_without_a_setting_every_group_is_named(connection):
    result = written(connection, FILE)
    assert set(result.tables["random_effects"]["unit"]) >= SMALL
    assert "min_publish_n" not in (result.tables["models"]["notes"][0] or "")


def test_nothing_published_holds_a_small_group(connection, tmp_path):
    result = written(connection, FILE + "min_publish_n: 10\n")
    publish(connection, tmp_path / "results.duckdb")
    assert result.tables["random_effects"].height == 15
    assert "2 of 17 groups of g have fewer than 10 rows" in result.tables["models"]["notes"][0]
    hidden = result.tables["diagnostics"].filter(pl.col("unit") == "(fewer than 10 rows)")
    assert hidden.height >= 2
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as published:
        names = published.execute("select table_name from duckdb_tables() where schema_name = 'mlm'").fetchall()
        for (name,) in names:
            texts = str(published.execute(f"select t::varchar from mlm.{name} t").fetchall())
            assert "tiny" not in texts, name


def test_the_fixed_effects_are_those_of_all_rows(connection):
    every = written(connection, FILE).tables["fixed_effects"]
    assert written(connection, FILE + "min_publish_n: 10\n").tables["fixed_effects"].equals(every)


def test_predictions_take_a_small_group_for_a_new_one(connection):
    written(connection, FILE + "min_publish_n: 10\n")
    found = connection.execute(
        "select g like 'tiny%' as small, bool_and(new_group), count(*) from mlm.predicted_a__m group by 1 order by 1"
    ).fetchall()
    assert found == [(False, False, 180), (True, True, 6)]
    tables = connection.execute("select table_name from duckdb_tables() where table_name like 'predicted%'").fetchall()
    assert tables
    for (name,) in tables:
        assert "tiny" not in str(connection.execute(f'from mlm."{name}"').fetchall())


def test_a_size_below_one_is_refused():
    with pytest.raises(AnalysisError, match="min_publish_n: got '0'; expected a number of rows, 1 or more"):
        parse_analysis(FILE + "min_publish_n: 0\n")
