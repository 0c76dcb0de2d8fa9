"""The log of a run: every event with its ids and facts, as JSON lines, and none of it where no one asks for it."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from mlm_ops import logs
from mlm_ops.analyses.errors_in_context import model_in_errors
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.cli import main as cli
from mlm_ops.errors import DataError
from mlm_ops.warehouse import connection as database

ANALYSIS = """
analysis: small
data: main.pupils
levels: school
models:
  anova: y ~ 1 + (1 | school)
  slope: y ~ within(x) + (1 | school)
compare: [anova, slope]
"""
PUPILS = """
create table pupils as
select i % 30 as school, sin(i * 7.3) as x, x / 2 + 2 * sin((i % 30) * 5.7) + cos(i * 3.1) as y from range(600) as r(i)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.yaml").write_text(ANALYSIS)
    with duckdb.connect(str(tmp_path / "own.duckdb")) as connection:
        connection.execute(PUPILS)
        connection.execute("copy pupils to 'pupils.csv'".replace("pupils.csv", str(tmp_path / "pupils.csv")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("name", ["small.yaml", "own.duckdb", "pupils.csv", "rows.jsonl", "notes.txt", "link.log"])
def test_a_log_is_appended_to_logs_alone(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rows.jsonl").write_text('{"time": 1, "level": 2, "y": 3}\n')
    (folder / "notes.txt").write_bytes(b"\xff\n")
    (folder / "link.log").symlink_to("small.yaml")
    before = (folder / name).read_bytes()
    for command in (("fit", "small.yaml", "--database", "own.duckdb"), ("fit", "y ~ x", "pupils.csv"), ("run",)):
        assert cli.main([*command, "--log", name]) == 2
        assert capsys.readouterr().err == (
            f"mlm: {name} is no log of mlm-ops. Name another file with --log; this one was left as it is.\n"
        )
    assert (folder / name).read_bytes() == before


def test_a_log_is_continued(folder: Path) -> None:
    (folder / "run.log").touch()
    for _ in range(2):
        assert cli.main(["fit", "y ~ x", "pupils.csv", "--log", "run.log"]) == 0
    events = [row["event"] for row in lines(folder / "run.log")]
    assert events == [*events[: len(events) // 2]] * 2


def test_a_fit_tells_what_it_did(folder: Path) -> None:
    assert cli.main(["fit", "small.yaml", "--database", "own.duckdb", "--log", "run.log"]) == 0
    told = lines(folder / "run.log")
    assert [(row["event"], row["analysis"], row["model"]) for row in told] == [
        ("run_started", None, None),
        ("moments_collected", "small", None),
        ("model_fitted", "small", "anova"),
        ("model_fitted", "small", "slope"),
        ("run_written", "small", None),
        ("run_finished", None, None),
    ]
    with duckdb.connect("own.duckdb", read_only=True) as connection:
        ((run_id, checksum),) = connection.execute("select run_id, moments_checksum from mlm.runs").fetchall()
        likelihoods = dict(connection.execute("select model, log_likelihood from mlm.fit_statistics").fetchall())
    assert {row["run_id"] for row in told} == {run_id}
    assert UUID(run_id).version == 4
    assert {row["level"] for row in told} == {"INFO"}
    moments, anova = told[1], told[2]
    assert (moments["n_rows"], moments["n_obs"], moments["n_groups"]) == (600, 600, 30)
    assert moments["moments_checksum"] == checksum
    assert (anova["n_obs"], anova["converged"], anova["singular"]) == (600, True, False)
    # nine digits are written
    assert anova["log_likelihood"] == pytest.approx(likelihoods["anova"], rel=1e-8)
    assert str(anova["message"]).startswith("analysis small, model anova: fitted to 600 rows in ")
    assert str(anova["message"]).endswith(f" s, log-likelihood {likelihoods['anova']:.3f}")
    times = [datetime.fromisoformat(str(row["time"])) for row in told]
    assert times == sorted(times)
    assert times[0].utcoffset() == timedelta(0)
    assert datetime.now(UTC) - times[0] < timedelta(minutes=5)


def test_the_line_in_the_docs_is_of_this_form(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    shown = json.loads(page.partition("```json\n")[2].partition("\n```")[0])
    assert cli.main(["fit", "small.yaml", "--database", "own.duckdb", "--log", "run.log"]) == 0
    told = lines(folder / "run.log")[2]
    assert list(shown) == list(told)
    assert {name: type(value) for name, value in shown.items()} == {name: type(value) for name, value in told.items()}
    number = r"-?[\d,.]+"
    assert re.sub(number, "#", shown["message"]) == re.sub(number, "#", str(told["message"])).replace("small", "hsb")
    events = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(events) == set(logs.Event)


def test_runs_are_appended_and_a_failed_one_ends_with_its_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["fit", "y ~ x + (x | school)", "pupils.csv", "--log", "run.log"]) == 0
    (folder / "small.yaml").write_text(ANALYSIS.replace("within(x)", "within(z)"))
    assert cli.main(["fit", "small.yaml", "--database", "own.duckdb", "--log", "run.log"]) == 2
    told = lines(folder / "run.log")
    assert [row["event"] for row in told] == [
        *("run_started", "model_fitted", "run_finished"),
        *("run_started", "failed", "run_failed"),
    ]
    failed, end = told[4:]
    sentence = capsys.readouterr().err.removeprefix("mlm: ").strip()
    assert sentence.startswith("analysis small, model slope: ")
    assert (failed["level"], failed["analysis"], failed["error"]) == ("ERROR", "small", "DataError")
    assert (failed["message"], end["message"]) == (sentence, sentence)
    assert end["run_id"] == failed["run_id"] == told[3]["run_id"] != told[0]["run_id"]


def test_standard_error_and_a_log_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "y ~ x + (x | school)", "pupils.csv", "--log", "-"]) == 0
    told = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert told == ["run_started", "model_fitted", "run_finished"]
    assert cli.main(["fit", "y ~ x + (x | school)", "pupils.csv", "--log", "nowhere/run.log"]) == 2
    assert capsys.readouterr().err == (
        "mlm: The log nowhere/run.log cannot be written: No such file or directory. Name another with --log.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it needs a device that is always full")
def test_a_full_disk_of_the_log_stops_no_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "small.yaml", "--database", "own.duckdb", "--log", "/dev/full"]) == 0
    said = capsys.readouterr().err
    assert said == "The log /dev/full cannot be written: [Errno 28] No space left on device.\n"


def test_an_interrupted_fit_ends_in_the_log(folder: Path) -> None:
    code = (
        "import os, signal\nfrom mlm_ops.cli import main as cli\nfrom mlm_ops.warehouse import connection as database\n"
    )
    code += "database.using = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
    code += "cli.main(['fit', 'small.yaml', '--database', 'own.duckdb', '--log', 'run.log'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "Interrupted.\n")
    start, end = lines(folder / "run.log")
    assert (end["event"], end["message"], end["run_id"]) == ("run_failed", "Interrupted.", start["run_id"])


def test_a_wait_for_the_database_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = "import duckdb, sys; c = duckdb.connect('own.duckdb'); print(flush=True); sys.stdin.read()"
    with (
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder,
        caplog.at_level(logging.INFO, logs.LOGGER),
    ):
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with database.using("own.duckdb", on_wait=lambda _: holder.stdin.close()):
            (record,) = caplog.records
    assert record.event == "waited_for_database"
    assert 0 < record.seconds < 30
    assert record.getMessage().startswith(f"The database own.duckdb is open in another process (PID {holder.pid}")


def test_an_error_is_logged_once_with_the_innermost_names(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError), logs.about(run_id="r"), logs.about(analysis="a"), logs.about(model="m"):
        raise DataError("No rows.")
    (record,) = caplog.records
    assert (record.levelname, record.event, record.getMessage()) == ("ERROR", "failed", "No rows.")
    assert (record.run_id, record.analysis, record.model, record.error) == ("r", "a", "m", "DataError")


def test_other_peoples_records_and_numbers_that_json_lacks() -> None:
    odd = logging.LogRecord("mlm_ops", logging.INFO, "f", 1, "%d rows", (3,), None)
    assert json.loads(logs.JsonLines().format(odd))["message"] == "3 rows"
    named = logging.LogRecord("mlm_ops", logging.INFO, "f", 1, "\x1b[2J \x7f \x9b \u202e é", None, None)
    line = logs.JsonLines().format(named)
    # what a terminal would obey is escaped
    assert (line.isascii(), line.isprintable()) == (True, True)
    assert json.loads(line)["message"] == named.msg
    odd.facts, odd.log_likelihood = ("log_likelihood",), float("nan")
    assert json.loads(logs.JsonLines().format(odd))["log_likelihood"] is None


def test_nothing_is_set_up_and_nothing_printed_where_no_one_asks(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "import logging, mlm_ops.analyses.run\nlog = logging.getLogger('mlm_ops')\n"
    code += "from mlm_ops.cli import main as cli\n"
    code += "print(log.level, log.handlers, logging.getLogger().handlers)\n"
    code += "cli.main(['fit', 'small.yaml', '--database', 'nowhere.duckdb'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "0 [<NullHandler (NOTSET)>] []\n"
    assert done.stderr.startswith("mlm: There is no database at nowhere.duckdb.")
    assert done.stderr.count("\n") == 1


def test_an_error_that_leaves_several_rooms_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    analysis = parse_analysis("{analysis: a, data: t, models: {m: y ~ x + (1 | g)}}")
    with (
        caplog.at_level(logging.INFO, "mlm_ops"),
        pytest.raises(DataError, match=r"^analysis a, model m: boom$"),
        model_in_errors(analysis, "strategy build_up"),
        model_in_errors(analysis, "model m", "m"),
    ):
        raise DataError("boom")
    assert [record.getMessage() for record in caplog.records] == ["analysis a, model m: boom"]
