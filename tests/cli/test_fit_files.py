"""`mlm fit` and `mlm init` with data files: what is assumed is told, and an analysis needs no database."""

from __future__ import annotations

import codecs
import contextlib
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from mlm_ops.cli.main import main
from mlm_ops.plugins.duckdb import register
from mlm_ops.warehouse.sql import literal

MODELS = 'models: {m: "y ~ x + (1 | g)"}\n'
TOLD = "; separates, , is the decimal sign, '.' is missing: 20 of 100 cells of x."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    cells = (f"{i // 10};{'.' if i % 5 == 0 else f'{i * 7 % 13},5'};{i * 11 % 17},25" for i in range(100))
    Path("d.csv").write_text("\n".join(["g;x;y", *cells]) + "\n")
    Path("sub").mkdir()
    Path("sub/a.yaml").write_text(f"analysis: a\ndata: ../d.csv\n{MODELS}")
    Path("pyproject.toml").write_text("")
    return tmp_path


def test_a_formula(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "y ~ x + (1 | g)", "d.csv"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"d.csv: {TOLD}\n"
    assert "Note: as the file was read, '.' is missing: 20 of 100 cells of x.\n" in printed.out


def test_results_go_beside_the_analysis_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "sub/a.yaml"]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"analysis a: d.csv: {TOLD}\n"
    assert (
        "Written to schema mlm of sub/results.duckdb. Read it with: mlm show --database sub/results.duckdb"
        in printed.out
    )
    with duckdb.connect("sub/results.duckdb", read_only=True) as connection:
        assert connection.sql("select n_obs from mlm.fit_statistics").fetchall() == [(80,)]
        # a view of predictions reads the file again
        assert connection.sql("select count(*), count(prediction) from mlm.predicted_a__m").fetchall() == [(100, 80)]


