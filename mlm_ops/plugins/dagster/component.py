"""An analysis as a component: ``type: mlm_ops.MultilevelAnalysis`` in a defs.yaml."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import dagster as dg
import yaml

# the public package has no names for what resolves partitions
from dagster.components.resolved.core_models import (
    DailyPartitionsDefinitionModel,
    HourlyPartitionsDefinitionModel,
    TimeWindowPartitionsDefinitionModel,
    WeeklyPartitionsDefinitionModel,
    resolve_partitions_def,
)

from mlm_ops.errors import AnalysisError
from mlm_ops.language.analysis import Analysis, parse_analysis, read_analysis
from mlm_ops.language.reach import Reach
from mlm_ops.moments.files import is_data_file
from mlm_ops.plugins.dagster.assets import build_analysis_assets
from mlm_ops.plugins.dagster.plan import Severity
from mlm_ops.plugins.dagster.sensor import build_new_data_sensor
from mlm_ops.plugins.dagster.warehouse import Warehouse


class StaticPartitions(dg.Resolvable, dg.Model):
    """Partitions that are listed; YAML reads 2021 as a number, and a key is a text."""

    type: Literal["static"] = "static"
    partition_keys: Sequence[str | int]


class DynamicPartitions(dg.Resolvable, dg.Model):
    """Partitions that are added while the project runs."""

    type: Literal["dynamic"]
    name: str


PartitionsModel = (
    StaticPartitions
    | DynamicPartitions
    | HourlyPartitionsDefinitionModel
    | DailyPartitionsDefinitionModel
    | WeeklyPartitionsDefinitionModel
    | TimeWindowPartitionsDefinitionModel
)


def _partitions(context: dg.ResolutionContext, model: Any) -> dg.PartitionsDefinition[str] | None:
    if model is not None and model.type == "static":
        return dg.StaticPartitionsDefinition([str(key) for key in model.partition_keys])
    if model is not None and model.type == "dynamic":
        return dg.DynamicPartitionsDefinition(name=model.name)
    return resolve_partitions_def(context, model)


def _text(_: dg.ResolutionContext, value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _as_written(_: dg.ResolutionContext, value: Any) -> Any:
    """Leave an analysis alone: a template would read "0" as a number."""
    return value


@dataclass(frozen=True)
class MultilevelAnalysis(dg.Component, dg.Resolvable):
    """Multilevel models of one table: moments by one pass over the rows, a fit for each model, published results.

    Attributes
    ----------
    analysis
        Path of an analysis file, from the folder of defs.yaml; or the analysis itself, as a text block or a mapping.
    database
        DuckDB file with the table, from the project's root; results.duckdb is written beside it. Without it the
        project supplies a resource ``warehouse``.
    new_data_sensor
        Whether a sensor asks for a run when the rows change.
    allow_outside_project
        Whether the analysis file and the database may lie outside the project, and ``data`` and ``where`` of the
        analysis read what DuckDB can; otherwise they read tables, views and data files of the project.

    The others are as in `mlm_ops.plugins.dagster.build_analysis_assets`.
    """

    analysis: Annotated[
        str | dict[str, Any],
        dg.Resolver(_as_written, model_field_type=str | dict[Any, Any], inject_before_resolve=False),
    ]
    database: str | None = None
    upstream: dg.ResolvedAssetKey | None = None
    group_name: str | None = None
    partitions_def: Annotated[
        dg.PartitionsDefinition[str] | None, dg.Resolver(_partitions, model_field_type=PartitionsModel | None)
    ] = None
    fit_by: Annotated[str | None, dg.Resolver(_text, model_field_type=str | int | None)] = None
    severities: dict[str, str] | None = None
    automation_condition: Annotated[
        dg.AutomationCondition[Any] | None, dg.Resolver.default(model_field_type=str | None)
    ] = None
    freshness_policy: Annotated[dg.FreshnessPolicy | None, dg.Resolver.default(model_field_type=str | None)] = None
    owners: Sequence[str] | None = None
    tags: dict[str, str] | None = None
    new_data_sensor: bool = False
    allow_outside_project: bool = False

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Make the assets, checks and the sensor of the analysis.

        Raises
        ------
        AnalysisError
            The analysis is none, or a path leaves the project.
        """
        analysis = self._read(context)
        made = [
            build_analysis_assets(
                analysis,
                upstream=self.upstream,
                group_name=self.group_name,
                partitions_def=self.partitions_def,
                fit_by=self.fit_by,
                severities=_severities(self.severities),
                automation_condition=self.automation_condition,
                freshness_policy=self.freshness_policy,
                owners=self.owners,
                tags=self.tags,
            )
        ]
        if self.new_data_sensor:
            made.append(dg.Definitions(sensors=[build_new_data_sensor(analysis)]))
        if self.database is not None:
            path = self._inside(context, context.project_root / self.database)
            made.append(dg.Definitions(resources={"warehouse": _warehouse(path)}))
        return dg.Definitions.merge(*made)

    def _read(self, context: dg.ComponentLoadContext) -> Analysis:
        if isinstance(self.analysis, str) and "\n" not in self.analysis:
            path = self._inside(context, context.path / self.analysis)
            analysis = read_analysis(path, self.analysis)
        else:
            text = self.analysis if isinstance(self.analysis, str) else yaml.safe_dump(_texts(self.analysis))
            analysis = parse_analysis(text)
        analysis = analysis.reaching(Reach((context.project_root, context.path), self.allow_outside_project))
        if is_data_file(analysis.data):
            analysis.reach.place(analysis.data)
        return analysis

    def _inside(self, context: dg.ComponentLoadContext, path: Path) -> Path:
        """Resolve a path, links followed, and refuse one that leaves the project."""
        found, root = path.resolve(), context.project_root.resolve()
        if not self.allow_outside_project and not found.is_relative_to(root):
            raise AnalysisError(
                f"The path leaves the project. Got {path}; expected one under {root}. Move the file, or set "
                "allow_outside_project: true."
            )
        return found


@cache
def _warehouse(path: Path) -> Warehouse:
    """One resource a file: Dagster takes the same one of several components, but not two that are alike."""
    return Warehouse(directory=str(path.parent), database_file=path.name)


def _severities(given: Mapping[str, str] | None) -> dict[str, Severity]:
    """As the plan takes them; what is neither, the plan refuses with the others."""
    known: dict[str, Severity] = {"error": "error", "warn": "warn"}
    wrong = {check: severity for check, severity in (given or {}).items() if severity not in known}
    if wrong:
        found = ", ".join(f"{check}: {severity}" for check, severity in wrong.items())
        raise AnalysisError(f"A severity cannot be set so. Got {found}; expected error or warn.")
    return {check: known[severity] for check, severity in (given or {}).items()}


def _texts(value: Any) -> Any:
    """What an analysis file's reader returns: every scalar as text, as 0 is a formula's number and a model's name."""
    if isinstance(value, Mapping):
        return {_texts(key): _texts(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(content) for content in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
