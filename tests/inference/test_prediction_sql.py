"""Predictions as SQL equal `Fit.predict`, in a SELECT and in the views that a run leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.prediction_views import create_prediction_views, prediction_views
from mlm_ops.cli.main import main

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"
SLOPES = "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)"
#: The same numbers, added up in another order.
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        for name, file in {"hsb": "hsb", "three": "sim_3lev", "pen": "penicillin"}.items():
            csv = f"read_csv('{DATA / file}.csv', nullstr='')"
            opened.execute(f"create table {name} as select *, row_number() over () as row from {csv}")
        opened.execute("create table students as select *, if(row % 5 = 0, null, ses) as gap from hsb")
        yield opened


@pytest.mark.parametrize(
    ("formula", "table", "options"),
    [
        (SLOPES, "students", {}),
        ("mathach ~ sex * gap + center(size, over=school) + C(minority, sum) + (gap | school)", "students", {}),
        ("mathach ~ poly(ses, 2) + poly(size, 2, raw=True) + log(size) + I(ses**2)", "students", {}),
        ("mathach ~ center(ses) * center(size, at=1000) + (sex || school)", "students", {}),
        ("within(mathach) ~ within(ses) + (0 + within(ses) | school)", "students", {}),
        ("y ~ within(x, class) + within(between(x, class), school) + z + (x | school/class)", "three", {}),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "pen", {}),
    ],
)
def test_the_numbers_are_those_of_python(
    connection: duckdb.DuckDBPyConnection, formula: str, table: str, options: dict[str, Any]
) -> None:
    fit = mlm.fit(formula, table, connection=connection, **options)
    ours = connection.sql(fit.prediction_sql(table)).pl().sort("row")
    rows = connection.sql(f"from {table}").pl().sort("row")
    assert ours.columns[: len(rows.columns)] == rows.columns
    conditional, fixed = fit.predict(rows), fit.predict(rows, "marginal")
    assert ours["prediction"].is_null().equals(conditional["prediction"].is_null())
    np.testing.assert_allclose(ours["prediction"], conditional["prediction"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(ours["fixed_prediction"], fixed["prediction"], rtol=TOLERANCE, atol=TOLERANCE)
    assert ours["new_group"].equals(conditional["new_group"])
    if fit.model.outcome_name in rows.columns:
        residual = rows[fit.model.outcome_name] - conditional["prediction"]
        np.testing.assert_allclose(ours["residual"], residual, rtol=TOLERANCE, atol=TOLERANCE)
        standard = residual / np.sqrt(fit.estimate.sigma2)
        np.testing.assert_allclose(ours["std_residual"], standard, rtol=TOLERANCE, atol=TOLERANCE)


_UNSEEN = """(
    select * replace (
        case when row % 11 = 0 then 1 when row % 23 = 0 then null else school end as school,
        case when row % 7 = 0 then 'neither' when row % 19 = 0 then null else sex end as sex,
        case when row % 13 = 0 then 'nan'::double when row % 17 = 0 then null else ses end as ses,
        case when row % 29 = 0 then -5 else size end as size
    ) from students)"""


@pytest.mark.parametrize(
    "formula",
    [
        "mathach ~ ses + sex + (ses | school)",
        "mathach ~ within(ses) * sex + between(ses) + (within(ses) | school)",
        "mathach ~ within(ses) + between(ses, over=sector) + (1 | school)",
        "mathach ~ center(ses) + center(ses, at=0.5):sex + center(size, over=school) + (1 | school)",
        "mathach ~ poly(ses, 3) + poly(size, 2, raw=True) + C(minority, sum) * sex + (1 | school)",
        "mathach ~ log(size) + sqrt(size) + I(ses / (size - 1000)) + exp(ses) + (0 + ses | school) + (1 | sector)",
        "mathach ~ within(sex) + C(sex, ref='Male') + (sex | school)",
        "within(mathach) ~ within(ses) * sex + (0 + within(ses) | school)",
        "between(mathach, school) ~ between(ses, school) + sector + size",
        "mathach ~ sex + C(sex, sum):sector + ses",
    ],
)
def test_both_doors_agree_on_rows_that_the_fit_has_not_seen(
    connection: duckdb.DuckDBPyConnection, formula: str
) -> None:
    """Unseen groups and levels, nulls, NaN, values outside a function's domain: each row has one prediction."""
    fit = mlm.fit(formula, "students", connection=connection)
    ours = connection.sql(fit.prediction_sql(_UNSEEN)).pl().sort("row")
    rows = connection.sql(f"from {_UNSEEN}").pl().sort("row")
    conditional, fixed = fit.predict(rows), fit.predict(rows, "marginal")
    by_name = fit.predict(_UNSEEN.strip("()"), connection=connection).sort("row")
    assert by_name["prediction"].equals(conditional["prediction"])
    assert 0 < ours["prediction"].null_count() < len(rows)
    assert ours["new_group"].equals(conditional["new_group"])
    for own, given in (
        (ours["prediction"], conditional["prediction"]),
        (ours["fixed_prediction"], fixed["prediction"]),
    ):
        assert own.is_null().equals(given.is_null())
        np.testing.assert_allclose(own, given, rtol=TOLERANCE, atol=TOLERANCE)
    assert fixed["std_error"].is_null().equals(fixed["prediction"].is_null())


