"""Pictures of more than one run: earlier ones, partitions, the steps of a ladder, and very many models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, read_latest, write_run
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.by_partition import natural
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection
from mlm_ops.reports.pictures.words import figure
from mlm_ops.results.words import count
from mlm_ops.warehouse.connection import connect
from tests.reports.stores import CASES, Store, write_store
from tests.reports.test_drawing import HALF, HOSTILE, elements, scale
from tests.reports.test_numbers import layers

TEXT = """
analysis: hsb
data: main.students
levels: school
models: {line: "mathach ~ within(ses) + (1 | school)"}
history: {alpha: 0.05}
"""
LADDER = """
analysis: ladder
data: main.students
levels: school
models: {anova: mathach ~ 1 + (1 | school)}
strategy: build_up
start: anova
candidates: {fixed: within(ses), "level 2": [sector, size], cross-level: "within(ses):size"}
"""
FOLLOWED = ("runs", "fixed_effects", "variance_components", "fit_statistics")
SCHOOLS = pl.read_csv(CASES["hsb"][0])["school"].unique().sort()


def write(connection: Any, rows: pl.DataFrame, run_id: str, days: int, analysis: str = "hsb") -> None:
    """Fit and store one run."""
    specification = parse_analysis(TEXT)
    connection.register("rows", rows.to_arrow())
    connection.execute("create or replace table main.students as from rows")
    result = fit_analysis(specification, connection)
    at = datetime(2026, 3, 1, 4, 30, tzinfo=UTC) + timedelta(days=days)
    run = Run(run_id, analysis, at, at, **run_facts(specification, result.moments))
    write_run(connection, run, result.tables, specification.history)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Store:
    """Five weekly runs over ever more schools; in the last two everyone's slope is steeper."""
    path = tmp_path_factory.mktemp("runs") / "results.duckdb"
    rows = pl.read_csv(CASES["hsb"][0])
    with connect(path) as connection:
        for week in range(5):
            part = rows.filter(pl.col("school").is_in(SCHOOLS[: 100 + 15 * week].implode()))
            steeper = 2.0 * pl.col("ses") if week > 2 else 0.0
            write(connection, part.with_columns(mathach=pl.col("mathach") + steeper), f"run{week}", 7 * week)
        tables = {f"all_{name}": connection.sql(f"from mlm.{name}").pl() for name in (*FOLLOWED, "drift")}
        tables["models"] = read_latest(connection, "models")
    return Store(path, tables)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Store:
    """Four partitions, fitted alone."""
    path = tmp_path_factory.mktemp("parts") / "results.duckdb"
    rows = pl.read_csv(CASES["hsb"][0])
    with connect(path) as connection:
        for place, key in enumerate(("wave 10", "wave 2", "]'[", "a|b")):
            part = rows.filter(pl.col("school").is_in(SCHOOLS[40 * place : 40 * place + 40].implode()))
            write(connection, part, "run", 0, f"hsb[{key}]")
        tables = {f"key_{name}": connection.sql(f"from mlm.latest_{name}").pl() for name in (*FOLLOWED, "models")}
    return Store(path, tables)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("ladder"), CASES["hsb"][0], LADDER)


def pictures(store: Store, key: str, **selection: Any) -> list[Picture]:
    return list(PICTURES[key](store.tables, Selection(**selection)))


def drawn(picture: Picture, column: str) -> Iterator[dict[str, Any]]:
    yield from (row for values in layers(picture.spec) for row in values if column in row and "hover" in row)


