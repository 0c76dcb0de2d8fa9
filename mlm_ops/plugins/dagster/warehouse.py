"""The warehouse as a Dagster resource: where the tables are, and connections that are always closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field, PrivateAttr

from mlm_ops.analyses.project import RESULTS_FILE
from mlm_ops.errors import AnalysisError, MlmError, StoreError
from mlm_ops.logs import about
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.warehouse.connection import ADDRESS, Connection, attach, connect, using
from mlm_ops.warehouse.faults import first_line, is_temporary_error
from mlm_ops.warehouse.files.kinds import is_data_file
from mlm_ops.warehouse.relation import TABLE
from mlm_ops.warehouse.sql import identifier, literal


class Warehouse(dg.ConfigurableResource["Warehouse"]):
    """A folder with the pipeline's database and the copy of the results that everyone may read.

    A `DuckDBResource` of dagster-duckdb does as well: the results are published beside its file.
    """

    directory: str = Field(
        default="warehouse", description="Folder of warehouse.duckdb (the pipeline's) and results.duckdb (everyone's)."
    )
    database_file: str = Field(default="warehouse.duckdb", description="Name of the pipeline's database in the folder.")
    results_folder: str | None = Field(
        default=None,
        description="Folder of results.duckdb and of the reports, where it is not that of the database: two databases "
        "publish to two.",
    )
    wait: float = Field(default=30.0, description="Seconds to wait while another process writes to the database.")
    threads: int | None = Field(default=None, ge=1, description="Threads of DuckDB; with 1 equal rows give equal bits.")
    attach: dict[str, str] = Field(
        default={},
        description="Other databases to read, by the name that they have here: a DuckDB file, or what DuckDB's ATTACH "
        "takes, such as postgres:dbname=shop or ducklake:shop.ducklake.",
    )
    settings: dict[str, Any] = Field(default={}, description="Settings of DuckDB, such as memory_limit.")

    _run_id: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Take the run's id, for the log."""
        self._run_id = None if context.run is None else context.run.run_id

    @property
    def database(self) -> Path:
        """The pipeline's own database."""
        return Path(self.directory) / self.database_file

    @property
    def results(self) -> Path:
        """The published copy of the result tables."""
        return Path(self.results_folder or self.directory) / RESULTS_FILE

    def in_folder(self, folder: Path) -> Warehouse:
        """The same warehouse in another folder, its results included."""
        return self.model_copy(update={"directory": str(folder.resolve()), "results_folder": None})

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open the database, waiting for another writer, and close it whatever happens.

        Raises
        ------
        StoreError
            The database is still locked after `wait` seconds, or cannot be opened.
        """
        with (
            about(run_id=self._run_id),
            using(self.database, wait=self.wait, on_wait=dg.get_dagster_logger().warning) as connection,
        ):
            self.prepare(connection)
            yield connection

    def prepare(self, connection: Connection) -> None:
        """Set DuckDB's settings and attach the other databases, to be read alone.

        Raises
        ------
        StoreError
            DuckDB refuses a setting, or a database that cannot be opened.
        """
        settings = self.settings | ({} if self.threads is None else {"threads": self.threads})
        for name, value in settings.items():
            try:
                connection.execute(f"set {identifier(name)} = {literal(str(value))}")
            except duckdb.Error as error:
                raise StoreError(f"DuckDB refuses the setting {name} of the warehouse: {first_line(error)}") from error
        for name, source in self.attach.items():
            # DuckDB calls a database by its file
            if name.lower() == self.database.stem.lower():
                raise StoreError(
                    f"The name {name} is that of the database itself. Attach the other one by another name."
                )
            attach(connection, name, source)


class OpenWarehouse(Warehouse):
    """A warehouse whose database stays open between the steps that run in one process, which is faster.

    No other process can read the database before the last step has ended, nor can a dbt that a step starts.
    """

    _lasting: Connection | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the database."""
        if self._lasting is not None:
            self._lasting.close()
            self._lasting = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open the database as `Warehouse` does, and keep it open until the run has ended."""
        with super().connection() as connection:
            if self._lasting is None:
                # connections of one process share the database, which is closed with the last of them; a cursor would
                # be closed with the connection that it is of
                self._lasting = connect(self.database, wait=self.wait)
            yield connection


@contextmanager
def step_warehouse(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, plan: Plan
) -> Iterator[Warehouse]:
    """Give a step of an analysis its warehouse; the log names the analysis, and no error is retried in vain.

    Raises
    ------
    dg.Failure
        As `without_vain_retries`: the resource with the analysis' key is no warehouse, for one.
    StoreError
        There is no database for the table of the analysis to be in; DuckDB would make an empty one.
    """
    with without_vain_retries(), about(analysis=plan.analysis.analysis):
        yield _warehouse_of(context, plan)


@contextmanager
def without_vain_retries() -> Iterator[None]:
    """Tell Dagster not to retry a step whose error stays until a user corrects it, whatever policy it has.

    Raises
    ------
    dg.Failure
        Any error of mlm-ops but those that may pass, with its sentence.
    """
    try:
        yield
    except MlmError as error:
        if is_temporary_error(error):
            raise
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _warehouse_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, plan: Plan) -> Warehouse:
    key, data = plan.steps.resource, plan.analysis.data
    warehouse = as_warehouse(getattr(context.resources, key), key)
    of_table = TABLE.fullmatch(data.strip()) is not None and not is_data_file(data)
    if of_table and not warehouse.attach and not warehouse.database.exists():
        raise StoreError(
            f"The database {warehouse.database} does not exist. Check its path, or materialize what makes the table "
            f"{data} first."
        )
    return warehouse


def as_warehouse(resource: object, key: str) -> Warehouse:
    """A resource as a warehouse, such as a `DuckDBResource` of dagster-duckdb, which names a file.

    Raises
    ------
    AnalysisError
        It is neither, or its database is no file.
    """
    if isinstance(resource, Warehouse):
        return resource
    # by its name: the package need not be installed
    database = getattr(resource, "database", None)
    if type(resource).__name__ != "DuckDBResource" or not isinstance(database, str):
        raise AnalysisError(
            f"The resource {key} is no warehouse. Got {type(resource).__name__}; expected "
            "mlm_ops.plugins.dagster.Warehouse, or DuckDBResource of dagster-duckdb."
        )
    path = database_file(database, f"The database of the resource {key}")
    settings = {name: str(value) for name, value in (getattr(resource, "connection_config", None) or {}).items()}
    return Warehouse(directory=str(path.parent), database_file=path.name, settings=settings)


def database_file(database: str, what: str) -> Path:
    """The path of a database that is a file of DuckDB.

    Raises
    ------
    AnalysisError
        It is in memory, or of another kind: its tables can be read, and results not be written to it.
    """
    scheme = ADDRESS.match(database)
    if database in ("", ":memory:") or scheme:
        name = "in memory" if scheme is None else database[: scheme.end()]
        raise AnalysisError(
            f"{what} is to be a file of DuckDB, which results are written to. Got one {name}"
            + (
                "; give it a file, such as data/warehouse.duckdb."
                if scheme is None
                else "; name a file, and read the tables of the other database by attach: {shop: "
                f"{scheme.group()}…}} and data: shop.main.table."
            )
        )
    return Path(database)
