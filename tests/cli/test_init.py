"""mlm init: what it guesses, what it writes, and that a stranger's file runs in two commands."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import duckdb
import jinja2
import numpy as np
import polars as pl
import pytest
import yaml

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import read_analyses
from mlm_ops.analyses.starter.analysis_file import formulas, left_out
from mlm_ops.analyses.starter.guess import guess
from mlm_ops.cli.main import main
from mlm_ops.cli.new_project.create import create_project, is_reserved_name
from mlm_ops.errors import DataError, ProjectError
from mlm_ops.warehouse.files.read import load_file
from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import identifier, literal

HSB = Path(__file__).parents[1] / "specification" / "reference" / "data" / "hsb.csv"


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """Quotes, commas, backticks, braces and colons in names, NA, an empty column, a running number."""
    rng = random.Random(3)
    lines = ['row id,"school, `name`",Test Score %,"hours {{x}} {path}",sex:gender,comment,empty']
    for i in range(400):
        hours = "NA" if i % 50 == 0 else f"{rng.gauss(3, 1):.2f}"
        score = f"{50 + i % 20 % 7 + rng.gauss(0, 5):.2f}"
        lines.append(f'{i},"S{i % 20} ""q"" \'s",{score},{hours},{rng.choice("fm")},text {i} é,')
    path = tmp_path / "messy 'file'-1.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(folder: Path, *words: str) -> str:
    environment = os.environ | {"HOME": str(folder), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    environment.pop("DAGSTER_HOME", None)
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_hsb_is_understood():
    found = guess(open_source(HSB))
    assert (found.levels, found.outcome) == (("school",), "mathach")
    assert found.varying[0] == "ses"
    assert "sector" in found.factors
    assert "meanses" not in found.constant


def test_columns_that_another_tells_are_left_out_and_said(tmp_path: Path):
    """A code of a text, a coarser text, other units of a number and of the outcome are not predictors beside it."""
    assert guess(open_source(HSB)).redundant == (("female", "sex"), ("catholic", "sector"))
    lean = pl.read_csv(HSB).select("school", "sex", "female", "sector", "ses", "mathach", "size")
    region = pl.format("{}{}", "sector", pl.col("school") % 2)
    units = {"ses10": pl.col("ses") * 10 + 3, "points": pl.col("mathach") * 4, "size100": pl.col("size") / 100}
    rows = lean.with_columns(region=region, **units)
    rows.write_parquet(tmp_path / "students.parquet")
    found = create_project(tmp_path / "new", tmp_path / "students.parquet", outcome="mathach")
    assert (found.varying, found.constant, found.factors) == (("ses",), ("size",), ("sex", "region"))
    text = (tmp_path / "new" / "students_pipelines" / "analyses" / "students.yaml").read_text()
    said = (
        "left out, because another column determines their values: female (sex), sector (region), ses10 (ses), points "
        "(mathach), size100 (size)\n"
    )
    assert f"  # {said}" in text
    create_project(tmp_path / "dbt", tmp_path / "students.parquet", outcome="mathach", dbt=True)
    assert f"-- {said}" in (tmp_path / "dbt" / "models" / "students_contextual.sql").read_text()
    (analysis,) = read_analyses(tmp_path / "new" / "students_pipelines" / "analyses")
    fit = mlm.fit(analysis.compiled_models["contextual"].text, rows)
    assert fit.notes == []


def test_numbers_beyond_all_sums_are_looked_at_too():
    """Squares of 1e200 are no numbers, and a column whose other values are infinite has no correlation."""
    infinite = pl.when(pl.col("ses") > 0).then(float("inf")).otherwise(0.0)
    odd = pl.read_csv(HSB).select("school", "mathach", "ses", big=pl.col("ses") * 1e200, infinite=infinite)
    assert guess(open_source(odd)).redundant == ()
    # squares and differences of these are no numbers of their types
    large = pl.col("size").cast(pl.UInt64) * pl.lit(10**14, pl.UInt64)
    pairs = pl.read_csv(HSB).select(
        "school", "mathach", pop=large + pl.col("minority").cast(pl.UInt64), pop_now=large, ses="ses"
    )
    pairs = pairs.with_columns(ses_sq=pl.col("ses") ** 2, ses_far=pl.col("mathach") * 1e200)
    assert dict(guess(open_source(pairs)).redundant)["ses_sq"] == "ses"


def test_loads_that_everybody_has_have_no_between_part(tmp_path: Path):
    draw = random.Random(4)
    rows = [(person, load, draw.gauss(person % 7, 1)) for person in range(60) for load in range(4)]
    pl.DataFrame(rows, ["person", "load", "score"], orient="row").write_csv(tmp_path / "panel.csv")
    create_project(tmp_path / "new", tmp_path / "panel.csv")
    (analysis,) = read_analyses(tmp_path / "new" / "panel_pipelines" / "analyses")
    assert analysis.compiled_models["predictors"].text == "score ~ within(load) + (1 | person)"
    assert mlm.fit(analysis.compiled_models["predictors"].text, tmp_path / "panel.csv", levels="person").converged


def panel() -> pl.DataFrame:
    """60 persons of 10 towns, a row for each of four years, with numbers without order, a date and gaps."""
    draw = np.random.default_rng(4)
    person, year = np.repeat(np.arange(60), 4), np.tile(np.arange(2020, 2024), 60)
    judge = draw.integers(1, 17, 240)
    score = draw.normal(size=60)[person] + draw.normal(size=17)[judge] + 0.1 * year + 0.3 * draw.normal(size=240)
    return pl.DataFrame(
        {
            "person": person,
            "town": person // 6,
            "year": year,
            "y20": (year == 2020).astype(int),
            "judged": judge,
            "iq": draw.integers(80, 120, 60)[person],
            "mood": draw.normal(size=240).round(2),
            "gaps": [None if i % 3 else i + 0.5 for i in range(240)],
            "remark": [f"text {i}" for i in range(240)],
            "score": score.round(3),
        }
    ).with_columns(day=pl.date(2020, 1, 1))


def test_time_is_time_and_what_is_left_out_has_a_reason():
    found = guess(open_source(panel()))
    assert (found.levels, found.outcome, found.time) == (("person", "town"), "score", "year")
    assert (found.varying, found.constant, found.factors) == (("mood",), ("iq",), ())
    assert formulas(found)["growth"] == (
        "score ~ center(year) + within(mood, person) + between(mood, person) + iq + (1 | person) + (1 | town)"
    )
    assert left_out(found) == [
        "left out: y20 (the same in every group at one time)",
        "left out: judged (whole numbers without order, going by the means of the outcome)",
        "left out: gaps (more than 10% of the values are missing)",
        "left out: remark (names or numbers of units, or codes of categories)",
        "left out: day (neither numbers nor text, such as dates)",
    ]


def test_a_group_that_is_named_is_the_only_one():
    found = guess(open_source(panel()), group="person")
    assert found.levels == ("person",)
    assert "town" not in (*found.varying, *found.constant)
    assert guess(open_source(panel()), group="town").levels == ("town",)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The answers that are typed, first first."""
    typed: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda: typed.pop(0))
    return typed


