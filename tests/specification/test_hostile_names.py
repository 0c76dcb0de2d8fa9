"""Column, table, analysis and model names are untrusted: on every path that builds SQL they are names, not SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest
import yaml

import mlm_ops as mlm
from mlm_ops.analyses.centered import create_centered, rows_to_center
from mlm_ops.analyses.centered_agreement import disagreement
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.file.keys import ModelSpec
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import collect_analysis, fit_analysis, keep_moments, moments_table
from mlm_ops.analyses.store.prediction_views import create_prediction_views, prediction_views, view_name
from mlm_ops.analyses.store.runs import publish
from mlm_ops.analyses.store.staging import StepRows, read_staged, stage
from mlm_ops.cli.main import main
from mlm_ops.errors import AnalysisError
from mlm_ops.moments.needs import find_needs
from mlm_ops.moments.storage import load_moments
from mlm_ops.moments.survey import fingerprint
from mlm_ops.plugins.centered_in_polars import create_centered_in_polars
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets
from mlm_ops.plugins.dagster.fits import fit_one_model
from mlm_ops.plugins.dagster.partition_fits import fit_partitions
from mlm_ops.plugins.duckdb import register
from mlm_ops.results.tables import ANALYSIS_TABLES
from mlm_ops.results.words import code_span
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.sql import identifier, render

ROWS = 120
#: One evaluation order may differ from another in the last digits of a sum.
TOLERANCE = 1e-9
NAMES = [
    'x"; drop table canary; --',
    "x'); drop table canary; --",
    "`x``",
    "{{ x }} {% if x %}",
    "select",
    "GROUP",
    "größe Ω 数",
    "a.b:c/d|e",
    "new\nline\ttab",
    "%s $1 ? :x \\",
    "y ~ x + (1 | g)",
    "[b]bold[/b]",
    "\x1b[2Jgone\u202e",
    "</code><script>alert(1)</script> ![i](http://e/i.png)",
]


def _column(name: str, letter: str) -> str:
    """The predictor has the bare name, a reserved word or not; the other columns have it and their letter."""
    return name if letter == "x" else f"{name} {letter}"


@dataclass(frozen=True)
class World:
    """A database in which everything has the hostile name, and an analysis of it."""

    name: str
    path: Path
    connection: duckdb.DuckDBPyConnection
    analysis: Analysis
    text: str

    @property
    def formula(self) -> str:
        """The analysis' only formula."""
        return self.analysis.models[self.name].formula

    @property
    def table(self) -> str:
        """The table of the data, quoted."""
        return identifier(self.name)

    def column(self, letter: str) -> str:
        """The column that plays the part of a letter."""
        return _column(self.name, letter)


@cache
def _plain() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    g = np.arange(ROWS) % 12
    x = rng.normal(size=ROWS) + g / 6
    return pl.DataFrame(
        {
            "y": 1 + x + rng.normal(size=12)[g] + rng.normal(size=ROWS),
            "x": x,
            "g": [f"g'{i}" for i in g],
            "k": np.where(rng.random(ROWS) < 0.5, "a'; drop table canary; --", 'b"'),
            "p": np.arange(ROWS) // 60,
        }
    )


@cache
def _expected() -> mlm.Fit:
    return mlm.fit("y ~ within(x) + between(x) + k + (1 | g)", _plain())


