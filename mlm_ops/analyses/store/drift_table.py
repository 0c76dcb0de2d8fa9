"""Compare new runs with the ones before them and with the baseline, and store it in table ``drift``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from mlm_ops.analyses.drift import READS, StoredRun, drift, symbol_pairs
from mlm_ops.analyses.file.keys import History
from mlm_ops.analyses.store.drift_of_groups import RunPair, compare_groups
from mlm_ops.analyses.store.kept_runs import find_baseline, find_previous, finished_runs
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.tables import insert_frame
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import Event, about, tell
from mlm_ops.results.tables.columns import KEYS
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.sql import literal, qualified

_MOST_NAMED = 5
#: A run and its analysis.
RunKey = tuple[str, str]


def write_drift(
    connection: Connection, schema: str, runs: Mapping[RunKey, Mapping[str, pl.DataFrame]], history: History
) -> None:
    """Fill table ``drift``: compare each finished run with the one before it and with the baseline.

    Parameters
    ----------
    schema
        The schema of the store, which has the other tables of these runs already.
    runs
        The tables of each run.
    """
    finished = finished_runs(connection, schema, [analysis for _, analysis in runs])
    # keyed by both runs, because the previous run is often the baseline too
    pairs: dict[tuple[RunKey, RunKey], list[str]] = {}
    for run_id, analysis in runs:
        run_ids = finished[analysis]
        _tell_of_missing_baseline(analysis, run_ids, history)
        if previous := find_previous(run_ids, run_id):
            for name, other in (("previous", previous), ("baseline", find_baseline(run_ids, history) or run_id)):
                if other != run_id:
                    pairs.setdefault(((run_id, analysis), (other, analysis)), []).append(name)
    if not pairs:
        return
    stored = _read_runs(connection, schema, {key for both in pairs for key in both})
    groups = compare_groups(
        connection,
        schema,
        {RunPair(now[1], now[0], before[0]): symbol_pairs(stored[now], stored[before]) for now, before in pairs},
        {key: tables["influence_lists"] for key, tables in runs.items() if "influence_lists" in tables},
    )
    frames = []
    for (now, before), names in pairs.items():
        changes = drift(stored[now], stored[before], groups[RunPair(now[1], now[0], before[0])], history.alpha)
        keys = dict(zip(("run_id", "analysis"), now, strict=True))
        frames += [
            changes.with_columns(pl.lit(v).alias(k) for k, v in (keys | {"against": name}).items()) for name in names
        ]
    insert_frame(connection, qualified(schema, "drift"), pl.concat(frames), KEYS | TABLES["drift"])


def _tell_of_missing_baseline(analysis: str, finished: Sequence[str], history: History) -> None:
    """Log that the baseline that an analysis names is none of its runs, so that nothing is compared with it."""
    if finished and find_baseline(finished, history) is None:
        with about(analysis=analysis):
            tell(
                Event.NO_BASELINE,
                f"no finished run is the baseline {history.baseline!r}, so that nothing is compared with it. Name one "
                f"in history.baseline: first, {list_names(finished, _MOST_NAMED)}",
            )


def _read_runs(connection: Connection, schema: str, keys: Collection[RunKey]) -> dict[RunKey, StoredRun]:
    """Read the tables of these runs that `drift` needs."""
    pairs = ", ".join(f"({literal(run_id)}, {literal(analysis)})" for run_id, analysis in keys)
    tables_by_run: dict[RunKey, dict[str, pl.DataFrame]] = {key: {} for key in keys}
    for name in READS:
        query = f"select * from {qualified(schema, name)} where (run_id, analysis) in ({pairs})"
        rows: pl.DataFrame = connection.sql(query).pl()
        rows_by_run = rows.partition_by("run_id", "analysis", as_dict=True)
        for key, tables in tables_by_run.items():
            tables[name] = rows_by_run.get(key, rows.clear())
    return {key: StoredRun(key[0], tables) for key, tables in tables_by_run.items()}
