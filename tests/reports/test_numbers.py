"""A picture shows rows of result tables: its values, its SQL and its sentences agree with the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import duckdb
import polars as pl
import pytest

from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.marks import UNIT_END
from mlm_ops.reports.pictures.rows import Selection
from mlm_ops.reports.pictures.words import figure, minus, percent, shown
from mlm_ops.results.words import cell, count, p_value
from tests.reports.stores import Store

#: Pictures of what one run does not have: earlier ones, partitions, a ladder.
NOT_OF_ONE = {"history", "keys", "ladder_steps"}
USUAL = set(PICTURES) - NOT_OF_ONE - {"path"}
#: Which pictures each kind of analysis has.
EXPECTED = {
    "hsb": {*USUAL, "path"},
    "three_level": USUAL - {"two_slopes", "simple_slopes", "johnson_neyman"},
    "crossed": {"group_sizes", "decomposition", "standard_errors", "variance", "steps", "caterpillar", "qq_units"},
    "weighted": USUAL - {"simple_slopes", "johnson_neyman", "qq_rows", "binned", "influence"},
    "robust": USUAL - {"two_slopes", "simple_slopes", "johnson_neyman", "steps"},
    "structural": {"path", "forest", "group_sizes", "decomposition", "centering"},
}


def layers(spec: Any) -> Iterator[list[dict[str, Any]]]:
    """The data of every layer."""
    if isinstance(spec, dict):
        if "data" in spec:
            yield spec["data"]["values"]
        for value in spec.values():
            yield from layers(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from layers(value)


def test_the_sql_of_a_picture_gives_its_numbers(store: Store) -> None:
    for picture in store.pictures():
        rows, numbers = store.query(picture.sql), picture.numbers
        assert rows.columns == numbers.columns, picture.key
        if picture.key in ("variance", "forest"):  # of the models that are drawn
            rows = rows.join(numbers, on=rows.columns, how="semi", nulls_equal=True)
        assert rows.sort(rows.columns).equals(numbers.sort(numbers.columns)), (picture.key, picture.sql)


def test_what_is_drawn_are_values_of_the_numbers(store: Store) -> None:
    """To the last digit: what a layer's columns share with the table's are rows of it."""
    marks = 0
    for picture in store.pictures():
        for values in layers(picture.spec):
            shared = [name for name in picture.numbers.columns if values and name in values[0]]
            if shared:
                rows = set(picture.numbers.select(shared).iter_rows())
                assert {tuple(row[name] for name in shared) for row in values} <= rows, (picture.key, shared)
                marks += len(values)
    assert marks > 0


def test_every_number_of_an_answer_is_in_the_tables(store: Store) -> None:
    texts, names = _texts(store), _names(store)
    for picture in store.pictures():
        sentence = picture.answer
        for name in names:
            sentence = re.sub(rf"(?<![\w.−]){re.escape(name)}(?!\w|\.\d|%)", " ", sentence)
        for constant in ("95% interval", "(normal: 0 and 3)", "differ by 1 "):
            sentence = sentence.replace(constant, " ")
        counts = {count(number) for number in range(picture.numbers.height + 1)}
        for token in re.findall(r"[−<]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[−+]?\d+)?%?", sentence):
            assert token in texts | counts, (picture.key, token, picture.answer)


def _texts(store: Store) -> set[str]:
    """Every number of the tables as a sentence may write it."""
    texts = set()
    for frame in store.tables.values():
        for column in frame.iter_columns():
            if column.dtype == pl.Float64:
                for value in column.drop_nulls().unique():
                    whole = {count(int(value))} if value == int(value) else set()
                    ways = {figure(value), percent(value), p_value(value).lstrip("<"), minus(cell("delta_aic", value))}
                    texts |= ways | {minus(cell("correlation", value)), minus(f"{value:.2f}")} | whole
            elif column.dtype == pl.Int64:
                texts |= {count(value) for value in column.drop_nulls().unique()}
    errors = store.tables["standard_errors"]
    shares = (errors["naive_std_error"] / errors["std_error"]).drop_nulls()
    variances = store.tables["r_squared"].filter(pl.col("measure").str.starts_with("rights_sterba_total_"))
    # parts of one bar that one sentence names together
    sums = (
        variances.filter(pl.col("measure").str.contains("_(v|m)[0-9]*$")).group_by("model", "measure").agg("estimate")
    )
    added = [a + b for values in sums["estimate"] for a, b in pairwise(values)]
    slopes = (
        variances.filter(pl.col("measure").str.contains("_v[0-9]*$")).group_by("model").agg(pl.col("estimate").sum())
    )
    return texts | {percent(share) for share in [*shares, *added, *slopes["estimate"]]}


def _names(store: Store) -> list[str]:
    """The texts of the tables, which may have digits: the longest first."""
    columns = (
        "model",
        "reference_model",
        "term",
        "other",
        "unit",
        "group",
        "variable",
        "predictor",
        "moderator",
        "lhs",
        "rhs",
    )
    names = {
        shown(name)
        for frame in store.tables.values()
        for column in (*columns, "moderator_value", "setting")
        if column in frame.columns
        for name in frame[column].drop_nulls().unique()
    }
    return sorted(names, key=len, reverse=True)


def test_each_analysis_has_the_pictures_that_its_tables_hold(store: Store) -> None:
    analysis = store.tables["models"]["analysis"][0]
    assert {picture.key for picture in store.pictures()} == EXPECTED[analysis]


def test_tables_without_rows_have_no_pictures(hsb: Store) -> None:
    empty = {name: frame.clear() for name, frame in hsb.tables.items()}
    for tables in ({}, empty):
        assert [picture for draft in PICTURES.values() for picture in draft(tables, Selection())] == []


def test_a_specification_is_plain_json(store: Store) -> None:
    for picture in store.pictures():
        assert json.loads(json.dumps(picture.spec, allow_nan=False)) == picture.spec, picture.key


class TestSentences:
    """Of the shipped run, word by word."""

    @pytest.mark.parametrize(
        ("key", "selection", "question", "answer"),
        [
            (
                "group_sizes",
                {},
                "How many rows has a school?",
                "160 schools hold 14 to 67 rows, with a median of 47.",
            ),
            (
                "decomposition",
                {},
                "How much of each variable lies between schools?",
                "By analysis of variance, 27% of ses and 17% of mathach lie between schools.",
            ),
            (
                "standard_errors",
                {},
                "What would ignoring the schools have cost?",
                "In “slopes_as_outcomes”, the standard error of (Intercept) is 0.219; least squares that takes rows as "
                "independent gives 0.109, 50% of it.",
            ),
            (
                "variance",
                {},
                "What explains the variance?",
                "In “slopes_as_outcomes”, predictors account for 18% of the model's total variance: 5% within groups "
                "and 13% between groups. 77% stays within groups, 5% between groups and 0.1% in slopes that vary.",
            ),
            (
                "steps",
                {},
                "Which steps fit better?",
                "The AIC falls in 5 of 5 steps. It moves least from “rancova” to “random_slope”: the AIC differs by "
                "−5.8 (likelihood ratio 9.76, p = 0.005).",
            ),
            (
                "forest",
                {},
                "Do the estimates move as the model grows?",
                "Over the models without its interactions, sector[Public] moves most for its standard error: −1.94 "
                "(95% interval −2.23 to −1.64) in “regression” and −1.23 (95% interval −1.83 to −0.621) in "
                "“means_as_outcomes”.",
            ),
            (
                "two_slopes",
                {"model": "slopes_as_outcomes"},
                "Does ses work alike within and between schools?",
                "Within schools, rows that differ by 1 in ses differ by 2.19 (95% interval 1.98 to 2.40) in mathach; "
                "means of schools that differ by 1 in ses differ by 5.87 (95% interval 5.15 to 6.58). The contextual "
                "effect, the difference of the two, is 3.68 (95% interval 2.93 to 4.42).",
            ),
            (
                "johnson_neyman",
                {},
                "Where along between(ses) does the slope of within(ses) differ from zero?",
                "The slope of within(ses) along between(ses): above −1.36 it is positive and differs from zero (100% "
                "of the units lie there).",
            ),
            (
                "caterpillar",
                {"model": "slopes_as_outcomes"},
                "Which schools depart in level?",
                "40 of 160 intervals exclude zero; the standard deviation of the effects is 1.54.",
            ),
            (
                "caterpillar",
                {"term": "within(ses)"},
                "Which schools depart in the slope of within(ses)?",
                "0 of 160 intervals exclude zero; the standard deviation of the effects is 0.318.",
            ),
            (
                "t_matrix",
                {},
                "Do the random effects of schools go together?",
                "The correlation of within(ses) and (Intercept) is 0.39 over schools (covariance 0.192, standard error "
                "0.204).",
            ),
            (
                "qq_rows",
                {},
                "Are the residuals normal?",
                "Skewness −0.13, kurtosis 2.48 (normal: 0 and 3), p < 0.001: flagged.",
            ),
            (
                "influence",
                {},
                "Does one school make the result?",
                "Leaving a school out moves no coefficient by more than its standard error; the most: without school "
                "2277, within(ses):between(ses) moves by −0.471 of its standard errors.",
            ),
        ],
    )
    def test_of_the_shipped_run(self, hsb, key, selection, question, answer):
        picture = hsb.picture(key, **selection)
        assert (picture.question, picture.answer) == (question, answer)

    def test_no_word_of_cause_or_verdict(self, store: Store):
        words = r"\b(effect on|leads? to|improves?|because|important|large|small|surprisingly|only|best|worst)\b"
        for picture in store.pictures():
            for sentence in (picture.question, picture.answer):
                assert re.search(words, sentence) is None, sentence

    def test_a_slope_with_moderators_says_so(self, hsb: Store):
        """And it is not compared with the slope of other models (W4)."""
        alone = {name: _of_model(frame, "slopes_as_outcomes") for name, frame in hsb.tables.items()}
        (picture,) = PICTURES["forest"](alone, Selection(term="within(ses)"))
        assert picture.answer == (
            "In “slopes_as_outcomes”, within(ses) is 1.30 (95% interval 0.961 to 1.64), where its moderators are zero "
            "or at their reference."
        )
        (picture,) = PICTURES["two_slopes"](alone, Selection())
        assert "5.33 (95% interval 4.60 to 6.06), where their moderators are zero or at their" in picture.answer


def _of_model(frame: pl.DataFrame, model: str) -> pl.DataFrame:
    return frame.filter(pl.col("model").is_null() | (pl.col("model") == model))


class TestUnits:
    def test_marks_of_a_unit_have_one_number_in_all_pictures(self, hsb: Store):
        """So that a page can find a unit in all of them."""
        numbers: dict[str, set[str]] = {}
        for picture in hsb.pictures():
            for row in (row for values in layers(picture.spec) for row in values if "hover" in row):
                number, _, text = row["hover"].partition(UNIT_END)
                if number and text:
                    unit = re.search(r"school (\d+)", text)
                    assert unit is not None, text
                    numbers.setdefault(unit[1], set()).add(number)
        assert len(numbers) == 160
        assert all(len(of_unit) == 1 for of_unit in numbers.values())
        assert len({number for of_unit in numbers.values() for number in of_unit}) == 160

    def test_intervals_for_pairs(self, hsb: Store):
        picture = hsb.picture("caterpillar", pairwise=True)
        row = picture.numbers.row(0, named=True)
        assert row["conf_high"] - row["conf_low"] == pytest.approx(2 * 1.39 * row["std_error"])
        assert "±1.39 standard errors" in picture.reading
        assert hsb.query(picture.sql).sort("unit").equals(picture.numbers.sort("unit"))

    def test_withheld_units_are_one_bar(self, hsb: Store):
        note = "min_publish_n: 12 of 172 groups of school have fewer than 10 rows and are not named"
        tables = {**hsb.tables, "models": hsb.tables["models"].with_columns(notes=pl.lit(note))}
        (picture,) = PICTURES["group_sizes"](tables, Selection())
        assert picture.answer.endswith(" 12 more have fewer than 10 rows and are not shown.")
        (bar,) = [row for values in layers(picture.spec) for row in values if row.get("kind") == "withheld"]
        assert (bar["low"], bar["high"], bar["count"]) == (0, 10, 12)
        assert picture.reading.startswith("Bars count schools; grey are those with fewer than 10 rows. ")

    def test_many_units_are_thinned_and_it_is_said(self, hsb: Store):
        picture = next(PICTURES["caterpillar"](_many(hsb), Selection()))
        assert picture.numbers.height == 160 * 8
        assert max(len(values) for values in layers(picture.spec)) == 200
        assert "means of 200 bins; the 8 at each end are drawn one by one" in picture.reading
        slopes = next(PICTURES["two_slopes"](_many(hsb), Selection()))
        assert max(len(values) for values in layers(slopes.spec)) == 400
        assert sum(row["count"] for values in layers(slopes.spec) for row in values if "count" in row) == 160 * 8


class TestMarks:
    def test_bars_of_sizes_stand_around_whole_numbers(self, hsb: Store):
        """Of schools of 40 rows each: one bar from 39.5 to 40.5, and ticks at whole numbers of rows."""
        tables = {**hsb.tables, "groups": hsb.tables["groups"].with_columns(n=pl.lit(40))}
        (picture,) = PICTURES["group_sizes"](tables, Selection())
        (bar,) = [row for values in layers(picture.spec) for row in values if "count" in row]
        assert (bar["left"], bar["right"], bar["count"]) == (39.5, 40.5, 160)
        assert picture.spec["layer"][0]["encoding"]["x"]["axis"]["values"] == [39, 40, 41]

    def test_a_standard_deviation_is_as_long_in_each_panel_of_centering(self, hsb: Store):
        panels = hsb.picture("centering").spec["hconcat"]
        domains = [panel["layer"][-1]["encoding"]["x"]["scale"]["domain"] for panel in panels]
        widths = [high - low for low, high in domains]
        assert widths == pytest.approx([widths[0]] * 3, rel=1e-12)
        for panel, (low, high) in zip(panels, domains, strict=True):
            rows = panel["layer"][-1]["data"]["values"]
            assert all(low <= row["left"] < row["right"] <= high for row in rows)

    def test_parts_without_room_have_their_number_above(self, hsb: Store):
        texts = hsb.picture("variance").spec["layer"][1:]
        inside, above = ({(r["label"], r["text"]) for r in layer["data"]["values"]} for layer in texts)
        shares = {("slopes_as_outcomes", text) for text in ("5%", "13%", "77%")}
        assert {pair for pair in inside | above if pair[0] == "slopes_as_outcomes"} == shares
        assert ("slopes_as_outcomes", "5%") in above
        assert [r["text"] for r in texts[1]["data"]["values"]].count("5%") == 3

    def test_a_correlation_of_one_is_drawn_after_its_neighbours(self, hsb: Store):
        """Else their rims cover its outline."""
        components = hsb.tables["variance_components"].with_columns(
            correlation=pl.when(pl.col("other").is_not_null()).then(1.0)
        )
        (picture,) = PICTURES["t_matrix"]({**hsb.tables, "variance_components": components}, Selection())
        edges = [box["edge"] for box in picture.spec["layer"][0]["data"]["values"]]
        assert edges == ["@ground", "@ground", "@flag"]

    def test_a_legend_names_the_standard_errors_that_are_there(self, hsb: Store):
        """In the order of the legend; the model's are drawn first, so that others upon them are seen."""
        errors = hsb.tables["standard_errors"].with_columns(robust_std_error=pl.lit(None, pl.Float64))
        for frame, kinds in ((hsb.tables["standard_errors"], 3), (errors, 2)):
            picture = next(PICTURES["standard_errors"]({**hsb.tables, "standard_errors": frame}, Selection()))
            dots = [layer for layer in picture.spec["layer"] if "shape" in layer["encoding"]]
            words = ["least squares", "multilevel", "least squares, robust"][:kinds]
            assert dots[0]["encoding"]["color"]["scale"]["domain"] == words
            assert [layer["data"]["values"][0]["kind"] for layer in dots] == [words[1], words[0], *words[2:]]

    def test_the_expected_median_of_residuals_is_zero(self, hsb: Store):
        """Their mean is zero but for rounding."""
        picture = hsb.picture("qq_rows")
        assert picture.numbers.filter(value=0.5)["expected"].to_list() == [0.0]
        stored = hsb.tables["diagnostics"].filter(diagnostic="residual_quantile", value=0.5)["expected"]
        assert abs(stored[0]) < 1e-12

    def test_all_marks_of_a_unit_are_found_in_the_picture_of_shrinkage(self, hsb: Store):
        svg = hsb.picture("shrinkage").svg()
        numbers = re.findall(r'data-u="(\d+)"', svg)
        assert {numbers.count(number) for number in numbers} == {3}
        assert len(set(numbers)) == svg.count("<title>") == 160


def _many(hsb: Store) -> dict[str, pl.DataFrame]:
    """Eight times the units."""
    tables = dict(hsb.tables)
    for name in ("random_effects", "groups"):
        copies = [tables[name].with_columns(unit=pl.format("{} {}", pl.col("unit"), pl.lit(k))) for k in range(8)]
        tables[name] = pl.concat(copies)
    return tables


def test_tables_of_a_fit_have_the_same_pictures(hsb: Store) -> None:
    """They are of no analysis, and their SQL is over the tables' own names."""
    of_fit = {name: frame.drop("run_id", "analysis") for name, frame in hsb.tables.items()}
    for key, draft in PICTURES.items():
        for stored, fitted in zip(draft(hsb.tables, Selection()), draft(of_fit, Selection()), strict=True):
            assert (fitted.spec, fitted.answer) == (stored.spec, stored.answer), key
            assert fitted.numbers.equals(stored.numbers)
            assert "mlm." not in fitted.sql
            assert "analysis" not in fitted.sql
            connection = duckdb.connect()
            for name, frame in of_fit.items():
                connection.register(name, frame.to_arrow())
            rows = connection.sql(fitted.sql).pl()
            assert rows.height >= fitted.numbers.height > 0
