"""The ``mlm`` command: what each prints, and one plain sentence with exit status 2 for bad input."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from mlm_ops import fit
from mlm_ops.analyses.store.runs import write_runs
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.version import VIEWS_OF_LISTS
from mlm_ops.cli import main as cli
from mlm_ops.cli.terminal import OVERVIEW
from mlm_ops.errors import DataError
from tests.analyses.test_store import holder
from tests.cli.conftest import ANALYSIS, HSB


def mlm(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlm_ops", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_a_closed_output_is_no_fault(tmp_path):
    with duckdb.connect(str(tmp_path / "k.db")) as connection:
        connection.execute(f"create table students as from '{HSB}' limit 500")
    (tmp_path / "k.yaml").write_text(ANALYSIS)
    for words in (
        "fit k.yaml --database k.db",
        "show --database k.db",
        "show --database k.db --table random_effects --all",
        "export --table icc --format csv --database k.db",
        "centering k.yaml --database k.db",
    ):
        for closed in (">&-", ">&- 2>&-"):
            command = f"exec {sys.executable} -m mlm_ops {words} {closed}"
            done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
            assert (done.returncode, done.stderr) == (0, "")
    with duckdb.connect(str(tmp_path / "k.db"), read_only=True) as connection:
        assert connection.execute("select count(*) from mlm.runs").fetchall() == [(2,)]


def test_an_interrupt_of_the_imports_is_quiet(tmp_path):
    script = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "mlm_ops.cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from mlm_ops.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_files_that_are_not_read_and_addresses_are_said_as_they_were_given(refused, tmp_path):
    address = (
        "Data are files of this machine. Got the address https://example.com/x.csv; download the file, and name it"
    )
    assert refused("fit", "y ~ x", "https://example.com/x.csv") == f"mlm: {address} here.\n"
    with pytest.raises(DataError, match=f"^{re.escape(address)} here"):
        fit("y ~ x", "https://example.com/x.csv")
    for name in ("x.zip", "x.rds", "d/x.xls"):
        with pytest.raises(DataError, match=rf"^There is no file {name}\.$"):
            fit("y ~ x", name)
    (tmp_path / "x.zip").touch()
    with pytest.raises(DataError, match=r"^x\.zip has a type that cannot be read\. Got \.zip; expected one of "):
        fit("y ~ x", "x.zip")


def test_a_group_has_one_structure(refused):
    both = ("--covariance", "school=diagonal", "--covariance", "school=identity")
    assert refused("fit", "mathach ~ ses + (ses | school)", HSB, *both) == (
        "mlm: --covariance names each group once. Got school as diagonal and as identity; leave one out.\n"
    )


def test_without_a_command_there_is_help(capsys):
    assert cli.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: mlm [-h] [--version] COMMAND ...\n")
    assert "    fit       fit a formula to a data file, or an analysis file in a database\n" in said.err


def test_how_long_a_fit_waits_for_a_busy_database_is_an_option(refused, tmp_path):
    path, file = tmp_path / "busy.duckdb", tmp_path / "small.yaml"
    file.write_text(ANALYSIS)
    with holder(path) as process:
        for words in (["small.yaml", "--database", "busy.duckdb"], ["y ~ x", "busy.duckdb", "--table", "t"]):
            said = refused("fit", *words, "--wait", "0.5", lines=1 + ("--database" in words))
            name = Path(sys.executable).resolve().name
            assert said.endswith(
                f"mlm: The database busy.duckdb is open in another process (PID {process.pid}, {name}); waited 0.5 s "
                "for it. Close it there, or try again when that process has ended.\n"
            )
    assert refused("fit", "y ~ x", "f.csv", "--wait", "-1") == (
        "mlm fit: argument --wait: got -1; expected seconds, such as 30; see mlm fit --help\n"
    )


class TestFitFormula:
    def test_a_first_result(self, tmp_path):
        done = mlm("fit", "mathach ~ ses + (ses | school)", HSB, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stderr == ""
        assert re.search(r"\(Intercept\) .* 12\.6[67]", done.stdout)
        assert re.search(r"ses .* 2\.39", done.stdout)
        assert list(tmp_path.iterdir()) == []

    def test_options_reach_the_fit(self, capsys):
        assert cli.main(["fit", "mathach ~ ses + (1 | school)", str(HSB), "--estimator", "ml", "--df", "none"]) == 0
        assert "by ML" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "options"),
        [
            (["--weights", "size"], {"weights": "size"}),
            (["--residual", "by(sex)"], {"residual": "by(sex)"}),
            (["--robust", "CR0", "--cluster", "school"], {"robust": "CR0", "cluster": "school"}),
            (["--covariance", "school=diagonal"], {"covariance": {"school": "diagonal"}}),
            (["--covariance", "school=[[4, 0.1], [0.1, 0.5]]"], {"covariance": {"school": [[4, 0.1], [0.1, 0.5]]}}),
        ],
    )
    def test_every_option_of_a_model(self, capsys, words, options):
        formula = "mathach ~ ses + (ses | school)"
        assert cli.main(["fit", formula, str(HSB), *words]) == 0
        assert capsys.readouterr().out == f"{fit(formula, HSB, **options)}\n"

    def test_a_structure_without_its_group(self, refused):
        assert refused("fit", "mathach ~ ses + (ses | school)", HSB, "--covariance", "diagonal") == (
            "mlm: --covariance takes GROUP=STRUCTURE. Got 'diagonal'; write for instance school=diagonal.\n"
        )

    def test_a_word_of_another_program(self, refused):
        assert refused("fit", "mathach ~ ses + (1 | school)", HSB, "--estimator", "rml") == (
            "mlm: Unknown estimator. Got 'rml'; expected one of reml, ml. Did you mean 'reml'?\n"
        )
        assert refused("fit", "mathach ~ ses + (1 | school)", HSB, "--REML=FALSE") == (
            "mlm: Unknown arguments: --REML=FALSE. REML and ML are estimator 'reml' and 'ml' here. See: mlm fit "
            "--help\n"
        )

    def test_a_table_of_a_database(self, capsys, fitted):
        assert cli.main(["fit", "mathach ~ ses + (1 | school)", str(fitted), "--table", "students"]) == 0
        assert "7,185 rows" in capsys.readouterr().out

    def test_a_missing_file(self, refused):
        assert "nowhere.csv" in refused("fit", "y ~ x + (1 | g)", "nowhere.csv")

    def test_no_file(self, refused):
        assert "data.csv" in refused("fit", "y ~ x + (1 | g)")

    def test_no_formula(self, refused):
        assert "expected a formula" in refused("fit", HSB)

    def test_a_formula_without_a_tilde(self, refused):
        assert refused("fit", "mathach ses", HSB) == (
            "mlm: The formula has no ~ between the outcome and the predictors. Got mathach ses; expected a formula "
            'such as "y ~ x + (x | g)".\n'
        )

    def test_an_equals_sign_for_the_tilde(self, refused):
        assert "not =; use ~." in refused("fit", "mathach = ses", HSB)

    def test_a_missing_column(self, refused):
        said = refused("fit", "mathach ~ sess + (1 | school)", HSB)
        assert "'sess'" in said
        assert "'ses'" in said

    def test_a_formula_that_does_not_parse(self, refused):
        assert "^" in refused("fit", "mathach ~ ses + (1 | school", HSB)

    @pytest.mark.parametrize(
        ("formula", "column"),
        [
            ("job satisfaction ~ x", "job satisfaction"),
            ("y ~ x + (1 | Employee ID)", "Employee ID"),
            ("y ~ Remote?", "Remote?"),
            ("healed 1=no 2=yes ~ x", "healed 1=no 2=yes"),
        ],
    )
    def test_a_column_without_backticks(self, refused, tmp_path, formula, column):
        (tmp_path / "d.csv").write_text("x,y,job satisfaction,Employee ID,Remote?,healed 1=no 2=yes\n1,2,3,4,5,1\n")
        first = refused("fit", formula, "d.csv").splitlines()[0]
        assert first.endswith(
            f" There is a column {column!r}: write it in backticks, `{column}`. In a shell put the formula in single "
            "quotes."
        )

    def test_two_words_that_are_no_column(self, refused, tmp_path):
        (tmp_path / "d.csv").write_text("x,y\n1,2\n")
        first = refused("fit", "y ~ x z", "d.csv").splitlines()[0]
        assert first == "mlm: The formula does not parse: 'z' is out of place here; join terms with +, : or *."

    def test_a_missing_table(self, refused, fitted):
        assert "students" in refused("fit", "mathach ~ ses + (1 | school)", fitted, "--table", "pupils")

    def test_a_text_outcome(self, refused):
        assert "sector" in refused("fit", "sector ~ ses + (1 | school)", HSB)

    def test_a_folder(self, refused):
        assert "is a folder" in refused("fit", "y ~ x", ".")

    def test_the_file_is_named(self, refused):
        assert "hsb.csv" in refused("fit", "mathach ~ sess + (1 | school)", HSB)

    def test_another_option_for_the_database(self, refused):
        said = refused("fit", "y ~ x + (1 | g)", "--database", "d.duckdb")
        assert "mlm fit 'y ~ x + (1 | g)' d.duckdb --table NAME" in said

    def test_an_empty_file(self, refused, tmp_path):
        (tmp_path / "empty.csv").write_text("")
        assert refused("fit", "y ~ x + (1 | g)", "empty.csv") == "mlm: empty.csv is empty.\n"

    @pytest.mark.parametrize(
        ("rows", "sentence"),
        [
            pytest.param(
                [("a", 1, 2), ("a", 2, 3), ("a", 3, 5), ("a", 5, 4), ("a", 4, 7)],
                "The grouping factor g has one unit, a; a variance between units needs two.",
                id="one group",
            ),
            pytest.param(
                [("a", 1, 2), ("b", 2, 2), ("c", 3, 2), ("a", 4, 2)],
                "Column 'x' has no variation: every row holds 2. Remove it from the formula.",
                id="no variation",
            ),
            pytest.param(
                [("a", 1, "NA"), ("b", 2, "NA"), ("c", 3, "NA")],
                "No row is complete: each of the 3 rows misses a value. Missing values by column: x (3).",
                id="all missing",
            ),
            pytest.param(
                [("a", 1, 2), ("b", 2, 3)],
                "The model has as many parameters as rows or more. Got 4 parameters and 2 rows.",
                id="as many parameters as rows",
            ),
        ],
    )
    def test_data_that_cannot_serve(self, refused, tmp_path, rows, sentence):
        lines = ["g,y,x", *(",".join(map(str, row)) for row in rows)]
        (tmp_path / "d.csv").write_text("\n".join(lines))
        assert refused("fit", "y ~ x + (1 | g)", "d.csv") == f"mlm: {sentence}\n"

    def test_an_unknown_option(self, refused):
        assert refused("fit", "y ~ x", HSB, "--estimator", "mcmc") == (
            "mlm: Unknown estimator. Got 'mcmc'; expected one of reml, ml.\n"
        )


class TestFitAnalysis:
    def test_results_are_written_and_printed(self, fitted, capsys, tmp_path):
        shutil.copy(fitted, tmp_path / "d.duckdb")
        (tmp_path / "small.yaml").write_text(ANALYSIS)
        assert cli.main(["fit", str(tmp_path / "small.yaml"), "--database", str(tmp_path / "d.duckdb")]) == 0
        assert "fixed_effects" in capsys.readouterr().out
        with duckdb.connect(str(tmp_path / "d.duckdb"), read_only=True) as connection:
            runs = connection.execute("select analysis, status, n_obs from mlm.runs").fetchall()
            latest = connection.execute("select model, count(*) from mlm.latest_fixed_effects group by all").fetchall()
        assert runs == [("small", "finished", 7185)] * 2
        assert sorted(latest) == [("null", 1), ("slopes", 2)]

    @pytest.mark.parametrize(("history", "tasks"), [("", 0), ("history: {keep_runs: 2}", 100)])
    def test_earlier_runs_are_packed_anew_only_where_some_are_removed(
        self, fitted, tmp_path, monkeypatch, history, tasks
    ):
        """DuckDB allows for a hundred tasks by default; every second run of 300,000 rows would be written twice."""
        settings = []

        def note_setting(connection, *arguments, **keywords):
            settings.extend(connection.execute("select current_setting('max_vacuum_tasks')").fetchall())
            write_runs(connection, *arguments, **keywords)

        monkeypatch.setattr("mlm_ops.analyses.store.runs.write_runs", note_setting)
        shutil.copy(fitted, tmp_path / "d.duckdb")
        (tmp_path / "small.yaml").write_text(f"{ANALYSIS}{history}\n")
        assert cli.main(["fit", str(tmp_path / "small.yaml"), "--database", str(tmp_path / "d.duckdb")]) == 0
        assert [int(value) for (value,) in settings] == [tasks]

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (("models:", "modelz:"), "modelz"),
            (("main.students", "main.pupils"), "pupils"),
            (("1 + within(ses) |", "1 + within(sess) |"), "sess"),
        ],
    )
    def test_a_fault_leaves_the_database_as_it_was(self, refused, fitted, tmp_path, change, sentence):
        shutil.copy(fitted, tmp_path / "d.duckdb")
        (tmp_path / "bad.yaml").write_text(ANALYSIS.replace(*change))
        assert sentence in refused("fit", "bad.yaml", "--database", "d.duckdb")

    def test_a_database_that_another_process_holds(self, refused, fitted, tmp_path):
        shutil.copy(fitted, tmp_path / "d.duckdb")
        (tmp_path / "small.yaml").write_text(ANALYSIS)
        hold = "import duckdb; connection = duckdb.connect('d.duckdb'); print(flush=True); input()"
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", hold], cwd=tmp_path, stdin=pipe, stdout=pipe) as process:
            process.stdout.readline()
            said = refused("fit", "small.yaml", "--database", "d.duckdb", "--wait", "0.1", lines=2)
            process.stdin.close()
        assert f"PID {process.pid}" in said
        assert "waiting up to" in said

    def test_missing_files(self, refused, tmp_path):
        assert "none.yaml" in refused("fit", "none.yaml", "--database", "d.duckdb")
        (tmp_path / "small.yaml").write_text(ANALYSIS)
        assert "d.duckdb" in refused("fit", "small.yaml", "--database", "d.duckdb")
        assert "--database" in refused("fit", "small.yaml")
        assert "estimator" in refused("fit", "small.yaml", "--database", "d.duckdb", "--estimator", "ml")


class TestShow:
    def test_every_other_table_is_named(self, capsys, fitted):
        assert cli.main(["show", "--database", str(fitted)]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("further tables: ")]
        names = line.removeprefix("further tables: ").partition(";")[0].split(", ")
        with duckdb.connect(str(fitted), read_only=True) as connection:
            tables = [name for name in TABLES if name not in OVERVIEW]
            full = [name for name in tables if connection.execute(f"from mlm.latest_{name} limit 1").fetchone()]
        assert names == [VIEWS_OF_LISTS.get(name, name) for name in full]
        assert line.endswith(f"; each by mlm show --database {fitted} --table NAME --all")

    def test_the_latest_results(self, fitted, capsys):
        assert cli.main(["show", "--database", str(fitted)]) == 0
        shown = capsys.readouterr().out
        for word in ("small: 7,185 of 7,185 rows", "fixed_effects", "within(ses)", "<0.001", "160 school", "more rows"):
            assert word in shown

    def test_one_table_of_one_model(self, fitted, capsys):
        show = ["show", "--database", str(fitted), "--model", "null"]
        assert cli.main([*show, "--table", "random_effects"]) == 0
        hint = f"and 150 more rows: mlm show --database {fitted} --model null --table random_effects --all\n"
        assert hint in capsys.readouterr().out
        assert cli.main([*show, "--table", "random_effects", "--all"]) == 0
        shown = capsys.readouterr().out
        assert shown.count("(Intercept)") == 160
        assert "fixed_effects" not in shown

    def test_tables_of_no_single_model_are_shown_with_every_model(self, fitted, capsys):
        show = ["show", "--database", str(fitted)]
        assert cli.main(show) == 0
        every = capsys.readouterr().out
        lines = [line.rstrip() for line in every.splitlines()]
        start = lines.index("decomposition")
        assert lines[start + 1 : start + 6][1].split()[:2] == ["variable", "group"]
        assert "decomposition of" not in every
        assert cli.main([*show, "--model", "null"]) == 0
        assert "\ndecomposition\n" in capsys.readouterr().out
        assert cli.main([*show, "--table", "groups"]) == 0
        shown = capsys.readouterr().out
        assert shown.count("mathach") == 10
        assert "and 310 more rows" in shown

    def test_one_analysis_of_several(self, fitted, capsys, tmp_path, monkeypatch):
        shutil.copy(fitted, tmp_path / "d.duckdb")
        monkeypatch.chdir(tmp_path)
        with duckdb.connect("d.duckdb") as connection:
            connection.execute("update students set ses = null where school = 1224")
        (tmp_path / "other.yaml").write_text(ANALYSIS.replace("small", "other"))
        assert cli.main(["fit", "other.yaml", "--database", "d.duckdb"]) == 0
        said = capsys.readouterr().out
        assert "other: 7,138 of 7,185 rows of main.students" in said
        assert "47 of 7,185 rows left out for missing values (ses 47)" in said
        assert "mlm show --database d.duckdb --analysis other --table random_effects --all" in said
        assert cli.main(["show", "--database", "d.duckdb", "--analysis", "small"]) == 0
        said = capsys.readouterr().out
        assert "small: 7,185 of 7,185 rows" in said
        assert "other:" not in said

    def test_what_is_not_there_is_named(self, refused, fitted):
        assert "Did you mean 'small'? There are small." in refused("show", "--database", fitted, "--analysis", "smal")
        assert "There are null, slopes." in refused("show", "--database", fitted, "--model", "full")
        assert "model slope. Did you mean 'slopes'? There are null, slopes." in refused(
            "show", "--database", fitted, "--model", "slope"
        )
        assert "fixed_effects" in refused("show", "--database", fitted, "--table", "gammas")
        assert "no database at" in refused("show", "--database", "none.duckdb")

    def test_models_beside_each_other(self, refused, fitted, capsys):
        assert cli.main(["show", "--database", str(fitted), "--side-by-side"]) == 0
        assert capsys.readouterr().out.splitlines()[2].split() == ["null", "slopes"]
        assert cli.main(["show", "--database", str(fitted), "--side-by-side", "markdown"]) == 0
        assert "| | null | slopes |" in capsys.readouterr().out
        both = ["show", "--database", str(fitted), "--model", "slopes", "--model", "null"]
        assert cli.main([*both, "--side-by-side"]) == 0
        assert capsys.readouterr().out.splitlines()[2].split() == ["slopes", "null"]
        assert cli.main(both) == 0
        assert f"mlm show --database {fitted} --model slopes --model null --table NAME --all" in capsys.readouterr().out
        assert "is made from several tables" in refused(
            "show", "--database", fitted, "--side-by-side", "text", "--table", "models"
        )

    def test_no_results_yet(self, refused, tmp_path):
        assert "no project" in refused("show")
        (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
        assert "mlm run" in refused("show")
        with duckdb.connect(str(tmp_path / "d.duckdb")) as connection:
            connection.execute("create table t as select 1 as x")
        assert "no results yet" in refused("show", "--database", "d.duckdb")

    def test_a_reader_that_leaves_early(self, fitted):
        command = f"{sys.executable} -m mlm_ops show --database {fitted} --table random_effects --all | head -n 1"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert done.stderr == ""

    def test_plain_where_there_is_no_terminal(self, fitted, tmp_path):
        done = mlm("show", "--database", fitted, cwd=tmp_path)
        assert "\x1b" not in done.stdout
        assert "within(ses)" in done.stdout


class TestRunAndUi:
    def test_a_warehouse_that_is_a_file(self, refused, tmp_path):
        (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
        (tmp_path / "w").write_text("")
        assert "w is a file. Name another with --warehouse." in refused("run", "--warehouse", "w")
        assert "w is a file. Name another with --warehouse." in refused("run", "--warehouse", "w/deep/er")

    def test_outside_of_a_project(self, refused):
        assert "no project" in refused("run")
        assert "no project" in refused("ui")

    def test_an_interruption(self, monkeypatch, capsys):
        def interrupt(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt("Interrupted after a; nothing was published; the last results stay.")

        monkeypatch.setattr("mlm_ops.plugins.dagster.run_project", interrupt)
        before = signal.getsignal(signal.SIGINT)
        assert cli.main(["run"]) == 130
        assert capsys.readouterr().err.splitlines()[-1] == (
            "Interrupted after a; nothing was published; the last results stay."
        )
        assert signal.getsignal(signal.SIGINT) is before

    def test_an_interruption_while_libraries_are_loaded(self, tmp_path):
        (tmp_path / "polars.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
        (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
        done = mlm("run", cwd=tmp_path, PYTHONPATH=str(tmp_path))
        assert done.returncode == 130
        assert done.stderr.splitlines() == ["Loading the project ...", "Interrupted."]


def test_help_and_version(capsys):
    for arguments in (["--help"], ["fit", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as leaving:
            cli.main(arguments)
        assert leaving.value.code == 0
    assert "mlm-ops 0." in capsys.readouterr().out
