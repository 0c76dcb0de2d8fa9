"""Log what a run does, with the standard library's `logging`, under the logger ``mlm_ops``.

Every record has the attributes ``event``, ``run_id``, ``analysis``, ``model`` (None where there is none), the facts of
its event as further attributes, and ``facts``, the names of these. Importing sets nothing up: to get the records, set
the logger's level and add a handler, as `logging_to` does for the command line.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mlm_ops.errors import MlmError, StoreError

LOGGER = "mlm_ops"
#: The logger of queries, by whose level they are had without the other events of level DEBUG.
SQL_LOGGER = f"{LOGGER}.sql"
STANDARD_ERROR = "-"
#: What every line of a log has.
_KEYS = {"time", "level", "event", "run_id", "message"}
_LONGEST_LINE = 1_000_000
Fact = str | int | float | bool | None

_LOG = logging.getLogger(LOGGER)
_LOG.addHandler(logging.NullHandler())
_SQL_LOG = logging.getLogger(SQL_LOGGER)


class Event(StrEnum):
    """The events that are logged, in the order in which a run has them."""

    STARTED = "run_started"
    WAITED = "waited_for_database"
    READ = "file_read"
    CENTERED = "rows_centered"
    REBUILT = "partitions_read_again"
    QUERIED = "rows_queried"
    COLLECTED = "moments_collected"
    FITTED = "model_fitted"
    NO_BASELINE = "baseline_not_found"
    WRITTEN = "run_written"
    NOT_CONTINUED = "copy_built_anew"
    PUBLISHED = "results_published"
    REPORTED = "report_written"
    SET_ASIDE = "file_set_aside"
    FAILED = "failed"
    FINISHED = "run_finished"
    RUN_FAILED = "run_failed"


@dataclass(frozen=True)
class About:
    """The run, analysis and model that the current work belongs to, and the level at which it is logged."""

    run_id: str | None = None
    analysis: str | None = None
    model: str | None = None
    level: int = logging.INFO


_NO_CONTEXT = About()
_CONTEXT: ContextVar[About] = ContextVar("mlm_ops_about", default=_NO_CONTEXT)


def tell(event: Event, message: str, **facts: Fact) -> None:
    """Log an event; the current analysis and model are written before the message."""
    context = _CONTEXT.get()
    if _LOG.isEnabledFor(context.level):
        # Dagster keeps nothing but the message, so the names have to be in it
        subject = ", ".join(
            f"{what} {name}" for what, name in (("analysis", context.analysis), ("model", context.model)) if name
        )
        _log(context.level, event, f"{subject}: {message}" if subject else message, facts)


def logs_queries() -> bool:
    """Whether somebody asked for the queries, at level DEBUG."""
    return _SQL_LOG.isEnabledFor(logging.DEBUG)


def tell_query(sql: str, seconds: float) -> None:
    """Log a query of rows and its duration, at level DEBUG.

    Parameters
    ----------
    sql
        Its text without values: centers and levels are found in rows.
    """
    message = f"a query of {seconds:.3f} s: {' '.join(sql.split())}"
    _log(logging.DEBUG, Event.QUERIED, message, {"seconds": seconds}, _SQL_LOG)


def _log(level: int, event: Event, message: str, facts: Mapping[str, Fact], logger: logging.Logger = _LOG) -> None:
    context = _CONTEXT.get()
    ids = {"event": str(event), "run_id": context.run_id, "analysis": context.analysis, "model": context.model}
    logger.log(level, "%s", message, extra={**ids, **facts, "facts": tuple(facts)})


class Fitted(Protocol):
    """What is logged about a fit, mixed or structural."""

    @property
    def seconds(self) -> float:
        """The duration of the fit."""

    @property
    def converged(self) -> bool:
        """Whether the optimisation ended at a minimum."""

    @property
    def singular(self) -> bool:
        """Whether a covariance matrix lost a dimension."""


def tell_fit(fitted: Fitted, n_obs: int, log_likelihood: float) -> None:
    """Log that a model was fitted."""
    verdict = ", singular" * fitted.singular if fitted.converged else ", not converged"
    tell(
        Event.FITTED,
        f"fitted to {n_obs:,} rows in {fitted.seconds:.2f} s, log-likelihood {log_likelihood:.3f}{verdict}",
        n_obs=n_obs,
        seconds=fitted.seconds,
        log_likelihood=float(log_likelihood),
        converged=bool(fitted.converged),
        singular=bool(fitted.singular),
    )


@contextmanager
def about(
    *, run_id: str | None = None, analysis: str | None = None, model: str | None = None, level: int | None = None
) -> Iterator[None]:
    """Name the run, analysis and model of the records logged in a block, and log an error that leaves the block, once.

    Parameters
    ----------
    run_id, analysis, model
        None keeps the value of the outer block.
    level
        The level of the block's events: ``logging.DEBUG`` for work that a run repeats thousands of times.
    """
    outer = _CONTEXT.get()
    inner = About(
        run_id=outer.run_id if run_id is None else run_id,
        analysis=outer.analysis if analysis is None else analysis,
        model=outer.model if model is None else model,
        level=outer.level if level is None else level,
    )
    token = _CONTEXT.set(inner)
    try:
        yield
    except MlmError as error:
        if not error.logged:
            error.logged = True
            _log(error.level, Event.FAILED, str(error), {"error": type(error).__name__})
        raise
    finally:
        _CONTEXT.reset(token)


def tell_written(run_id: str, analysis: str, heights: Sequence[int], seconds: float) -> None:
    """Log that a run of an analysis was written to the store, in tables with these numbers of rows."""
    rows, tables = sum(heights), len(heights)
    with about(run_id=run_id, analysis=analysis):
        message = f"{tables} result tables with {rows:,} rows written"
        tell(Event.WRITTEN, message, n_written=rows, n_tables=tables, seconds=seconds)


@contextmanager
def whole_run(run_id: str) -> Iterator[None]:
    """Log the start and the end of a run, also where it ends by an error."""
    start = time.monotonic()
    with about(run_id=run_id):
        tell(Event.STARTED, "the run started")
        try:
            yield
        except BaseException as error:
            run_failed(error, time.monotonic() - start)
            if isinstance(error, MlmError):
                error.logged = True
            raise
        seconds = time.monotonic() - start
        tell(Event.FINISHED, f"the run finished in {seconds:.2f} s", seconds=seconds)


def run_failed(error: BaseException, seconds: float | None = None) -> None:
    """Log that a run was ended by an error, with the error's message."""
    kind, sentence = type(error).__name__, str(error)
    facts: dict[str, Fact] = {"error": kind, "seconds": seconds}
    if isinstance(error, KeyboardInterrupt):
        sentence = sentence or "Interrupted."
    elif not isinstance(error, MlmError):
        sentence = f"{kind}: {sentence}"
        facts["traceback"] = "".join(traceback.format_exception(error))
    _log(logging.ERROR, Event.RUN_FAILED, sentence, facts)


