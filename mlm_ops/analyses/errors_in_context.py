"""Name the analysis and the model in errors and in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlm_ops.errors import DataError, MlmError
from mlm_ops.logs import about

if TYPE_CHECKING:
    from mlm_ops.analyses.file.analysis import Analysis


@contextmanager
def model_in_errors(analysis: Analysis, what: str, model: str | None = None) -> Iterator[None]:
    """Put the analysis and what of it was being done before the sentence of an error."""
    with about(analysis=analysis.analysis, model=model):
        try:
            yield
        except MlmError as error:
            if error.logged:  # a block inside has named it
                raise
            raise type(error)(f"analysis {analysis.analysis}, {what}: {error}") from error


@contextmanager
def analysis_in_errors(analysis: Analysis) -> Iterator[None]:
    """Say of an error in the data which analysis it is in and, where not all models have it, which models.

    The models of an analysis are looked at together, and the error says what is wrong with which.
    """
    with about(analysis=analysis.analysis):
        try:
            yield
        except MlmError as error:
            raise type(error)(_sentences(analysis, error)) from error


def _sentences(analysis: Analysis, error: MlmError) -> str:
    here, names = f"analysis {analysis.analysis}", list(analysis.compiled_models)
    # behind the models of the file others may have been looked at, which have no name there
    places = error.by_model.items() if isinstance(error, DataError) else ()
    faults = {fault: own for fault, at in places if (own := [names[i] for i in at if i < len(names)])}
    if not faults or (len(faults) == 1 and len(names) == sum(map(len, faults.values()))):
        return f"{here}: {next(iter(faults), error)}"
    return "\n".join(f"{here}, model{'s' * (len(own) > 1)} {', '.join(own)}: {fault}" for fault, own in faults.items())
