"""Read ``partitions_def`` of a defs.yaml."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import BeforeValidator, Field


def _as_text(value: Any) -> Any:
    """YAML reads 2026-01-05 as a date and 2021 as a number, where Dagster wants texts."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, int | date) and not isinstance(value, bool) else value


_Text = Annotated[str, BeforeValidator(_as_text)]


class StaticPartitions(dg.Resolvable, dg.Model):
    """Partitions by a list of keys."""

    type: Literal["static"]
    partition_keys: Sequence[_Text]


class DynamicPartitions(dg.Resolvable, dg.Model):
    """Partitions that are added while the project runs, under this name."""

    type: Literal["dynamic"]
    name: str


class _Windows(dg.Model):
    start_date: _Text
    end_date: _Text | None = None
    timezone: str | None = None


class HourlyPartitions(dg.Resolvable, _Windows):
    """Hours, from ``start_date`` as in 2026-01-05-00:00."""

    type: Literal["hourly"]
    minute_offset: int = 0


class DailyPartitions(dg.Resolvable, _Windows):
    """Days, from ``start_date`` as in 2026-01-05."""

    type: Literal["daily"]
    minute_offset: int = 0
    hour_offset: int = 0


class WeeklyPartitions(dg.Resolvable, _Windows):
    """Weeks, which begin on Sunday unless ``day_offset`` says otherwise."""

    type: Literal["weekly"]
    minute_offset: int = 0
    hour_offset: int = 0
    day_offset: int = 0


class MonthlyPartitions(dg.Resolvable, _Windows):
    """Months, which begin on day 1 unless ``day_offset`` says otherwise."""

    type: Literal["monthly"]
    minute_offset: int = 0
    hour_offset: int = 0
    day_offset: int = 1


class TimeWindowPartitions(dg.Resolvable, _Windows):
    """Windows of time that begin at the ticks of a cron schedule; ``fmt`` writes their keys."""

    type: Literal["time_window"]
    cron_schedule: str
    fmt: str


#: With the type as discriminator a misspelt key is one error, not one for each type.
PartitionsModel = Annotated[
    StaticPartitions
    | DynamicPartitions
    | HourlyPartitions
    | DailyPartitions
    | WeeklyPartitions
    | MonthlyPartitions
    | TimeWindowPartitions,
    Field(discriminator="type"),
]

_DEFINITIONS: Mapping[str, Callable[..., dg.PartitionsDefinition[str]]] = {
    "static": dg.StaticPartitionsDefinition,
    "dynamic": lambda name: dg.DynamicPartitionsDefinition(name=name),
    "hourly": dg.HourlyPartitionsDefinition,
    "daily": dg.DailyPartitionsDefinition,
    "weekly": dg.WeeklyPartitionsDefinition,
    "monthly": dg.MonthlyPartitionsDefinition,
    "time_window": lambda start_date, end_date, **options: dg.TimeWindowPartitionsDefinition(
        start=start_date, end=end_date, **options
    ),
}


def resolve_partitions(_: dg.ResolutionContext, model: Any) -> dg.PartitionsDefinition[str] | None:
    """Make Dagster's partitions of those in a defs.yaml; a template may already have made them."""
    if model is None or isinstance(model, dg.PartitionsDefinition):
        return model
    return _DEFINITIONS[model.type](**model.model_dump(exclude={"type"}))