def test_what_is_assumed_is_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DuckDB does not read this encoding, so that the file is read again into a table."""
    Path("d.csv").write_bytes(codecs.BOM_UTF16_BE + Path("d.csv").read_text().encode("utf-16-be"))
    assert main(["fit", "sub/a.yaml"]) == 0
    assert capsys.readouterr().err.count("; separates, the encoding is UTF-16, ") == 1


def test_a_database_that_is_named_is_made(folder: Path) -> None:
    assert main(["fit", "sub/a.yaml", "--database", "new/r.duckdb"]) == 0
    assert Path("new/r.duckdb").exists()


def test_nothing_is_left_of_a_database_without_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub/a.yaml").write_text("analysis: a\ndata: e.csv\n" + MODELS)
    assert main(["fit", "sub/a.yaml"]) == 2
    assert "There is no file" in capsys.readouterr().err
    assert not Path("sub/results.duckdb").exists()


def test_a_table_needs_its_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub/a.yaml").write_text("analysis: a\ndata: pupils\n" + MODELS)
    assert main(["fit", "sub/a.yaml"]) == 2
    assert (
        "An analysis file is fitted in a database: mlm fit sub/a.yaml --database FILE.duckdb" in capsys.readouterr().err
    )
    assert main(["fit", "sub/a.yaml", "--database", "no.duckdb"]) == 2
    sentence = "There is no database at no.duckdb. Name the DuckDB file that holds pupils."
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("data", ["d", "../D", "sub/../../d"])
def test_a_file_without_its_suffix_is_suggested(data: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml" if data == "d" else "sub/a.yaml").write_text(f"analysis: a\ndata: {data}\n{MODELS}")
    assert main(["fit", "a.yaml" if data == "d" else "sub/a.yaml"]) == 2
    name = {"d": "d.csv", "../D": "../d.csv"}.get(data)
    said = capsys.readouterr().err
    assert said.endswith(f" Did you mean the file {name}?\n" if name else "a SELECT.\n")
    if data == "d":
        duckdb.connect("t.duckdb").close()
        assert main(["fit", "a.yaml", "--database", "t.duckdb"]) == 2
        assert capsys.readouterr().err == (
            f"mlm: analysis a: Table d does not exist. The database {folder / 't.duckdb'} holds no tables: check its "
            "path. Did you mean the file d.csv?\n"
        )


def test_a_filter_on_a_column_that_is_text_by_a_few_cells(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = (f"{i % 9},{'x' if i == 7 else 20 + i % 30},{i * 7 % 13}.5" for i in range(90))
    Path("ages.csv").write_text("\n".join(["g,age,y", *cells]) + "\n")
    text = 'analysis: a\ndata: ages.csv\nwhere: {where}\nmodels: {{m: "y ~ 1 + (1 | g)"}}\n'
    path = folder / "ages.csv"
    filter_fault = f"The row filter where: {{where}} does not fit {path}: "
    for where, sentence in {
        "age > 30": filter_fault
        + "column 'age' is text, and a number is expected. It is text because 1 of its 90 cells "
        "are no numbers, such as 'x'. Write try_cast(\"age\" as double), which is missing in such cells.",
        "cast(age as int) > 30": f"Cannot read {path} where {{where}}: column age has the cell 'x', which is no INT32; "
        "try_cast makes it missing.",
        "ages > 30": filter_fault + "it has no column 'ages'. Did you mean 'age'? Its columns are g, age, y.",
    }.items():
        Path("a.yaml").write_text(text.format(where=where))
        assert main(["fit", "a.yaml"]) == 2
        assert capsys.readouterr().err == f"mlm: analysis a: {sentence.format(where=where)}\n"
    Path("a.yaml").write_text(text.format(where='try_cast("age" as double) > 30'))
    assert main(["fit", "a.yaml"]) == 0


def test_steps_without_effect_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub/a.yaml").write_text(f"analysis: a\ndata: ../d.csv\nsteps: both\n{MODELS}")
    assert main(["fit", "sub/a.yaml"]) == 0
    assert capsys.readouterr().err.splitlines()[0] == (
        "steps: both has no effect here: a Dagster project writes the centered rows, by mlm run."
    )


def test_options_of_an_analysis_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub/a.yaml").write_text(f'analysis: a\ndata: ../d.csv\noptions: {{null: [".", "6,5"]}}\n{MODELS}')
    assert main(["fit", "sub/a.yaml"]) == 0
    assert "'.' and '6,5' are missing: 25 of 100 cells of x" in capsys.readouterr().err
    Path("sub/a.yaml").write_text(f"analysis: a\ndata: pupils\noptions: {{delimiter: ';'}}\n{MODELS}")
    assert main(["fit", "sub/a.yaml", "--database", "sub/results.duckdb"]) == 2
    assert (
        "The key options says how a data file is read. Got the data pupils; leave options out, or name a file."
        in capsys.readouterr().err
    )


def test_a_file_that_duckdb_cannot_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.csv").write_bytes(
        b"g,x,y\n" + "".join(f"€{i // 10},{i * 7 % 13},{i * 11 % 17}\n" for i in range(100)).encode("cp1252")
    )
    assert main(["fit", "sub/a.yaml"]) == 0
    told = capsys.readouterr().err
    assert "d.csv: the encoding is Windows-1252.\n" in told
    assert "There are no views of predictions: DuckDB cannot read " in told
    assert main(["init", "p", "d.csv", "--dbt"]) == 2
    assert (
        "dbt cannot read d.csv, as DuckDB cannot by itself. Write it to a CSV or Parquet file"
        in capsys.readouterr().err
    )
    assert main(["init", "p", "d.csv"]) == 0
    (assets,) = Path("p").glob("*/assets.py")
    code = assets.read_text()
    assert "from mlm_ops.plugins.dagster import Warehouse, load_file\n" in code
    assert "load_file(connection, DATA, 'main.d', order=ORDER)" in code
    compile(code, str(assets), "exec")


def test_a_project_reads_the_file_as_it_was_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "p", "d.csv", "--dbt"]) == 0
    assert f"d.csv: {TOLD}\n" in capsys.readouterr().err
    sql = Path("p/models/d.sql").read_text()
    with duckdb.connect() as connection:
        connection.execute("set file_search_path = 'p'")
        assert connection.sql(sql.replace("../d.csv", str(folder / "d.csv"))).fetchall()[1] == (0, 7.5, 11.25)


@pytest.mark.parametrize("data", ["d.sav", "d.xlsx", "parts/", "d.json"])
def test_files_outside_of_the_project_stay_closed(data: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sub/pyproject.toml").write_text("")
    Path("parts").mkdir()
    duckdb.sql("copy (select 1 as y) to 'parts/a.parquet'")
    Path("d.json").write_text("[]")
    Path("sub/a.yaml").write_text(f"analysis: a\ndata: ../{data}\n{MODELS}")
    assert main(["fit", "sub/a.yaml"]) == 2
    told = capsys.readouterr().err
    assert f"The path of the data leaves the project. Got ../{data}; expected one under {folder / 'sub'}." in told
    assert not Path("sub/results.duckdb").exists()


DATED = "select i % 10 as g, i * 7 % 13 as x, i * 11 % 17 as y, date '2026-01-01' + i::int as day, i % 3 = 0 as done"
DAYS = "select *, day - date '2000-01-01' as day_days from 'dated.parquet'"
DONE = "select *, cast(done as integer) as done_01 from 'dated.parquet'"


@pytest.mark.parametrize(
    ("formula", "sentence", "select", "number"),
    [
        (
            "y ~ day + (1 | g)",
            "Column 'day' is neither numeric nor text. Got DATE; make a number of it in a SELECT instead of the file: "
            f"{DAYS}.",
            DAYS,
            "day_days",
        ),
        (
            "done ~ x + (1 | g)",
            "The outcome 'done' is true or false (BOOLEAN), and a model needs numbers. Make a number of it in a "
            f"SELECT instead of the file: {DONE}.",
            DONE,
            "done_01",
        ),
    ],
)
def test_what_is_said_to_make_a_number_does(
    folder: Path, capsys: pytest.CaptureFixture[str], formula: str, sentence: str, select: str, number: str
) -> None:
    """The SELECT of the message serves on the command line and in an analysis file."""
    duckdb.execute(f"copy ({DATED} from range(200) t(i)) to 'dated.parquet'")
    assert main(["fit", formula, "dated.parquet"]) == 2
    assert capsys.readouterr().err == f"mlm: {sentence}\n"
    new = formula.replace("day" if "day" in formula else "done", number)
    assert main(["fit", new, select]) == 0
    assert "200 rows in 10 units of g" in capsys.readouterr().out
    assert main(["centering", new, select]) == 0
    Path("s.yaml").write_text(f'analysis: s\ndata: "{select}"\nmodels: {{m: "{new}"}}\n')
    assert main(["fit", "s.yaml"]) == 0
    assert Path("results.duckdb").exists()


@pytest.mark.parametrize(
    ("sql", "example"),
    [
        ("timestamp '2026-01-01 10:00'", "epoch(d) / 86400 as d_days"),
        ("time '10:00'", "epoch(d) / 3600 as d_hours"),
        ("interval 3 hours", "epoch(d) / 86400 as d_days"),
        ("[1, 2]", ""),
    ],
)
def test_numbers_of_other_types(folder: Path, capsys: pytest.CaptureFixture[str], sql: str, example: str) -> None:
    with duckdb.connect("t.duckdb") as connection:
        connection.execute(f"create table t as select i % 10 as g, i % 7 as y, {sql} as d from range(100) t(i)")
    assert main(["fit", "y ~ d + (1 | g)", "t.duckdb"]) == 2
    said = capsys.readouterr().err
    end = (
        f'make a number of it in a view or SELECT: select *, {example} from "main"."t".\n'
        if example
        else "a view or SELECT.\n"
    )
    assert said.endswith(end)
    if example:
        with duckdb.connect("t.duckdb") as connection:
            assert connection.sql(f"select {example} from t").types[0] in ("DOUBLE", "BIGINT")


def test_words_that_are_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i // 10},{-99 if i % 5 == 0 else i * 7 % 13},{i * 11 % 17}" for i in range(100)]
    Path("coded.csv").write_text("\n".join(["g,x,y", *rows]) + "\n")
    assert main(["fit", "y ~ x + (1 | g)", "coded.csv", "--null", "-99"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "coded.csv: '-99' is missing: 20 of 100 cells of x.\n"
    assert "Note: as the file was read, '-99' is missing: 20 of 100 cells of x.\n" in printed.out
    assert main(["fit", "y ~ x", "select 1 as x, 2 as y", "--null", "-99"]) == 2
    assert capsys.readouterr().err == (
        "mlm: --null is for data files, whose cells are words. Got select 1 as x, 2 as y; write nullif(x, -99) in a "
        "SELECT.\n"
    )
    assert main(["fit", "sub/a.yaml", "--null", "-99"]) == 2
    assert capsys.readouterr().err == (
        "mlm: An analysis file sets these options itself, by its keys. Got --null beside sub/a.yaml; leave it out.\n"
    )
    assert main(["fit", "sub/a.yaml", "d.csv"]) == 2
    assert capsys.readouterr().err == (
        "mlm: An analysis file names its data itself, by its key data. Got d.csv beside sub/a.yaml; leave it out, or "
        "change the key.\n"
    )


def test_a_select_of_a_table_needs_its_database(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.yaml").write_text(f"analysis: s\ndata: select * from t\n{MODELS}")
    assert main(["fit", "s.yaml"]) == 2
    assert capsys.readouterr().err == (
        "mlm: An analysis file is fitted in a database: mlm fit s.yaml --database FILE.duckdb\n"
    )


def test_sql_is_printed_in_place_of_a_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an analysis the statement of all its models, and no database is made."""
    assert main(["fit", "y ~ x + (1 | g)", "d.csv", "--sql"]) == 0
    of_formula = capsys.readouterr().out
    assert main(["fit", "sub/a.yaml", "--sql"]) == 0
    of_analysis = capsys.readouterr().out
    assert not Path("sub/results.duckdb").exists()
    moments = mlm.fit("y ~ x + (1 | g)", "d.csv").moments
    for printed in (of_formula, of_analysis):
        with duckdb.connect() as connection:
            columns = connection.execute(printed).fetchnumpy()
        for name, expected in (("n", moments.n), ("mean_0", moments.mean[0]), ("scatter_0_0", moments.scatter[0])):
            # sums of several threads differ in their last digits
            assert columns[name].tolist() == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-12)


