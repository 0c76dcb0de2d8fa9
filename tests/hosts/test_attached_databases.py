"""An analysis of a table in Postgres, DuckLake or SQLite, attached to the warehouse that its results are written to.

Run on request, as CONTRIBUTING.md says: DuckDB's extensions are installed from the package index, which has those of
DuckDB before 2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from tests.hosts.dbt.postgres import programs, server
from tests.hosts.environments import ROOT, environment, lines_of

DATA = ROOT / "pipelines" / "data" / "hsb.csv"
FORMULA = "mathach ~ ses + (1 | school)"
PROGRAMS = programs()
EXTENSIONS = ("ducklake", "postgres_scanner", "sqlite_scanner")
PACKAGES = ("duckdb<2", "duckdb-extensions", *(f"duckdb-extension-{name.replace('_', '-')}" for name in EXTENSIONS))
SCRIPT = """
import dagster as dg, duckdb
from duckdb_extensions import import_extension
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

for name in {extensions!r}:
    import_extension(name)
with duckdb.connect() as connection:
    connection.execute("attach {source} as shop")
    connection.execute("create table shop.{schema}.students as from '{data}'")
analysis = parse_analysis('''
analysis: math
data: shop.{schema}.students
models: {{slopes: "{formula}"}}
sem: {{contextual: {{model: "contextual: mathach ~ ses", cluster: school}}}}
''')
definitions = dg.Definitions.merge(
    dg.Definitions(
        resources={{"warehouse": Warehouse(directory=".", attach={{"shop": "{source}"}})}},
        executor=dg.in_process_executor,
    ),
    build_analysis_assets(analysis),
)
job = definitions.resolve_implicit_global_asset_job_def()
assert job.execute_in_process().success
with duckdb.connect("results.duckdb", read_only=True) as results:
    for row in results.execute("select term, estimate from mlm.fixed_effects").fetchall():
        print("row", *row)
    for row in results.execute("select lhs, estimate from mlm.sem_parameters where op = ':='").fetchall():
        print("row", *row)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("attached"), f"{ROOT}[dagster]", *PACKAGES)


@pytest.fixture(params=["ducklake", "sqlite", "postgres"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of an empty database, and its schema of tables."""
    if request.param != "postgres":
        files = {"ducklake": "ducklake:shop.ducklake", "sqlite": "sqlite:shop.sqlite"}
        yield files[request.param], "main"
    elif PROGRAMS is None:
        pytest.skip("Postgres is not installed")
    else:
        with server(PROGRAMS) as (folder, user):
            yield f"postgres:host={folder} user={user} dbname=postgres", "public"


@pytest.mark.clients
def test_an_attached_table_has_the_numbers_of_fit(source: tuple[str, str], python: Path, tmp_path: Path) -> None:
    address, schema = source
    # as DuckDB's ATTACH takes it, in quotes
    script = SCRIPT.format(extensions=EXTENSIONS, source=address, schema=schema, data=DATA, formula=FORMULA)
    script = script.replace(f"attach {address} as", f"attach '{address}' as")
    words = [line.split() for line in lines_of(python, script, tmp_path)]
    estimates = {row[1]: float(row[2]) for row in words if row[0] == "row"}
    frame = duckdb.read_csv(str(DATA)).pl()
    effects = dict(mlm.fit(FORMULA, frame).fixed_effects.select("term", "estimate").iter_rows())
    parameters = mlm.sem("contextual: mathach ~ ses", frame, cluster="school").parameters
    defined = {row["lhs"]: row["estimate"] for row in parameters.to_dicts() if row["op"] == ":="}
    # two versions of DuckDB may add in another order
    assert estimates == pytest.approx(effects | defined, rel=1e-7)
