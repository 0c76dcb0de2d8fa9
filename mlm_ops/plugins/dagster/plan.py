"""Name the assets and checks of an analysis, and refuse analyses that cannot have them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict, get_args

import dagster as dg

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.run import centered_table, moments_table, polars_table
from mlm_ops.errors import AnalysisError
from mlm_ops.language.option_values import UnsuitableValueError, take_names
from mlm_ops.language.options import Severity

#: Every check of an analysis' assets, and whether its failure stops what comes after where no severity is set.
CHECKS = {
    "rows_accounted_for": True,
    "enough_groups": False,
    "agrees_with_moments": False,
    "steps_agree": False,
    "converged": True,
    "not_singular": False,
    "no_influential_unit": False,
    "assumptions": False,
    "no_drift": False,
}
#: More steps than an analysis has.
MOST_STEPS = 10_000
#: Seconds until a step that failed is tried again.
RETRY_DELAY = 10.0
#: The place of a step that comes after those of all other analyses.
LAST = 2_000 * MOST_STEPS


@dataclass(frozen=True)
class StepSettings:
    """Hold how the steps of an analysis are run.

    Attributes
    ----------
    resource
        Key of the resource that is the warehouse.
    priority
        Of the analysis among others of a run.
    pool
        Of Dagster, whose limit says how many steps run at a time; None for none.
    retries
        How often a step that failed is tried again.
    separate
        Whether every model is a step of its own.
    """

    resource: str = "warehouse"
    priority: int = 0
    pool: str | None = None
    retries: int = 0
    separate: bool = False


class StepOptions(TypedDict):
    """Options of a step as Dagster takes them."""

    op_tags: dict[str, str]
    pool: str | None
    retry_policy: dg.RetryPolicy | None
    required_resource_keys: set[str]


@dataclass(frozen=True)
class Plan:
    """Hold the keys of one analysis' assets, how severe a failed check is, and how its steps are run."""

    analysis: Analysis
    upstream: dg.AssetKey
    group: str
    severities: Mapping[str, Severity] = field(default_factory=dict)
    steps: StepSettings = field(default_factory=StepSettings)
    prefix: tuple[str, ...] = ()

    def step(self, place: int = 0) -> StepOptions:
        """Options of a step; of the steps that are ready, a run takes the one with the highest priority."""
        steps = self.steps
        return {
            "op_tags": {"dagster/priority": str(steps.priority * MOST_STEPS - place)},
            "pool": steps.pool,
            "retry_policy": dg.RetryPolicy(max_retries=steps.retries, delay=RETRY_DELAY) if steps.retries else None,
            "required_resource_keys": {steps.resource},
        }

    def blocks(self, check: str) -> bool:
        """Whether a failure of this check stops the assets after it."""
        return CHECKS[check] if check not in self.severities else self.severities[check] == "error"

    def checks(self, key: dg.AssetKey, descriptions: Mapping[str, str]) -> list[dg.AssetCheckSpec]:
        """Checks of an asset, from their descriptions by name."""
        return [
            dg.AssetCheckSpec(name, asset=key, blocking=self.blocks(name), description=description)
            for name, description in descriptions.items()
        ]

    def fit_checks(self, key: dg.AssetKey, converged: str, not_singular: str) -> list[dg.AssetCheckSpec]:
        """The two checks of every fit, from their descriptions."""
        return self.checks(key, {"converged": converged, "not_singular": not_singular})

    def with_severities(self, results: Sequence[dg.AssetCheckResult]) -> list[dg.AssetCheckResult]:
        """The results with their severities: an error is what stops the assets after it, and fails the run."""
        severities = {True: dg.AssetCheckSeverity.ERROR, False: dg.AssetCheckSeverity.WARN}
        return [result._replace(severity=severities[self.blocks(result.check_name or "")]) for result in results]

    def key(self, *parts: str) -> dg.AssetKey:
        """Key of one of the analysis' assets."""
        return dg.AssetKey([*self.prefix, self.analysis.analysis, *parts])

    @property
    def centered(self) -> dg.AssetKey:
        """Key of the table with the within/between split."""
        return self.key("centered")

    @property
    def centered_in_polars(self) -> dg.AssetKey:
        """Key of the table that Polars makes beside the one of SQL."""
        return self.key("centered_in_polars")

    @property
    def moments(self) -> dg.AssetKey:
        """Key of the moments."""
        return self.key("moments")

    def model(self, name: str) -> dg.AssetKey:
        """Key of one model."""
        return self.key("models", name)

    @property
    def models(self) -> list[dg.AssetKey]:
        """Keys of all models, in the order of the file."""
        return [self.model(name) for name in self.analysis.models]

    def sem(self, name: str) -> dg.AssetKey:
        """Key of one structural equation model."""
        return self.key("sem", name)

    @property
    def compared(self) -> list[str]:
        """Models that a comparison names, in the order of the file."""
        names = {name for pair in self.analysis.compare for name in pair}
        return [name for name in self.analysis.models if name in names]

    def code_version(self, *texts: object) -> str:
        """Hash of what the asset is computed from: when it changes, the UI marks the asset as out of date."""
        return hashlib.sha256(repr((self.analysis.data, self.analysis.where, *texts)).encode()).hexdigest()[:12]


