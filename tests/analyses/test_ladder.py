"""Strategies: what is tried in which order, what is kept and why, and the same numbers as fits by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import AnalysisResult, fit_analysis
from mlm_ops.analyses.store.prediction_views import create_prediction_views, prediction_views
from mlm_ops.errors import AnalysisError
from mlm_ops.results.text.side_by_side import side_by_side
from tests.specification.reference import reference

HSB = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"
HEAD = """
analysis: hsb
data: students
levels: school
models:
  anova: mathach ~ 1 + (1 | school)
  full: mathach ~ within(ses) * sector + within(ses) * between(ses) + female + (within(ses) + female | school)
"""
UP = (
    HEAD
    + """
strategy: build_up
start: anova
candidates:
  cross-level: ["within(ses):sector", "within(ses):size"]
  fixed: within(ses)
  level 2: [between(ses), sector, size]
  random: [within(ses)]
"""
)
DOWN = HEAD + "strategy: tear_down\nstart: full\n"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(f"create table students as from '{HSB}'")
        yield connection


@pytest.fixture(scope="module")
def up(connection: duckdb.DuckDBPyConnection) -> AnalysisResult:
    return fit_analysis(parse_analysis(UP), connection)


@pytest.fixture(scope="module")
def down(connection: duckdb.DuckDBPyConnection) -> AnalysisResult:
    return fit_analysis(parse_analysis(DOWN), connection)


def steps(result: AnalysisResult) -> list[tuple[str, str | None, bool]]:
    return list(result.tables["ladder_steps"].select("term", "group", "taken").iter_rows())


def test_a_build_up_goes_through_the_phases_in_the_textbooks_order(up: AnalysisResult) -> None:
    assert steps(up) == [
        ("within(ses)", None, True),
        ("between(ses)", None, True),
        ("sector", None, True),
        ("size", None, False),
        ("within(ses)", "school", True),
        ("within(ses):sector", None, True),
        ("within(ses):size", None, False),
    ]
    last = up.tables["ladder_steps"].row(-1, named=True)
    assert last["reason"] == "not tried: size, a part of it, is not in the model"
    assert last["statistic"] is None


def test_its_numbers_are_those_of_fits_by_hand(up: AnalysisResult, connection: duckdb.DuckDBPyConnection) -> None:
    row = up.tables["ladder_steps"].row(5, named=True)
    before = "mathach ~ within(ses) + between(ses) + sector + (within(ses) | school)"
    small, large = (
        mlm.fit(text, "students", connection=connection, estimator="ml")
        for text in (before, before.replace(" + (", " + within(ses):sector + ("))
    )
    statistic = 2 * (large.estimate.log_likelihood - small.estimate.log_likelihood)
    # two optima, each within 1e-9 of the deviance's minimum
    assert row["statistic"] == pytest.approx(statistic, abs=1e-6)
    assert row["delta_aic"] == pytest.approx(2 - statistic, abs=1e-6)
    effect = large.fixed_effects.row(-1, named=True)
    assert (row["estimate"], row["std_error"]) == pytest.approx((effect["estimate"], effect["std_error"]), rel=1e-6)


def test_gains_are_differences_of_explained_shares(up: AnalysisResult) -> None:
    steps, explained = up.tables["ladder_steps"], up.tables["r_squared"]
    shares = {
        model: explained.filter((pl.col("model") == model) & (pl.col("measure") == "rights_sterba_total_fv"))[
            "estimate"
        ]
        for model in ("build_up_5", "build_up_3")
    }
    # build_up_5 adds a slope, judged by REML, by which the models on the path are fitted too
    found = steps.filter(pl.col("model") == "build_up_5")["gain_fv"][0]
    assert found == pytest.approx(shares["build_up_5"][0] - shares["build_up_3"][0], abs=1e-8)


def test_explained_variance_as_the_rule(connection: duckdb.DuckDBPyConnection) -> None:
    text = HEAD + "strategy: build_up\nstart: anova\nkeep: r_squared > 0.01\ncandidates: {fixed: [within(ses), female]}"
    found = fit_analysis(parse_analysis(text), connection).tables["ladder_steps"]
    assert found["reason"][0].startswith("added: the explained share gains 0.0")
    assert [gain > 0.01 for gain in found["gain_fv"]] == found["taken"].to_list() == [True, False]


def test_a_random_slope_is_judged_by_reml_and_the_mixture_as_in_r() -> None:
    case = reference.case("lrt_sleep_reml")
    test = next(t for t in case["tests"] if t["p_chibar"] is not None and t["df"] == 2)
    text = f"""
