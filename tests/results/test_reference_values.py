"""A predictor that is centered at a value outside the data gets a note, on every way to a fit."""

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis, fit_analysis_model, keep_moments
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import merge
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.warehouse.source import open_source

ROWS = pl.DataFrame({"g": [i // 4 for i in range(80)], "t": [i % 4 for i in range(80)]}).with_columns(
    y=pl.col("t") * 2.0 + (pl.col("g") * 7 % 5) + (pl.col("t") * pl.col("g") % 3) * 0.5
)
NOTE = (
    "the reference value 8 of center(t, at=8) lies outside the data, where t goes from 0 to 3: the intercept, and all "
    "that holds where predictors are zero, is extrapolated"
)


@pytest.mark.parametrize(("at", "notes"), [("8", [NOTE]), ("3", []), ("0", [])])
def test_note_on_a_fit(at: str, notes: list[str]) -> None:
    assert mlm.fit(f"y ~ center(t, at={at}) + (1 | g)", ROWS).notes == notes


def test_centering_at_the_mean_has_no_reference_value() -> None:
    assert mlm.fit("y ~ center(t) + (1 | g)", ROWS).notes == []


def test_the_range_is_kept_with_the_moments() -> None:
    model = parse_formula("y ~ center(t, at=8) + (1 | g)")
    with duckdb.connect() as connection:
        connection.register("frame", ROWS.to_arrow())
        connection.execute("create table whole as from frame")
        moments = collect(open_source("whole", connection), [model])
        save_moments(connection, moments, "moments")
        stored = load_moments(connection, "moments")
    assert list(stored.ranges.values()) == list(moments.ranges.values()) == [(0, 3)]
    # after rows came or went they are not known
    assert merge(moments, moments).ranges == {}


@pytest.mark.parametrize(("least", "notes"), [(1, [NOTE]), (2, [])])
def test_values_of_single_rows_in_kept_moments_are_not_published(least: int, notes: list[str]) -> None:
    text = "analysis: a\ndata: whole\nmin_publish_n: {}\nmodels:\n  m: y ~ center(t, at=8) + (1 | g)\n"
    with duckdb.connect() as connection:
        connection.register("frame", ROWS.to_arrow())
        connection.execute("create table whole as from frame")
        keep_moments(parse_analysis(text.format(1)), connection)
        kept = load_moments(connection, "a_moments")
    assert fit_analysis_model(parse_analysis(text.format(least)), "m", kept).notes == notes


@pytest.mark.parametrize(("least", "notes"), [(1, NOTE), (2, None)])
def test_values_of_single_rows_are_not_published(least: int, notes: str | None) -> None:
    text = f"analysis: a\ndata: whole\nmin_publish_n: {least}\nmodels:\n  m: y ~ center(t, at=8) + (1 | g)\n"
    with duckdb.connect() as connection:
        connection.register("frame", ROWS.to_arrow())
        connection.execute("create table whole as from frame")
        tables = fit_analysis(parse_analysis(text), connection).tables
    assert tables["models"]["notes"].to_list() == [notes]


@pytest.mark.parametrize(("least", "has_note"), [(1, True), (2, False)])
def test_nor_by_the_models_of_a_ladder(least: int, has_note: bool) -> None:
    text = (
        f"analysis: a\ndata: whole\nmin_publish_n: {least}\nmodels:\n  m: y ~ 1 + (1 | g)\nstrategy: build_up\n"
        'start: m\nkeep: p < 0.05\ncandidates: {fixed: ["center(t, at=8)"]}\n'
    )
    with duckdb.connect() as connection:
        connection.register("frame", ROWS.to_arrow())
        connection.execute("create table whole as from frame")
        models = fit_analysis(parse_analysis(text), connection).tables["models"]
    assert models["model"].to_list() == ["m", "build_up_1"]
    assert [NOTE in (notes or "") for notes in models["notes"]] == [False, has_note]
