"""Turn a run's events into readable lines while it works, and its failure into one sentence."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster_shared.error import SerializableErrorInfo

from mlm_ops import errors

#: So many analyses, or more, get a line each instead of one for each of their assets.
MANY = 4
#: Checks that are worth a line when they pass, too: what was asked for is their answer.
TOLD_IF_PASSED = frozenset({"steps_agree"})
#: Assets of an analysis that are counted in its line, by the part of their keys that says what they are.
COUNTED = {"models": ("model", "models"), "sem": ("structural model", "structural models")}


@dataclass
class Progress:
    """Listen to one run.

    Attributes
    ----------
    report
        Takes the lines.
    failures
        The error that each failed step calls for.
    unmet
        Sentences of failed blocking checks, by step.
    on_published
        Called with a copy of the results and the name of the analysis that was published in it.
    analyses
        Names of the analyses that the run publishes, by the key of their results.
    published
        Copies of the results that were written, by the key of the asset that wrote them.
    last
        Key of the last asset that was materialized.
    interrupted
        Whether someone stopped the run, which is no failure of a step.
    """

    report: Callable[[str], None]
    on_published: Callable[[Path, str], None] | None = None
    analyses: Mapping[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    failures: list[errors.MlmError] = field(default_factory=list)
    failed_checks: dict[str, list[str]] = field(default_factory=dict)
    published: dict[str, Path] = field(default_factory=dict)
    last: str | None = None
    interrupted: bool = False
    _counts: dict[str, Counter[str]] = field(default_factory=dict)
    _messages: set[str] = field(default_factory=set)

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Take one event."""
        event = entry.dagster_event
        if event is None:
            # that an asset waits for the database, for one; Dagster itself logs skipped steps as errors
            if entry.level == logging.WARNING and entry.user_message not in self._messages:
                # every step may have to wait for the same process: once is enough
                self._messages.add(entry.user_message)
                self.report(f"  {entry.user_message}")
            return
        match event.event_type:
            case DagsterEventType.ASSET_MATERIALIZATION:
                self._materialized(event)
            case DagsterEventType.ASSET_CHECK_EVALUATION:
                self._checked(event)
            case DagsterEventType.STEP_FAILURE:
                self._failed(event)
            case DagsterEventType.RUN_CANCELED:
                self.interrupted = True
            case DagsterEventType.RUN_FAILURE if not self.failures:
                self.failures.append(errors.ProjectError(f"The run failed before its first step. {event.message}"))

    @property
    def is_brief(self) -> bool:
        """Whether each analysis gets one line, and not one for each of its assets, which would be a hundred."""
        return len(self.analyses) >= MANY

    def conclude(self) -> None:
        """Report of each analysis whether it was published; raise the errors of the failed steps, if any failed.

        Raises
        ------
        MlmError
            The step's own, or a `ProjectError` that names the step; one with a line for each where several differ.
        KeyboardInterrupt
            The run was stopped: Dagster keeps the interrupt to itself.
        """
        if self.interrupted:
            raise KeyboardInterrupt(f"Interrupted {self._when()}; {self._results_in_place()}.")
        for key, name in self.analyses.items():
            if not self.is_brief or key not in self.published:
                self.report(f"analysis {name}: {'published' if key in self.published else 'not published'}")
        if self.failures:
            raise errors.joined(self.failures)

    def _when(self) -> str:
        return f"after {self.last}" if self.last is not None else "before the first asset"

    def _results_in_place(self) -> str:
        names = [name for key, name in self.analyses.items() if key in self.published]
        if not names:
            return "nothing was published; the last results stay"
        if len(names) == len(self.analyses):
            return "the results were published"
        return f"{', '.join(names)} published; the others keep their last results"

    def _materialized(self, event: DagsterEvent) -> None:
        materialization = event.step_materialization_data.materialization
        name = self.last = materialization.asset_key.to_user_string()
        metadata = materialization.metadata
        summary = _text(metadata, "summary")
        if line := self._line(materialization.asset_key, summary):
            self.report(line)
        if path := _text(metadata, "published"):
            self.published[name] = Path(path)
            if self.on_published is not None and name in self.analyses:
                self.on_published(Path(path), self.analyses[name])

    def _line(self, key: dg.AssetKey, summary: str | None) -> str | None:
        """The line of an asset; with many analyses None for those that an analysis makes on its way to the results."""
        name = key.to_user_string()
        analysis = analysis_of(key, self.analyses) if self.is_brief else None
        if analysis is None:
            return f"{name}: {summary}" if summary else name
        counts = self._counts.setdefault(analysis, Counter())
        if name in self.analyses:
            parts = [f"{n} {words[n != 1]}" for kind, words in COUNTED.items() if (n := counts[kind])]
            return f"{analysis}: {', '.join([*parts, summary or 'published'])}"
        counts[key.path[-2 if len(key.path) > 1 and key.path[-2] in COUNTED else -1]] += 1
        return f"{name}: {summary}" if key.path[-1] == "report" else None

    def _checked(self, event: DagsterEvent) -> None:
        evaluation = event.asset_check_evaluation_data
        sentence = evaluation.description or evaluation.check_name
        analysis = analysis_of(evaluation.asset_key, self.analyses) if self.is_brief else None
        about = "" if analysis is None else f"{analysis}: "
        if evaluation.passed:
            if evaluation.check_name in TOLD_IF_PASSED:
                self.report(f"  {about}{sentence}")
            return
        if evaluation.severity is dg.AssetCheckSeverity.ERROR and evaluation.blocking:
            self.failed_checks.setdefault(event.step_key or "", []).append(sentence)
            return
        self.warnings.append(sentence)
        self.report(f"  {evaluation.severity.value.lower()}: {about}{sentence}")

    def _failed(self, event: DagsterEvent) -> None:
        step = event.step_key or "a step"
        causes = _causes(event.step_failure_data.error)
        if any(_is_interrupt(cause) for cause in causes):
            self.interrupted = True
            return
        # a step of several models may have one whose check failed and another that could not be fitted
        failed_checks = self.failed_checks.get(step)
        if failed_checks:
            self.failures.append(errors.MlmError(" ".join(failed_checks)))
        if not failed_checks or not any(cause.cls_name == "DagsterAssetCheckFailedError" for cause in causes):
            self.failures.append(_error_of(step, causes))


