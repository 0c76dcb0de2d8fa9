"""``mlm report``: what it writes and prints, and one plain sentence where it cannot."""

from __future__ import annotations

import re
import sys
import webbrowser
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from mlm_ops.cli import main as cli
from mlm_ops.reports.page import report as pages
from tests.cli.conftest import ANALYSIS, HSB, fitted_database


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    """A database with the results of two analyses."""
    texts = {
        name: ANALYSIS.replace("analysis: small", f"analysis: {name}\ndescription: Of {name}.")
        for name in ("first", "second")
    }
    return fitted_database(tmp_path_factory.mktemp("fitted"), f"from read_csv('{HSB}') limit 1500", **texts)


@pytest.fixture
def folder(fitted) -> Path:
    """Where reports go by default, empty before each test."""
    place = fitted.parent / "report"
    for path in place.iterdir() if place.exists() else ():
        path.unlink()
    return place


def lines(capsys, *arguments: str | Path) -> tuple[int, list[str], list[str]]:
    """Exit status and what was printed, with times as one."""
    capsys.readouterr()
    status = cli.main(["report", *map(str, arguments)])
    printed = capsys.readouterr()
    texts = (re.sub(r"in \d+\.\d s", "in 1.0 s", text).splitlines() for text in (printed.out, printed.err))
    out, err = texts
    return status, out, err


def test_each_analysis_has_a_file_and_all_have_an_index(fitted, folder, capsys):
    status, out, err = lines(capsys, "--database", fitted)
    assert (status, err) == (0, [])
    sizes = {path.name: f"{round(path.stat().st_size / 1000):,} kB" for path in folder.glob("*.html")}
    count = (folder / "first.html").read_text().count("<figure")
    assert count >= 8
    assert out == [
        f"Wrote {folder}/first.html ({sizes['first.html']}, {count} pictures) in 1.0 s.",
        f"Wrote {folder}/second.html ({sizes['second.html']}, {count} pictures) in 1.0 s.",
        f"Wrote {folder}/index.html ({sizes['index.html']}) in 1.0 s.",
    ]
    index = (folder / "index.html").read_text()
    assert index.count('<a href="first.html">first</a>') == index.count('<a href="second.html">second</a>') == 1
    assert "Of first." in index
    # as `mlm run` writes it, whose reports are written one by one: of those that are there
    (folder / "index.html").unlink()
    assert pages.write_index(fitted).path == folder / "index.html"
    assert (folder / "index.html").read_text() == index
    (folder / "second.html").unlink()
    assert pages.write_index(fitted) is None


