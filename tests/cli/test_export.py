"""``mlm export``: what is written is what the store holds, and bad input is one sentence."""

from __future__ import annotations

import io
import os
from pathlib import Path

import docx
import duckdb
import polars as pl
import pytest

from mlm_ops.cli import main as cli
from mlm_ops.reports import PICTURES, Selection
from tests.cli.conftest import HSB
from tests.results.test_table_files import latex_cells


def stored(path: Path, table: str) -> pl.DataFrame:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(f"from mlm.latest_{table}").pl()


@pytest.mark.parametrize("table", ["fixed_effects", "random_effects", "comparisons", "models", "fit_statistics"])
def test_csv_and_parquet_are_the_stored_table(table: str, fitted, tmp_path, capsys) -> None:
    path = tmp_path / "papers" / f"{table}.parquet"
    assert cli.main(["export", "--database", str(fitted), "--table", table, "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"Wrote {path}: {table} of small.\n"
    expected = stored(fitted, table)
    assert pl.read_parquet(path).equals(expected)
    assert cli.main(["export", "--database", str(fitted), "--table", table, "--format", "csv"]) == 0
    printed = pl.read_csv(io.StringIO(capsys.readouterr().out), schema_overrides=expected.schema)
    assert printed.equals(expected)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("arguments", [["export", "--format", "csv"], ["show"], ["show", "--all"]])
def test_lists_are_read_by_their_view(arguments: list[str], fitted, capsys) -> None:
    named = [*arguments, "--database", str(fitted), "--table"]
    assert cli.main([*named, "influence_lists"]) == 2
    assert capsys.readouterr().err == (
        "mlm: Table influence_lists has lists of numbers. Read influence instead, which has a row for each number.\n"
    )
    assert cli.main([*named, "influence_list"]) == 2
    offered = capsys.readouterr().err.partition("Expected one of ")[2].rstrip(".\n").split(", ")
    assert "influence" in offered
    assert "influence_lists" not in offered
    assert cli.main([*named, "influence"]) == 0


def test_tables_to_read_have_the_columns_and_notes_of_show(fitted, tmp_path, capsys) -> None:
    export = ["export", "--database", str(fitted)]
    assert cli.main([*export, "--table", "fixed_effects", "--format", "latex"]) == 0
    rows = latex_cells(capsys.readouterr().out)
    assert rows[0] == ["term", "symbol", "estimate", "std error", "df", "statistic", "p value", "conf low", "conf high"]
    assert [row[0] for row in rows[1:]] == ["null", "(Intercept)", "slopes", "(Intercept)", "within(ses)"]
    assert rows[2][:4] == ["(Intercept)", "γ₀₀", "12.64", "0.2444"]
    # of one model alone its name stands nowhere
    assert cli.main([*export, "--table", "fixed_effects", "--model", "null", "--format", "latex"]) == 0
    assert len(latex_cells(capsys.readouterr().out)) == 2
    assert cli.main([*export, "--table", "fit_statistics", "--format", "latex"]) == 0
    printed = capsys.readouterr().out
    # REML criteria of other fixed parts do not stand beside each other
    assert latex_cells(printed)[0][:7] == [
        "model",
        "n obs",
        "n groups",
        "n parameters",
        "deviance ml",
        "aic ml",
        "bic ml",
    ]
    assert printed.count("footnotesize deviance, AIC and BIC come from the same models fitted by ML") == 1
    assert cli.main([*export, "--table", "comparisons", "--output", str(tmp_path / "c.docx")]) == 0
    document = docx.Document(str(tmp_path / "c.docx"))
    assert "note" not in [box.text for box in document.tables[0].rows[0].cells]
    assert "slopes against null: the fixed parts differ" in document.paragraphs[0].text


def test_models_side_by_side_in_the_order_that_was_asked_for(fitted, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = ["--model", "slopes", "--model", "null"]
    assert cli.main(["export", "--database", str(fitted), "--side-by-side", *models, "--output", "t.docx"]) == 0
    assert capsys.readouterr().out == "Wrote t.docx: models side by side of small.\n"
    (table,) = docx.Document("t.docx").tables
    cells = [[box.text for box in row.cells] for row in table.rows]
    assert cells[0] == ["", "slopes", "null"]
    assert cells[2][2] == "12.64***"
    assert cli.main(["export", "--database", str(fitted), "--side-by-side", *models, "--format", "csv"]) == 0
    numbers = pl.read_csv(io.StringIO(capsys.readouterr().out))
    assert numbers.columns == ["part", "term", "statistic", "slopes", "null"]
    effects = stored(fitted, "fixed_effects").filter(pl.col("model") == "null")
    assert numbers["null"][0] == effects["estimate"][0]
    assert cli.main(["export", "--database", str(fitted), "--side-by-side", "--format", "latex"]) == 0
    assert latex_cells(capsys.readouterr().out)[0] == ["", "null", "slopes"]


def test_the_results_of_the_project(fitted, tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "results.duckdb").symlink_to(fitted)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "--table", "icc", "--format", "csv", "--output", "icc.CSV"]) == 0
    assert pl.read_csv("icc.CSV")["icc"].to_list() == stored(fitted, "icc")["icc"].to_list()


@pytest.fixture
def several(fitted, tmp_path) -> Path:
    """Results of two analyses."""
    path = tmp_path / "several.duckdb"
    path.write_bytes(fitted.read_bytes())
    with duckdb.connect(str(path)) as connection:
        for name in ("runs", "fixed_effects", "variance_components", "fit_statistics", "r_squared", "models"):
            connection.execute(f"insert into mlm.{name} select * replace ('other' as analysis) from mlm.{name}")
    return path


def test_several_analyses_are_one_csv_file_and_no_table_to_read(several, refused, capsys) -> None:
    assert cli.main(["export", "--database", str(several), "--table", "fixed_effects", "--format", "csv"]) == 0
    assert set(pl.read_csv(io.StringIO(capsys.readouterr().out))["analysis"]) == {"small", "other"}
    sentence = (
        "mlm: A table to read shows one analysis, and so do models side by side. Name it with --analysis: small, "
        "other.\n"
    )
    assert refused("export", "--database", several, "--table", "fixed_effects", "--format", "latex") == sentence
    assert refused("export", "--database", several, "--side-by-side", "--format", "csv") == sentence
    export = ["export", "--database", str(several), "--analysis", "other"]
    assert cli.main([*export, "--side-by-side", "--format", "latex"]) == 0


def test_structural_models_have_no_side_by_side(fitted, refused, tmp_path) -> None:
    path = tmp_path / "sem.duckdb"
    path.write_bytes(fitted.read_bytes())
    with duckdb.connect(str(path)) as connection:
        connection.execute("delete from mlm.fit_statistics")
    assert refused("export", "--database", path, "--side-by-side", "--format", "csv") == (
        "mlm: There are no multilevel models in sem.duckdb to set side by side. "
        "Structural models are in --table sem_parameters.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--table", "fixed_effect", "--format", "csv"], "no table fixed_effect. Did you mean 'fixed_effects'?"),
        (["--table", "nope"], "The store has no table nope."),
        (["--table", "drift", "--format", "latex"], "The table has no rows, so that there is nothing to print."),
        (["--table", "icc"], "The format is not known. Name it with --format latex, or a file with --output FILE.tex."),
        (["--table", "icc", "--format", "word"], "The format word is a file. Name it with --output FILE.docx."),
        (
            ["--table", "icc", "--format", "parquet"],
            "The format parquet is a file. Name it with --output FILE.parquet.",
        ),
        (["--table", "icc", "--format", "excel"], "choose from"),
        (
            ["--table", "icc", "--format", "csv", "--output", "t.tex"],
            "The ending of t.tex says latex, and --format says csv. Leave one of them out.",
        ),
        (["--table", "icc", "--output", "t.xlsx"], "Got t.xlsx; expected one of .tex (latex), .csv (csv),"),
        (
            ["--table", "icc", "--output", "."],
            ". is a folder, and a table is a file. Name a file in it, such as table.tex.",
        ),
        (["--side-by-side", "--format", "csv", "--model", "slope"], "Did you mean 'slopes'?"),
        (["--table", "icc", "--format", "csv", "--analysis", "smal"], "Did you mean 'small'? There are small."),
        (["--format", "csv"], "one of the arguments --table --side-by-side --picture is required"),
        (["--table", "icc", "--side-by-side", "--format", "csv"], "not allowed with"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, fitted, refused) -> None:
    assert sentence in refused("export", "--database", fitted, *arguments)