def analysis_of(key: dg.AssetKey, analyses: Mapping[str, str]) -> str | None:
    """The analysis that an asset is made by; None for a table that analyses start from.

    The keys of its assets begin as that of its results does, and may begin with the name of another analysis too.
    """
    names = {results.rpartition("/")[0]: name for results, name in analyses.items() if "/" in results}
    # the longest first
    prefixes = ("/".join(key.path[:length]) for length in range(len(key.path) - 1, 0, -1))
    return next((names[prefix] for prefix in prefixes if prefix in names), analyses.get(key.to_user_string()))


def _text(metadata: Mapping[str, object], name: str) -> str | None:
    value = getattr(metadata.get(name), "value", None)
    return None if value is None else str(value)


def _is_interrupt(cause: SerializableErrorInfo) -> bool:
    """Whether someone stopped the run; DuckDB raises an error of its own where a signal comes in a query."""
    names = {"DagsterExecutionInterruptedError", "KeyboardInterrupt", "InterruptException"}
    return cause.cls_name in names or (cause.cls_name == "RuntimeError" and "Query interrupted" in cause.message)


def _causes(info: SerializableErrorInfo | None) -> list[SerializableErrorInfo]:
    """List an error and what it was raised from, outermost first."""
    causes = []
    while info is not None:
        causes.append(info)
        info = info.cause
    return causes


def _error_of(step: str, causes: list[SerializableErrorInfo]) -> errors.MlmError:
    """Return the package's own error, or a sentence that says where to look for another.

    The package's error may itself be raised from another (a DuckDB message), so the outermost of its errors counts.
    """
    for cause in causes:
        kind = getattr(errors, cause.cls_name or "", None)
        if isinstance(kind, type) and issubclass(kind, errors.MlmError):
            return kind(_message(cause))
    reason = f"{causes[-1].cls_name}: {_message(causes[-1])}" if causes else "no reason given"
    return errors.ProjectError(f"The step {step} failed: {reason}. The run's page in `mlm ui` shows where.")


def _message(info: SerializableErrorInfo) -> str:
    """Return the message without the class in front of it."""
    return info.message.strip().partition(": ")[2] or info.message.strip()
