"""Make an analysis' assets from a defs.yaml: the component ``type: mlm_ops.MultilevelAnalysis``."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import dagster as dg
import yaml

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis, read_analysis
from mlm_ops.analyses.file.keys import EXPECTED
from mlm_ops.errors import AnalysisError
from mlm_ops.language.options import Severity
from mlm_ops.plugins.dagster.assets import build_analysis_assets
from mlm_ops.plugins.dagster.partitions_in_yaml import PartitionsModel, resolve_partitions
from mlm_ops.plugins.dagster.plan import CHECKS
from mlm_ops.plugins.dagster.scaffold import AnalysisScaffolder
from mlm_ops.plugins.dagster.sensor import build_new_data_sensor, no_sensor_with_fit_by
from mlm_ops.plugins.dagster.warehouse import Warehouse, database_file
from mlm_ops.warehouse.connection import ADDRESS
from mlm_ops.warehouse.files.kinds import is_data_file
from mlm_ops.warehouse.sandbox import Reach


def _asset_key(_: dg.ResolutionContext, value: str | None) -> dg.AssetKey | None:
    return None if value is None else dg.AssetKey.from_user_string(value)


def _text(_: dg.ResolutionContext, value: str | int | None) -> str | None:
    return None if value is None else str(value)


def _as_written(_: dg.ResolutionContext, value: Any) -> Any:
    """Leave an analysis alone: a template would read "0" as a number."""
    return value


#: What a source to attach may begin with where a file follows.
_SCHEME_OF_FILE = re.compile(r"^(?:(?:duckdb|sqlite|ducklake):)+")
#: Templates of a value, and the variables of the environment that one takes without another value for them.
_TEMPLATES, _VARIABLES = re.compile(r"\{\{(.*?)\}\}"), re.compile(r"\benv\.(\w+)")


def _schema_of_analysis() -> dict[str, Any]:
    """The JSON schema by which ``dg check yaml`` looks into an analysis that is written out in the file."""
    keys = {name: {"description": EXPECTED[name]} if name in EXPECTED else {} for name in Analysis.model_fields}
    required = [name for name, field in Analysis.model_fields.items() if field.is_required()]
    mapping = {"type": "object", "properties": keys, "required": required, "additionalProperties": False}
    return {"anyOf": [{"type": "string"}, mapping]}


def _where_set(context: dg.ResolutionContext, value: Any) -> Any:
    """Resolve a value, and refuse one whose variable of the environment is not set: Dagster would pass over it."""
    for text in value.values() if isinstance(value, Mapping) else [value]:
        names = [name for part in _TEMPLATES.findall(str(text)) for name in _VARIABLES.findall(part)]
        if missing := [name for name in names if not os.environ.get(name)]:
            raise AnalysisError(
                f"The variable {missing[0]} of the environment is not set, which {str(text).strip()} names. Set it."
            )
    return context.resolve_value(value)


def _is_path(value: str | dict[Any, Any]) -> bool:
    return isinstance(value, str) and "\n" not in value


def _analysis_text(value: str | dict[Any, Any]) -> str:
    return value if isinstance(value, str) else yaml.safe_dump(_texts(value))


@dg.scaffold_with(AnalysisScaffolder)
@dataclass(frozen=True)
class MultilevelAnalysis(dg.Component, dg.Resolvable):
    """Multilevel models of one table: moments by one pass over the rows, a fit for each model, published results.

    Each key is described where it is declared, and does what `mlm_ops.plugins.dagster.build_analysis_assets` says.
    """

    analysis: Annotated[
        str | dict[str, Any],
        dg.Resolver(
            _as_written,
            model_field_type=str | dict[Any, Any],
            json_schema_extra=_schema_of_analysis(),
            inject_before_resolve=False,
            description="Path of an analysis file, from the folder of this file; or the analysis itself, as a text "
            "block or a mapping.",
            examples=["analysis.yaml"],
        ),
    ]
    database: Annotated[
        str | None,
        dg.Resolver(
            _where_set,
            inject_before_resolve=False,
            model_field_type=str | None,
            description="DuckDB file with the table, from the project's root; results.duckdb is written beside it. "
            "Without it the project supplies a resource `warehouse`.",
            examples=["data/warehouse.duckdb"],
        ),
    ] = None
    resource: Annotated[
        str,
        dg.Resolver.default(
            description="Key of the resource that is the warehouse; components of two databases name two.",
            examples=["survey"],
        ),
    ] = "warehouse"
    attach: Annotated[
        dict[str, str] | None,
        dg.Resolver(
            _where_set,
            inject_before_resolve=False,
            model_field_type=dict[str, str] | None,
            description="Other databases to read, by the name that they have in `data`: a DuckDB file from the "
            "project's root, or what DuckDB's ATTACH takes.",
            examples=[{"shop": "postgres:{{ env.SHOP_DSN }}"}],
        ),
    ] = None
    wait: Annotated[
        float, dg.Resolver.default(description="Seconds to wait while another process writes to the database.")
    ] = 30.0
    results_folder: Annotated[
        str | None,
        dg.Resolver.default(
            description="Folder of results.duckdb and of the reports, from the project's root; by default that of the "
            "database. Two databases publish to two.",
            examples=["data/survey"],
        ),
    ] = None
    upstream: Annotated[
        dg.AssetKey | None,
        dg.Resolver(
            _asset_key,
            model_field_type=str | None,
            description="Key of the asset that makes the table: a dbt model, a load, any other. By default the last "
            "part of the table's name.",
            examples=["marts/students"],
        ),
    ] = None
    group_name: Annotated[
        str | None,
        dg.Resolver.default(
            model_field_type=str | None, description="Group of the assets; by default the analysis' name."
        ),
    ] = None
    key_prefix: Annotated[
        Sequence[str] | None,
        dg.Resolver.default(description="Parts before the analysis' name in every key.", examples=[["marts"]]),
    ] = None
    partitions_def: Annotated[
        dg.PartitionsDefinition[str] | None,
        dg.Resolver(
            resolve_partitions,
            model_field_type=PartitionsModel | None,
            description="Partitions: with fit_by each is fitted alone; else the moments of the analysis' `partition` "
            "are added up.",
            examples=[{"type": "daily", "start_date": "2026-01-01"}],
        ),
    ] = None
    fit_by: Annotated[
        str | None,
        dg.Resolver(
            _text,
            model_field_type=str | int | None,
            description="Column whose values are the partition keys, or lie in their windows of time: each partition "
            "is fitted alone and published as the analysis `<analysis>[<key>]`.",
        ),
    ] = None
    severities: Annotated[
        dict[str, str] | None,
        dg.Resolver.default(
            description=f"error or warn by name of a check: {', '.join(CHECKS)}.",
            examples=[{"not_singular": "error"}],
        ),
    ] = None
    automation_condition: Annotated[
        dg.AutomationCondition[Any] | None,
        dg.Resolver.default(
            model_field_type=str | None,
            description="When the assets are made without being asked for.",
            examples=["{{ dg.AutomationCondition.eager() }}"],
        ),
    ] = None
    freshness_policy: Annotated[
        dg.FreshnessPolicy | None,
        dg.Resolver.default(
            model_field_type=str | None,
            description="How old the assets may be.",
            examples=["{{ dg.FreshnessPolicy.time_window(fail_window=datetime.timedelta(hours=36)) }}"],
        ),
    ] = None
    owners: Annotated[Sequence[str] | None, dg.Resolver.default(description="Owners of the assets.")] = None
    tags: Annotated[dict[str, str] | None, dg.Resolver.default(description="Tags of the assets.")] = None
    pool: Annotated[
        str | None,
        dg.Resolver.default(
            description="Pool of every step. With a limit of 1, runs of several processes do not wait for each other's "
            "lock on the database.",
            examples=["warehouse"],
        ),
    ] = None
    retries: Annotated[
        int,
        dg.Resolver.default(
            description="How often a step that failed is tried again, such as one that waited for the database in "
            "vain; not after an error that somebody has to correct, such as a column that does not exist."
        ),
    ] = 0
    centered: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether there is a table with the within/between split. No model is fitted from it."
        ),
    ] = True
    new_data_sensor: Annotated[
        bool, dg.Resolver.default(description="Whether a sensor asks for a run when the rows change.")
    ] = False
    report: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether there is an asset `report`, which writes the results as an HTML page with pictures."
        ),
    ] = False
    separate_steps: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether every model is a step of its own, which a run can give to another process and retry "
            "alone; by default all models are one step, which loads the moments and writes rows once."
        ),
    ] = False
    database_outside_project: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether the database may lie outside the project; the analysis reads no more for it."
        ),
    ] = False
    allow_files: Annotated[
        bool,
        dg.Resolver.default(
            description="Whether the analysis file may lie outside the project, and its `data` and `where` read "
            "whatever DuckDB can; otherwise they read tables, views and data files of the project."
        ),
    ] = False
    allow_outside_project: Annotated[
        bool,
        dg.Resolver.default(
            description="Until the next release: the same as `database_outside_project: true` and `allow_files: true`."
        ),
    ] = False

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Make the assets, checks and the sensor of the analysis.

        Raises
        ------
        AnalysisError
            The analysis has a fault, or a path leaves the project; the file is named.
        """
        try:
            return self._build(context)
        except AnalysisError as error:
            raise AnalysisError(f"{_file(context)}: {error}") from error

    def _build(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        analysis = self._read(context)
        definitions = [
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
                report=self.report,
                separate_steps=self.separate_steps,
                centered=self.centered,
                pool=self.pool,
                retries=self.retries,
                key_prefix=self.key_prefix or (),
                resource=self.resource,
            )
        ]
        if self.new_data_sensor:
            if self.fit_by is not None:
                raise AnalysisError(no_sensor_with_fit_by(analysis.analysis))
            definitions.append(dg.Definitions(sensors=[self._sensor(analysis)]))
        if self.database is not None:
            definitions.append(dg.Definitions(resources={self.resource: self._warehouse(context, self.database)}))
        elif self.attach:
            raise AnalysisError("attach needs a database to attach others to. Give database too.")
        elif self.results_folder is not None:
            raise AnalysisError(
                "results_folder is where the results of a database go. Give database too, or set it on the resource "
                f"{self.resource}."
            )
        return dg.Definitions.merge(*definitions)

    def _sensor(self, analysis: Analysis) -> dg.SensorDefinition:
        return build_new_data_sensor(analysis, key_prefix=self.key_prefix or (), resource=self.resource)

    def _warehouse(self, context: dg.ComponentLoadContext, database: str) -> Warehouse:
        allowed = self.database_outside_project or self.allow_outside_project
        switch = "database_outside_project: true"
        file = context.project_root / database_file(database, "The database of a component")
        path = _inside(context, file, "database", allowed, switch)
        sources = {}
        for name, source in (self.attach or {}).items():
            place = _SCHEME_OF_FILE.sub("", source)
            if ADDRESS.match(place):
                sources[name] = source
            else:
                scheme, file = source.removesuffix(place), context.project_root / place
                sources[name] = f"{scheme}{_inside(context, file, name, allowed, switch)}"
        results = None
        if self.results_folder is not None:
            folder = context.project_root / self.results_folder
            results = _inside(context, folder, "results_folder", allowed, switch)
        warehouse = _warehouse(path, self.wait, tuple(sorted(sources.items())), results)
        _check_beside_others(context, self.resource, warehouse)
        return warehouse

    def _read(self, context: dg.ComponentLoadContext) -> Analysis:
        files = self.allow_files or self.allow_outside_project
        if isinstance(self.analysis, str) and _is_path(self.analysis):
            path = _inside(context, context.path / self.analysis, "analysis file", files, "allow_files: true")
            analysis = read_analysis(path, self.analysis)
        else:
            analysis = parse_analysis(_analysis_text(self.analysis))
        analysis = analysis.reaching(Reach((context.project_root, context.path), files))
        if is_data_file(analysis.data):
            analysis.reach.place(analysis.data)
        return analysis