class TestHistory:
    def test_one_a_flagged_number_and_one_of_all_others(self, runs: Store):
        """The means of schools have moved with the slopes, as later runs have more schools: their variance too."""
        drafts = pictures(runs, "history")
        assert [picture.question for picture in drafts] == [
            "Has within(ses) changed over the runs?",
            "Has the variance of (Intercept) over schools changed over the runs?",
            "Has the ICC changed over the runs?",
            "Have the other numbers of the model changed over the runs?",
        ]
        assert list(drafts[-1].numbers["quantity"].unique(maintain_order=True)) == [
            *("(Intercept)", "the residual variance")
        ]
        # what is asked for has its own, flagged or not
        asked = pictures(runs, "history", term="(Intercept)")
        assert [picture.question for picture in asked] == [
            "Has (Intercept) changed over the runs?",
            "Has the variance of (Intercept) over schools changed over the runs?",
        ]
        assert asked[0].answer.endswith("; no run is flagged.")

    def test_the_picture_of_the_others_says_which_moved_most(self, runs: Store):
        last = pictures(runs, "history")[-1]
        sizes = {}
        for name in ("(Intercept)", "the residual variance"):
            rows = last.numbers.filter(quantity=name).to_dicts()
            sizes[name] = abs(rows[-1]["estimate"] - rows[0]["estimate"]) / (2 * rows[-1]["std_error"])
        most = max(sizes, key=sizes.__getitem__)
        ends = [figure(row["estimate"]) for row in last.numbers.filter(quantity=most).to_dicts()]
        assert last.answer == (
            f"None of the other 2 numbers is flagged in 5 runs; {most} has moved most for its standard error: "
            f"{ends[0]} in the baseline, now {ends[-1]}."
        )
        dots = [row["estimate"] for row in drawn(last, "at")]
        assert sorted(dots) == sorted(last.numbers["estimate"])
        assert len(dots) == 10

    def test_a_variance_has_an_interval_and_an_icc_stands_beside_zero(self, runs: Store):
        """Wald's, of the logarithm; without one the axis begins at zero, so that no wiggle looks like a jump."""
        (variance,) = [picture for picture in pictures(runs, "history") if "variance of (I" in picture.question]
        for row in variance.numbers.to_dicts():
            margin = 1.959963984540054 * row["std_error"] / row["estimate"]
            ends = [row["estimate"] * np.exp(sign * margin) for sign in (-1, 1)]
            # equal but for the rounding of the exponential
            assert [row["conf_low"], row["conf_high"]] == pytest.approx(ends, rel=1e-14)
        rules = [layer for layer in variance.spec["layer"] if layer["mark"]["type"] == "rule"]
        assert any("y2" in layer["encoding"] and len(layer["data"]["values"]) == 5 for layer in rules)
        (icc,) = [
            picture for picture in pictures(runs, "history") if picture.question == "Has the ICC changed over the runs?"
        ]
        assert icc.spec["layer"][-1]["encoding"]["y"]["scale"]["domain"][0] <= 0.0

    def test_the_sql_gives_the_numbers(self, runs: Store):
        for picture in pictures(runs, "history"):
            assert runs.query(picture.sql).equals(picture.numbers), picture.sql
            rows = picture.numbers.height
            assert rows == 5 * (1 if "quantity" not in picture.numbers else picture.numbers["quantity"].n_unique())

    def test_sentence_dashed_line_and_flags_are_the_tables(self, runs: Store):
        slope = pictures(runs, "history")[0]
        effects = runs.tables["all_fixed_effects"].filter(term="within(ses)").sort("run_id").to_dicts()
        low, high = (figure(effects[-1][end]) for end in ("conf_low", "conf_high"))
        assert slope.answer == (
            f"within(ses) is {figure(effects[-1]['estimate'])} (95% interval {low} to {high}) in the latest of 5 runs "
            f"and {figure(effects[0]['estimate'])} in the baseline; 2 of 5 runs are flagged."
        )
        (dashed,) = [row["here"] for values in layers(slope.spec) for row in values if "here" in row]
        assert dashed == effects[0]["estimate"]
        drift = runs.tables["all_drift"].filter(term="within(ses)", kind="fixed_effect", flagged=True)
        flagged = {row["estimate"] for row in drawn(slope, "flagged") if row["flagged"]}
        assert flagged == {row["estimate"] for row in effects if row["run_id"] in set(drift["run_id"])}
        assert {row["run_id"] for row in effects if row["estimate"] in flagged} == {"run3", "run4"}
        # magenta triangles: a hue and a shape of their own
        (marks,) = [layer for layer in slope.spec["layer"] if layer["mark"].get("shape") == "triangle-up"]
        assert marks["encoding"]["color"] == {"value": "@flag"}

    def test_runs_before_the_last_are_left_out(self, runs: Store):
        """The dashed line is the baseline's nevertheless: the comparison with it is stored."""
        slope = pictures(runs, "history", runs=2)[0]
        assert list(slope.numbers["run_id"]) == ["run3", "run4"]
        assert runs.query(slope.sql).equals(slope.numbers)
        first = runs.tables["all_fixed_effects"].filter(term="within(ses)", run_id="run0")["estimate"][0]
        assert [row["here"] for values in layers(slope.spec) for row in values if "here" in row] == [first]

    def test_without_comparisons_the_first_run_is_dashed(self, runs: Store):
        tables = {name: frame for name, frame in runs.tables.items() if name != "all_drift"}
        picture = next(PICTURES["history"](tables, Selection(term="within(ses)")))
        assert " in the first run; no run is flagged." in picture.answer
        (together,) = PICTURES["history"](tables, Selection())
        assert together.question == "Have the numbers of the model changed over the runs?"
        assert together.answer.startswith("None of 5 numbers is flagged in 5 runs; within(ses) has moved most")

    def test_one_run_has_no_history(self, runs: Store):
        tables = {name: frame.filter(run_id="run4") for name, frame in runs.tables.items()}
        assert list(PICTURES["history"](tables, Selection())) == []

    def test_runs_of_one_day_have_labels_of_their_own(self, runs: Store):
        at = pl.datetime(2026, 3, 1, 4, 30, time_zone="UTC")
        same = runs.tables["all_runs"].with_columns(finished_at=at)
        picture = next(PICTURES["history"]({**runs.tables, "all_runs": same}, Selection()))
        names = [row["label"] for row in drawn(picture, "label")]
        assert names[:2] == ["03-01 04:30", "03-01 04:30 (2)"]
        assert len(set(names)) == 5