def test_show_names_the_report_at_its_end(fitted, folder, capsys):
    assert cli.main(["show", "--database", str(fitted)]) == 0
    assert "report" not in capsys.readouterr().out
    mlm.report(fitted)
    for arguments, name in (((), "index"), (("--analysis", "second"), "second")):
        assert cli.main(["show", "--database", str(fitted), *arguments]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"The report with pictures: {folder}/{name}.html"
    assert cli.main(["show", "--database", str(fitted), "--side-by-side", "markdown"]) == 0
    assert "report" not in capsys.readouterr().out


def test_python_returns_the_page_to_open(fitted, folder, tmp_path):
    assert mlm.report(fitted) == str(folder / "index.html")
    assert mlm.report(str(fitted), tmp_path / "one.html", analysis="first") == str(tmp_path / "one.html")
    assert (tmp_path / "one.html").read_bytes() == (folder / "first.html").read_bytes()


def test_a_report_needs_nothing_that_draws(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    file = tmp_path / "plain.html"
    status, out, err = lines(capsys, "--database", fitted, "--analysis", "first", "--output", file)
    assert status == 0
    assert err == [
        "Pictures are missing in the report. Pictures need the package vl-convert-python. Install it with: pip install "
        "'mlm-ops[report]'."
    ]
    html = file.read_text()
    assert re.fullmatch(rf"Wrote {file} \(\d+ kB, 0 pictures\) in 1\.0 s\.", out[0])
    assert "<svg" not in html
    assert html.count("<math") == 2
    assert "Pictures need the package vl-convert-python." in html
    assert html.count("<summary>Numbers") == html.count("<figure") >= 8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--analysis", "frist"),
            "There are no results of the analysis frist. Did you mean 'first'? There are first, second.",
        ),
        (
            ("--model", "slope"),
            "There are no results of the model slope. Did you mean 'slopes'? There are null, slopes.",
        ),
        (
            ("--output", "all.html"),
            "One file holds one analysis, and there are 2: first, second. Name one with --analysis, or leave out "
            "--output.",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(arguments, sentence, fitted, folder, capsys):
    assert lines(capsys, "--database", fitted, *arguments) == (2, [], [f"mlm: {sentence}"])
    assert not list(folder.glob("*.html"))


def test_the_output_is_no_folder(fitted, tmp_path, capsys):
    sentence = f"mlm: The report is a file, and {tmp_path} is a folder. Name a file in it with --output."
    assert lines(capsys, "--database", fitted, "--analysis", "first", "--output", tmp_path) == (2, [], [sentence])


@pytest.mark.parametrize("name", ["d.duckdb", "first.yaml"])
def test_a_report_replaces_no_other_file(name, fitted, folder, capsys):
    before = (fitted.parent / name).read_bytes()
    arguments = ("--database", fitted, "--analysis", "first", "--output", fitted.parent / name)
    sentence = f"mlm: The report is saved as .html or .htm. Got {name}; give it one of these endings."
    assert lines(capsys, *arguments) == (2, [], [sentence])
    assert (fitted.parent / name).read_bytes() == before


@pytest.mark.parametrize(
    "words", [["report"], ["show"], ["export", "--table", "icc", "--format", "csv"]], ids=["report", "show", "export"]
)
def test_outside_of_a_project_the_advice_is_of_the_same_command(words, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"mlm: There is no project in {tmp_path} or above it: no pyproject.toml with a [tool.dagster] block. Run this "
        "inside a project, or name the file of the results: add --database FILE to the command."
    ]


def test_a_database_without_results_is_refused(tmp_path, capsys):
    missing, empty = tmp_path / "missing.duckdb", tmp_path / "empty.duckdb"
    duckdb.connect(str(empty)).close()
    for path, sentence in (
        (missing, f"There are no results in {missing}: there is no such file."),
        (empty, f"There are no results in {empty}: it has no schema mlm of mlm-ops."),
    ):
        assert lines(capsys, "--database", path) == (2, [], [f"mlm: {sentence}"])


def test_a_file_too_large_is_not_written(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pages, "MOST", 50_000)
    file = tmp_path / "large.html"
    file.write_text("<p>as it was")
    status, out, err = lines(capsys, "--database", fitted, "--analysis", "first", "--output", file)
    assert (status, out) == (2, [])
    assert re.fullmatch(
        r"mlm: The report of first would have \d\.\d MB, and at most 0 MB are written\. Largest: \w+-\d \d+ kB, \w+-\d "
        r"\d+ kB, \w+-\d \d+ kB\. A model with fewer random effects \(--model\) or fewer runs \(--runs\) makes it "
        r"smaller\.",
        err[0],
    )
    assert file.read_text() == "<p>as it was"


def test_the_page_is_opened_where_there_is_a_browser(fitted, tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or len(opened) == 1)
    arguments = ("--database", fitted, "--analysis", "first", "--output", tmp_path / "p.html", "--open")
    assert lines(capsys, *arguments)[2] == []
    assert lines(capsys, *arguments)[2] == [f"No browser could be opened. Open {tmp_path}/p.html in one."]
    assert opened == [(tmp_path / "p.html").as_uri()] * 2


@pytest.mark.parametrize(("value", "got"), [("0", "0"), ("-1", "-1"), ("many", "many"), ("1.5", "1.5")])
def test_a_number_of_runs_is_whole(value, got, fitted, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["report", f"--runs={value}"])
    assert stop.value.code == 2
    assert f"got {got}; expected a number of runs, 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"database": 3}, "database is not understood. Got 3; expected the path of a database file."),
        ({"output": 3}, "output is not understood. Got 3; expected the path of a file."),
        ({"model": ""}, "model is not understood. Got nothing; expected the name of a model."),
        ({"runs": 0}, "runs is not understood. Got 0; expected a whole number of 1 or more."),
        ({"unit_names": 1}, "unit_names is not understood. Got 1; expected True or False."),
    ],
)
def test_wrong_arguments_are_one_sentence(options, sentence, fitted):
    with pytest.raises(mlm.MlmError) as error:
        mlm.report(**({"database": fitted} | options))
    assert str(error.value) == sentence
