"""Commands in messages are those that work where they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlm_ops.cli.main import main
from mlm_ops.cli.messages import command, program


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which `uv run` has called us, and the current folder."""
    folder = tmp_path / "a clone"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    (folder / ".venv" / "bin" / "mlm").touch(mode=0o755)
    monkeypatch.setenv("UV", "/usr/bin/uv")
    monkeypatch.setenv("VIRTUAL_ENV", str(folder / ".venv"))
    monkeypatch.setenv("PATH", f"{folder / '.venv' / 'bin'}:{tmp_path / 'bin'}")
    monkeypatch.chdir(folder)
    return folder


def test_below_the_project_uv_finds_it(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("show", database=clone / "d.duckdb") == "uv run mlm show --database d.duckdb"
    (clone / "docs").mkdir()
    monkeypatch.chdir(clone / "docs")
    assert command("run") == "uv run mlm run"


def test_elsewhere_and_in_a_new_project_uv_is_told(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = f"uv run --project '{clone}' mlm"
    assert program(clone / "new") == expected
    monkeypatch.chdir(tmp_path)
    assert command("run") == f"{expected} run"
    hsb = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"
    assert main(["init", "new", str(hsb)]) == 0
    assert capsys.readouterr().out.endswith(f"Now: cd new && {expected} run\n")
    with pytest.raises(SystemExit):
        main(["shew"])
    assert capsys.readouterr().err.endswith(f"; see {expected} --help\n")


def test_an_mlm_that_is_on_the_path_anyway_is_called_by_its_name(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlm").touch(mode=0o755)
    assert command("run") == "mlm run"


@pytest.mark.parametrize(("name", "value"), [("UV", None), ("VIRTUAL_ENV", None), ("VIRTUAL_ENV", "/cache/archive/x")])
def test_without_uv_run_it_is_called_by_its_name(
    clone: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    """An environment of another name is uvx's, or one that the user has activated."""
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    assert command("run") == "mlm run"
