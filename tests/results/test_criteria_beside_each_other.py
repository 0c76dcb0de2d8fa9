"""Deviance, AIC and BIC of models beside each other compare: those of REML only where the fixed parts are the same."""

from __future__ import annotations

import io
from typing import Any

import duckdb
import polars as pl
import pytest
from rich.console import Console

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import AnalysisResult, fit_analysis
from mlm_ops.cli.terminal import show_table, show_tables
from mlm_ops.results.criteria import BOTH_CRITERIA_NOTE, BY_ML_NOTE, NO_CRITERIA_NOTE
from mlm_ops.results.text.side_by_side import side_by_side
from tests.specification.reference import reference

FILE = """
analysis: hsb
data: hsb
levels: school
models:
  anova:   mathach ~ 1 + (1 | school)
  rancova: mathach ~ within(ses) + (1 | school)
  slopes:  mathach ~ within(ses) + (within(ses) | school)
compare: [anova, rancova]
strategy: build_up
start: anova
candidates: {fixed: within(ses), random: within(ses) | school, level 2: sector}
keep: KEEP
"""
HSB = str(reference.HERE / "data" / "hsb.csv")


def result(scale: float, keep: str = "aic", text: str = FILE) -> AnalysisResult:
    connection = duckdb.connect()
    connection.execute(f"create table hsb as select * replace (ses * {scale} as ses) from '{HSB}'")
    return fit_analysis(parse_analysis(text.replace("KEEP", keep)), connection)


@pytest.fixture(scope="module")
def thousandths() -> tuple[AnalysisResult, AnalysisResult]:
    """The same models with ses as it is, and in thousandths."""
    return result(1.0), result(1000.0)


def foot(tables: Any, models: list[str]) -> dict[str, list[str]]:
    rows = side_by_side(tables, models).sections["Fit"]
    return {
        row[0]: [float(cell.replace(",", "")) for cell in row[1:]]
        for row in rows
        if row[0] in ("deviance", "AIC", "BIC")
    }


def terminal_text(frame_of: Any) -> str:
    target = Console(width=200, file=io.StringIO(), highlight=False)
    frame_of(target)
    return target.file.getvalue()


def test_no_difference_that_is_shown_moves_with_a_predictors_unit(thousandths: Any) -> None:
    """By ML in R: AIC(lmer(mathach ~ 1 + (1 | school), REML = FALSE)) minus that with within(ses): 393.4 both times.

    By REML it is 390.8 with ses and 377.0 with thousandths of it.
    """
    first, second = (foot(one.tables, ["anova", "rancova"]) for one in thousandths)
    assert first == second
    assert first["AIC"][0] - first["AIC"][1] == pytest.approx(393.4, abs=0.1)  # two numbers of one decimal
    for one in thousandths:
        assert BY_ML_NOTE in side_by_side(one.tables, ["anova", "rancova"]).notes
        row = one.tables["comparisons"].row(0, named=True)
        assert row["delta_aic"] == pytest.approx(-393.39836, abs=1e-4)
        statistics = one.tables["fit_statistics"]
        assert statistics["aic_ml"][0] - statistics["aic_ml"][1] == pytest.approx(393.39836, abs=1e-4)


def test_the_reml_difference_is_the_fault(thousandths: Any) -> None:
    """The columns of REML stay, each right for its fit: the difference of 13.8 is 2 log(1000)."""
    by_reml = [one.tables["fit_statistics"]["aic"] for one in thousandths]
    assert [aic[0] - aic[1] for aic in by_reml] == pytest.approx([390.7978, 376.9823], abs=1e-3)


def test_models_with_one_fixed_part_keep_reml(thousandths: Any) -> None:
    tables = thousandths[0].tables
    beside = side_by_side(tables, ["rancova", "slopes"])
    assert not any("REML" in note for note in beside.notes)
    deviance = tables["fit_statistics"]["deviance"].to_list()
    assert foot(tables, ["rancova", "slopes"])["deviance"] == [round(deviance[i], 1) for i in (1, 2)]
    alone = foot(tables, ["anova"])
    assert alone["deviance"] == [round(deviance[0], 1)]


def test_ml_stands_beside_ml() -> None:
    text = FILE.replace("levels: school", "levels: school\nestimator: ml")
    beside = side_by_side(result(1.0, text=text).tables, ["anova", "rancova"])
    assert not any("REML" in note for note in beside.notes)


def test_the_overview_prints_what_compares(thousandths: Any) -> None:
    tables = {name: thousandths[0].tables[name] for name in ("fit_statistics", "fixed_effects")}
    text = terminal_text(lambda target: show_tables(target, tables, str))
    assert "deviance_ml" in text
    assert " aic " not in text
    assert f"\n  {BY_ML_NOTE}\n" in text
    same = {name: frame.filter(pl.col("model").is_in(["rancova", "slopes"])) for name, frame in tables.items()}
    text = terminal_text(lambda target: show_tables(target, same, str))
    assert "_ml" not in text
    assert "REML" not in text
    whole = terminal_text(lambda target: show_table(target, "fit_statistics", tables["fit_statistics"], ""))
    assert f"\n  {BOTH_CRITERIA_NOTE}\n" in whole


def test_results_of_an_earlier_version_show_none(thousandths: Any) -> None:
    tables = dict(thousandths[0].tables)
    older = pl.lit(None, pl.Float64)
    tables["fit_statistics"] = tables["fit_statistics"].with_columns(deviance_ml=older, aic_ml=older, bic_ml=older)
    assert foot(tables, ["anova", "rancova"]) == {}
    assert NO_CRITERIA_NOTE in side_by_side(tables, ["anova", "rancova"]).notes


@pytest.mark.parametrize("keep", ["aic", "bic"])
def test_a_ladder_takes_the_same_steps_in_any_unit(keep: str) -> None:
    """Fixed terms by ML, random ones among models of one fixed part: no step hangs on the unit of a predictor."""
    first, second = (result(scale, keep).tables["ladder_steps"] for scale in (1.0, 1000.0))
    assert first["taken"].to_list() == second["taken"].to_list()
    assert first.filter(pl.col("group").is_null())["estimator"].unique().to_list() == ["ml"]
    for name in ("delta_aic", "delta_bic", "aic_ml", "bic_ml"):
        # twice a log-likelihood good to 1e-7, of optima in coordinates that differ
        assert first[name].to_list() == pytest.approx(second[name].to_list(), abs=1e-5)


def test_a_fits_ml_numbers_are_those_of_its_ml_fit() -> None:
    formula = "mathach ~ ses + sector + (ses | school)"
    by_reml, by_ml = (mlm.fit(formula, HSB, estimator=name) for name in ("reml", "ml"))
    for name in ("deviance", "aic", "bic"):
        expected = by_ml.fit_statistics[name][0]
        assert by_reml.fit_statistics[f"{name}_ml"][0] == pytest.approx(expected, abs=1e-6)
        assert by_ml.fit_statistics[f"{name}_ml"][0] == expected
    regression = mlm.fit("mathach ~ ses", HSB)
    # R: AIC(lm(mathach ~ ses)) counts sigma, and takes ML's
    rows = pl.read_csv(HSB)
    x, y = rows["ses"].to_numpy(), rows["mathach"].to_numpy()
    rest = y - y.mean() - (x - x.mean()) * ((x - x.mean()) @ y) / ((x - x.mean()) @ (x - x.mean()))
    deviance = len(y) * (1 + pl.Series([2 * 3.141592653589793 * (rest @ rest) / len(y)]).log()[0])
    assert regression.fit_statistics["aic_ml"][0] == pytest.approx(deviance + 6, abs=1e-6)
