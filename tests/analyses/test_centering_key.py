"""The key `centering` of an analysis file: its table in the store, what it refuses, and the command of its name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.cli.main import main
from mlm_ops.errors import AnalysisError
from mlm_ops.language.recentering import VERSIONS

HSB = Path(__file__).parents[1] / "specification" / "reference" / "data" / "hsb.csv"
FILE = """
analysis: hsb
data: students
levels: school
models:
  null: mathach ~ 1 + (1 | school)
  raw: mathach ~ ses + (ses | school)
  products: mathach ~ within(ses) * sector + (1 | school)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "hsb.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"create table students as from '{HSB}'")
    return path


def test_the_models_that_the_key_names_have_rows(database: Path) -> None:
    with duckdb.connect(str(database)) as connection:
        tables = fit_analysis(parse_analysis(FILE + "centering: [raw, products]\n"), connection).tables
    assert tables["centering"]["model"].unique(maintain_order=True).to_list() == ["raw", "products"]
    raw = tables["centering"].row(0, named=True)
    fixed = tables["fixed_effects"].filter(model="raw").row(0, named=True)
    assert (raw["version"], raw["term"], raw["estimator"]) == ("raw", "(Intercept)", "reml")
    assert raw["estimate"] == pytest.approx(fixed["estimate"], rel=1e-12)
    with duckdb.connect(str(database)) as connection:
        assert "centering" not in fit_analysis(parse_analysis(FILE), connection).tables


def test_what_cannot_be_recentered_is_refused_before_any_query() -> None:
    with pytest.raises(AnalysisError) as refused:
        parse_analysis(FILE + 'centering: "null"\n')
    assert str(refused.value) == (
        "Model 'null': Nothing in mathach ~ 1 + (1 | school) can be recentered: it has no predictor of rows that is a "
        "number. Got no predictor; expected a number that varies within the groups."
    )
    with pytest.raises(
        AnalysisError, match=r"centering names no model of this file: 'other'; models are null, raw, pro"
    ):
        parse_analysis(FILE + "centering: other\n")


def test_a_name_with_quotes_and_markup_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f'create table students as select mathach, school, ses as "s:e""s<b>", sector from \'{HSB}\''
        )
        models = "models:\n  one: 'mathach ~ `s:e\"s<b>` * sector + (1 | school)'\n"
        text = FILE.partition("models:")[0] + models + "centering: one\n"
        table = fit_analysis(parse_analysis(text), connection).tables["centering"]
    slope = table.filter(version="raw", quantity="slope").row(0, named=True)
    assert (slope["predictor"], slope["equal_to"]) == ('`s:e"s<b>`', "grand mean")


def test_the_command_prints_versions_and_sentences(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["centering", "mathach ~ ses + (1 | school)", str(HSB)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("raw", "grand", "mean", "group", "mean", "group", "mean", "+", "mean", "raw", "+", "mean"),
        *("equal", "whatever", "the", "data"),
    ]
    assert lines[8:11] == [
        "raw, mathach ~ 1 + ses + (1 | school): The same model as grand mean, with another zero: the columns",
        "  span the same space, so that fit and predictions are equal. gamma_00: predicted mathach where ses",
        "  is 0. tau_00: variance over school of predicted mathach, the same at all values of the predictors.",
    ]
    assert [line.split(",")[0] for line in lines[8:] if not line.startswith(" ")] == list(VERSIONS)
    file = tmp_path / "hsb.yaml"
    file.write_text(FILE)
    assert main(["centering", str(file), "--database", str(database), "--model", "raw"]) == 0
    assert "variance over school: ses" in capsys.readouterr().out
    assert main(["centering", str(file), "--database", str(database), "--model", "rwa"]) == 2
    assert (
        capsys.readouterr().err == f"mlm: {file} has no model rwa. Did you mean 'raw'? There are null, raw, products.\n"
    )
    assert main(["centering", str(file)]) == 2
    assert "An analysis file is fitted in a database: " in capsys.readouterr().err
    assert main(["centering", "mathach ~ ses + (1 | school)"]) == 2
    assert "A formula is fitted to one data file: " in capsys.readouterr().err
    with duckdb.connect(str(database)) as connection:
        assert connection.execute("select count(*) from duckdb_tables() where schema_name = 'mlm'").fetchall() == [(0,)]
