"""The package on Postgres, through dbt-postgres: the numbers are those of DuckDB and of mlm_ops, to 1e-12."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import psycopg2
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from mlm_ops.plugins.dagster import Warehouse
from tests.hosts.comparison import SAME, assert_same, assert_same_sums, on_duckdb
from tests.hosts.dbt.conftest import copy_project
from tests.hosts.dbt.dialects import package_for
from tests.hosts.dbt.postgres import programs, server
from tests.specification.examples import blocks

PROGRAMS = programs()
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(PROGRAMS is None, reason="Postgres is not installed: apt-get install postgresql"),
]
ODD = 'a "b";c'
LONG = "minutes_of_mathematics_at_home_in_a_week"


class Database:
    """A Postgres database in which the project is built."""

    def __init__(self, host: str, user: str) -> None:
        self.host, self.user = host, user

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        connection = psycopg2.connect(host=self.host, user=self.user, dbname="postgres")
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def seed(self, file: Path) -> None:
        """Make the table of a seed; dbt takes ten times as long to insert its rows."""
        types = {pl.String: "text", pl.Int64: "bigint", pl.Float64: "double precision"}
        columns = ", ".join(f"{name} {types[type(kind)]}" for name, kind in pl.read_csv(file).schema.items())
        with self.cursor() as cursor, file.open() as lines:
            cursor.execute(f"create schema school; create table school.{file.stem} ({columns})")
            cursor.copy_expert(f"copy school.{file.stem} from stdin csv header", lines)

    def table(self, name: str) -> pl.DataFrame:
        with self.cursor() as cursor:
            cursor.execute(f"select * from school.{name}")
            names = [column.name for column in cursor.description]
            columns = zip(*cursor.fetchall(), strict=True)
            return pl.DataFrame({name: list(map(_plain, values)) for name, values in zip(names, columns, strict=True)})


def _plain(value: object) -> object:
    """A number of Postgres's type numeric as a double."""
    return float(value) if type(value).__name__ == "Decimal" else value


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    assert PROGRAMS is not None
    with server(PROGRAMS) as (folder, user):
        variables = {"MLM_POSTGRES_HOST": str(folder), "MLM_POSTGRES_USER": user}
        project = copy_project(tmp_path_factory.mktemp("postgres") / "project", **variables)
        warehouse = Database(str(folder), user)
        warehouse.seed(project.folder / "seeds" / "hsb.csv")
        project.build("--target", "postgres", "--exclude", "hsb")
        project.build("--target", "postgres", "--select", "scores+", "--vars", "corrected: true")
        yield warehouse


def test_the_moments_are_those_of_duckdb(built: Database) -> None:
    rows, table = built.table("messy"), built.table("messy_moments")
    columns = ["mathach", "ses", "minority", "is_female", ODD]
    expected = on_duckdb(
        rows,
        "group_moments",
        relation="students",
        columns=columns,
        group="school",
        products=[["ses", "is_female"]],
        complete=["sex"],
        constants=["is_public", "size"],
    )
    # NaN and null of each type leave their rows out; the text 'NaN' is a text
    numbers = rows.with_columns(pl.col("ses", "minority").fill_nan(None)).drop(LONG)
    assert table["n"].sum() == len(numbers.drop_nulls()) < len(rows.drop_nulls()) < len(rows) - 8
    assert rows.filter(pl.col("sex") == "NaN").height > 0
    assert table.schema["value_is_public"] == pl.Boolean
    sums = [name for name in expected.columns if name.startswith("scatter_")]
    assert_same(table.drop(sums), expected.drop(sums), "school")
    assert_same_sums(table.sort("school"), expected.sort("school"), [*columns, "ses_by_is_female"])


@pytest.mark.parametrize(
    ("table", "macro", "arguments"),
    [
        (
            "messy_centered",
            "centered",
            {"columns": ["is_female", "minority", LONG], "group": "school", "complete": ["sex"]},
        ),
        ("messy_means", "group_means", {"columns": ["is_female", "ses"], "group": ["school", "is_public"]}),
        (
            "messy_decomposition",
            "decomposition",
            {"columns": ["mathach", "is_female", LONG], "group": ["school", "is_public"], "complete": ["sex"]},
        ),
    ],
)
def test_the_other_macros_are_those_of_duckdb(
    built: Database, table: str, macro: str, arguments: dict[str, object]
) -> None:
    expected = on_duckdb(built.table("messy"), macro, relation="students", **arguments)
    keys = {"decomposition": ["variable"], "group_means": ["school", "is_public"], "centered": expected.columns}[macro]
    assert_same(built.table(table), expected, *keys)


def test_merged_moments_are_those_of_all_rows(built: Database) -> None:
    rows = built.table("messy").drop_nulls(["school", "mathach", "is_female", "sex", "is_public"])
    arguments = {"columns": ["mathach", "is_female"], "group": "school", "constants": ["is_public"]}
    expected = on_duckdb(rows, "group_moments", relation="students", **arguments).drop(
        "center_mathach", "center_is_female"
    )
    sums = [name for name in expected.columns if name.startswith("scatter_")]
    table = built.table("messy_total")
    assert_same(table.drop(sums), expected.drop(sums), "school")
    assert_same_sums(table.sort("school"), expected.sort("school"), ["mathach", "is_female"])


