"""dbt-duckdb's plugin: SQL models select ``FROM mlm('formula', '{{ ref("students") }}')``.

In the profile, under the target::

    plugins:
      - module: mlm_ops.plugins.dbt

Python models need no plugin: ``mlm_ops.fit(formula, dbt.ref("students"))`` takes the relation as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin

from mlm_ops.plugins.duckdb import register

if TYPE_CHECKING:
    import duckdb


class Plugin(BasePlugin):
    """Makes `mlm()` and its sisters known to every connection that dbt opens."""

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Register on the connection that all others come from."""
        register(conn)

    def configure_cursor(self, cursor: Any) -> None:
        """Register on a copy of it, in which a model is built: temporary macros belong to one connection."""
        register(cursor)