def test_marginal_errors_are_null_where_the_prediction_is(connection: duckdb.DuckDBPyConnection) -> None:
    fit = mlm.fit("mathach ~ ses + sex + (1 | school)", "students", connection=connection)
    rows = pl.DataFrame({"ses": [0.5, None, 0.5], "sex": ["Male", "Male", "neither"], "school": [1224, 1224, None]})
    fixed, conditional = fit.predict(rows, "marginal"), fit.predict(rows)
    x = np.array([1.0, 0.5, 1.0])
    assert [c.name for c in fit.estimate.design.fixed.columns] == ["(Intercept)", "ses", "sex[Male]"]
    assert fixed["std_error"].to_list() == [pytest.approx(np.sqrt(x @ fit.vcov @ x), rel=1e-12), None, None]
    assert conditional["prediction"].is_null().to_list() == [False, True, True]
    assert conditional["new_group"].to_list() == [False, False, False]


def test_residuals_are_standardised_by_stratum_and_weight(connection: duckdb.DuckDBPyConnection) -> None:
    formula, options = "mathach ~ ses + (1 | school)", {"residual": "by(sex)", "weights": "size"}
    fit = mlm.fit(formula, "students", connection=connection, **options)
    components = fit.variance_components.filter(pl.col("symbol") == "sigma2")
    variances = dict(zip(components["term"], components["estimate"], strict=True))
    ours = connection.sql(fit.prediction_sql("students")).pl()
    variance = ours["sex"].replace_strict(variances) / ours["size"]
    np.testing.assert_allclose(ours["std_residual"], ours["residual"] / variance.sqrt(), rtol=TOLERANCE)


def test_new_groups_get_the_fixed_part_and_a_flag(connection: duckdb.DuckDBPyConnection) -> None:
    fit = mlm.fit(SLOPES, "students", connection=connection)
    new = "(select * replace (if(school = 1224, 1, school) as school) from students where school < 1300)"
    ours = connection.sql(fit.prediction_sql(new)).pl().sort("row")
    expected = fit.predict(connection.sql(f"from {new}").pl().sort("row"))
    np.testing.assert_allclose(ours["prediction"], expected["prediction"], rtol=TOLERANCE)
    flagged = ours.filter("new_group")
    assert set(flagged["school"]) == {1}
    assert (flagged["prediction"] == flagged["fixed_prediction"]).all()


