"""Results of a small analysis, and commands that are refused, for the tests of every command."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from mlm_ops.cli import main as cli

ROOT = Path(__file__).parents[2]
HSB = ROOT / "pipelines" / "data" / "hsb.csv"
ANALYSIS = """
analysis: small
data: main.students
levels: school
models:
  null: mathach ~ 1 + (1 | school)
  slopes: mathach ~ within(ses) + (1 + within(ses) | school)
compare: [null, slopes]
"""


def fitted_database(folder: Path, rows: str, **analyses: str) -> Path:
    """A database with students and the results of analyses, each fitted by the command.

    Parameters
    ----------
    rows
        SQL that the students are the result of.
    analyses
        The text of each analysis' file by its name.
    """
    database = folder / "d.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute(f"create table students as {rows}")
    for name, text in analyses.items():
        (folder / f"{name}.yaml").write_text(text)
        assert cli.main(["fit", str(folder / f"{name}.yaml"), "--database", str(database)]) == 0
    return database


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Path:
    """A database with students and the results of one analysis."""
    return fitted_database(tmp_path_factory.mktemp("fitted"), f"from read_csv('{HSB}')", small=ANALYSIS)


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; it must say one sentence on standard error, print and write nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, lines: int = 1) -> str:
        before = snapshot(tmp_path)
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            status = leaving.code
        said = capsys.readouterr()
        assert status == 2
        assert said.out == ""
        assert "Traceback" not in said.err
        assert said.err.splitlines()[lines - 1].startswith("mlm")
        assert said.err.count("\n") == lines or "^" in said.err
        assert snapshot(tmp_path) == before
        return said.err

    return run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