def test_groups_and_outcome_are_asked_for(tmp_path: Path, answers: list[str], capsys):
    answers += ["", "mathh", "ses"]
    assert main(["init", str(tmp_path / "new"), str(HSB), "--ask"]) == 0
    printed = capsys.readouterr().out
    assert "Which column groups the rows? [school] " in printed
    assert "Which column is the outcome? [mathach] There is no column 'mathh'. Did you mean 'mathach'?" in printed
    assert "Guessed: ses is the outcome, in groups of school. Written to " in printed
    assert answers == []


def test_what_cannot_be_guessed_is_asked_for(tmp_path: Path, answers: list[str], capsys):
    flat = tmp_path / "flat.csv"
    flat.write_text("a,b,half\n" + "".join(f"{i}.5,{i * i}.25,{'uvw'[i % 3]}\n" for i in range(30)))
    answers += ["half", "b"]
    assert main(["init", str(tmp_path / "new"), str(flat), "--ask"]) == 0
    assert "Guessed: b is the outcome, in groups of half. Written to " in capsys.readouterr().out


def test_nothing_is_asked_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.stdin", (tmp_path / "nothing").open("w+"))
    assert main(["init", str(tmp_path / "new"), str(HSB), "--ask"]) == 2
    assert capsys.readouterr().err == (
        "mlm: --ask asks in a terminal, and there is none. Name the columns with --group and --outcome.\n"
    )
    assert not (tmp_path / "new").exists()


