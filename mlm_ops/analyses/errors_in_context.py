"""Which analysis and model the work is for: in the sentence of an error, and in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlm_ops.analyses.rows import open_rows
from mlm_ops.errors import MlmError
from mlm_ops.logs import about
from mlm_ops.moments.from_macros import gather
from mlm_ops.moments.survey import check_rows, find_needs, take_survey
from mlm_ops.warehouse.source import Source

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.language.model import Model


@contextmanager
def naming(analysis: Analysis, what: str, model: str | None = None) -> Iterator[None]:
    """Put the analysis and what of it was being done before the sentence of an error."""
    with about(analysis=analysis.analysis, model=model):
        try:
            yield
        except MlmError as error:
            if error.logged:  # a block inside has named it
                raise
            raise type(error)(f"analysis {analysis.analysis}, {what}: {error}") from error


@contextmanager
def naming_analysis(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Say of an error in the data which analysis it is in and, where not all models have it, which models.

    The models of an analysis are scanned together; only after a fault is each looked at alone.
    """
    with about(analysis=analysis.analysis):
        try:
            yield
        except MlmError as error:
            raise type(error)(_sentences(analysis, connection, error)) from error


def _sentences(analysis: Analysis, connection: duckdb.DuckDBPyConnection, error: MlmError) -> str:
    found = _faults_by_model(analysis, connection)
    here = f"analysis {analysis.analysis}"
    if not found or (len(found) == 1 and len(analysis.models) == sum(map(len, found.values()))):
        return f"{here}: {next(iter(found), error)}"
    told = [f"{here}, model{'s' * (len(names) > 1)} {', '.join(names)}: {fault}" for fault, names in found.items()]
    return "\n".join(told)


def _faults_by_model(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """What is wrong with the rows for each model alone: the models by fault."""
    try:
        source = open_rows(analysis, connection)
    except MlmError:
        return {}
    found: dict[str, list[str]] = {}
    for name, model in analysis.parsed.items():
        if fault := _fault(analysis, source, model):
            found.setdefault(fault, []).append(name)
    return found


def _fault(analysis: Analysis, source: Source, model: Model) -> str | None:
    try:
        if analysis.form == "moments":
            gather(source, [model], analysis.level_columns, analysis.keys)
            return None
        needs = find_needs(source, [model], analysis.keys)
        check_rows(source, [model], needs, take_survey(source, needs))
    except MlmError as error:
        return str(error)
    return None
