"""What a user can get wrong about the data: one plain sentence each, with what was found and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import DataError, IdentificationError, MlmError
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.source import open_source

ROWS = 60
HOSTILE = 'x"; drop table t; --'


def _data(**columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    base = {
        "y": rng.normal(size=ROWS),
        "x": rng.normal(size=ROWS),
        "g": np.arange(ROWS) % 6,
        "w": (np.arange(ROWS) % 6) * 0.5,
        "sex": np.where(rng.random(ROWS) < 0.5, "F", "M"),
    }
    return pl.DataFrame(base | columns)


@pytest.mark.parametrize(
    ("formula", "columns", "error", "sentence"),
    [
        (
            "y ~ X + (1 | g)",
            {},
            DataError,
            "Column 'X' is not in the data. Did you mean 'x'? Its columns are y, x, g, w, sex.",
        ),
        ("y ~ x + (1 | school)", {}, DataError, "Column 'school' is not in the data."),
        (
            "yy ~ X + age + (1 | g)",
            {},
            DataError,
            "Columns 'yy', 'X', 'age' are not in the data. Did you mean 'y' for 'yy', 'x' for 'X'? Its columns are",
        ),
        (
            "sex ~ x + (1 | g)",
            {},
            DataError,
            "The outcome 'sex' holds text (VARCHAR), and a model needs numbers. Cast or recode it in a view or SELECT.",
        ),
        (
            "y ~ x + (1 | g)",
            {"y": [*map(str, range(ROWS - 2)), "n/a", "?"]},
            DataError,
            "It is text because 2 of its 60 cells are no numbers, such as '?'. try_cast(\"y\" as double) makes it",
        ),
        (
            "y ~ x + (1 | g)",
            {"x": [*map(str, range(ROWS - 1)), "n/a"]},
            DataError,
            "Column 'x' holds text (VARCHAR), with 60 values. It is text because 1 of its 60 cells are no numbers,",
        ),
        ("y ~ log(sex) + (1 | g)", {}, DataError, "The column 'sex' holds text (VARCHAR), and log(sex) needs numbers."),
        ("y ~ x + (1 | g)", {"x": np.ones(ROWS)}, DataError, "Column 'x' has no variation: every row holds 1."),
        ("y ~ x + (1 | g)", {"y": np.zeros(ROWS)}, DataError, "The outcome 'y' has no variation: every row holds 0."),
        ("y ~ sex + (1 | g)", {"sex": ["F"] * ROWS}, DataError, "Column 'sex' has no variation: every row holds 'F'."),
        ("y ~ x + (1 | g)", {"x": [None] * ROWS}, DataError, "No row is complete: each of the 60 rows misses a value."),
        (
            "y ~ x + (1 | g)",
            {"x": np.full(ROWS, np.nan)},
            DataError,
            "No row is complete: each of the 60 rows misses a value.",
        ),
        ("y ~ x + (1 | g)", {"x": [np.inf] + [0.5] * (ROWS - 1)}, DataError, "x holds infinite values."),
        ("y ~ log(x) + (1 | g)", {"x": np.arange(ROWS) - 2.0}, DataError, "log(x) is undefined in 3 of 60 rows"),
        ("y ~ I(1 / x) + (1 | g)", {"x": np.arange(ROWS) - 2.0}, DataError, "I(1 / x) is undefined in 1 of 60 rows"),
        ("y ~ x + (1 | g)", {"g": np.zeros(ROWS, int)}, IdentificationError, "The grouping factor g has one unit, 0;"),
        ("y ~ x + (1 | g)", {"g": np.arange(ROWS)}, IdentificationError, "has 60 random effects for 60 rows"),
        (
            "y ~ x + within(w) + (1 | g)",
            {},
            DataError,
            "within(w) is zero in every row, because w does not vary within g.",
        ),
        ("y ~ (x + I(2 * x) | g)", {}, IdentificationError, "The random terms of g cannot be separated."),
        (
            "y ~ x + copy + (1 | g)",
            {"copy": 2 * np.random.default_rng(5).normal(size=ROWS)},
            IdentificationError,
            "The predictors reproduce the outcome exactly",
        ),
        ("y ~ C(sex, ref='Q') + (1 | g)", {}, DataError, "Got 'Q'; expected one of F, M."),
    ],
)
def test_sentences(formula: str, columns: dict[str, Any], error: type[MlmError], sentence: str) -> None:
    with pytest.raises(error) as caught:
        mlm.fit(formula, _data(**columns))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_as_many_parameters_as_rows() -> None:
    with pytest.raises(IdentificationError, match="Got 6 parameters and 6 rows"):
        mlm.fit("y ~ x + w + sex + (1 | g)", _data()[:6].with_columns(g=pl.Series([0, 0, 1, 1, 2, 2])))


def test_a_factor_with_too_many_levels() -> None:
    rng = np.random.default_rng(1)
    data = pl.DataFrame(
        {"y": rng.normal(size=900), "k": [f"k{i % 300}" for i in range(900)], "g": np.arange(900) // 30}
    )
    with pytest.raises(DataError) as caught:
        mlm.fit("y ~ k + (1 | g)", data)
    assert str(caught.value) == (
        "The models have 300 different predictors at the level of rows; 'k' alone has 300 levels. At most 140 are "
        "possible; take k as a grouping factor, (1 | k), or model within(y, k), which has the same slopes as C(k)."
    )


def test_within_has_the_slopes_of_a_coefficient_for_each_unit() -> None:
    """What the sentence above promises, where there are few enough units for both."""
    rng = np.random.default_rng(4)
    k = np.repeat(np.arange(15), rng.integers(3, 12, 15))
    x, z = rng.normal(size=len(k)) + 0.3 * k, rng.normal(size=len(k))
    data = pl.DataFrame({"k": k, "x": x, "z": z, "y": 2 * x - z + k + rng.normal(size=len(k))})
    dummies = mlm.fit("y ~ x*z + C(k)", data).fixed_effects.filter(pl.col("term").is_in(["x", "z", "x:z"]))
    within = mlm.fit("within(y, k) ~ x*z", data).fixed_effects
    for column in ("estimate", "std_error", "df", "p_value"):
        np.testing.assert_allclose(within[column], dummies[column], rtol=1e-10)


def test_more_columns_than_rows() -> None:
    with pytest.raises(IdentificationError, match="as many parameters as rows"):
        mlm.fit("y ~ C(g)*C(x) + (1 | g)", _data())


def test_no_rows() -> None:
    with pytest.raises(DataError, match="There are no rows in the data"):
        mlm.fit("y ~ x + (1 | g)", _data()[:0])


def test_a_table_that_does_not_exist() -> None:
    connection = duckdb.connect()
    connection.execute("create table pupils as select 1 as y")
    with pytest.raises(DataError, match=r"Table students does not exist. The database holds pupils."):
        mlm.fit("y ~ 1", "students", connection=connection)


def test_tables_of_ours_are_not_suggested() -> None:
    connection = duckdb.connect()
    for name in ("pupils", "hsb_moments", "hsb_moments_description", "hsb_centered", "my_centered"):
        connection.execute(f"create table {name} as select 1 as y")
    connection.execute("create schema mlm; create table mlm.runs as select 1 as y")
    with pytest.raises(DataError) as caught:
        mlm.fit("y ~ 1", "main.pupil", connection=connection)
    assert str(caught.value) == (
        "Table main.pupil does not exist. Did you mean 'pupils'? The database holds my_centered, pupils."
    )


def test_a_closed_connection() -> None:
    connection = duckdb.connect()
    connection.close()
    with pytest.raises(DataError, match=r"^The connection is closed\. Open the database again"):
        mlm.fit("y ~ 1", "pupils", connection=connection)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("z > 0", "The row filter where: z > 0 does not fit table t: it has no column 'z'."),
        (
            "sex > 3",
            "The row filter where: sex > 3 does not fit table t: column 'sex' is text, and a number is expected. "
            "Compare it with a text in single quotes, or name a column of numbers.",
        ),
        (
            "cast(sex as int) > 3",
            "Cannot read table t where cast(sex as int) > 3: column sex has the cell 'M', which is no INT32",
        ),
        ("x > 1000", "There are no rows in table t where x > 1000."),
    ],
)
def test_a_row_filter_that_fails_is_named(where: str, sentence: str) -> None:
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(_data()))
    connection.execute("create table t as from frame")
    analysis = parse_analysis(f"{{analysis: a, data: t, models: {{m: y ~ x + (1 | g)}}, where: {where}}}")
    with pytest.raises(DataError) as caught:
        fit_analysis(analysis, connection)
    assert str(caught.value).startswith(f"analysis a: {sentence}")


class TestFiles:
    def test_a_path_is_data(self, tmp_path: Path) -> None:
        expected = mlm.fit("y ~ x + (1 | g)", _data()).estimate.log_likelihood
        _data().write_csv(tmp_path / "it's.csv")
        _data().write_parquet(tmp_path / "d.parquet")
        for path in (tmp_path / "it's.csv", str(tmp_path / "it's.csv"), str(tmp_path / "d.parquet")):
            assert mlm.fit("y ~ x + (1 | g)", path).estimate.log_likelihood == pytest.approx(expected, abs=1e-9)

    def test_missing_values_as_r_writes_them(self, tmp_path: Path) -> None:
        _data(x=["NA", *map(str, range(ROWS - 1))]).write_csv(tmp_path / "d.csv")
        assert mlm.fit("y ~ x + (1 | g)", tmp_path / "d.csv").estimate.design.n_obs == ROWS - 1

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("d.csv", b"", "d.csv is empty."),
            ("head.csv", b"y,x,g\n", "head.csv has no rows."),
            ("d.csv", None, "There is no file"),
            ("d.parquet", b"abc", "cannot be read as parquet"),
            (
                "d.ods",
                b"",
                "Got .ods; expected one of .arrow, .csv, .dat, .db, .ddb, .dta, .duckdb, .feather, .json, .jsonl, ",
            ),
            ("d.duckdb", b"", "is a database: give the name of a table in it, with connection="),
        ],
    )
    def test_files_that_are_no_data(self, tmp_path: Path, name: str, content: bytes | None, sentence: str) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=re.escape(sentence)) as caught:
            mlm.fit("y ~ x + (1 | g)", tmp_path / name)
        assert "\n" not in str(caught.value)

    def test_a_missing_column_is_missing_in_the_file(self, tmp_path: Path) -> None:
        _data().write_csv(tmp_path / "d.csv")
        with pytest.raises(DataError, match=r"Column 'z' is not in .*d\.csv\."):
            mlm.fit("y ~ z", tmp_path / "d.csv")

    def test_beside_a_connection_a_dot_separates_schema_and_table(self) -> None:
        connection = duckdb.connect()
        connection.register("frame", ArrowStream(_data()))
        connection.execute("create schema d; create table d.csv as from frame")
        assert mlm.fit("y ~ x", "d.csv", connection=connection).estimate.design.n_obs == ROWS


def test_stray_cells_of_a_relation() -> None:
    relation = duckdb.connect().from_arrow(_data(y=[*map(str, range(ROWS - 1)), "n/a"]).to_arrow())
    with pytest.raises(DataError, match=r"1 of its 60 cells are no numbers, such as 'n/a'\."):
        mlm.fit("y ~ x + (1 | g)", relation)


def test_a_frame_without_columns() -> None:
    with pytest.raises(DataError, match=r"^The data have no columns and no rows\.$"):
        mlm.fit("y ~ x", pl.DataFrame())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("drop table pupils", "one table name or one SELECT"),
        ("select 1; drop table pupils", "one table name or one SELECT"),
        ("selec * from pupils", "neither a table name nor a SELECT"),
        ("select * from nowhere", "does not exist"),
    ],
)
def test_data_that_is_no_select(data: str, sentence: str) -> None:
    connection = duckdb.connect()
    connection.execute("create table pupils as select 1 as y")
    with pytest.raises(DataError, match=sentence):
        mlm.fit("y ~ 1", data, connection=connection)
    assert connection.sql("from pupils").fetchall() == [(1,)]


def test_a_table_name_needs_a_connection() -> None:
    with pytest.raises(DataError, match="needs a connection"):
        mlm.fit("y ~ x", "students")


def test_data_that_cannot_be_scanned() -> None:
    with pytest.raises(DataError, match=r"Got \[1, 2, 3\]; expected a polars, Arrow or pandas frame"):
        mlm.fit("y ~ x", [1, 2, 3])


@pytest.mark.parametrize("option", [{"estimator": "mle"}, {"df": "bartlett"}])
def test_unknown_options(option: dict[str, Any]) -> None:
    with pytest.raises(MlmError, match="expected one of"):
        mlm.fit("y ~ x + (1 | g)", _data(), **option)


def test_hostile_names_are_names() -> None:
    """Quotes, semicolons and reserved words in column names and levels are data, not SQL."""
    data = (
        _data()
        .rename({"x": HOSTILE, "g": "group", "sex": "select"})
        .with_columns(
            select=pl.when(pl.col("select") == "F").then(pl.lit("f'); drop table t; --")).otherwise(pl.lit("m"))
        )
    )
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(data))
    connection.execute('create table "t; --" as from frame')
    fit = mlm.fit(f"y ~ `{HOSTILE}` + select + within(`{HOSTILE}`) + (1 | group)", '"t; --"', connection=connection)
    plain = mlm.fit("y ~ x + sex + within(x) + (1 | g)", _data())
    assert fit.estimate.log_likelihood == pytest.approx(plain.estimate.log_likelihood, abs=1e-9)
    assert connection.sql('select count(*) from "t; --"').fetchall() == [(ROWS,)]


def test_singular_and_aliased_fits_are_results() -> None:
    data = _data().with_columns(twice=2 * pl.col("x") + 3)
    fit = mlm.fit("y ~ x + twice + (x | g)", data)
    assert fit.estimate.design.fixed.aliased == ("twice",)
    assert list(fit.fixed_effects["term"]) == ["(Intercept)", "x"]
    assert "dropped, being a combination of the other columns: twice" in str(fit)
    assert fit.converged


def test_every_data_type_is_accepted() -> None:
    data = _data()
    expected = mlm.fit("y ~ x + (1 | g)", data).estimate.log_likelihood
    relation = duckdb.connect().from_arrow(data.to_arrow())
    for source in (data.lazy(), data.to_arrow(), data.to_pandas(), relation):
        assert mlm.fit("y ~ x + (1 | g)", source).estimate.log_likelihood == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "columns", "sentence"),
    [
        ({"weights": "v"}, {"v": np.arange(ROWS) - 3.0}, "Weights and known variances are positive. Got -3"),
        ({"weights": "sex"}, {}, "The residual structure needs numbers in 'sex'. Got VARCHAR."),
        ({"weights": "nothing"}, {}, "Column 'nothing' is not in the data."),
        ({"residual": "ar1(t)"}, {"t": np.zeros(ROWS)}, "The times in 't' repeat within a unit"),
        (
            {"residual": "ar1(t)"},
            {"t": np.arange(ROWS) * 1.25},
            "ar1(t) needs whole-number times. Got rows 7.5 apart; round the times to whole steps.",
        ),
        ({"residual": "by(k)"}, {"k": ["a"] * ROWS}, "by(k) needs two strata or more. Got only 'a'."),
        ({"residual": "car(t)"}, {}, "The residual structure is a sum of by(column), ar1(column) and fixed(column)."),
        ({"residual": "by(x) + by(g)"}, {}, "The residual structure has by(…) twice."),
        ({"residual": "fixed(w)", "weights": "w"}, {}, "Known variances are given twice: weights=w and fixed(w)"),
        (
            {"covariance": {"h": "diagonal"}},
            {},
            "covariance names a grouping factor that is not there. Got 'h'; expected one of g.",
        ),
        ({"covariance": {"g": "toeplitz"}}, {}, "Unknown covariance structure. Got 'toeplitz' for g"),
    ],
)
def test_residual_and_covariance_structures(options: dict[str, Any], columns: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MlmError) as caught:
        mlm.fit("y ~ x + (1 | g)", _data(**columns), **options)
    assert sentence in str(caught.value)


COLUMNS = "Its columns are y, x, g, w, sex."


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("y ~ X + (1 | g)", f"Column 'X' is not in the data. Did you mean 'x'? {COLUMNS}"),
        ("Y ~ x", f"Column 'Y' is not in the data. Did you mean 'y'? {COLUMNS}"),
        ("y ~ x + (1 | school)", f"Column 'school' is not in the data. {COLUMNS}"),
        ("y ~ x + (x | G)", f"Column 'G' is not in the data. Did you mean 'g'? {COLUMNS}"),
        ("y ~ within(w) + (1 | g)", "within(w) is zero in every row, because w does not vary within g. Use w itself."),
        (
            "y ~ (within(w) | g)",
            "within(w) is zero in every row, because w does not vary within g. Use w itself.",
        ),
        (
            "y ~ C(sex, ref='Q')",
            "The reference level of C(sex, ref='Q') does not occur. Got 'Q'; expected one of F, M.",
        ),
        (
            "level 1: y ~ 1\nlevel 2:\n  intercept: x + random",
            "x explains coefficients at level 2, but it varies within 6 of 6 units of g. Put x at level 1, or "
            "between(x) in its place.",
        ),
        ("y ~ I(1) + (1 | g)", "The predictor 'I(1)' has no variation: every row holds 1. Remove it from the formula."),
        (
            "y ~ poly(sex, 2)",
            "poly(sex, 2) needs numbers. Got text in column 'sex'; expected a numeric column.",
        ),
        (
            "between(y, g) ~ x",
            "x varies within 6 of 6 units of g, and between(y, g) has one observation for each. Take its group mean, "
            "between(x).",
        ),
    ],
)
def test_whole_sentences_about_the_data(formula: str, sentence: str) -> None:
    with pytest.raises(MlmError) as caught:
        mlm.fit(formula, _data(), levels="g")
    assert str(caught.value) == sentence


def test_a_grouping_factor_among_the_predictors_is_noted() -> None:
    assert mlm.fit("y ~ g + (1 | g)", _data()).notes[0] == (
        "g is a grouping factor and also a predictor, its labels read as numbers; if that is not meant, remove it "
        "from the fixed part"
    )


@pytest.mark.parametrize("name", ["data", "connection", "relation", "self"])
def test_a_table_that_is_not_there_is_no_variable_of_ours(name: str) -> None:
    connection = duckdb.connect()
    connection.execute("create table t as select 1 as x")
    for call in (lambda: mlm.fit("y ~ x", name, connection=connection), lambda: open_source(name, connection)):
        with pytest.raises(DataError, match=rf"^Table {name} does not exist\. The database holds t\.$"):
            call()


def test_a_number_that_is_measured_makes_no_strata() -> None:
    """Each stratum is one more dimension of the search: hundreds of them looked like a hang."""
    rng = np.random.default_rng(0)
    data = pl.DataFrame({"y": rng.normal(size=402), "x": np.arange(402) // 2 / 7, "g": np.arange(402) % 9})
    with pytest.raises(DataError) as refused:
        mlm.fit("y ~ 1 + (1 | g)", data, residual="by(x)")
    assert str(refused.value) == (
        "by(x) has too many strata, each with a variance of its own. Got 201; expected at most 200. Put values "
        "together in a view."
    )


def test_types_that_duckdb_does_not_read_are_converted_or_named() -> None:
    data = _data()
    fit = mlm.fit("y ~ x + (1 | g)", data)
    for kind in (pl.Int128, pl.UInt128):
        wide = data.with_columns(pl.col("g").cast(kind))
        assert mlm.fit("y ~ x + (1 | g)", wide).estimate.log_likelihood == fit.estimate.log_likelihood
        assert fit.predict(wide)["prediction"].to_list() == fit.predict(data)["prediction"].to_list()
    half = data.with_columns(pl.col("w").cast(pl.Float16))  # halves are exact in 16 bits
    model = "y ~ w + (1 | g)"
    assert mlm.fit(model, half).estimate.log_likelihood == mlm.fit(model, data).estimate.log_likelihood
    with pytest.raises(DataError, match=r"^No row is complete: .* Missing values by column: g \(60\)\.$"):
        mlm.fit("y ~ x + (1 | g)", data.with_columns(g=pl.lit(None)))
    assert fit.predict(data.with_columns(g=pl.lit(None))).height == ROWS
    with pytest.raises(
        DataError, match=r"^Column 'z' is of the type Int128, with values from 2.* too large to be read"
    ):
        mlm.fit("y ~ x + (1 | g)", data.with_columns(z=pl.lit(2**100 + 2**124, pl.Int128)))
    frame = data.to_pandas().assign(z=1j)
    sentence = (
        "Column 'z' is of the type complex128, which cannot be read. Convert it to numbers or text, or leave it out."
    )
    for call in (lambda: mlm.fit("y ~ x + (1 | g)", frame), lambda: fit.predict(frame)):
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == sentence
