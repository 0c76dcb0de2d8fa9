"""What the store keeps of drift: each run beside the one of its analysis before it, and beside the baseline."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from mlm_ops.database import Connection
from mlm_ops.drift import READS, StoredRun, drift
from mlm_ops.language.history import History
from mlm_ops.retention import find_baseline, find_previous, finished_runs
from mlm_ops.sql_tables import insert_frame
from mlm_ops.sql_text import literal, qualified
from mlm_ops.tables import KEYS, TABLES

#: A run and its analysis.
RunKey = tuple[str, str]


def write_drift(connection: Connection, schema: str, runs: Sequence[RunKey], history: History) -> None:
    """Compare each of these runs that is finished with the one before it, and with the baseline.

    Parameters
    ----------
    schema
        Of the store; the rows of the runs are there already, and their comparisons not yet.
    """
    finished = finished_runs(connection, schema, [analysis for _, analysis in runs])
    # by run and the one it is compared with: often the one before is the baseline too
    pairs: dict[tuple[RunKey, RunKey], list[str]] = {}
    for run_id, analysis in runs:
        own = finished[analysis]
        if previous := find_previous(own, run_id):
            for name, other in (("previous", previous), ("baseline", find_baseline(own, history) or run_id)):
                if other != run_id:
                    pairs.setdefault(((run_id, analysis), (other, analysis)), []).append(name)
    if not pairs:
        return
    stored = _read_runs(connection, schema, {key for both in pairs for key in both})
    made = []
    for (now, before), names in pairs.items():
        found = drift(stored[now], stored[before], history.alpha)
        keys = dict(zip(("run_id", "analysis"), now, strict=True))
        made += [
            found.with_columns(pl.lit(v).alias(k) for k, v in (keys | {"against": name}).items()) for name in names
        ]
    insert_frame(connection, qualified(schema, "drift"), pl.concat(made), KEYS | TABLES["drift"])


def _read_runs(connection: Connection, schema: str, wanted: Collection[RunKey]) -> dict[RunKey, StoredRun]:
    """The tables of runs that a comparison reads."""
    chosen = ", ".join(f"({literal(run_id)}, {literal(analysis)})" for run_id, analysis in wanted)
    found: dict[RunKey, dict[str, pl.DataFrame]] = {key: {} for key in wanted}
    for name in READS:
        query = f"select * from {qualified(schema, name)} where (run_id, analysis) in ({chosen})"
        rows: pl.DataFrame = connection.sql(query).pl()
        parts = rows.partition_by("run_id", "analysis", as_dict=True)
        for key, tables in found.items():
            tables[name] = parts.get(key, rows.clear())
    return {key: StoredRun(key[0], tables) for key, tables in found.items()}