class TestKeys:
    def test_the_sql_gives_the_numbers_in_the_order_of_keys(self, parts: Store):
        drafts = pictures(parts, "keys")
        assert len(drafts) == 5
        for picture in drafts:
            numbers = picture.numbers
            assert parts.query(picture.sql).sort("key").equals(numbers.sort("key")), picture.sql
            assert list(numbers["key"]) == ["]'[", "a|b", "wave 2", "wave 10"]

    def test_the_sentence_names_the_ends(self, parts: Store):
        picture = pictures(parts, "keys")[0]
        rows = picture.numbers.sort("estimate").to_dicts()
        ends = [
            f"{figure(r['estimate'])} (95% interval {figure(r['conf_low'])} to {figure(r['conf_high'])})" for r in rows
        ]
        middle = rows[1]["estimate"]
        apart = sum(not row["conf_low"] <= middle <= row["conf_high"] for row in rows)
        assert picture.question == "How does within(ses) differ over the keys of hsb?"
        assert picture.answer == (
            f"Over 4 keys within(ses) runs from {ends[0]} in {rows[0]['key']} to {ends[-1]} in {rows[-1]['key']}. "
            f"{apart} of 4 intervals exclude the estimate in the middle, {figure(middle)}."
        )
        kinds = [row["kind"] for row in drawn(picture, "kind")]
        assert kinds.count("interval excludes the middle") == apart

    def test_names_that_break_drawings_are_text(self, parts: Store):
        names = [f"hsb[{name.encode('utf-8', 'replace').decode()}]" for name in HOSTILE if name]
        frames = {name: _copies(frame, names) for name, frame in parts.tables.items()}
        for picture in PICTURES["keys"](frames, Selection()):
            tags = {node.tag.partition("}")[2] for node in Xml.fromstring(picture.svg()).iter()}
            assert tags <= {"svg", "g", "rect", "path", "line", "text", "tspan", "title", "circle"}
            assert picture.numbers.height == len(names)

    def test_a_thousand_keys_are_a_band_and_extremes(self, parts: Store):
        """Quick and small; every key is in the numbers."""
        names = [f"hsb[day {place}]" for place in range(1000)]
        rng = np.random.default_rng(1)
        moved = {name: _copies(frame, names) for name, frame in parts.tables.items()}
        shift = pl.Series(rng.normal(size=1000))
        by_key = pl.DataFrame({"analysis": names, "shift": shift})
        effects = moved["key_fixed_effects"].join(by_key, on="analysis")
        ends = ("estimate", "conf_low", "conf_high")
        moved["key_fixed_effects"] = effects.with_columns(pl.col(end) + pl.col("shift") for end in ends).drop("shift")
        start = time.process_time()
        drafts = list(PICTURES["keys"](moved, Selection()))
        seconds = time.process_time() - start
        assert seconds < 4
        slope = drafts[0]
        assert slope.numbers.height == 1000
        assert list(slope.numbers["key"][:3]) == ["day 0", "day 1", "day 2"]
        assert max(len(values) for values in layers(slope.spec)) == 200
        extremes = sorted(row["estimate"] for row in drawn(slope, "kind"))
        ordered = sorted(slope.numbers["estimate"])
        assert extremes == ordered[:8] + ordered[-8:]
        assert slope.answer.startswith(f"Over {count(1000)} keys within(ses) runs from {figure(ordered[0])} (95% ")
        assert len(slope.svg()) < 100_000

    def test_keys_sort_as_people_do(self):
        assert sorted(["w10", "w9", "b", "2024-10-01", "2024-9-01"], key=natural) == [
            *("2024-9-01", "2024-10-01"),
            *("b", "w9", "w10"),
        ]

    def test_one_key_has_no_picture(self, parts: Store):
        tables = {name: frame.filter(analysis="hsb[a|b]") for name, frame in parts.tables.items()}
        assert list(PICTURES["keys"](tables, Selection())) == []