def test_no_results(refused) -> None:
    assert "no database at" in refused("export", "--database", "none.duckdb", "--table", "icc", "--format", "csv")
    assert "no project" in refused("export", "--table", "icc", "--format", "csv")


def test_a_picture_is_that_of_the_stored_tables(fitted, tmp_path, capsys) -> None:
    path = tmp_path / "figures" / "caterpillar.svg"
    path.parent.mkdir()
    export = ["export", "--database", str(fitted), "--picture", "caterpillar"]
    assert cli.main([*export, "--model", "null", "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"Wrote {path}: Which schools depart in level?\n"
    assert os.listdir(path.parent) == [path.name]
    tables = {name: stored(fitted, name) for name in ("random_effects", "variance_components", "models", "groups")}
    (picture,) = PICTURES["caterpillar"](tables, Selection(model="null"))
    # the hover text names no analysis, so that the pictures of a fit and of its stored tables are one
    assert picture.answer in path.read_text()
    units = tables["random_effects"].filter(model="null")
    assert path.read_text().count("<title>") >= units.height


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--picture", "caterpilar", "--output", "c.svg"],
            "There is no picture 'caterpilar'. Did you mean",
        ),
        (
            ["--picture", "keys", "--output", "c.svg"],
            "The analysis small has no picture keys. The",
        ),
        (
            ["--picture", "forest"],
            "A picture is a file. Name it with --output forest.svg; .png, .pdf and .html are written too.",
        ),
        (["--picture", "forest", "--output", "c.gif"], "A picture is saved as .svg, .png, .pdf or .html. Got c.gif"),
        (["--picture", "forest", "--format", "csv", "--output", "c.svg"], "--format applies to tables. Leave it out"),
        (
            ["--picture", "caterpillar", "--model", "nul", "--output", "c.svg"],
            "There are no results of the model nul. Did you mean 'null'?",
        ),
        (
            ["--picture", "caterpillar", "--model", "null", "--model", "slopes", "--output", "c.svg"],
            "A picture shows one model. Got null, slopes; name one with --model.",
        ),
        (["--table", "fixed_effects", "--term", "x", "--format", "csv"], "--term and --group apply to pictures."),
    ],
)
def test_a_picture_that_is_not_there_is_one_sentence(
    arguments: list[str], sentence: str, fitted, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "--database", str(fitted), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(f"mlm: {sentence}")
    assert len(printed.err.splitlines()) == 1
    assert os.listdir(tmp_path) == []


GROUPED = """
analysis: grouped
data: {data}
models: {{null: "mathach ~ 1 + (1 | school)"}}
sem:
  first: {{model: "contextual: mathach ~ ses", cluster: school}}
  second: {{model: "contextual: mathach ~ ses", cluster: school, group: sector}}
"""


def test_a_path_diagram_is_of_the_structural_model_and_group_that_are_named(tmp_path, capsys, refused) -> None:
    (tmp_path / "a.yaml").write_text(GROUPED.format(data=HSB))
    assert cli.main(["fit", str(tmp_path / "a.yaml"), "--allow-files"]) == 0
    export = ["export", "--database", str(tmp_path / "results.duckdb"), "--picture", "path"]
    capsys.readouterr()
    for options, place in (
        ([], ""),
        (["--model", "second"], ", in Catholic"),
        (["--model", "second", "--group", "Public"], ", in Public"),
    ):
        path = tmp_path / "p.svg"
        assert cli.main([*export, *options, "--output", str(path)]) == 0
        assert capsys.readouterr().out == f"Wrote p.svg: What goes with what, at each level{place}?\n"
    for options, sentence in (
        (
            ["--model", "second", "--group", "Private"],
            "The picture path has no group 'Private'. It has: Catholic, Public.",
        ),
        (["--model", "third"], "There are no results of the model third. There are null, first, second."),
        (["--model", "null"], "The model null has no picture path. The model null has: "),
    ):
        assert refused(*export, *options, "--output", tmp_path / "q.svg").startswith(f"mlm: {sentence}")