def test_missing_groups_and_unseen_levels_are_null(connection: duckdb.DuckDBPyConnection) -> None:
    fit = mlm.fit("mathach ~ ses + sex + (1 | school)", "students", connection=connection)
    rows = "(select null as school, 0.5 as ses, 'Male' as sex, 1 as mathach union all select 1224, 0.5, 'x', 1)"
    ours = connection.sql(fit.prediction_sql(rows)).pl()
    assert ours["prediction"].to_list() == [None, None]
    assert ours.filter(sex="Male")["fixed_prediction"].is_not_null().all()
    assert not ours["new_group"].any()


def test_names_with_quotes_and_names_of_our_columns(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        'create or replace table "d; --" as select mathach as "y""\'", ses as "select", sex as "s;", school as "g \'x",'
        ' 1 as prediction, 2 as "Residual", row from students'
    )
    formula = "`y\"'` ~ within(`select`) * `s;` + (`select` | `g 'x`)"
    fit = mlm.fit(formula, '"d; --"', connection=connection)
    ours = connection.sql(fit.prediction_sql('"d; --"')).pl().sort("row")
    assert ours.columns.count("prediction") == 1
    assert "Residual" not in ours.columns
    plain = mlm.fit("mathach ~ within(ses) * sex + (ses | school)", "students", connection=connection)
    expected = plain.predict(connection.sql("from students").pl().sort("row"))["prediction"]
    np.testing.assert_allclose(ours["prediction"], expected, rtol=1e-9)


ANALYSIS = f"""
analysis: hsb
data: students
where: size > 500
levels: school
models:
  anova: mathach ~ 1 + (1 | school)
  slopes: {SLOPES}
"""


def test_a_run_leaves_views_beside_the_rows(tmp_path: Path) -> None:
    database, file = tmp_path / "school.duckdb", tmp_path / "hsb.yaml"
    with duckdb.connect(database) as opened:
        opened.execute(f"create table students as from read_csv('{DATA / 'hsb.csv'}')")
    file.write_text(ANALYSIS)
    assert main(["fit", str(file), "--database", str(database)]) == 0
    with duckdb.connect(database) as opened:
        rows = opened.sql("from students where size > 500").pl()
        fit = mlm.fit(SLOPES, rows)
        ours = opened.sql("from mlm.predicted_hsb__slopes").pl().sort("school", "ses", "mathach", "sex", "minority")
        expected = fit.predict(rows).sort("school", "ses", "mathach", "sex", "minority")["prediction"]
        np.testing.assert_allclose(ours["prediction"], expected, rtol=1e-9)
        # rows that come later are predicted too, with what the fit knows
        opened.execute(
            "insert into students by name select 0.25 as ses, 1224 as school, 'Public' as sector, 842 as size"
        )
        late = opened.sql("from mlm.predicted_hsb__slopes where sex is null").fetchall()
        assert len(late) == 1
    # another connection, in which the database is not the main one
    with duckdb.connect() as other:
        other.execute(f"attach '{database}' as school (read_only)")
        assert other.sql("select count(prediction) from school.mlm.predicted_hsb__slopes").fetchall() == [
            (len(rows) + 1,)
        ]
    # also of a table that is named with its schema
    file.write_text(ANALYSIS.replace("slopes:", "gone:").replace("data: ", "data: main."))
    assert main(["fit", str(file), "--database", str(database)]) == 0
    with duckdb.connect(database, read_only=True) as opened:
        views = opened.execute(
            "select view_name from duckdb_views() where starts_with(view_name, 'predicted')"
        ).fetchall()
        assert set(views) == {("predicted_hsb__anova",), ("predicted_hsb__gone",)}