class JsonLines(logging.Formatter):
    """Write each record as one line of JSON: time (ISO, UTC), level, event, ids, message, facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; ``event`` is null for records that this module did not make."""
        time_text = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row: dict[str, object] = {"time": time_text, "level": record.levelname}
        row |= {name: getattr(record, name, None) for name in ("event", "run_id", "analysis", "model")}
        row["message"] = record.getMessage()
        row |= {name: _json_value(getattr(record, name)) for name in getattr(record, "facts", ())}
        # in ASCII, so that a name with control characters does nothing to the terminal that shows the log
        return json.dumps(row)


def _json_value(fact: Fact) -> Fact:
    """Return a fact as JSON has it: null for an infinity, and numbers with nine digits, which is enough."""
    if isinstance(fact, float):
        return float(f"{fact:.9g}") if math.isfinite(fact) else None
    return fact


class _LogFile(logging.FileHandler):
    """A log file whose failure to be written is reported once, and does not stop the run."""

    is_reported = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not self.is_reported:
            self.is_reported = True
            print(f"The log {self.baseFilename} cannot be written: {sys.exc_info()[1]}.", file=sys.stderr)


class _OnEvent(logging.Handler):
    """Calls a function with the message of each record of one event."""

    def __init__(self, event: Event, call: Callable[[str], None]) -> None:
        super().__init__()
        self._event, self._call = str(event), call

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == self._event:
            self._call(record.getMessage())


@contextmanager
def on_event(event: Event, call: Callable[[str], None]) -> Iterator[None]:
    """Call a function with the message of each event of a kind, for a block."""
    with _handled_by(_OnEvent(event, call)):
        yield


@contextmanager
def logging_to(target: str | None) -> Iterator[None]:
    """Append the block's records to a file as JSON lines, or write them to standard error for ``-``; None logs nothing.

    Raises
    ------
    StoreError
        The file cannot be opened, or is no log, such as the analysis file or the data.
    """
    if target is None:
        yield
        return
    try:
        if target != STANDARD_ERROR:
            _refuse_other_files(Path(target))
        handler = logging.StreamHandler() if target == STANDARD_ERROR else _LogFile(Path(target), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"The log {target} cannot be written: {error.strerror}. Name another with --log.") from error
    handler.setFormatter(JsonLines())
    try:
        with _handled_by(handler):
            yield
    finally:
        with suppress(OSError):
            handler.close()


def _refuse_other_files(path: Path) -> None:
    """Refuse a file whose first line is none of a log's; a file of data may consist of JSON lines, too."""
    if not path.is_file():
        return  # a new one, or a pipe or a terminal, which keep nothing
    with path.open("rb") as file:
        line = file.readline(_LONGEST_LINE)
    try:
        row = json.loads(line or b"{}")
    except (ValueError, RecursionError):
        row = None
    if line and not (isinstance(row, dict) and row.keys() >= _KEYS):
        raise StoreError(f"{path} is no log of mlm-ops. Name another file with --log; this one was left as it is.")


@contextmanager
def _handled_by(handler: logging.Handler) -> Iterator[None]:
    """Give the block's records, from INFO on, to a handler too."""
    level = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(handler)
