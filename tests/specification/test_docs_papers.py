"""Every example of docs/papers.md: the commands run in a project, and what the page says is printed is printed."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from mlm_ops.cli.main import main
from tests.specification.examples import ROOT, blocks, check_printed

ANALYSIS = """
analysis: hsb
data: students
models:
  null: mathach ~ 1 + (1 | school)
  slopes: mathach ~ within(ses) + (1 + within(ses) | school)
"""


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "x"\n')
    (tmp_path / "hsb.yaml").write_text(ANALYSIS)
    results = tmp_path / "warehouse" / "results.duckdb"
    results.parent.mkdir()
    with duckdb.connect(str(results)) as connection:
        connection.execute(f"create table students as from '{ROOT / 'pipelines' / 'data' / 'hsb.csv'}'")
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "hsb.yaml", "--database", str(results)]) == 0
    commands = [line for _, text in blocks("papers", "sh") for line in text.splitlines()]
    assert len(commands) == 7
    for line in commands:
        capsys.readouterr()
        assert main(shlex.split(line)[1:]) == 0
        printed = capsys.readouterr().out
        output = re.search(r"--output (\S+)", line)
        if output is None:
            assert printed.startswith("run_id,analysis,model,group,term,other,symbol,estimate,")
        else:
            assert printed.startswith(f"Wrote {output[1]}: ")
            assert Path(output[1]).stat().st_size > 0


def test_the_python_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "pipelines" / "data" / "hsb.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    check_printed(blocks("papers", "python", "text"))
    assert {path.name for path in tmp_path.iterdir()} == {"hsb.csv", "models.docx", "means.tex"}