analysis: sleep
data: {reference.table("lrt_sleep_reml")}
models: {json.dumps({"start": case["models"][test["small"]]["formula"]})}
strategy: build_up
start: start
candidates: {{random: Days}}
"""
    row = fit_analysis(parse_analysis(text), reference.connection()).tables["ladder_steps"].row(0, named=True)
    assert row["estimator"] == "reml"
    assert row["statistic"] == pytest.approx(test["chisq"], abs=1e-6)
    assert row["p_value_mixture"] == pytest.approx(test["p_chibar"], rel=1e-5)


def test_a_tear_down_drops_random_effects_first_and_no_part_of_a_product(down: AnalysisResult) -> None:
    found = down.tables["ladder_steps"]
    assert found["group"].to_list()[:2] == ["school", "school"]
    assert found["group"].null_count() == found.height - 2
    dropped = {row["term"] for row in found.filter(pl.col("taken")).iter_rows(named=True)}
    assert dropped == {"within(ses)"}
    blocked = found.filter(pl.col("statistic").is_null())
    assert set(blocked["term"]) == {"within(ses)", "sector", "between(ses)"}


def test_only_the_selected_model_brings_its_units(up: AnalysisResult) -> None:
    path = [m for m in up.tables["fit_statistics"]["model"] if m.startswith("build_up")]
    assert path == ["build_up_1", "build_up_2", "build_up_3", "build_up_5", "build_up_6"]
    drawn = up.tables["random_effects"]["model"].unique(maintain_order=True).to_list()
    assert drawn == ["anova", "full", "build_up_6"]
    notes = dict(up.tables["models"].select("model", "notes").iter_rows())
    assert notes["anova"] is None
    assert notes["build_up_6"].startswith("selected stepwise: the data that chose the terms also test them")


@pytest.mark.parametrize(
    ("keep", "kept"), [("bic", ["between(ses)", "sector"]), ("aic", ["between(ses)", "sector", "size"])]
)
def test_rules(keep: str, kept: list[str], connection: duckdb.DuckDBPyConnection) -> None:
    text = (
        HEAD + f"strategy: build_up\nstart: anova\nkeep: {keep}\ncandidates: {{level 2: [between(ses), sector, size]}}"
    )
    found = fit_analysis(parse_analysis(text), connection).tables["ladder_steps"]
    changes = found[f"delta_{keep}"].to_list()
    assert (
        found.filter(pl.col("taken"))["term"].to_list()
        == kept
        == [term for term, change in zip(found["term"], changes, strict=True) if change < 0]
    )


def test_aliased_candidates_are_left_out(connection: duckdb.DuckDBPyConnection) -> None:
    text = HEAD + 'strategy: build_up\nstart: full\ncandidates: {level 2: ["I(2 * size)", "size"]}\nkeep: p < 0.999'
    found = fit_analysis(parse_analysis(text), connection).tables["ladder_steps"]
    assert found["reason"][1] == "left out: size is a combination of the other columns"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("keep", "keep: p = 0.05"), "Unknown rule under keep. Got 'p = 0.05'; expected p < 0.05, aic, bic or"),
        (("start: anova", "start: none"), "start names no model of this file: 'none'; models are anova, full"),
        (("start: anova", ""), "strategy build_up needs start, the name of the model to start from"),
        (("strategy: build_up", "strategy: forward"), "unknown strategy: got 'forward'; expected one of a_priori, b"),
        (("strategy: build_up", ""), "start, candidates: only for the strategies build_up and tear_down"),
        (("strategy: build_up", "strategy: tear_down"), "drops what start has, and takes no candidates"),
        (("fixed: within(ses)", "fixed: within(ses"), "candidates, fixed: The formula does not parse"),
        (("fixed: within(ses)", "fixed: (1 | school)"), "A fixed term is expected here, such as x or x:z."),
        (("fixed: within(ses)", "fixed: mathach"), "The outcome 'mathach' is also among the predictors"),
        (("fixed: within(ses)", "level1: ses"), "unknown candidates: level1; expected one of fixed, level 2"),
        (("[within(ses)]", "[within(ses), within(ses) | school]"), "within(ses) | school is listed twice; remove one."),
        (("start: anova", "start: full"), "is in the start 'full' already; remove it from one of them."),
        (("anova: mathach", "build_up_1: mathach"), "the steps of the strategy are named so; rename them"),
    ],
)
def test_bad_strategies(change: tuple[str, str], sentence: str) -> None:
    text = UP + "keep: bic\n" if change[0] != "keep" else UP + change[1]
    if change[0] != "keep":
        text = text.replace(*change)
        text = text.replace("start: anova", "start: build_up_1") if "build_up_1" in change[1] else text
        text = text if "strategy" in text or "keep" not in text else text.replace("keep: bic\n", "")
    with pytest.raises(AnalysisError) as caught:
        _ = parse_analysis(text).models_to_scan
    assert sentence in str(caught.value)


def test_unknown_candidate_columns_are_named(connection: duckdb.DuckDBPyConnection) -> None:
    text = UP.replace("fixed: within(ses)", "fixed: within(gender)")
    with pytest.raises(mlm.MlmError, match="'gender'"):
        fit_analysis(parse_analysis(text), connection)


def test_side_by_side_sets_terms_under_models(up: AnalysisResult) -> None:
    lines = side_by_side(up.tables, ["anova", "build_up_1"]).text().splitlines()
    assert lines[0].split() == ["anova", "build_up_1"]
    assert lines[3].split() == ["(Intercept)", "12.64***", "12.64***"]
    assert lines[4].split() == ["(0.2444)", "(0.2445)"]
    assert lines[5].split() == ["within(ses)", "2.191***"]
    assert lines[-1].startswith("build_up_1: selected stepwise")
    markdown = side_by_side(up.tables, ["anova"]).markdown().splitlines()
    assert markdown[:2] == ["| | anova |", "|---|---:|"]
    assert "| residual | 39.15 |" in markdown


def test_side_by_side_is_cut_into_blocks_of_models_that_fit(up: AnalysisResult) -> None:
    beside = side_by_side(up.tables)
    whole, narrow = beside.text().splitlines(), beside.text(75).splitlines()
    cut = narrow[: next(i for i, line in enumerate(narrow) if line.startswith("Standard errors in parentheses"))]
    table = whole[: whole.index(narrow[len(cut)])]
    assert max(map(len, table)) > 75 >= max(map(len, cut))
    headings = [line.split() for before, line in itertools.pairwise(["", *cut]) if not before]
    assert len(headings) > 1
    assert [model for heading in headings for model in heading] == whole[0].split()
    # a term stands in the blocks alone whose models have it
    assert sum(line.startswith("(Intercept)") for line in narrow) == len(headings)
    assert sum("Standard errors in parentheses" in line for line in narrow) == 1


def test_side_by_side_names_what_it_does_not_have(up: AnalysisResult) -> None:
    with pytest.raises(mlm.MlmError, match=r"no results of the model nought\. There are anova, full, "):
        side_by_side(up.tables, ["nought"])


def test_reml_models_with_other_fixed_parts_are_compared_by_ml_and_the_note_says_so(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found = fit_analysis(parse_analysis(HEAD + "compare: [anova, full]\n"), connection).tables["comparisons"]
    assert found["estimator"].to_list() == ["ml"]
    assert "both were fitted again by ML" in found["note"][0]


def test_models_of_the_ladder_stand_behind_those_of_the_file(up: AnalysisResult) -> None:
    models = up.tables["models"].sort("position")
    assert models["position"].to_list() == list(range(1, models.height + 1))
    path = up.tables["fit_statistics"]["model"].unique(maintain_order=True).to_list()
    assert models["model"].to_list() == path
    # of all models and candidates together
    assert up.tables["groups"]["variable"].unique(maintain_order=True).to_list()[:2] == ["mathach", "ses"]
    assert up.tables["groups"].select("group", "unit", "variable").is_unique().all()


class TestSelected:
    """The selected model is asked under the name `selected`."""

    ASKED = """diagnostics: selected
