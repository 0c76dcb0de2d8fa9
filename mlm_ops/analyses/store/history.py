"""Remove old runs from the store and compare new runs with earlier ones, as the key ``history`` of an analysis says.

The latest finished run and the baseline are always kept.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import polars as pl

from mlm_ops.analyses.drift import READS, StoredRun, drift, symbol_pairs
from mlm_ops.analyses.file.keys import History
from mlm_ops.analyses.store.drift_of_groups import RunPair, compare_groups
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.tables import insert_frame
from mlm_ops.analyses.store.version import LATEST_FIRST
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.results.tables.columns import KEYS
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.sql import literal, qualified

if TYPE_CHECKING:
    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.moments.record import Moments


def find_baseline(finished: Sequence[str], history: History) -> str | None:
    """Return the baseline among an analysis' finished runs, the latest first; None if it is not in the store."""
    if history.baseline == "first":
        return finished[-1] if finished else None
    return history.baseline if history.baseline in finished else None


def find_previous(finished: Sequence[str], run_id: str) -> str | None:
    """Return the finished run before `run_id`; None if there is none."""
    earlier_runs = finished[finished.index(run_id) + 1 :] if run_id in finished else []
    return earlier_runs[0] if earlier_runs else None


def finished_runs(connection: Connection, schema: str, analyses: Iterable[str]) -> dict[str, list[str]]:
    """Return the finished runs of each analysis, the latest first."""
    runs_by_analysis: dict[str, list[str]] = {analysis: [] for analysis in analyses}
    for analysis, run_id, _, status in _runs(connection, schema, runs_by_analysis):
        if status == "finished":
            runs_by_analysis[analysis].append(run_id)
    return runs_by_analysis


def remove_outdated(
    connection: Connection, schema: str, tables: Iterable[str], analyses: Sequence[str], history: History
) -> None:
    """Remove the runs of these analyses that `history` does not keep; runs of other analyses stay.

    Days count back from the end of the analysis' own latest run, so that a pause of the schedule removes nothing. The
    clocks are those of the machines that wrote the runs; a clock that was set back keeps runs for longer.
    """
    if history.keeps_all:
        return
    by_analysis: dict[str, list[tuple[str, datetime, str]]] = {analysis: [] for analysis in analyses}
    for analysis, run_id, finished_at, status in _runs(connection, schema, analyses):
        by_analysis[analysis].append((run_id, finished_at, status))
    outdated = [(run_id, analysis) for analysis, runs in by_analysis.items() for run_id in _outdated(runs, history)]
    remove_runs(connection, schema, tables, outdated)


def remove_runs(connection: Connection, schema: str, tables: Iterable[str], keys: Collection[tuple[str, str]]) -> None:
    """Remove runs, named by run and analysis, from every table."""
    if not keys:
        return
    pairs = ", ".join(f"({literal(run_id)}, {literal(analysis)})" for run_id, analysis in keys)
    for name in tables:
        connection.execute(f"delete from {qualified(schema, name)} where (run_id, analysis) in ({pairs})")


def _outdated(runs: Sequence[tuple[str, datetime, str]], history: History) -> list[str]:
    """Return the runs to remove, out of an analysis' runs with their end and status, the latest first."""
    finished = [run_id for run_id, _, status in runs if status == "finished"]
    protected = {*finished[:1], find_baseline(finished, history)}
    outdated = []
    for position, (run_id, at, _) in enumerate(runs):
        too_many = history.keep_runs is not None and position >= history.keep_runs
        too_old = history.keep_days is not None and runs[0][1] - at > timedelta(days=history.keep_days)
        if (too_many or too_old) and run_id not in protected:
            outdated.append(run_id)
    return outdated


def number_runs(connection: Connection, schema: str) -> None:
    """Number the runs that an earlier mlm-ops wrote without a number, after the others, in the order of their ends."""
    runs = qualified(schema, "runs")
    if connection.execute(f"select 1 from {runs} where sequence is null limit 1").fetchall():
        connection.execute(
            f"update {runs} as run set sequence = numbered.number from (select run_id, analysis,"
            f" (select coalesce(max(sequence), 0) from {runs})"
            " + row_number() over (order by finished_at, run_id, analysis) as number"
            f" from {runs} where sequence is null) as numbered"
            " where run.run_id = numbered.run_id and run.analysis = numbered.analysis and run.sequence is null"
        )


def last_number(connection: Connection, schema: str) -> int:
    """Return the number of the last run that was written; 0 if there is none."""
    return int(
        connection.execute(f"select coalesce(max(sequence), 0) from {qualified(schema, 'runs')}").fetchall()[0][0]
    )


def _runs(connection: Connection, schema: str, analyses: Iterable[str]) -> list[tuple[str, str, datetime, str]]:
    """Return analysis, run, end and status of all runs of these analyses, the latest of each analysis first."""
    rows: list[tuple[str, str, datetime, str]] = connection.execute(
        f"select analysis, run_id, finished_at, status from {qualified(schema, 'runs')}"
        f" where analysis in ({', '.join(map(literal, analyses))}) order by analysis, {LATEST_FIRST}"
    ).fetchall()
    return rows


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


def run_facts(analysis: Analysis, moments: Moments | None) -> dict[str, Any]:
    """Return the columns of ``runs`` other than the ids and times; without moments, those of a run that had no rows.

    The analysis is written as JSON with the keys of its file, so that comments and layout do not change its hash.
    """
    text = analysis.model_dump_json(exclude_defaults=True)
    versions = {"python": platform.python_version(), **{name: _version(name) for name in ("duckdb", "numpy", "scipy")}}
    return {
        "data": analysis.data,
        "engine_version": _version("mlm-ops"),
        "analysis_text": text,
        "analysis_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "versions": json.dumps(versions),
        "seed": RANDOM_SEED,
        "host_time": datetime.now().astimezone().isoformat(timespec="seconds"),
        **_sample(moments),
    }


def _sample(moments: Moments | None) -> dict[str, Any]:
    if moments is None:
        return {"n_rows": 0, "n_obs": 0, "n_dropped": "{}", "moments_checksum": ""}
    return {
        "n_rows": moments.n_rows,
        "n_obs": moments.n_obs,
        "n_dropped": json.dumps({name: count for name, count in moments.n_dropped.items() if count}),
        "moments_checksum": moments.checksum,
    }


@cache
def _version(package: str) -> str:
    # a run may record a thousand fits, and each look-up reads a file
    return version(package)
