"""The path of a file is that file's alone: nothing in a name or a folder is a pattern, a home folder or a column."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.cli.main import main
from mlm_ops.cli.new_project.create import create_project
from mlm_ops.errors import DataError
from mlm_ops.warehouse.frames import read_rows
from mlm_ops.warehouse.source import open_source

#: Each name beside another that it would read, were it a pattern.
PAIRS = {
    "a[0]": "a0",
    "b*": "bb",
    "c?": "cc",
    "**": "dd",
    "[!a]": "x",
    "[l]ink": "link",
    "[]": "y",
    "s[0]/t": "s0/t",
    "{u,v}": "u",
    "w's": "ws",
    "e[[]0]": "e[0]",
}


def write(folder: Path, name: str, suffix: str, value: float) -> Path:
    path = folder / f"{name}{suffix}"
    path.parent.mkdir(exist_ok=True)
    rows = pl.DataFrame({"g": [f"g{i % 8}" for i in range(40)], "y": [value + (i * 7 % 11) for i in range(40)]})
    rows.write_csv(path) if suffix == ".csv" else rows.write_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_name_that_looks_like_a_pattern(tmp_path: Path, name: str, suffix: str) -> None:
    path, other = write(tmp_path, name, suffix, 1000.0), write(tmp_path, PAIRS[name], suffix, -1000.0)
    for place, sign in ((path, 1), (other, -1)):
        rows = read_rows(place)
        assert rows.height == 40
        assert (rows["y"] * sign > 0).all()
        fit = mlm.fit("y ~ 1 + (1 | g)", str(place))
        assert fit.fit_statistics["n_obs"].item() == 40
        assert fit.fixed_effects["estimate"].item() * sign > 900


def test_in_an_analysis_file_and_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a[0]", ".csv", 1000.0)
    write(tmp_path, "a0", ".csv", -1000.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text('analysis: t\ndata: "a[0].csv"\nmodels:\n  m: y ~ 1 + (1 | g)\n')
    source = open_rows(read_analysis(tmp_path / "t.yaml"), duckdb.connect())
    assert source.query(f"select count(*), min(y) > 0 from {source.relation}").fetchall() == [(40, True)]
    assert main(["fit", "y ~ 1 + (1 | g)", "a[0].csv"]) == 0
    assert re.search(r"\(Intercept\) +gamma_00 +1,?00[45]\.?", capsys.readouterr().out)


@pytest.mark.parametrize("dbt", [True, False])
def test_in_a_new_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dbt: bool) -> None:
    """What a project of ours loads, as dbt and Dagster run it, is the file the project was made of."""
    path = write(tmp_path, "a[0]", ".csv", 1000.0)
    write(tmp_path, "a0", ".csv", -1000.0)
    create_project(tmp_path / "project", path, dbt=dbt)
    monkeypatch.chdir(tmp_path / "project")
    with duckdb.connect() as connection:
        if dbt:
            (model,) = [file for file in Path("models").glob("*.sql") if "read_csv" in file.read_text()]
            found = connection.sql(model.read_text()).pl()
        else:
            (assets,) = Path().glob("*_pipelines/assets.py")
            names: dict[str, object] = {"__file__": str(assets.resolve())}
            exec(compile(assets.read_text(), "assets.py", "exec"), names)
            names["load_file"](connection, names["DATA"], "main.a_0", order=names["ORDER"])  # type: ignore[operator]
            found = connection.sql("select * from main.a_0").pl()
    assert found.height == 40
    assert (found["y"] > 0).all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_is_no_column(tmp_path: Path, suffix: str) -> None:
    """DuckDB puts the 9 of a folder y=9 in the place of the file's own column y."""
    path = write(tmp_path, "y=9/rows", suffix, 1000.0)
    source = open_source(path)
    assert list(source.types) == ["g", "y"]
    assert read_rows(path)["y"].min() == 1000.0


def test_a_folder_called_as_the_home_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    write(home, "rows", ".csv", -1000.0)
    write(tmp_path, "~/rows", ".csv", 1000.0)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert read_rows(Path("~/rows.csv"))["y"].min() == 1000.0


def test_a_backslash_beside_a_mark(tmp_path: Path) -> None:
    path = write(tmp_path, "a\\b[0]", ".csv", 1.0)
    with pytest.raises(DataError) as raised:
        open_source(path)
    assert str(raised.value) == (
        f"DuckDB cannot read a file whose path has a backslash and one of * ? [. Got {path}. Rename the file."
    )
    assert read_rows(write(tmp_path, "a\\b", ".csv", 1.0)).height == 40