def test_views_that_are_gone_take_their_tables_and_no_other_analysis_loses_any(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for text in (ANALYSIS.replace("hsb", "hsb__more"), ANALYSIS, ANALYSIS.replace("slopes:", "gone:")):
        analysis = parse_analysis(text)
        views = prediction_views(connection, analysis, fit_analysis(analysis, connection).fits)
        create_prediction_views(connection, analysis, views)
    views = connection.execute("select view_name from duckdb_views() where starts_with(view_name, 'predicted')")
    names = {name for (name,) in views.fetchall()}
    assert names == {
        f"predicted_{model}" for model in ("hsb__anova", "hsb__gone", "hsb__more__anova", "hsb__more__slopes")
    }
    tables = connection.execute("select table_name from duckdb_tables() where contains(table_name, '__units_')")
    assert {name.rpartition("__units_")[0] for (name,) in tables.fetchall()} == names
    for name in names:
        assert connection.sql(f"select count(*) from mlm.{name} where prediction is not null").fetchall()[0][0] > 0
    connection.execute("drop schema mlm cascade")


def test_no_views_where_the_analysis_wants_none(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = parse_analysis(ANALYSIS + "predictions: false\n")
    views = prediction_views(connection, analysis, fit_analysis(analysis, connection).fits)
    create_prediction_views(connection, analysis, views)
    assert not connection.execute("from duckdb_views() where schema_name = 'mlm'").fetchall()


def test_two_models_that_would_have_one_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is fitted, and the first one's view and results stay."""
    path = tmp_path / "d.duckdb"
    with duckdb.connect(str(path)) as opened:
        opened.execute(f"create table hsb as from '{DATA / 'hsb.csv'}'")
    for analysis, model in (("a", "b__c"), ("a__b", "c")):
        file = tmp_path / f"{analysis}.yaml"
        file.write_text(f"analysis: {analysis}\ndata: hsb\nmodels: {{{model}: mathach ~ ses}}\n")
        status = main(["fit", str(file), "--database", str(path)])
    assert status == 2
    assert "The view mlm.predicted_a__b__c holds predictions of analysis a, and" in capsys.readouterr().err
    with duckdb.connect(str(path)) as opened:
        assert opened.execute("select distinct analysis from mlm.runs").fetchall() == [("a",)]
        assert opened.execute("select count(*) from mlm.predicted_a__b__c").fetchall() == [(7185,)]


def test_a_run_whose_views_cannot_be_made_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results and views are of one run: a view that the database refuses takes the run with it."""
    path, file = tmp_path / "d.duckdb", tmp_path / "hsb.yaml"
    file.write_text("analysis: hsb\ndata: hsb\nmodels: {anova: mathach ~ 1 + (1 | school)}\n")
    with duckdb.connect(str(path)) as opened:
        opened.execute(f"create table hsb as from '{DATA / 'hsb.csv'}'")
        # the table of units meets a view that nobody looked at before
        opened.execute("create schema mlm; create view mlm.predicted_hsb__anova__units_0 as select 1")
    monkeypatch.setattr("mlm_ops.analyses.store.prediction_views.check_view_names", lambda *_: None)
    assert main(["fit", str(file), "--database", str(path)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "mlm: mlm.predicted_hsb__anova__units_0 is a view that mlm-ops did not make, and the predictions of analysis "
        "hsb would take its place. Rename it, or set predictions: false.\n"
    )
    with duckdb.connect(str(path)) as opened:
        assert opened.execute("select table_name from duckdb_tables() where schema_name = 'mlm'").fetchall() == []


@pytest.mark.parametrize("name", ["predicted_hsb__anova__units_0", "PREDICTED_hsb__Anova"])
def test_what_stands_beside_a_view_takes_no_place_of_the_user(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of units is ours to replace only where we made it; DuckDB's names do not depend on case."""
    path, file = tmp_path / "d.duckdb", tmp_path / "hsb.yaml"
    file.write_text("analysis: hsb\ndata: hsb\nmodels: {anova: mathach ~ 1 + (1 | school)}\n")
    with duckdb.connect(str(path)) as opened:
        opened.execute(f"create table hsb as from '{DATA / 'hsb.csv'}'")
        opened.execute(f"create schema mlm; create table mlm.{name} as select 41 as kept")
    assert main(["fit", str(file), "--database", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"mlm: mlm.{name} was not made by mlm-ops, and the view with the predictions of the model anova "
        "would take its place. Rename it, or set predictions: false.\n"
    )
    with duckdb.connect(str(path)) as opened:
        assert opened.execute(f"from mlm.{name}").fetchall() == [(41,)]


def test_two_models_whose_predictions_would_have_one_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, file = tmp_path / "d.duckdb", tmp_path / "hsb.yaml"
    formula = "mathach ~ 1 + (1 | school)"
    file.write_text(f"analysis: hsb\ndata: hsb\nmodels: {{a: {formula}, a__units_0: {formula}}}\n")
    with duckdb.connect(str(path)) as opened:
        opened.execute(f"create table hsb as from '{DATA / 'hsb.csv'}'")
    assert main(["fit", str(file), "--database", str(path)]) == 2
    assert capsys.readouterr().err == (
        "mlm: The predictions of the models a and a__units_0 of hsb would have the same name in the database. "
        "Rename one of the two, or set predictions: false.\n"
    )


@pytest.mark.parametrize("made", ["create view mlm.{} as select 1", "create table mlm.{} (x int)"])
def test_a_view_takes_no_place_of_the_user(made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, file = tmp_path / "d.duckdb", tmp_path / "hsb.yaml"
    file.write_text("analysis: hsb\ndata: hsb\nmodels: {anova: mathach ~ 1 + (1 | school)}\n")
    with duckdb.connect(str(path)) as opened:
        opened.execute(f"create table hsb as from '{DATA / 'hsb.csv'}'")
        opened.execute("create schema mlm")
        opened.execute(made.format("predicted_hsb__anova"))
    assert main(["fit", str(file), "--database", str(path)]) == 2
    assert capsys.readouterr().err == (
        "mlm: mlm.predicted_hsb__anova was not made by mlm-ops, and the view with the predictions of the model anova "
        "would take its place. Rename it, or set predictions: false.\n"
    )


def test_a_file_is_read_where_a_table_is_not_meant(tmp_path: Path) -> None:
    rows = pl.DataFrame({"g": ["a", "b", "c"] * 6, "y": [float(i % 7) for i in range(18)]})
    rows.write_csv(tmp_path / "rows.csv")
    fit = mlm.fit("y ~ 1 + (1 | g)", tmp_path / "rows.csv")
    found = duckdb.sql(fit.prediction_sql(str(tmp_path / "rows.csv"))).pl()
    np.testing.assert_allclose(found["prediction"], fit.predict(rows)["prediction"], rtol=TOLERANCE)


def test_names_of_units_are_cut_apart_whatever_is_in_them() -> None:
    """Each unit's effect comes to its rows, with separators, quotes and an empty text among the names."""
    names = ["", ",", "-.,/", "a,b", "it's", "x-y", "\x1f;|", "ü\n-", "end,"]
    rng = np.random.default_rng(3)
    data = pl.DataFrame({"g": names * 6}).with_columns(
        y=pl.Series(rng.normal(size=54)) + pl.Series([float(names.index(n)) for n in names * 6])
    )
    fit = mlm.fit("y ~ 1 + (1 | g)", data)
    with duckdb.connect() as connection:
        connection.register("rows", data.to_arrow())
        ours = connection.sql(
            f"select g, any_value(prediction) as p from ({fit.prediction_sql('rows')}) group by g"
        ).pl()
    effects = dict(fit.random_effects.select("unit", "estimate").iter_rows())
    assert len(effects) == len(names)
    mean = fit.fixed_effects["estimate"][0]
    for name, prediction in ours.iter_rows():
        assert prediction == pytest.approx(mean + effects[name], rel=1e-14, abs=1e-14)
