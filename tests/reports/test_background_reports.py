"""Reports of a second process: the same pages, and none where it failed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlm_ops.reports.page import background_reports
from mlm_ops.reports.page.report import write_reports
from tests.reports.stores import CASES, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("crossed"), *CASES["crossed"]).path


def test_a_report_is_written_by_the_second_process(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_reports.os, "cpu_count", lambda: 2)
    (ours,) = write_reports(store, analysis="crossed")
    page = ours.path.read_text()
    ours.path.unlink()
    with background_reports.reports_ahead() as reports:
        assert reports is not None
        reports.ask(store, "crossed")
        reports.ask(store, "gone")
        theirs = background_reports.report_written_ahead(store, "crossed")
        # one that fails is none, and is asked for again by whoever needs it, to see why
        assert background_reports.report_written_ahead(store, "gone") is None
    assert theirs is not None
    assert (theirs.path, theirs.pictures, theirs.size) == (ours.path.resolve(), ours.pictures, ours.size)
    assert list(theirs.answers) == list(ours.answers)
    assert theirs.path.read_text() == page
    assert reports.process is not None
    assert reports.process.returncode == 0


def test_nothing_is_written_ahead_outside_of_a_block(store: Path) -> None:
    assert background_reports.report_written_ahead(store, "crossed") is None


def test_a_process_that_ended_leaves_no_report(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_reports.os, "cpu_count", lambda: 2)
    with background_reports.reports_ahead() as reports:
        assert reports is not None
        reports.ask(store, "crossed")
        assert reports.process is not None
        reports.process.kill()
        reports.process.wait()
        assert background_reports.report_written_ahead(store, "crossed") is None


def test_one_processor_writes_no_report_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_reports.os, "cpu_count", lambda: 1)
    with background_reports.reports_ahead() as reports:
        assert reports is None


@pytest.mark.parametrize("reply", ["", "null\n", '{"path": "/tm', "a warning of a library\n", "{}\n", "5\n"])
def test_a_reply_that_is_none_leaves_no_report(reply: str, store: Path) -> None:
    reports = background_reports.ReportsAhead()
    program = f"import sys; sys.stdin.readline(); print(end={reply!r})"
    reports.process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    reports.ask(store, "crossed")
    assert reports.take(store, "crossed") is None
    reports.close()
    assert reports.process.returncode == 0


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["by default", "ignored"])
def terminations(request: pytest.FixtureRequest) -> Iterator[None]:
    """What SIGTERM does, in this process and those that it starts: nothing where Dagster runs in the background."""
    before = signal.signal(signal.SIGTERM, request.param)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("terminations")
def test_an_interrupt_waits_for_no_report(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setattr(background_reports.os, "cpu_count", lambda: 2)
    started = []

    def interrupted() -> None:
        with background_reports.reports_ahead() as reports:
            assert reports is not None
            reports.ask(store, "crossed")
            started.append(reports.process)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].returncode == -signal.SIGKILL