def test_sql_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database, file = tmp_path / "d.duckdb", tmp_path / "a.yaml"
    with duckdb.connect(str(database)) as connection:
        connection.execute(
            "create table t as select i % 5 as g, i * 7 % 13 as x, i * 11 % 17 as y from range(100) r(i)"
        )
    file.write_text(f"analysis: a\ndata: t\nwhere: x > 1\n{MODELS}")
    assert main(["fit", str(file), "--database", str(database), "--sql"]) == 0
    printed = capsys.readouterr().out
    assert main(["fit", "y ~ x + (1 | g)", str(database), "--table", "t", "--sql"]) == 0
    assert 'from "t" as "mlm_rows"\n' in capsys.readouterr().out
    with duckdb.connect(str(database)) as connection:
        assert connection.execute(printed).fetchnumpy()["n"].sum() == 84
        assert connection.execute("select count(*) from t where x > 1").fetchall() == [(84,)]
        assert connection.execute("select count(*) from duckdb_tables() where schema_name = 'mlm'").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["parts", "k=1 {path}*"])
def test_a_dbt_project_reads_a_folder_of_parquet_files(name: str, folder: Path) -> None:
    """Also a file that comes later, and the folders named for a column."""
    (Path(name) / "year=2025").mkdir(parents=True)
    (Path(name) / "year=2026").mkdir()
    rows = "select i // 10 as g, i * 7 % 13 as x, i * 11 % 17 + 0.5 as y from range(100) as t(i)"
    duckdb.sql(f"copy ({rows}) to {literal(f'{name}/year=2025/a.parquet')}")
    assert mlm.fit("y ~ x + (1 | g)", name).reading is not None
    assert main(["init", "p", name, "--dbt", "--outcome", "y", "--group", "g"]) == 0
    (sql,) = [text for path in Path("p/models").glob("*.sql") if "read_parquet" in (text := path.read_text())]
    duckdb.sql(f"copy ({rows}) to {literal(f'{name}/year=2026/b.parquet')}")
    with contextlib.chdir("p"), duckdb.connect() as connection:
        relation = connection.sql(sql)
        assert relation.columns == ["g", "x", "y", "year"]
        years = relation.aggregate("year, count(*)").order("year").fetchall()
        assert years == [(2025, 100), (2026, 100)]


