"""Result tables on terminals of any width, and in a pipe."""

from __future__ import annotations

import io
from argparse import Namespace
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import mlm_ops as mlm
from mlm_ops.cli import printed_tables
from mlm_ops.cli.show import print_results
from mlm_ops.cli.terminal import show_centering, show_table, show_tables
from tests.structural.cases import data

TERMS = ["(Intercept)", "within(ses):sector[Public]"]
FIXED = pl.DataFrame(
    {
        "model": ["random_slope", "random_slope", "slopes_as_outcomes", "slopes_as_outcomes"],
        "term": TERMS * 2,
        "symbol": ["gamma_00", "gamma_11"] * 2,
        "estimate": [12.5, -1.5, 13.0, 1000.5],
        "std_error": [0.25] * 4,
        "df": [150.0] * 4,
        "statistic": [50.0] * 4,
        "p_value": [0.00001, 0.5, 0.04, 0.2],
        "conf_low": [12.0] * 4,
        "conf_high": [13.0] * 4,
    }
)


def shown(frame: pl.DataFrame, width: int, name: str = "fixed_effects", limit: int | None = None) -> str:
    target = Console(width=width, file=io.StringIO(), highlight=False)
    show_table(target, name, frame, f"mlm show --table {name} --all", limit)
    return target.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_name_is_broken_and_no_line_ends_in_blanks(width: int) -> None:
    text = shown(FIXED, width)
    for name in (*TERMS, "random_slope", "slopes_as_outcomes", "estimate", "<0.001"):
        assert name in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_hidden_columns_are_named() -> None:
    assert "hidden at this width: symbol, conf_low, conf_high\n" in shown(FIXED, 80)
    assert "hidden" not in shown(FIXED, 200)


def test_headings_come_before_columns_go() -> None:
    text = shown(FIXED, 112)
    assert "hidden" not in text
    assert "\n slopes_as_outcomes\n" in text
    assert "\n random_slope        (Intercept)" in shown(FIXED, 200)


#: Words of one, two and no cells a character, of emoji that several code points make, of markup, and of blanks.
WORDS = ["ses", "日本語", "é", "e\u0301", "sex[Male]", "[bold]", "한글", "👍🏽", "🇩🇪", "ﬁ", "−", ""]
WORDS += ["👩\u200d🏫", "\u200d", "❤\ufe0f", "\ufe0f"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)


@st.composite
def printed(draw: st.DrawFn) -> pl.DataFrame:
    """Rows of a result table: of one model, several, or none, with names, prose, and numbers."""
    size = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=size, max_size=size))

    models = st.sampled_from([None, "a", "random_slope", "学校"])
    texts, numbers = st.none() | TEXTS, st.none() | st.floats(-1e6, 1e6)
    return pl.DataFrame(
        {
            "model": pl.Series(column(models), dtype=pl.String),
            "term": pl.Series(column(TEXTS), dtype=pl.String),
            # prose, which may go over several lines, in the middle and at the end
            "formula": pl.Series(column(texts), dtype=pl.String),
            "estimate": pl.Series(column(numbers), dtype=pl.Float64),
            "flagged": pl.Series(column(st.none() | st.booleans()), dtype=pl.Boolean),
            "explanation": pl.Series(column(texts), dtype=pl.String),
        }
    )


def piped(table: printed_tables.PrintedTable, width: int) -> str:
    target = Console(width=width, file=io.StringIO(), highlight=False)
    printed_tables.print_table(target, table)
    assert target.width == width
    return target.file.getvalue()