def key_parts(prefix: Sequence[str] | str) -> list[str]:
    """The parts of a key's beginning, which a text has between slashes as Dagster's own keys do."""
    texts = [prefix] if isinstance(prefix, str) else prefix
    return [part for text in texts for part in text.split("/") if part]


def asset_key(value: object) -> dg.AssetKey:
    """Read an asset's key from a key, a text or the parts of one."""
    if isinstance(value, dg.AssetKey):
        return value
    parts = take_names(value)
    if not parts:
        raise UnsuitableValueError
    return dg.AssetKey.from_coercible(parts[0] if isinstance(value, str) else list(parts))


def make_plan(
    analysis: Analysis,
    upstream: dg.AssetKey | Sequence[str] | str | None,
    group: str | None,
    severities: Mapping[str, Severity] | None = None,
    steps: StepSettings = StepSettings(),
    prefix: Sequence[str] = (),
) -> Plan:
    """Name the assets of an analysis.

    Raises
    ------
    AnalysisError
        A name that Dagster cannot take, data that the analysis itself would overwrite, or a severity of no check.
    """
    _require_checks(severities or {})
    _require_plain([analysis.analysis, *analysis.models, *analysis.sem])
    _require_other_data(analysis)
    table_asset = _table_name(analysis) if upstream is None else upstream
    return Plan(
        analysis,
        dg.AssetKey.from_coercible(table_asset),
        group or analysis.analysis,
        severities or {},
        steps,
        tuple(prefix),
    )


def require_column(analysis: Analysis, partitions_def: dg.PartitionsDefinition[str] | None, fit_by: str | None) -> None:
    """Refuse partitions without a column that holds their keys, and columns without partitions.

    Raises
    ------
    AnalysisError
        The partitions or the column are missing, or the data are moments, which have no rows to partition.
    """
    if analysis.form == "moments" and partitions_def is not None:
        raise AnalysisError(
            f"The data of {analysis.analysis} are moments, which no partition of rows can be taken from. Leave out "
            "partitions_def."
        )
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        dimensions = ", ".join(dimension.name for dimension in partitions_def.partitions_defs)
        raise AnalysisError(
            f"The partitions of {analysis.analysis} have several dimensions. Got {dimensions}; expected one. "
            "Make one column of them, and its values the partition keys."
        )
    if fit_by is not None and partitions_def is None:
        raise AnalysisError(f"fit_by needs partitions. Got the column {fit_by!r} alone; give partitions_def too.")
    if fit_by is not None and analysis.partition is not None:
        raise AnalysisError(
            f"The analysis {analysis.analysis} has a partition, whose moments are added up, and fit_by, which fits "
            "every partition alone. Leave out one of them."
        )
    if partitions_def is not None and fit_by is None and analysis.partition is None:
        raise AnalysisError(
            f"The partitions of {analysis.analysis} have no column. Write partition: with its name in the analysis to "
            "add up their moments, or give fit_by to fit each alone."
        )


def _require_checks(severities: Mapping[str, Severity]) -> None:
    faults = [name for name, severity in severities.items() if name not in CHECKS or severity not in get_args(Severity)]
    if faults:
        settings = ", ".join(f"{name}: {severities[name]}" for name in faults)
        raise AnalysisError(
            f"A severity cannot be set so. Got {settings}; expected error or warn for one of {', '.join(CHECKS)}."
        )


def _require_plain(names: Sequence[str]) -> None:
    faults = [repr(name) for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None]
    if faults:
        raise AnalysisError(
            f"Dagster cannot name assets so. Got {', '.join(faults)}; expected letters, digits and underscores, a "
            "letter first. Rename them in the analysis file."
        )


def _table_name(analysis: Analysis) -> str:
    """The name of the analysis' table, by which its asset is called unless `upstream` names one."""
    name = analysis.data.rpartition(".")[2].strip('"')
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
        raise AnalysisError(
            f"The data name no asset that Dagster knows. Got {analysis.data!r}; expected the name of a table in "
            "letters, digits and underscores. Name the asset that makes it with upstream."
        )
    return name


def _require_other_data(analysis: Analysis) -> None:
    name = analysis.data.rpartition(".")[2].strip('"').lower()
    tables = {centered_table(analysis), polars_table(analysis), moments_table(analysis)}
    if name in {table.rpartition(".")[2].lower() for table in tables}:
        raise AnalysisError(
            f"The data of the analysis {analysis.analysis} would be overwritten: {analysis.data} is the name of a "
            "table that it makes. Rename the analysis."
        )
