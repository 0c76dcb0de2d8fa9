"""polars frames into DuckDB and back through Arrow's C interface, without importing pyarrow (0.4 s).

DuckDB 1.5 and later take and give Arrow streams by themselves; 1.4 falls back on pyarrow. No database module is
imported here: the connection does the work.
"""

from __future__ import annotations

from typing import Any

import polars as pl


class ArrowStream:
    """A frame that offers nothing but ``__arrow_c_stream__``, so that DuckDB does not go looking for pyarrow.

    Register it like any object: ``connection.register("name", ArrowStream(frame))``.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a new capsule at every call, so that one registered frame can be scanned many times."""
        return self._frame.__arrow_c_stream__(requested_schema)


def to_polars(relation: Any) -> pl.DataFrame:
    """Return the rows of a DuckDB relation (or of anything with ``__arrow_c_stream__``)."""
    return pl.DataFrame(relation)