@pytest.mark.parametrize("headings", [False, True])
@settings(max_examples=150, deadline=None)
@given(frame=printed(), name=st.sampled_from(["fixed_effects", "models", "[b]", "学校"]), width=st.integers(1, 300))
def test_lines_of_a_pipe_are_those_that_rich_lays_out(
    headings: bool, frame: pl.DataFrame, name: str, width: int
) -> None:
    """At each width: a narrow one, the width of the table itself and those beside it, and a wide one."""
    table = printed_tables.printed_table(name, frame, headings)
    widths = (width, table.least_width, table.width - 1, table.width, table.width + 1)
    lines = [piped(table, max(each, 1)) for each in widths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(printed_tables.PrintedTable, "is_plain", False)
        assert lines == [piped(table, max(each, 1)) for each in widths]


@pytest.mark.parametrize("width", [20, 60, 112, 200])
def test_a_shown_table_has_the_lines_that_rich_lays_out(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = FIXED.with_columns(term=pl.Series(["日本", "é", "sex[Male]", ""]), model=pl.Series([None, "a", "a", "b"]))
    tables = (("fixed_effects", FIXED), ("fixed_effects", FIXED[:2]), ("icc", FIXED[:1]), ("fixed_effects", wide))
    plain = [shown(frame, width, name) for name, frame in tables]
    monkeypatch.setattr(printed_tables.PrintedTable, "is_plain", False)
    assert plain == [shown(frame, width, name) for name, frame in tables]


def test_left_out_rows_are_counted_with_the_command_for_them() -> None:
    assert "and 1 more rows: mlm show --table fixed_effects --all\n" in shown(FIXED, 200, limit=3)


def test_notes_of_comparisons_stand_below() -> None:
    frame = pl.DataFrame(
        {
            "model": ["b", "c", "d"],
            "reference_model": ["a", "b", "c"],
            "statistic": [1.0, 2.0, 3.0],
            "p_value": [0.1, None, None],
            "note": [None, "the models are not nested", "the models are not nested"],
        }
    )
    lines = shown(frame, 80, "comparisons").splitlines()
    assert "  c against b, d against c: the models are not nested" in lines
    assert "note" not in lines[2]


def test_notes_of_models_stand_below_without_the_rows_left_out() -> None:
    left_out = "5 of 90 rows left out for missing values (x 5)"
    frame = pl.DataFrame(
        {"model": ["a", "b", "c"], "formula": ["y ~ x"] * 3, "notes": [f"singular\n{left_out}", left_out, "singular"]}
    )
    text = shown(frame, 80, "models")
    assert "\n  a, c: singular\n" in text
    assert "left out" not in text


def test_the_largest_modification_indices_are_printed_with_what_they_are() -> None:
    tests = mlm.sem("cfa metric: f =~ y1 + y2 + y3 + y4", data("demo_twolevel"), cluster="cluster").score_tests
    frame = tests.with_columns(model=pl.lit("equal"))
    target = Console(width=200, file=io.StringIO(), highlight=False)
    show_tables(target, {"sem_score_tests": frame}, lambda name: f"mlm show --table {name} --all")
    text = target.file.getvalue()
    assert text.splitlines()[4].split()[:7] == ["2", "y1", "~~", "y2", "left", "out", "6.92"]
    assert f"and {frame.height - 10} more rows: mlm show --table sem_score_tests --all" in text
    assert "modification indices explore: of many some are large by chance" in text
    assert "population" not in text


def test_a_table_of_modification_indices_shows_the_largest_of_each_model(capsys) -> None:
    names = [f"y{number:02d}" for number in range(12)]
    columns = {"analysis": "a", "population": None, "level": 1, "op": "=~", "rhs": "f", "restriction": "left out"}
    frames = [
        pl.DataFrame({"model": [model] * 12, "lhs": names, "statistic": [float(largest + n) for n in range(12)]})
        for model, largest in (("first", 100), ("second", 1))
    ]
    frame = pl.concat(frames).with_columns(at_bound=pl.lit(False), **{name: pl.lit(v) for name, v in columns.items()})
    run = {
        "analysis": "a",
        "n_obs": 9,
        "n_rows": 9,
        "data": "t",
        "finished_at": datetime(2026, 1, 1),
        "n_dropped": "{}",
    }
    keys = {"database": None, "analysis": None, "model": None, "side_by_side": None, "table": "sem_score_tests"}
    print_results(pl.DataFrame([run]), {"sem_score_tests": frame}, Namespace(**keys, all=False))
    text = capsys.readouterr().out
    for model in ("first", "second"):
        below = text.split(f"sem_score_tests of {model}\n")[1].split("modification indices explore")[0]
        assert [name for name in names if name in below] == names[2:]
        assert below.index("y11") < below.index("y02")
    assert text.count("and 2 more rows: mlm show --table sem_score_tests --all\n") == 2


def test_modification_indices_of_groups_are_printed_with_their_group() -> None:
    rows = data("demo_twolevel").with_columns(half=pl.format("half {}", pl.col("cluster") % 2))
    fit = mlm.sem(
        "cfa: f =~ y1 + y2 + y3 + y4", rows, cluster="cluster", group="half", group_equal=["loadings", "intercepts"]
    )
    target = Console(width=200, file=io.StringIO(), highlight=False)
    show_tables(target, {"sem_score_tests": fit.score_tests.with_columns(model=pl.lit("equal"))}, str)
    lines = target.file.getvalue().splitlines()
    first = fit.score_tests.row(0, named=True)
    assert lines[2].split()[0] == "population"
    assert lines[4].split()[:3] == ["half", first["population"][-1], str(first["level"])]


def test_the_ends_of_an_interval_go_together() -> None:
    """At 72 columns one of the two would still find room."""
    for width in range(60, 112):
        header = shown(FIXED, width).splitlines()[2]
        assert ("conf_low" in header) == ("conf_high" in header), width


def test_the_points_of_a_column_stand_under_each_other() -> None:
    frame = pl.DataFrame(
        {
            "model": ["m"] * 4,
            "term": ["(Intercept)", "ses", "nothing", "income"],
            "estimate": [12.636972, -0.2345678, 0.0, 0.0000123456],
            "std_error": [10.5, 0.25, 0.5, 2.0],
        }
    )
    assert shown(frame, 80).splitlines()[2:8] == [
        " term           estimate  std_error",
        " ──────────────────────────────────",
        " (Intercept)  12.64         10.50",
        " ses          -0.2346        0.2500",
        " nothing       0.000         0.5000",
        " income        1.235e-05     2.000",
    ]


def test_what_is_zero_to_the_digits_shown_is_zero() -> None:
    fit = {"model": ["m"], "chi_square": [-1e-9], "rmsea": [0.0], "srmr_within": [5.7e-14], "srmr_between": [0.01234]}
    assert shown(pl.DataFrame(fit), 80, "sem_fit").splitlines()[4].split() == ["0.000", "0.000", "0.000", "0.012"]


def test_a_table_without_values_is_printed() -> None:
    frame = pl.DataFrame({"model": ["m"], "cfi": pl.Series([None], dtype=pl.Float64)})
    assert shown(frame, 80, "sem_fit") == "\n"


@pytest.fixture(scope="module")
def centering() -> pl.DataFrame:
    rows = pl.DataFrame({"g": [i // 5 for i in range(60)], "x": [(i * 7 + i // 5) % 11 for i in range(60)]})
    rows = rows.with_columns(y=pl.col("x") * 0.5 + pl.col("g") % 4 + pl.col("x") * pl.col("g") % 3)
    table = mlm.fit("y ~ x + (1 | g)", rows).centering()
    return pl.concat([table.select(pl.lit(model).alias("model"), pl.all()) for model in ("one", "two[bold]")])


def versions(table: pl.DataFrame, width: int, *, terminal: bool = True, sentences: bool = True) -> list[str]:
    target = Console(width=width, file=io.StringIO(), highlight=False, force_terminal=terminal, color_system=None)
    show_centering(target, table, "mlm show --table centering --all", sentences=sentences)
    return target.file.getvalue().splitlines()


def test_versions_stand_in_blocks_on_a_narrow_terminal(centering: pl.DataFrame) -> None:
    lines = versions(centering, 80, sentences=False)
    first = lines[lines.index("centering of one") : lines.index("centering of two[bold]")]
    assert [line.split("  ")[-1] for line in first if line.startswith(" ")] == [
        "group mean",
        "raw + mean",
        "equal whatever the data",
    ]
    assert sum(line.rstrip().startswith("intercept") for line in first) == 3
    assert max(map(len, lines)) <= 120
    assert lines[-2] == "  the error and explanation of each number: mlm show --table centering --all"


def test_versions_stand_in_one_table_in_a_pipe(centering: pl.DataFrame) -> None:
    lines = versions(centering, 20, terminal=False, sentences=False)
    assert sum(line.startswith("intercept ") for line in lines) == 2
    assert len(lines) == 2 * 9 + 2


@pytest.mark.parametrize("width", [60, 80, 200])
def test_sentences_about_versions_are_broken_between_words(centering: pl.DataFrame, width: int) -> None:
    lines = versions(centering, width)
    start = next(i for i, line in enumerate(lines) if line.startswith("raw, "))
    sentences = lines[start : lines.index("", start)]
    assert all(len(line) <= min(width, 100) for line in sentences)
    assert " ".join(map(str.strip, sentences)).startswith(
        "raw, y ~ 1 + x + (1 | g): The same model as grand mean, with another zero: the columns span the same space, "
        "so that fit and predictions are equal. gamma_00: predicted y where x is 0. tau_00: variance over g of "
        "predicted y, the same at all values of the predictors. grand mean, y ~ 1 + center(x) + (1 | g): The same"
    )
