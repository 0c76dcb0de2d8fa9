"""The event log of a run is opened once, and left as it is where Dagster's storage is another one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage

from mlm_ops.plugins.dagster.event_log import open_event_log
from tests.plugins.conftest import QUIET


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as instance:
        yield instance


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often Dagster's own method has opened each database."""
    counts: Counter[str] = Counter()
    connect = SqliteEventLogStorage._connect

    def counted(self: SqliteEventLogStorage, shard: str) -> AbstractContextManager[Any]:
        counts[shard] += 1
        return connect(self, shard)

    monkeypatch.setattr(SqliteEventLogStorage, "_connect", counted)
    return counts


@dg.op
def nothing() -> None:
    pass


@dg.job
def short() -> None:
    nothing()


def test_a_run_opens_each_database_once(instance: dg.DagsterInstance, opened: Counter[str]) -> None:
    with open_event_log(instance):
        run_id = short.execute_in_process(instance=instance, run_config=QUIET).run_id
    assert opened[run_id] == 1
    assert set(opened.values()) == {1}
    # afterwards Dagster opens it as ever, and the log is whole
    events = [entry.dagster_event_type for entry in instance.all_logs(run_id)]
    assert events[-1] == dg.DagsterEventType.RUN_SUCCESS
    assert opened[run_id] == 2


@pytest.mark.parametrize("name", ["_connect", "_db_lock"])
def test_a_storage_without_what_is_relied_on_is_left_as_it_is(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    storage = instance.event_log_storage
    with monkeypatch.context() as patch:
        patch.delattr(SqliteEventLogStorage if name == "_connect" else storage, name)
        before = dict(vars(storage))
        with open_event_log(instance):
            assert vars(storage) == before
    assert short.execute_in_process(instance=instance, run_config=QUIET).success
