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


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> Path:
    """A database with students and the results of one analysis, fitted by the command."""
    folder = tmp_path_factory.mktemp("fitted")
    with duckdb.connect(str(folder / "d.duckdb")) as connection:
        connection.execute(f"create table students as from read_csv('{HSB}')")
    (folder / "small.yaml").write_text(ANALYSIS)
    assert cli.main(["fit", str(folder / "small.yaml"), "--database", str(folder / "d.duckdb")]) == 0
    return folder / "d.duckdb"


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
