"""What partitions that are fitted each alone leave in the log: one line for many, and those that failed."""

from __future__ import annotations

import logging
import time

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.logs import LOGGER, about
from mlm_ops.plugins.dagster import partition_fits
from mlm_ops.plugins.dagster.partition_fits import fit_partitions

PUPILS = """
create table pupils as
select i % 30 as school, i // 300 as wave, sin(i * 7.3) as x, x / 2 + 2 * sin((i % 30) * 5.7) + cos(i * 3.1) as y
from range(600) as r(i)
"""


def test_partitions_are_told_together_and_failures_alone(caplog: pytest.LogCaptureFixture) -> None:
    analysis = parse_analysis("{analysis: waves, data: pupils, levels: school, models: {slope: y ~ x + (1 | school)}}")
    caplog.set_level(logging.DEBUG, LOGGER)
    with duckdb.connect() as connection, about(run_id="r", analysis="waves"):
        connection.execute(PUPILS)
        # wave 8 has one school, which no multilevel model is of, and wave 9 has no rows
        connection.execute("insert into pupils select * replace (8 as wave) from pupils where school = 1")
        fit_partitions(connection, analysis, "wave", dict.fromkeys("0189"), "r", time.time(), ())
    told = [(r.levelname, r.event, r.analysis) for r in caplog.records if r.name == LOGGER]
    assert [row for row in told if row[0] != "DEBUG"] == [
        ("ERROR", "failed", "waves[8]"),
        ("WARNING", "failed", "waves[9]"),
        ("INFO", "run_written", "waves"),
    ]
    assert [row[1:] for row in told if row[0] == "DEBUG"] == [
        *(("model_fitted", "waves[0]"), ("model_fitted", "waves[1]")),
        *(("run_written", "waves[0]"), ("run_written", "waves[1]")),
    ]
    assert {record.run_id for record in caplog.records} == {"r"}
    assert "analysis waves: 2 partitions written" in caplog.messages


def test_partitions_are_written_in_batches(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Of three partitions with rows two fill a batch, and the last is written at the end; one without rows is not."""
    analysis = parse_analysis("{analysis: waves, data: pupils, levels: school, models: {slope: y ~ x + (1 | school)}}")
    monkeypatch.setattr(partition_fits, "BATCH_SIZE", 2)
    caplog.set_level(logging.INFO, LOGGER)
    with duckdb.connect() as connection:
        connection.execute(PUPILS.replace("range(600)", "range(900)"))
        outcomes = fit_partitions(connection, analysis, "wave", dict.fromkeys("0192"), "r", time.time(), ())
        runs = connection.execute("select analysis, status, n_obs from mlm.runs order by sequence").fetchall()
    assert (outcomes.written, outcomes.empty, outcomes.failed) == (["0", "1", "2"], ["9"], {})
    assert runs == [(f"waves[{wave}]", "finished", 300) for wave in "012"]
    assert [message for message in caplog.messages if "written" in message] == [
        "2 partitions written",
        "1 partition written",
    ]
