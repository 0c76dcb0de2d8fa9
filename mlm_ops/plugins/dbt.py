"""The plugin of dbt-duckdb: SQL models are ``{{ mlm.fit('formula', ref('students')) }}``, or select ``FROM mlm(…)``.

In the profile, under the target::

    plugins:
      - module: mlm_ops.plugins.dbt

What a reader of a model's coefficients must know, such as predictors that were dropped, stands in dbt's log and on the
terminal. Python models need no plugin: ``mlm_ops.fit(formula, dbt.ref("students"))`` takes the relation as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from dbt_common.events.functions import fire_event
from dbt_common.events.types import Note

from mlm_ops.plugins.duckdb import register
from mlm_ops.results.words import visible

if TYPE_CHECKING:
    import duckdb


class Plugin(BasePlugin):
    """Register `mlm()` and its sister functions on every connection that dbt opens."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Register on the connection that all others are copies of."""
        _register(conn)

    def configure_cursor(self, cursor: Any) -> None:
        """Register on a copy of it, in which a model is built: temporary macros belong to one connection."""
        _register(cursor)


def _register(connection: Any) -> None:
    # with --empty dbt asks whether each model's SQL is right, and its tables have no rows to fit
    flags: Any = get_flags()  # type: ignore[no-untyped-call]
    register(connection, on_note=_tell, empty=bool(getattr(flags, "EMPTY", False)))


def _tell(note: str) -> None:
    fire_event(Note(msg=visible(f"mlm: {note}")))