def test_the_command_says_what_might_be_meant_and_what_is_left_out(tmp_path: Path, capsys):
    rows = panel().with_columns(reading=pl.col("score") + pl.col("mood")).drop("town")
    rows.write_parquet(tmp_path / "panel.parquet")
    assert main(["init", str(tmp_path / "new"), str(tmp_path / "panel.parquet")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Guessed: reading is the outcome, in groups of person, over year. Written to ")
    assert lines[1:4] == [
        "The outcome might also be score.",
        "Name others with --outcome and --group in a new folder, or be asked with --ask.",
        "Left out: y20 (the same in every group at one time)",
    ]
    assert "Left out: score (likely outcomes themselves)" in lines


def test_a_number_of_the_row_is_no_outcome():
    rows = pl.DataFrame({"row": range(1000, 1400), "clinic": [i % 10 for i in range(400)], "cured": [0, 1] * 200})
    with pytest.raises(DataError, match="No column looks like an outcome"):
        guess(open_source(rows))


def test_hostile_columns_are_understood_and_parsed(messy: Path, tmp_path: Path):
    create_project(tmp_path / "new", messy)
    (analysis,) = read_analyses(tmp_path / "new" / "messy_file_1_pipelines" / "analyses")
    assert analysis.level_columns == ("school, `name`",)
    assert analysis.compiled_models["empty"].outcome_name.strip("`") == "Test Score %"
    assert len(analysis.compiled_models["contextual"].fixed) == 4


def test_named_columns_take_the_place_of_guesses():
    found = guess(open_source(HSB), outcome="ses", group="size")
    assert (found.levels, found.outcome) == (("size",), "ses")
    with pytest.raises(DataError, match="Column 'mathh' is not in"):
        guess(open_source(HSB), outcome="mathh")
    with pytest.raises(DataError, match=r"must be a column of numbers\. Got 'sector'"):
        guess(open_source(HSB), outcome="sector")


def test_a_table_without_groups_says_what_to_name(tmp_path: Path):
    path = tmp_path / "flat.csv"
    path.write_text("a,b\n" + "".join(f"{i}.5,{i * i}\n" for i in range(30)))
    with pytest.raises(DataError, match=r"Name it with --group\. The columns are a, b"):
        create_project(tmp_path / "new", path)
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ProjectError, match="nothing is overwritten"):
        create_project(tmp_path, HSB)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_says_what_it_guessed(tmp_path: Path, capsys):
    assert main(["init", str(tmp_path / "new"), str(HSB)]) == 0
    assert "mathach is the outcome, in groups of school" in capsys.readouterr().out


HOSTILE = "{% endraw %}{{ env_var('HOME') }} '\"` {path}\n# x"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A file, its columns and the folder of the file have a name that is code to Jinja, Python, YAML and SQL."""
    folder = tmp_path / HOSTILE.replace("\n", " ")
    folder.mkdir()
    names = {"school": f"school {HOSTILE}", "mathach": f"mathach {HOSTILE}", "ses": f"ses {HOSTILE}"}
    rows = pl.read_csv(HSB).select(pl.col(old).alias(new) for old, new in names.items())
    rows.write_parquet(folder / f"{HOSTILE.splitlines()[0]}.parquet")
    return folder / f"{HOSTILE.splitlines()[0]}.parquet"


def test_names_are_no_code_in_a_dagster_project(tmp_path: Path, hostile: Path):
    create_project(tmp_path / "project", hostile)
    (package,) = (tmp_path / "project").glob("*_pipelines")
    assert package.name.isidentifier()
    (analysis,) = read_analyses(package / "analyses")
    assert analysis.compiled_models["empty"].outcome_name.startswith("`mathach {% endraw %}")
    names: dict[str, object] = {"__file__": str(package / "assets.py")}
    code = (package / "assets.py").read_text()
    exec(compile(code, "assets.py", "exec"), names)
    assert Path(str(names["DATA"])).resolve() == hostile.resolve()
    assert names["ORDER"] == [f"school {HOSTILE}"]
    with duckdb.connect() as connection:
        load_file(connection, Path(str(names["DATA"])), "main.t", order=[f"school {HOSTILE}"])
        (table,) = connection.execute("select table_name from duckdb_tables()").fetchall()[0]
        assert connection.execute(f"select count(*) from {table}").fetchall() == [(7185,)]


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
def test_names_are_no_code_in_a_dbt_project(tmp_path: Path, hostile: Path, kind: str):
    """Every file is rendered as dbt does, by Jinja alone, and holds the names as they are."""
    if kind == "duckdb":
        database = hostile.with_suffix(".duckdb")
        with duckdb.connect(str(database)) as connection:
            connection.execute(f"create table {identifier(HOSTILE)} as from read_parquet({literal(str(hostile))})")
        create_project(tmp_path / "project", database, table=identifier(HOSTILE), dbt=True)
    else:
        create_project(tmp_path / "project", hostile, dbt=True)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    context = {"ref": lambda name: f"main.{name}"}  # env_var is not there, and would raise
    rendered = {
        path.name: environment.from_string(path.read_text()).render(context)
        for path in [*(tmp_path / "project").rglob("*.sql"), tmp_path / "project" / "profiles.yml"]
    }
    (effects,) = [text for name, text in rendered.items() if name.endswith("_empty.sql")]
    assert "mathach {% endraw %}{{ env_var(''HOME'') }} ''\"`` {path}\n# x" in effects
    (output,) = yaml.safe_load(rendered["profiles.yml"]).values()
    if kind == "duckdb":
        assert output["outputs"]["dev"]["attach"][0]["path"].endswith(HOSTILE.splitlines()[0] + ".duckdb")
        assert any(f"source.main.{identifier(HOSTILE)}" in text for text in rendered.values())


@pytest.mark.hosts
@pytest.mark.parametrize("kind", ["csv", "messy", "duckdb"])
def test_dagster_project_runs(tmp_path: Path, messy: Path, kind: str):
    data = {"csv": tmp_path / "students.csv", "messy": messy, "duckdb": tmp_path / "theirs.duckdb"}[kind]
    if kind == "csv":
        shutil.copy(HSB, data)
    if kind == "duckdb":
        with duckdb.connect(str(data)) as connection:
            connection.execute(f"create table students as from '{HSB}'")
    create_project(tmp_path / "project", data, table="students" if kind == "duckdb" else None)
    command(tmp_path / "project", "-m", "mlm_ops", "run")
    with dg.DagsterInstance.from_config(str(tmp_path / "project" / "dagster_home")) as instance:
        (run,) = instance.get_runs()
        messages = [entry.user_message for entry in instance.all_logs(run.run_id) if not entry.is_dagster_event]
    # dagster.yaml has the package's log in Dagster's own
    assert any(", model empty: fitted to " in message for message in messages)
    with duckdb.connect(str(tmp_path / "project" / "warehouse" / "results.duckdb"), read_only=True) as results:
        query = "select estimate from mlm.latest_fixed_effects where model = 'empty'"
        ((intercept,),) = results.execute(query).fetchall()
    # Raudenbush and Bryk (2002), table 4.2; the messy file is made around 52.9
    assert intercept == pytest.approx(52.9 if kind == "messy" else 12.637, abs=1.0 if kind == "messy" else 1e-3)


@pytest.mark.hosts
def test_dbt_tells_of_a_predictor_that_was_dropped(tmp_path: Path):
    create_project(tmp_path / "project", HSB, dbt=True)
    effects = tmp_path / "project" / "models" / "hsb_contextual.sql"
    formula = "mathach ~ ses + sex + female + (1 | school)"
    effects.write_text(f"select * from mlm('{formula}', '{{{{ ref(\"hsb\") }}}}')")
    output = command(tmp_path / "project", "-c", "from dbt.cli.main import cli; cli()", "--no-version-check", "build")
    told = (
        "mlm: mathach ~ ses + sex + female + (1 | school): dropped, being a combination of the other columns: female\n"
    )
    assert output.count(told) == 1


def test_the_models_of_a_dbt_project_are_of_the_same_rows(tmp_path: Path, messy: Path):
    """Eight rows lack the predictor of the second model."""
    create_project(tmp_path / "project", messy, dbt=True)
    models = tmp_path / "project" / "models"
    sql = jinja2.Environment().from_string((models / "messy_file_1.sql").read_text()).render()
    assert sql.startswith("-- The rows that have a value of every column of the models, ")
    relation, formula = "(select * from rows)", "`Test Score %` ~ 1 + (1 | `school, ``name```)"
    with contextlib.chdir(tmp_path / "project"), duckdb.connect() as connection:
        connection.execute(f"create table rows as {sql}")
        first = mlm.fit(formula, relation, connection=connection)
        second = mlm.fit(formula.replace("1 +", "`hours {{x}} {path}` +"), relation, connection=connection)
    assert (first.moments.n_obs, second.moments.n_obs) == (392, 392)


@pytest.mark.hosts
def test_dbt_project_builds(tmp_path: Path, messy: Path):
    create_project(tmp_path / "project", messy, dbt=True)
    command(tmp_path / "project", "-c", "from dbt.cli.main import cli; cli()", "--no-version-check", "build")
    with duckdb.connect(str(tmp_path / "project" / "warehouse.duckdb"), read_only=True) as built:
        ((estimate,),) = built.execute("select estimate from messy_file_1_empty").fetchall()
    assert estimate == pytest.approx(52.9, abs=1.0)


@pytest.mark.parametrize("word", ["class", "lambda", "global", "import", "pg_catalog", "select", "type", "main", "mlm"])
def test_a_word_that_means_something_names_no_project(word: str, tmp_path: Path) -> None:
    data = tmp_path / f"{word}.csv"
    shutil.copy(HSB, data)
    create_project(tmp_path / "p", data)
    assert (tmp_path / "p" / f"data_{word}_pipelines" / "analyses" / f"data_{word}.yaml").is_file()
    with duckdb.connect() as connection:
        connection.execute(f"create table main.data_{word} as select 1 as x")


def test_words_that_dagster_keeps_are_all_known() -> None:
    from dagster._core.definitions.utils import DISALLOWED_NAMES

    assert [name for name in DISALLOWED_NAMES if not is_reserved_name(name)] == []
    assert [name for name in ("students", "hsb", "group_means") if is_reserved_name(name)] == []


def wide(path: Path, columns: int) -> Path:
    """30 groups of 10 rows with so many columns of numbers."""
    random = np.random.default_rng(1)
    numbers = {f"x{i}": random.normal(size=300).round(3) for i in range(columns)}
    pl.DataFrame({"school": np.repeat(np.arange(30), 10), **numbers, "score": random.normal(size=300)}).write_csv(path)
    return path


def test_many_columns_take_seconds_and_too_many_are_refused(tmp_path: Path) -> None:
    began = time.process_time()
    guess = create_project(tmp_path / "p", wide(tmp_path / "wide.csv", 1_000))
    # of this process, all threads: 1.2 s, and 3.5 s for 3,000 columns
    assert time.process_time() - began < 4
    assert guess.outcome == "score"
    (tmp_path / "wider.csv").write_text(",".join(f"x{i}" for i in range(10_000)) + "\n" + ",".join("1" * 10_000) + "\n")
    with pytest.raises(DataError) as told:
        create_project(tmp_path / "q", tmp_path / "wider.csv")
    assert str(told.value) == (
        f"{tmp_path / 'wider.csv'} has too many columns to guess from. Got 10,000; expected at most 4,000. Make a file "
        "or view of those that matter."
    )


def test_the_outcome_is_not_the_group_and_a_folder_is_in_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^The outcome and the group are two columns\. Got 'school' for both; name"):
        create_project(tmp_path / "p", HSB, outcome="school", group="school")
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(ProjectError, match=r"t\.csv/x cannot be a folder: .*t\.csv is a file\. Name a new folder\.$"):
        create_project(tmp_path / "t.csv" / "x", HSB)


@pytest.mark.parametrize("role", ["group", "outcome"])
def test_a_date_begins_no_analysis(tmp_path: Path, role: str) -> None:
    lines = [f"2026-01-{1 + i % 9:02},{i % 7},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "d.csv").write_text("\n".join(["day,y,g", *lines]) + "\n")
    with pytest.raises(DataError, match=r"^'day' has a type that cannot be an outcome or group\. Got DATE; expected "):
        create_project(tmp_path / "p", tmp_path / "d.csv", **{role: "day"})
