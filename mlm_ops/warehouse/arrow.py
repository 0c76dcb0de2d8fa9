"""Hand polars frames to DuckDB through Arrow's C interface, without importing pyarrow (0.4 s).

DuckDB 1.5 and later read Arrow streams themselves; 1.4 falls back on pyarrow. To get a frame out of DuckDB use
``relation.pl()``: if polars reads a stream of DuckDB 2.0, DuckDB warns of leaked references when the process ends.
"""

from __future__ import annotations

import polars as pl

from mlm_ops.errors import DataError


class ArrowStream:
    """A frame that has only the method ``__arrow_c_stream__``, so that DuckDB does not import pyarrow.

    Register it like any object: ``connection.register("name", ArrowStream(frame))``.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        # Arrow's names end at a NUL, and polars would abort the process
        if wrong := [name for name in frame.columns if "\0" in name]:
            raise DataError(f"A column has a NUL in its name. Got {wrong[0]!r}; rename it.")
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a new capsule at every call, so that one registered frame can be scanned many times."""
        return self._frame.__arrow_c_stream__(requested_schema)
