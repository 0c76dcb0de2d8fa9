"""Fits from tables of moments that SQL has made, against fits from the rows; and the errors of unusable tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.from_macros import gather
from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import render

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"
#: The likelihood, whose sums are in another order; estimates, which move with the optimum; and Satterthwaite's degrees
#: of freedom, made of second derivatives there.
SAME, AT_THE_OPTIMUM, SECOND_DERIVATIVES = 1e-12, 1e-9, 1e-6


def macro_table(rows: pl.DataFrame, columns: Sequence[str], group: Any, **more: Any) -> pl.DataFrame:
    """The table that the macro makes, its rows in another order."""
    with duckdb.connect() as connection:
        connection.register("rows", rows.to_arrow())
        sql = render("group_moments", relation="rows", columns=list(columns), group=group, **more)
        return connection.sql(sql).pl().sample(fraction=1.0, shuffle=True, seed=1)


def merged_table(parts: pl.DataFrame, columns: Sequence[str], group: Any, **more: Any) -> pl.DataFrame:
    with duckdb.connect() as connection:
        connection.register("parts", parts.to_arrow())
        sql = render("merge_group_moments", relation="parts", columns=list(columns), group=group, **more)
        return connection.sql(sql).pl()


def assert_same_fit(ours: mlm.Fit, expected: mlm.Fit) -> None:
    for table, columns in (
        ("fit_statistics", ["log_likelihood", "n_obs", "aic"]),
        ("fixed_effects", ["estimate", "std_error", "df"]),
        ("variance_components", ["estimate"]),
        ("random_effects", ["estimate", "std_error"]),
    ):
        here, there = getattr(ours, table), getattr(expected, table)
        for column in columns:
            tolerance = SAME if table == "fit_statistics" else SECOND_DERIVATIVES if column == "df" else AT_THE_OPTIMUM
            np.testing.assert_allclose(
                here[column].cast(pl.Float64),
                there[column].cast(pl.Float64),
                rtol=tolerance,
                atol=tolerance,
                err_msg=f"{table}.{column}",
            )
    assert ours.fixed_effects["term"].to_list() == expected.fixed_effects["term"].to_list()


@pytest.fixture(scope="module")
def students() -> pl.DataFrame:
    return pl.read_csv(DATA / "hsb.csv")


@pytest.fixture(scope="module")
def moments(students: pl.DataFrame) -> Any:
    table = macro_table(students, ["mathach", "ses"], "school", constants=["sector", "size", "catholic"])
    return mlm.read_moments(table, "school")


@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_a_table_whose_names_are_in_capitals(students: pl.DataFrame, written: Callable[[str], str]) -> None:
    """Snowflake stores names so; models may write them in small letters or as they are stored."""
    columns, group, constants = ["mathach", "ses"], ["school", "sex"], ["sector", "size"]
    table = macro_table(students, columns, group, constants=constants, products=[["mathach", "ses"]])
    stored = table.rename(str.upper)
    formula = "mathach ~ within(ses) * sector + sex + size + (within(ses) | school)"
    expected = mlm.fit(formula, mlm.read_moments(table, group))
    terms = {name: written(name) for name in ("mathach", "ses", "sector", "sex", "size", "school")}
    words = re.sub(r"\w+", lambda match: terms.get(match[0], match[0]), formula)
    fit = mlm.fit(words, mlm.read_moments(stored, [written(name) for name in group]))
    assert fit.fixed_effects["term"].to_list() == [
        re.sub(r"\w+", lambda match: terms.get(match[0], match[0]), term) for term in expected.fixed_effects["term"]
    ]
    np.testing.assert_array_equal(fit.fixed_effects["estimate"], expected.fixed_effects["estimate"])
    moments = gather(open_source(stored), [parse_formula(words)])
    assert mlm.fit(words, moments).fixed_effects.equals(fit.fixed_effects)


@pytest.mark.parametrize(
    "formula",
    [
        "mathach ~ 1 + (1 | school)",
        "mathach ~ within(ses) + between(ses) + (1 | school)",
        "mathach ~ ses + (ses | school)",
        "mathach ~ center(ses) * center(size, over=school) + (1 | school)",
        "mathach ~ within(ses) * sector + between(ses) * sector + (within(ses) | school)",
        "mathach ~ within(ses) * C(catholic) + (0 + within(ses) || school)",
        "mathach ~ ses * sector + size",
    ],
)
def test_two_levels(students: pl.DataFrame, moments: Any, formula: str) -> None:
    assert_same_fit(mlm.fit(formula, moments), mlm.fit(formula, students))


def test_level_equations_and_robust_errors(students: pl.DataFrame, moments: Any) -> None:
    equations = {"level 1": "mathach ~ within(ses)", "level 2": {"intercept": "size + random", "within(ses)": "sector"}}
    options: dict[str, Any] = {"levels": "school", "robust": "CR2", "estimator": "ml"}
    assert_same_fit(mlm.fit(equations, moments, **options), mlm.fit(equations, students, **options))


def test_three_levels() -> None:
    rows = pl.read_csv(DATA / "egsingle.csv")
    formula = "math ~ year * lowinc + (year | schoolid/childid)"
    table = macro_table(rows, ["math", "year"], ["schoolid", "childid"], constants=["lowinc"])
    ours = mlm.fit(formula, mlm.read_moments(table, ["schoolid", "childid"]))
    assert_same_fit(ours, mlm.fit(formula, rows))


def test_labels_that_repeat_across_the_levels_above() -> None:
    rows = pl.read_csv(DATA / "egsingle.csv")
    rows = rows.with_columns(child=pl.col("childid").rank("dense").over("schoolid").cast(pl.Int64))
    formula = "math ~ within(year, child) + (1 | child) + (1 | schoolid)"
    levels = ("child", "schoolid")
    table = macro_table(rows, ["math", "year"], ["schoolid", "child"])
    ours = mlm.fit(formula, mlm.read_moments(table, ["child", "schoolid"]), levels=levels)
    assert_same_fit(ours, mlm.fit(formula, rows, levels=levels))


def test_a_text_of_the_rows_is_a_further_group(students: pl.DataFrame) -> None:
    formula = "mathach ~ within(ses) * sex + sector + C(minority) + (sex | school)"
    group = ["school", "sex", "minority"]
    table = macro_table(students, ["mathach", "ses"], group, constants=["sector"])
    assert_same_fit(mlm.fit(formula, mlm.read_moments(table, group)), mlm.fit(formula, students))


def test_products_and_squares(students: pl.DataFrame) -> None:
    formula = "mathach ~ ses * female + poly(ses, 2, raw=True) + (1 | school)"
    table = macro_table(students, ["mathach", "female", "ses"], "school", products=[["ses", "female"], ["ses", "ses"]])
    assert_same_fit(mlm.fit(formula, mlm.read_moments(table, "school")), mlm.fit(formula, students))


def test_units_of_one_row_each() -> None:
    """Nothing varies within them, and nothing has to."""
    rows = pl.read_csv(DATA / "sleepstudy.csv")
    names = {"y": rows.columns[0], "x": rows.columns[1], "g": rows.columns[2]}
    formula = "{y} ~ {x} + ({x} | {g})".format(**names)
    group = [names["g"], "row"]
    table = macro_table(rows.with_row_index("row"), [names["y"], names["x"]], group)
    assert_same_fit(mlm.fit(formula, mlm.read_moments(table, group)), mlm.fit(formula, rows))


def test_merged_parts(students: pl.DataFrame) -> None:
    """Parts by sex, each around grand means of its own; also as they are, with the parts as a further group."""
    columns, constants = ["mathach", "ses"], ["sector"]
    each = [macro_table(rows, columns, ["sex", "school"], constants=constants) for rows in students.partition_by("sex")]
    parts = pl.concat(each)
    formula = "mathach ~ within(ses) * sector + (within(ses) | school)"
    expected = mlm.fit(formula, students)
    table = merged_table(parts, columns, "school", constants=constants)
    assert_same_fit(mlm.fit(formula, mlm.read_moments(table, "school")), expected)
    assert_same_fit(mlm.fit(formula, mlm.read_moments(parts, ["sex", "school"])), expected)
    with_products = pl.concat(
        [
            macro_table(rows, columns, ["sex", "school"], products=[["mathach", "ses"]])
            for rows in students.partition_by("sex")
        ]
    )
    with pytest.raises(DataError, match=r"products around different means cannot be merged\. Got mathach_by_ses;"):
        mlm.read_moments(with_products, ["sex", "school"])


def test_parts_that_disagree_leave_no_value(students: pl.DataFrame) -> None:
    parts = macro_table(students, ["mathach"], ["sex", "school"], constants=["sector"])
    other_sector = pl.when(pl.col("sex") == "Female").then(pl.lit("Other")).otherwise("value_sector")
    table = merged_table(
        parts.with_columns(other_sector.alias("value_sector")), ["mathach"], "school", constants=["sector"]
    )
    both = students.group_by("school").agg(pl.col("sex").n_unique() == 2).filter("sex").height
    assert table["value_sector"].null_count() == both
    with pytest.raises(DataError) as error:
        mlm.read_moments(table, "school")
    assert str(error.value) == (
        f"'sector' has several values, or none, in {both} of 160 groups of the data, and a constant has one. Give it "
        "to mlm.group_moments() in columns if it is a number, or else in group."
    )


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_predictor_at_a_million(offset: float) -> None:
    """Means at a million are written to 1e-10, as their rows are: that much of a standard deviation of one is lost."""
    random = np.random.default_rng(3)
    g = np.repeat(np.arange(100), 30)
    x = random.normal(size=3000) + 0.5 * random.normal(size=100)[g]
    y = 1 + 0.5 * x + random.normal(size=100)[g] + 0.4 * random.normal(size=100)[g] * x + random.normal(size=3000)
    formula = "y ~ within(x) + between(x) + (within(x) | g)"
    expected = mlm.fit(formula, pl.DataFrame({"y": y, "x": x, "g": g}))
    table = macro_table(pl.DataFrame({"y": y, "x": x + offset, "g": g}), ["y", "x"], "g")
    ours = mlm.fit(formula, mlm.read_moments(table, "g"))
    here, there = (f.fit_statistics["log_likelihood"][0] for f in (ours, expected))
    assert abs(here - there) < 1e-12 * abs(there)
    slopes = (f.fixed_effects["estimate"][1:] for f in (ours, expected))
    np.testing.assert_allclose(*slopes, rtol=1e-9)


def test_latent_means(students: pl.DataFrame, moments: Any) -> None:
    ours = mlm.sem("contextual: mathach ~ ses", moments, cluster="school")
    expected = mlm.sem("contextual: mathach ~ ses", students, cluster="school")
    np.testing.assert_allclose(ours.parameters["estimate"], expected.parameters["estimate"], rtol=1e-9)


def test_moments_of_another_fit_serve_again(students: pl.DataFrame) -> None:
    larger = mlm.fit("mathach ~ ses * sex + sector + (1 | school)", students)
    formula = "mathach ~ within(ses) + sex + (1 | school)"
    assert_same_fit(mlm.fit(formula, larger.moments), mlm.fit(formula, students))


@pytest.mark.parametrize(
    ("formula", "options", "sentence"),
    [
        (
            "mathach ~ minority + (1 | school)",
            {},
            "nothing of 'minority' (give what varies within groups in columns, what does not in constants, and a text "
            "that varies in group)",
        ),
        ("mathach ~ ses + (1 | district)", {}, "no groups of 'district' (give it in group)"),
        (
            "mathach ~ ses + (1 | school)",
            {"robust": "CR2", "cluster": "city"},
            "no groups of 'city' (give it in group)",
        ),
        ("disclim ~ ses + (1 | school)", {}, "no sums of the outcome 'disclim' (give it in columns)"),
        ("size ~ ses + (1 | school)", {}, "no sums of the outcome 'size' (give it in columns)"),
        (
            "mathach ~ C(ses) + (1 | school)",
            {},
            "no levels of 'ses' (give it in constants, or in group if it varies within groups)",
        ),
        (
            "mathach ~ log(size) + (1 | school)",
            {},
            "nothing of 'log(size)' (compute it as a column of the rows, and name that)",
        ),
        (
            "mathach ~ poly(ses, 2) + (1 | school)",
            {},
            "no products of columns that it multiplies (give products=[['ses', 'ses']])",
        ),
        (
            "mathach ~ ses + (1 | school)",
            {"weights": "size"},
            "no residual structure or weights, which 'mathach' is to have (fit the rows)",
        ),
        (
            "mathach ~ ses + `odd name` + C(minority) + (1 | class)",
            {"residual": "by(sector)"},
            "no groups of 'class' (give it in group); no residual structure or weights, which 'mathach' is to have "
            "(fit the rows); nothing of 'odd name' (give what varies within groups in columns, what does not in "
            "constants, and a text that varies in group); no levels of 'minority' (give it in constants, or in group "
            "if it varies within groups)",
        ),
    ],
)
def test_what_the_moments_lack(moments: Any, formula: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as error:
        mlm.fit(formula, moments, **options)
    assert str(error.value) == (
        f"The moments do not serve the model: they hold {sentence}. Make them anew with mlm.group_moments()."
    )


TABLE = pl.DataFrame(
    {
        "g": ["a", "b"],
        "n": [2, 3],
        "center_x": [0.5, 0.5],
        "center_y": [1.0, 1.0],
        "mean_x": [0.0, 1.0],
        "mean_y": [1.0, 1.5],
        "mean_x_by_y": [0.1, 0.2],
        "scatter_x_x": [1.0, 2.0],
        "scatter_y_x": [0.0, 0.5],
        "scatter_y_y": [1.0, 1.0],
        "scatter_x_by_y_x": [1.0, 1.0],
        "scatter_x_by_y_y": [1.0, 1.0],
        "scatter_x_by_y_x_by_y": [1.0, 1.0],
        "value_w": [1, 2],
    }
)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (
            TABLE.select("g", y="mean_y"),
            "There are no moments in the data. Got the columns g, y; expected n, mean_x and scatter_x_x of each "
            "column x, as mlm.group_moments() makes them.",
        ),
        (
            TABLE.drop("scatter_y_x", "scatter_y_y"),
            "The data lacks scatter_y_x, scatter_y_y, which mlm.group_moments() makes of the columns x, y, x_by_y. "
            "Bring the whole table over.",
        ),
        (
            TABLE.drop("center_x"),
            "mean_x in the data has no center_x and is no product of columns that have theirs: y. Bring the whole "
            "table over, and call no column by a name with '_by_'.",
        ),
        (
            pl.concat([TABLE, TABLE]),
            "The data has 2 rows of g a; expected one row per group. Name all the columns that it is grouped by, or "
            "merge its parts with mlm.merge_group_moments().",
        ),
        (TABLE.clear(), "There are no rows in the data."),
        (
            TABLE.with_columns(n=pl.lit(0)),
            "The sizes n in the data are positive. Got 0 as the smallest.",
        ),
        (
            TABLE.with_columns(mean_y=pl.Series([1.0, None])),
            "Moments are missing in 1 of 2 rows of the data. Make them by mlm.group_moments(), which leaves out the "
            "rows that lack a value.",
        ),
        (TABLE.with_columns(g=pl.Series([None, "b"])), "g is null in 1 of 2 rows of the data. Filter these out."),
        (
            TABLE.with_columns(value_w=pl.Series([None, 1])),
            "'w' has several values, or none, in 1 of 2 groups of the data, and a constant has one. Give it to "
            "mlm.group_moments() in columns if it is a number, or else in group.",
        ),
        (
            TABLE.with_columns(value_w=pl.lit("2020-01-01").str.to_date()),
            "The constant 'w' is neither a number nor a text. Got DATE; cast it where mlm.group_moments() reads it.",
        ),
    ],
)
def test_tables_without_usable_moments(table: pl.DataFrame, sentence: str) -> None:
    with pytest.raises(DataError) as error:
        mlm.read_moments(table, "g")
    assert str(error.value) == sentence


@pytest.mark.parametrize("column", ["t", "one"])
def test_columns_whose_scatter_has_lost_its_digits(column: str) -> None:
    """Seconds of persons who were seen years apart, and what does not vary within persons at all."""
    person = np.repeat(np.arange(20), 5)
    t = 1e9 * person + np.tile(np.arange(5.0), 20)
    rows = pl.DataFrame({"y": np.sin(t) + person % 3, "t": t, "one": person / 7, "person": person})
    with pytest.raises(DataError) as error:
        mlm.read_moments(macro_table(rows, ["y", column], "person"), "person")
    assert str(error.value) == (
        f"{column!r} varies within groups by less than a part in 100,000 of what their means do, which sums around a "
        f"grand mean cannot separate from rounding. Give it to mlm.group_moments() in constants if it has one value "
        "in each group; else mlm.within() of it in columns and mlm.between() of it in constants."
    )
    split = rows.with_columns(between_t=pl.col("t").mean().over("person"))
    split = split.with_columns(within_t=pl.col("t") - pl.col("between_t"))
    table = macro_table(split, ["y", "within_t"], "person", constants=["between_t"])
    ours = mlm.fit("y ~ within_t + between_t + (1 | person)", mlm.read_moments(table, "person"))
    assert_same_fit(ours, mlm.fit("y ~ within_t + between_t + (1 | person)", split))