def test_a_corrected_part_replaces_its_own(built: Database) -> None:
    """By delete+insert and by merge, after a second run that loaded one part anew, and by days."""
    arguments = {"relation": "students", "columns": ["mathach", "ses"], "group": "school"}
    for rows, tables in (
        ("scores", ["score_moments_total", "score_moments_current_total"]),
        ("daily_scores", ["daily_moments_total"]),
    ):
        expected = on_duckdb(built.table(rows), "group_moments", **arguments).drop("center_mathach", "center_ses")
        sums = [name for name in expected.columns if name.startswith("scatter_")]
        for name in tables:
            assert_same(built.table(name).drop(sums), expected.drop(sums), "school")
            assert_same_sums(built.table(name).sort("school"), expected.sort("school"), ["mathach", "ses"])
    runs = built.table("score_moments_merged").group_by("part").agg(pl.col("built_by").n_unique()).sort("part")
    assert runs["built_by"].to_list() == [1, 1, 2, 1]  # of part 2 the schools that it has lost keep their rows


def test_three_levels_and_missing_values(built: Database) -> None:
    expected = built.table("three_levels_expected").sort("row_id")
    table = built.table("three_levels_centered").sort("row_id")
    assert_frame_equal(table, expected, check_dtypes=False, rel_tol=SAME, abs_tol=SAME)


def test_a_model_is_fitted_from_the_moments(built: Database) -> None:
    formula = "mathach ~ within(ses) * is_public + between(ses) + is_female + size + (within(ses) | school)"
    rows = built.table("messy").with_columns(pl.col("ses", "minority").fill_nan(None)).drop(LONG).drop_nulls()
    expected = mlm.fit(formula, rows.with_columns(pl.col("is_female").cast(pl.Float64)))
    fit = mlm.fit(formula, mlm.read_moments(built.table("messy_moments"), "school"))
    # the same sums in another order, and an optimum found to 1e-8
    assert_frame_equal(fit.fixed_effects, expected.fixed_effects, rel_tol=1e-7)
    likelihoods = (model.fit_statistics["log_likelihood"].item() for model in (fit, expected))
    np.testing.assert_allclose(*likelihoods, rtol=SAME)


@pytest.mark.parametrize(
    ("macro", "column", "what", "name", "size"),
    [
        ("group_moments", LONG, f"the scatter of {LONG} and {LONG}", f"scatter_{LONG}_{LONG}", 89),
        (
            "centered",
            f"{LONG}_or_so_ñ_ñ_ññ",
            f"the group means of {LONG}_or_so_ñ_ñ_ññ",
            f"between_{LONG}_or_so_ñ_ñ_ññ",
            65,
        ),
    ],
)
def test_a_name_that_postgres_would_cut_is_refused(macro: str, column: str, what: str, name: str, size: int) -> None:
    with pytest.raises(ValueError, match="bytes") as refusal:
        package_for("postgres")[macro]("students", [column], "school")
    assert str(refusal.value) == (
        f"mlm.{macro}() would give {what} the name {name}, of {size} bytes, and names in this warehouse have at most "
        "63. Give its columns shorter names in a model before it."
    )
    package_for("duckdb")[macro]("students", [column], "school")


def test_the_page_of_exports(built: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python and SQL of docs/exports.md, in order, with the table in Postgres, in a file, and in another DuckDB."""
    monkeypatch.chdir(tmp_path)
    table = built.table("school_moments")
    table.write_parquet("school_moments.parquet")
    with duckdb.connect("other.duckdb") as connection:
        connection.register("brought", table.to_arrow())
        connection.execute("create table school_moments as from brought")
    Path("schools.yaml").write_text(
        "analysis: schools\ndata: school_moments\nform: moments\nmodels:\n"
        "  slopes: mathach ~ within(ses) * sector + (within(ses) | school)\n",
        encoding="utf-8",
    )
    names: dict[str, Any] = {"host": built.host, "user": built.user}
    for language, text in blocks("exports", "python", "sql"):
        if language == "python":
            exec(compile(text, "docs/exports.md", "exec"), names)
        else:
            with duckdb.connect("results.duckdb") as connection:
                connection.execute(text)
                assert connection.table("school_moments").fetchall()
    expected = mlm.fit("mathach ~ within(ses) * sector + (within(ses) | school)", mlm.read_moments(table, "school"))
    assert_frame_equal(names["fit"].fixed_effects, expected.fixed_effects)
    assert names["moments"].checksum == mlm.read_moments(table, "school").checksum
    resources = {"warehouse": Warehouse(directory="warehouse")}
    defs = dg.Definitions.merge(names["defs"], dg.Definitions(resources=resources))
    defs.resolve_implicit_global_asset_job_def().execute_in_process()
    with duckdb.connect("warehouse/results.duckdb", read_only=True) as connection:
        stored = connection.sql("select estimate from mlm.latest_fixed_effects order by term").pl()
    np.testing.assert_allclose(stored["estimate"], expected.fixed_effects.sort("term")["estimate"], rtol=1e-8)