def test_a_pattern_is_told_to_be_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "p", "parts/**/*.parquet"]) == 2
    assert capsys.readouterr().err == (
        "mlm: There is no file parts/**/*.parquet. All Parquet files below a folder are read by its name, parts/.\n"
    )


def test_a_select_of_numbers_beside_na(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the sentence about a date suggests is a SELECT that runs, and its absence is told with the cure."""
    cells = [f"t{i % 6},{'NA' if i == 4 else i * 7 % 13},2020-01-{1 + i % 28:02}" for i in range(60)]
    Path("people.csv").write_text("\n".join(["team,score,hired", *cells]) + "\n")
    select = "select *, hired - date '2000-01-01' as hired_days from {}"
    reader = "read_csv('people.csv', nullstr = ['', 'NA'])"
    assert main(["fit", "score ~ hired + (1 | team)", "people.csv"]) == 2
    assert capsys.readouterr().err == (
        "mlm: Column 'hired' is neither numeric nor text. Got DATE; make a number of it in a SELECT instead of "
        f"the file: {select.format(reader)}.\n"
    )
    assert main(["fit", "score ~ hired_days + (1 | team)", select.format(reader)]) == 0
    capsys.readouterr()
    assert main(["fit", "score ~ hired_days + (1 | team)", select.format("'people.csv'")]) == 2
    assert capsys.readouterr().err == (
        "mlm: The outcome 'score' holds text (VARCHAR), and a model needs numbers. It is text because 1 of its 60 "
        f"cells are no numbers, such as 'NA'. {reader} reads it as missing. Cast or recode it in a view or SELECT.\n"
    )
    with duckdb.connect() as connection:
        connection.execute("create table people as from 'people.csv'")
        with pytest.raises(mlm.MlmError, match=r"such as 'NA'\. try_cast\(\"score\" as double\) makes it missing"):
            mlm.fit("score ~ 1 + (1 | team)", "people", connection=connection)
        register(connection)
        with pytest.raises(duckdb.Error, match=r"Cells that are no numbers are those where try_cast\(\"score\" as "):
            connection.execute("from mlm('score ~ 1 + (1 | team)', 'people')").fetchall()