simple_slopes:
  selected:
  - {slope: within(ses), at: sector}
  - {slope: within(ses), at: size}
"""

    def test_it_has_diagnostics_slopes_and_a_view(self, connection: duckdb.DuckDBPyConnection) -> None:
        """The numbers are those of the model fitted by hand."""
        analysis = parse_analysis(UP + self.ASKED)
        result = fit_analysis(analysis, connection)
        fit = mlm.fit(
            "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)", "students", connection=connection
        )
        slopes = result.tables["simple_slopes"]
        assert set(slopes["model"]) == set(result.tables["diagnostics"]["model"]) == {"build_up_6"}
        ours = slopes.filter(pl.col("kind") == "simple_slope")["estimate"].to_list()
        # two searches of one optimum
        assert ours == pytest.approx(
            fit.simple_slopes("within(ses)", "sector").filter(pl.col("kind") == "simple_slope")["estimate"], abs=1e-6
        )
        notes = result.tables["models"].filter(pl.col("model") == "build_up_6")["notes"][0]
        assert "no slopes of within(ses) at size: the selected model has no product of them" in notes
        views = prediction_views(connection, analysis, result.fits)
        assert [view.name for view in views] == [f"predicted_hsb__{name}" for name in ("anova", "full", "selected")]
        create_prediction_views(connection, analysis, views)
        count = connection.execute("select count(*) from mlm.predicted_hsb__selected")
        assert count.fetchall() == [(7185,)]

    def test_the_start_may_be_selected(self, connection: duckdb.DuckDBPyConnection) -> None:
        text = HEAD + "strategy: build_up\nstart: anova\ncandidates: {level 2: size}\nkeep: r_squared > 0.9\n"
        result = fit_analysis(parse_analysis(text + self.ASKED), connection)
        assert set(result.tables["diagnostics"]["model"]) == {"anova"}
        assert "simple_slopes" not in result.tables or result.tables["simple_slopes"].is_empty()
        assert result.fits["selected"].model.text == result.fits["anova"].model.text

    def test_without_a_ladder_nothing_is_selected(self) -> None:
        with pytest.raises(
            AnalysisError, match="diagnostics names no model of this file: 'selected'; models are anova"
        ):
            parse_analysis(HEAD + "diagnostics: selected\n")