def _inside(context: dg.ComponentLoadContext, path: Path, what: str, allowed: bool, switch: str) -> Path:
    """Resolve a path, links followed, and refuse one that leaves the project where that is not allowed."""
    place, root = path.resolve(), context.project_root.resolve()
    if not allowed and not place.is_relative_to(root):
        raise AnalysisError(
            f"The path of the {what} leaves the project. Got {path}; expected one under {root}. Move the file, or set "
            f"{switch}."
        )
    return place


@cache
def _warehouse(path: Path, wait: float, attached: tuple[tuple[str, str], ...], results: Path | None) -> Warehouse:
    """One resource per file: Dagster takes the same object from several components, but not two equal ones."""
    return Warehouse(
        directory=str(path.parent),
        database_file=path.name,
        results_folder=None if results is None else str(results),
        wait=wait,
        attach=dict(attached),
    )


@dataclass
class _Loading:
    """Hold the warehouses of the code location whose components are being loaded.

    Attributes
    ----------
    tree
        Its components: another one is another code location, or the same loaded anew.
    warehouses
        By the key of their resource, each with a file that names it.
    """

    tree: object = None
    warehouses: dict[str, tuple[Warehouse, str]] = field(default_factory=dict)


_LOADING = _Loading()


def _check_beside_others(context: dg.ComponentLoadContext, key: str, warehouse: Warehouse) -> None:
    """Refuse a second warehouse of the same key, and a second database whose results would go to the same file.

    Dagster would refuse the first without a word about databases; of the second, each run would undo the other's.
    """
    if _LOADING.tree is not context.component_tree:
        _LOADING.tree, _LOADING.warehouses = context.component_tree, {}
    others = _LOADING.warehouses
    root, name = context.project_root.resolve(), warehouse.database.stem
    here = _from(root, warehouse.database)
    for other_key, (other, file) in others.items():
        there = _from(root, other.database)
        if other_key == key and other is not warehouse:
            if other.database == warehouse.database:
                raise AnalysisError(
                    f"The resource {key} is set in two ways: {file} gives the database {here} another wait, attach or "
                    "results_folder. Write the same in both, or name a second resource: resource: other."
                )
            raise AnalysisError(
                f"The resource {key} would be two databases: {here} here, and {there} in {file}. Name this one: "
                f"resource: {name if name != key else 'other'}."
            )
        if other.database != warehouse.database and other.results == warehouse.results:
            raise AnalysisError(
                f"The results of {here} would take the place of those of {there}, which {file} publishes to "
                f"{_from(root, other.results)} too. Give each database a folder of its own, or write results_folder: "
                f"{_from(root, warehouse.database.with_suffix(''))}."
            )
    others.setdefault(key, (warehouse, _file(context)))


def _from(root: Path, path: Path) -> str:
    """A path from the project's root where it lies in it."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def _file(context: dg.ComponentLoadContext) -> str:
    """The file that holds the component, from the project's root where it lies in it."""
    folder = context.path
    place = next((folder / name for name in ("defs.yaml", "defs.yml") if (folder / name).is_file()), folder)
    return _from(context.project_root, place)


def _severities(severities: Mapping[str, str] | None) -> dict[str, Severity]:
    """Severities by check; the plan refuses those of checks that do not exist."""
    choices: dict[str, Severity] = {name: name for name in get_args(Severity)}
    faults = [f"{check}: {severity}" for check, severity in (severities or {}).items() if severity not in choices]
    if faults:
        raise AnalysisError(f"A severity cannot be set so. Got {', '.join(faults)}; expected error or warn.")
    return {check: choices[severity] for check, severity in (severities or {}).items()}


def _texts(value: Any) -> Any:
    """Turn every scalar into text, as the reader of analysis files does: ``0`` may be a formula or a model's name."""
    if isinstance(value, Mapping):
        return {_texts(key): _texts(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(content) for content in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