@pytest.fixture(params=NAMES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    name: str = request.param
    columns = {letter: _column(name, letter) for letter in "yxgkp"}
    y, x, g, k = ("`" + columns[letter].replace("`", "``") + "`" for letter in "yxgk")
    text = yaml.safe_dump(
        {
            "analysis": name,
            "data": identifier(name),
            "models": {name: f"{y} ~ within({x}) + between({x}) + {k} + (1 | {g})"},
            "partition": columns["p"],
            "where": f"{identifier(columns['x'])} is not null",
        }
    )
    path = tmp_path / "database.duckdb"
    with duckdb.connect(path) as connection:
        connection.register("frame", ArrowStream(_plain().rename(columns)))
        connection.execute(f"create table {identifier(name)} as from frame")
        connection.unregister("frame")
        connection.execute("create table canary as select 42 as sings")
        yield World(name, path, connection, parse_analysis(text), text)


def _fit(world: World) -> None:
    fitted = mlm.fit(world.formula, world.table, connection=world.connection)
    assert fitted.estimate.log_likelihood == pytest.approx(_expected().estimate.log_likelihood, abs=TOLERANCE)
    assert fitted.equations("levels", "latex")
    assert fitted.to_lme4()
    assert str(fitted)


def _fit_of_a_select(world: World) -> None:
    fitted = mlm.fit(world.formula, f"select * from {world.table}", connection=world.connection)
    assert fitted.estimate.log_likelihood == pytest.approx(_expected().estimate.log_likelihood, abs=TOLERANCE)


def _weights_and_strata(world: World) -> None:
    plain = _plain().with_columns(v=pl.col("p") + 1)
    hostile = plain.rename({letter: world.column(letter) for letter in "yxgkpv"})
    by = f"by(`{world.column('k').replace('`', '``')}`)"
    ours = mlm.fit(world.formula, hostile, residual=by, weights=world.column("v"))
    theirs = mlm.fit("y ~ within(x) + between(x) + k + (1 | g)", plain, residual="by(k)", weights="v")
    assert ours.estimate.log_likelihood == pytest.approx(theirs.estimate.log_likelihood, abs=TOLERANCE)


def _centered(world: World) -> None:
    target = f"main.{identifier(world.name + ' centered')}"
    moments = collect_analysis(world.analysis, world.connection)
    columns = rows_to_center(world.connection, world.analysis, target).columns
    create_centered(world.connection, world.analysis, target)
    assert disagreement(world.connection, target, moments, columns) < TOLERANCE
    assert create_centered_in_polars(world.connection, world.analysis, target) is None
    assert disagreement(world.connection, target, moments, columns) < TOLERANCE


def _moments_and_partitions(world: World) -> None:
    first = keep_moments(world.analysis, world.connection).moments
    world.connection.execute(f"insert into {world.table} from {world.table} limit 0")
    assert keep_moments(world.analysis, world.connection).moments.n_rows == first.n_rows == ROWS
    assert load_moments(world.connection, moments_table(world.analysis)).n.sum() == ROWS


def _predictions(world: World) -> None:
    result = fit_analysis(world.analysis, world.connection)
    create_prediction_views(
        world.connection, world.analysis, prediction_views(world.connection, world.analysis, result.fits)
    )
    view = f"mlm.{identifier(view_name(world.name, world.name))}"
    (sums,) = world.connection.execute(f"select sum(prediction), count(*) from {view}").fetchall()
    assert sums == (pytest.approx(_plain()["y"].sum(), rel=1e-6), ROWS)


def _staging(world: World) -> None:
    every = fit_analysis(world.analysis, world.connection).tables
    # what is of no single model is drawn up from the moments by the step that publishes
    tables = {name: frame for name, frame in every.items() if name not in ANALYSIS_TABLES}
    stage(world.connection, world.name, [StepRows("models", [world.name], tables)], "checksum")
    staged = read_staged(world.connection, world.name, {"models": [world.name]})
    assert staged.checksums == {("models", world.name): "checksum"}
    assert staged.tables["fixed_effects"]["estimate"].to_list() == pytest.approx(
        _expected().fixed_effects["estimate"].to_list(), rel=1e-6
    )


def _sql_function(world: World) -> None:
    register(world.connection)
    rows = world.connection.execute("select estimate from mlm(?, ?)", [world.formula, world.table]).fetchall()
    assert [row[0] for row in rows] == pytest.approx(_expected().fixed_effects["estimate"].to_list(), rel=1e-6)


def _fits_by_partition(world: World) -> None:
    """The column of the partitions has the name, and so have their keys: texts that end with a drop, or a quote."""
    keys = _plain()["k"].unique().to_list()
    alone = world.analysis.model_copy(update={"models": {"m": ModelSpec(formula=_grouped(world))}})
    outcomes = fit_partitions(
        world.connection, world.analysis, world.column("k"), dict.fromkeys(keys), "run", 0.0, blocking=()
    )
    assert outcomes.written == []
    assert set(outcomes.failed) == set(keys)  # within a partition k has no variation
    outcomes = fit_partitions(world.connection, alone, world.column("k"), dict.fromkeys(keys), "run", 0.0, blocking=())
    assert sorted(outcomes.written) == sorted(keys)
    stored = world.connection.execute("select analysis, n_obs from mlm.runs").fetchall()
    counts = dict(_plain().group_by("k").len().iter_rows())
    assert dict(stored) == {f"{world.name}[{key}]": n for key, n in counts.items()}


def _grouped(world: World) -> str:
    y, g = (f"`{world.column(letter).replace('`', '``')}`" for letter in "yg")
    return f"{y} ~ 1 + (1 | {g})"


def _moments_by_text(world: World) -> None:
    """Moments are kept by partitions whose keys are texts with quotes."""
    alone = world.analysis.model_copy(
        update={"partition": world.column("k"), "models": {"m": ModelSpec(formula=_grouped(world))}}
    )
    assert set(keep_moments(alone, world.connection).scanned) == set(_plain()["k"])
    again = keep_moments(alone, world.connection, partitions=[_plain()["k"][0]])
    assert again.moments.n.sum() == ROWS


def _new_data(world: World) -> None:
    """What the sensor compares is the same for the same rows."""

    def seen() -> str:
        source = open_rows(world.analysis, world.connection)
        return fingerprint(source, find_needs(source, world.analysis.models_to_scan, keys=world.analysis.keys))

    before = seen()
    world.connection.execute(f"create or replace table {world.table} as from {world.table} order by random()")
    assert seen() == before


def _asset_graph(world: World) -> None:
    """Dagster takes plain names of analyses and models alone, and columns of any."""
    if re.fullmatch(r"\w+", world.name) is None:
        with pytest.raises(AnalysisError, match=r"^Dagster cannot name assets so\. Got "):
            build_analysis_assets(world.analysis)
    plain = world.analysis.model_copy(
        update={"analysis": "plain", "models": {"m": ModelSpec(formula=world.formula)}, "compare": ()}
    )
    if re.fullmatch(r"\w+", world.name) is None:
        with pytest.raises(AnalysisError, match=r"^The data name no asset that Dagster knows\. Got "):
            build_analysis_assets(plain)
    warehouse = dg.Definitions(resources={"warehouse": Warehouse(directory=str(world.path.parent))})
    graph = dg.Definitions.merge(build_analysis_assets(plain, upstream="raw"), warehouse).resolve_asset_graph()
    description = graph.get(dg.AssetKey(["plain", "models", "m"])).description
    assert (description or "").startswith(code_span(world.formula))
    moments = keep_moments(plain, world.connection).moments
    metadata = fit_one_model(world.connection, plain, "m", moments).metadata
    for key in ("fixed_effects", "variance_components"):
        table = str(metadata[key].value)
        assert "<script" not in table
        assert "](" not in table
        # as many cells in every row: no name ends one
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def _macros(world: World) -> None:
    x, g = world.column("x"), world.column("g")
    within, between = render("within", column=x, group=g), render("between", column=x, group=g)
    parts = f"select {within} as deviation, {between} as mean, {identifier(x)} as x from {world.table}"
    (found,) = world.connection.execute(
        f"select max(abs(deviation + mean - x)), stddev(mean) from ({parts})"
    ).fetchall()
    means = _plain().with_columns(pl.col("x").mean().over("g"))["x"]
    assert found == (pytest.approx(0.0, abs=TOLERANCE), pytest.approx(means.std(), rel=TOLERANCE))
    sql = render("group_moments", relation=world.table, columns=[x], group=[g], products=[], complete=[])
    mean = identifier(f"mean_{x}")
    sums = world.connection.execute(f"select sum(n), sum(n * {mean}), count(*) from ({sql})").fetchall()
    assert sums == [(ROWS, pytest.approx(_plain()["x"].sum(), rel=TOLERANCE), 12)]


def _command_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    file = world.path.with_name("analysis.yaml")
    file.write_text(world.text, encoding="utf-8")
    world.connection.close()
    database = ["--database", str(world.path)]
    assert main(["fit", str(file), *database]) == 0
    assert main(["fit", str(file), *database]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["show", *database, "--analysis", world.name, "--model", world.name]) == 0
    published = world.path.with_name("results.duckdb")
    with duckdb.connect(world.path) as connection:
        publish(connection, published)
    with duckdb.connect(published) as connection:
        assert connection.execute("select distinct analysis from mlm.latest_drift").fetchall() == [(world.name,)]
        mlm_rows = connection.execute("select model, estimate from mlm.latest_fixed_effects").fetchall()
    assert {model for model, _ in mlm_rows} == {world.name}
    assert [x for _, x in mlm_rows] == pytest.approx(_expected().fixed_effects["estimate"].to_list(), rel=1e-6)


PATHS = [
    _fit,
    _fit_of_a_select,
    _weights_and_strata,
    _centered,
    _moments_and_partitions,
    _predictions,
    _staging,
    _fits_by_partition,
    _moments_by_text,
    _new_data,
    _asset_graph,
    _sql_function,
    _macros,
    _command_line,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__.strip("_"))
def test_a_name_is_a_name(world: World, path: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    path(world, capsys) if path is _command_line else path(world)
    with duckdb.connect(world.path) as connection:
        assert connection.sql("from canary").fetchall() == [(42,)]
        assert connection.sql(f"select count(*) from {world.table}").fetchall() == [(ROWS,)]
