"""The reference cases: R's numbers, their data, and our fits of them, each made once a session."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit

HERE = Path(__file__).parent


@cache
def case(name: str) -> dict[str, Any]:
    """One case, as R wrote it."""
    content: dict[str, Any] = json.loads((HERE / "cases" / f"{name}.json").read_text())
    return content


def names(*kinds: str) -> list[str]:
    """Names of the cases of these kinds."""
    paths = sorted((HERE / "cases").glob("*.json"))
    return [p.stem for p in paths if json.loads(p.read_text())["kind"] in kinds]


@cache
def connection() -> duckdb.DuckDBPyConnection:
    """An empty database in memory."""
    return duckdb.connect()


@cache
def table(name: str) -> str:
    """The case's table, with its derived columns, made in SQL independently of the package."""
    reference = case(name)
    csv = HERE / "data" / f"{reference['data']}.csv"
    expressions = [_derived(step) for step in reference["derived"] or []]
    connection().execute(
        f"create table {name} as select *{''.join(', ' + e for e in expressions)} from read_csv('{csv}', nullstr='')"
    )
    return name


def _derived(step: dict[str, Any]) -> str:
    of = step["of"]
    value = {
        "group_mean": lambda: f"avg({of}) over (partition by {step['by']})",
        "group_center": lambda: f"{of} - avg({of}) over (partition by {step['by']})",
        "grand_center": lambda: f"{of} - avg({of}) over ()",
        "divide": lambda: f"{of} / {step['value']}",
        "subtract": lambda: f"{of} - {step['value']}",
        "reciprocal": lambda: f"1.0 / {of}",
    }[step["op"]]()
    return f"{value} as {step['name']}"


@cache
def fitted(name: str) -> Fit:
    """Our fit of a case."""
    reference = case(name)
    estimator = {"REML": "reml", "ML": "ml", "OLS": "reml"}[reference["estimator"]]
    return fit(reference["formula"], table(name), connection=connection(), estimator=estimator)  # type: ignore[arg-type]