def _copies(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The rows of one partition for each of these analyses."""
    one = frame.filter(analysis="hsb[a|b]")
    return one.drop("analysis").join(pl.DataFrame({"analysis": names}), how="cross").select(frame.columns)


class TestLadder:
    def test_rows_and_sentence(self, ladder: Store):
        (picture,) = pictures(ladder, "ladder_steps")
        assert ladder.query(picture.sql).sort("step").equals(picture.numbers)
        steps = ladder.tables["ladder_steps"].sort("step").to_dicts()
        last = [row for row in steps if row["taken"]][-1]
        assert picture.question == "What did the selection try?"
        assert picture.answer == (
            f"2 of 4 candidates are added; the last is sector, with which the AIC differs by "
            f"−{abs(last['delta_aic']):.1f}. The selection ends with “{last['model']}”."
        )
        texts = {row["text"] for values in layers(picture.spec) for row in values if "text" in row}
        assert {"within(ses)", "sector", "size", "within(ses):size"} <= texts
        assert [row["delta_aic"] for row in drawn(picture, "delta_aic")] == [
            row["delta_aic"] for taken in (True, False) for row in steps if row["taken"] is taken and row["delta_aic"]
        ]

    def test_a_candidate_that_was_not_fitted_has_a_reason_and_no_mark(self, ladder: Store):
        (picture,) = pictures(ladder, "ladder_steps")
        texts = [row["text"] for values in layers(picture.spec) for row in values if "text" in row]
        assert any(text.startswith("not tried: size, a part of it") for text in texts)
        assert len(list(drawn(picture, "delta_aic"))) == 3

    def test_nothing_taken(self, ladder: Store):
        tables = {"ladder_steps": ladder.tables["ladder_steps"].with_columns(taken=pl.lit(value=False))}
        (picture,) = PICTURES["ladder_steps"](tables, Selection())
        assert picture.answer == "0 of 4 candidates are added: the selection stays with “anova”."

    def test_forty_rows(self, ladder: Store):
        steps = ladder.tables["ladder_steps"]
        many = pl.concat([steps.with_columns(step=pl.col("step") + 4 * place) for place in range(15)])
        (picture,) = PICTURES["ladder_steps"]({"ladder_steps": many}, Selection())
        assert picture.reading.endswith(". The first 40 steps are drawn.")
        assert picture.numbers.height == 60
        assert len(picture.svg()) < 100_000


def many_models(size: int) -> dict[str, pl.DataFrame]:
    """Coefficients of many models, some with a product."""
    rng, rows = np.random.default_rng(2), []
    for place in range(size):
        terms = ["x", *[f"z{number}" for number in range(9) if rng.random() < 0.6]]
        for term in [*terms, *(["x:z0"] if "z0" in terms and place % 4 == 0 else [])]:
            numbers = rng.normal(1, 0.5), rng.uniform(0.2, 0.5)
            rows.append((f"model {place}", term, 1, *numbers))
    frame = pl.DataFrame(rows, schema=["model", "term", "level", "estimate", "std_error"], orient="row")
    ends = {
        "conf_low": pl.col("estimate") - 2 * pl.col("std_error"),
        "conf_high": pl.col("estimate") + 2 * pl.col("std_error"),
    }
    return {"fixed_effects": frame.with_columns(symbol=pl.lit("g"), **ends)}


class TestVeryManyModels:
    def test_estimates_in_order_without_names(self):
        tables = many_models(200)
        (picture,) = PICTURES["forest"](tables, Selection())
        effects = tables["fixed_effects"].filter(term="x").sort("estimate")
        products = set(tables["fixed_effects"].filter(term="x:z0")["model"])
        alone = effects.filter(~pl.col("model").is_in(products)).to_dicts()
        ends = [
            f"{figure(r['estimate'])} (95% interval {figure(r['conf_low'])} to {figure(r['conf_high'])}) in "
            f"“{r['model']}”"
            for r in (alone[0], alone[-1])
        ]
        apart = sum(row["conf_low"] > 0 or row["conf_high"] < 0 for row in alone)
        assert picture.answer == (
            f"Over {len(alone)} models without its interactions, x runs from {ends[0]} to {ends[1]}. "
            f"{apart} of {len(alone)} intervals exclude zero."
        )
        assert len(picture.spec["vconcat"]) == 6
        for panel in picture.spec["vconcat"]:
            filled = [
                row["estimate"] for layer in panel["layer"] for row in layer["data"]["values"] if "estimate" in row
            ]
            places = {
                row["place"]: row for layer in panel["layer"] for row in layer["data"]["values"] if "estimate" in row
            }
            estimates = [places[place]["estimate"] for place in sorted(places)]
            assert all(a <= b for a, b in pairwise(estimates))
            assert set(filled) <= set(picture.numbers["estimate"])
        svg = picture.svg()
        assert len(svg) < 100_000
        assert "model 1" not in svg.partition(">")[2]

    def test_few_models_keep_their_names(self):
        (picture,) = PICTURES["forest"](many_models(30), Selection())
        assert picture.question == "Do the estimates move as the model grows?"


def test_rows_in_another_order_draw_the_same(runs: Store, parts: Store, ladder: Store) -> None:
    for store, key in ((runs, "history"), (parts, "keys"), (ladder, "ladder_steps")):
        mixed = {name: frame.sample(fraction=1.0, shuffle=True, seed=3) for name, frame in store.tables.items()}
        for one, other in zip(pictures(store, key), PICTURES[key](mixed, Selection()), strict=True):
            assert (one.spec, one.answer, one.reading, one.sql) == (other.spec, other.answer, other.reading, other.sql)
            assert one.numbers.equals(other.numbers)


def test_a_mark_is_where_its_value_is(runs: Store) -> None:
    """Read back from the drawing through the ticks of the axis."""
    picture = pictures(runs, "history")[0]
    svg = picture.svg()
    start, slope = scale(svg, "y")
    estimates = {figure(row["estimate"]): row["estimate"] for row in picture.numbers.to_dicts()}
    dots = []
    for node, _, y in elements(svg):
        title = node.find("{http://www.w3.org/2000/svg}title")
        if title is not None and node.tag.endswith("circle"):
            dots.append((y, estimates[str(title.text).partition(" UTC: ")[2].partition(" (")[0]]))
    assert len(dots) == 3
    offsets = [y - (value - start) / slope for y, value in dots]
    assert max(offsets) - min(offsets) < HALF
    # a label's baseline is three or four pixels below its tick
    assert abs(np.median(offsets) + 3.5) < 1.5
