"""A file that is read again after it has changed: its columns have moved, have another name, or are more."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.cli.main import main
from mlm_ops.cli.new_project.create import create_project
from mlm_ops.errors import DataError
from mlm_ops.warehouse.files.read import load_file, plan_file

COLUMNS = {
    "team": [f"t{i // 10}" for i in range(120)],
    "y": [f"{i * 7 % 31 + i // 10}.5" for i in range(120)],
    "a": [f"{i * 11 % 17}" for i in range(120)],
    "b": [f"{i * 5 % 23},25" for i in range(120)],
}


def write(path: Path, *names: str, **changed: str) -> Path:
    """Write the columns in this order; of `changed`, under another name."""
    lines = [";".join(changed.get(name, name) for name in names)]
    lines += [";".join(COLUMNS.get(name, ["7"] * 120)[i] for name in names) for i in range(120)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "s.csv", "team", "y", "a", "b")


def rows(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[object, ...]]:
    return connection.execute(f"select team, y, a, b from {relation} order by all").fetchall()


def test_stored_sql_finds_columns_by_their_names(file: Path) -> None:
    relation = plan_file(file).relation
    assert relation is not None
    with duckdb.connect() as connection:
        before = rows(connection, relation)
        assert before[0] == ("t0", 0.5, 0, 0.25)
        write(file, "b", "extra", "a", "team", "y")
        assert rows(connection, relation) == before
        assert len(connection.execute(f"describe from {relation}").fetchall()) == 4
        write(file, "team", "y", "a", "b", a="age")
        with pytest.raises(duckdb.BinderException, match='Columns with names: "a" do not exist in the CSV File'):
            rows(connection, relation)


def test_predictions_of_a_changed_file(file: Path, tmp_path: Path) -> None:
    """SQL of predictions, and the view of an analysis, read the columns that the model means."""
    fit = mlm.fit("y ~ a + b + (1 | team)", file)
    query = f"select team, y, a, b, prediction from ({fit.prediction_sql(str(file))}) order by all"
    (tmp_path / "t.yaml").write_text(
        "analysis: t\ndata: s.csv\nlevels: team\npredictions: true\nmodels:\n  m: y ~ a + b + (1 | team)\n"
    )
    assert main(["fit", str(tmp_path / "t.yaml"), "--database", str(tmp_path / "w.duckdb")]) == 0
    with duckdb.connect(str(tmp_path / "w.duckdb")) as connection:
        names = connection.execute("select view_name from duckdb_views() where schema_name = 'mlm'").fetchall()
        views = [f"mlm.{name}" for (name,) in names if name.startswith("predicted")]
        queries = [query, *(f"select team, y, a, b, prediction from {view} order by all" for view in views)]
        assert len(queries) > 1
        before = [connection.execute(sql).fetchall() for sql in queries]
        assert before[0] == before[1]
        write(file, "a", "team", "b", "y")
        assert [connection.execute(sql).fetchall() for sql in queries] == before


def test_a_dbt_project_reads_columns_by_their_names(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_project(tmp_path / "p", file, outcome="y", group="team", dbt=True)
    monkeypatch.chdir(tmp_path / "p")
    sql = f"({Path('models/s.sql').read_text()})"
    with duckdb.connect() as connection:
        before = rows(connection, sql)
        write(file, "team", "y", "b", "a")
        assert rows(connection, sql) == before
        write(file, "team", "y", "b", "a", b="budget")
        with pytest.raises(duckdb.BinderException, match='"b" do not exist in the CSV File'):
            rows(connection, sql)


def load(project: Path) -> list[tuple[object, ...]]:
    """Run the asset of a new Dagster project, and return what it loads."""
    from mlm_ops.plugins.dagster import Warehouse

    (assets,) = project.glob("*_pipelines/assets.py")
    names: dict[str, object] = {"__file__": str(assets)}
    exec(compile(assets.read_text(), "assets.py", "exec"), names)
    warehouse = Warehouse(directory=str(project / "warehouse"))
    names["rows"](warehouse)  # type: ignore[operator]
    with warehouse.connection() as connection:
        return rows(connection, "main.s")


def test_a_dagster_project_reads_columns_by_their_names(file: Path, tmp_path: Path) -> None:
    create_project(tmp_path / "p", file, outcome="y", group="team")
    before = load(tmp_path / "p")
    write(file, "y", "extra", "b", "team", "a")
    assert load(tmp_path / "p") == before
    (analysis,) = (tmp_path / "p").glob("*_pipelines/analyses/s.yaml")
    with duckdb.connect() as connection:
        write(file, "team", "y", "age", "b")
        load_file(connection, file, "s", order=["team"])
        with pytest.raises(DataError, match=r"^Column 'a' is not in .*main\.s\. Its columns are team, y, age, b\.$"):
            open_rows(read_analysis(analysis), connection).require(["a"])
        write(file, "team", "y", "a", "b", team="teams")
        with pytest.raises(DataError) as raised:
            load_file(connection, file, "s", order=["team"])
    assert str(raised.value) == (
        f"Column 'team' is not in {file}. Did you mean 'teams'? Its columns are teams, y, a, b."
    )
