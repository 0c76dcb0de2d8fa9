"""The warehouse as a Dagster resource: where the tables are, and connections that are always closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from mlm_ops.analyses.project import RESULTS_FILE
from mlm_ops.logs import about
from mlm_ops.warehouse.connection import Connection, connect, using


class Warehouse(dg.ConfigurableResource["Warehouse"]):
    """A folder with the pipeline's database and the copy of the results that everyone may read."""

    directory: str = Field(
        default="warehouse", description="Folder of warehouse.duckdb (the pipeline's) and results.duckdb (everyone's)."
    )
    database_file: str = Field(default="warehouse.duckdb", description="Name of the pipeline's database in the folder.")
    wait: float = Field(default=30.0, description="Seconds to wait while another process writes to the database.")
    threads: int | None = Field(default=None, ge=1, description="Threads of DuckDB; with 1 equal rows give equal bits.")

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
        return Path(self.directory) / RESULTS_FILE

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
            if self.threads is not None:
                connection.execute(f"set threads to {self.threads}")
            yield connection


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
