"""The examples of docs/centering.md and docs/dagster.md about the table of centered rows, done as they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
from polars.testing import assert_series_equal

import mlm_ops.plugins.polars  # noqa: F401  registers .mlm
from mlm_ops.analyses.centered import create_centered
from mlm_ops.analyses.centered_agreement import compare_steps
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.plugins.centered_in_polars import create_centered_in_polars
from mlm_ops.plugins.dagster import Warehouse
from mlm_ops.plugins.dagster.plan import CHECKS

DOCS = Path(__file__).parents[2] / "docs"
CENTERING, DAGSTER = ((DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("centering", "dagster"))
SECTION = CENTERING.partition("## The centered rows\n")[2].partition("\n## ")[0]
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", SECTION, re.DOTALL))
STEPS = DAGSTER.partition("## Steps in SQL and in Polars\n")[2].partition("\n## ")[0]


def test_the_example_of_centering(warehouse: Warehouse) -> None:
    assert list(BLOCKS) == ["yaml", "sql", "python"]
    analysis = parse_analysis(BLOCKS["yaml"])
    with warehouse.connection() as connection:
        connection.execute(
            "create table pupils as select i % 7 as school, i % 3 as class, sin(i) as ses, 8 + i % 5 as age, "
            "sin(i) + cos(i * 7.1) + i % 7 as math from range(400) as r(i)"
        )
        create_centered(connection, analysis, "main.exams_centered")
        assert create_centered_in_polars(connection, analysis, "main.exams_centered_in_polars") is None
        assert compare_steps(connection, analysis).largest < 1e-12
        for table in ("exams_centered", "exams_centered_in_polars"):
            columns = {row[0] for row in connection.execute(f"describe {table}").fetchall()}
            assert columns >= {f"{name}" for name in re.findall(r"^\| `(\w+)`", SECTION, re.MULTILINE)}
            ((largest,),) = connection.execute(BLOCKS["sql"].replace("exams_centered", table)).fetchall()
            assert largest < 1e-14


def test_the_means_that_are_joined_are_those_of_within() -> None:
    rows = pl.LazyFrame({"school": [1, 2, 1, 2, 2], "ses": [0.5, float("nan"), 1.0, None, 4.0]})
    names = {"pl": pl, "rows": rows}
    exec(BLOCKS["python"], names)
    centered = names["centered"].collect()
    # a join may put the rows into another order
    within = centered.select(pl.col("ses").mlm.within("school")).to_series()  # type: ignore[attr-defined]
    assert_series_equal(centered["within_ses"], within, check_names=False, abs_tol=1e-15)


def test_the_example_of_dagster(
    pupils: Callable[..., pl.DataFrame], materialize: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", STEPS, re.DOTALL)
    for steps, assets in re.findall(r"^\| `(\w+)`[^|]*\| ([^|]*) \|", STEPS, re.MULTILINE):
        if steps == "steps":
            continue
        result = materialize(pupils(groups=25), of=parse_analysis(text.replace("steps: both", f"steps: {steps}")))
        assert result.success
        evaluations = result.get_asset_check_evaluations()
        assert all(evaluation.passed for evaluation in evaluations)
        keys = {key for event in result.get_asset_materialization_events() if (key := event.asset_key)}
        centered = {key.to_user_string() for key in keys if "centered" in key.path[-1]}
        assert centered == set(re.findall(r"`(pupils/\w+)`", assets))
        verdicts = {e.check_name for e in evaluations if "centered" in e.asset_key.path[-1]}
        assert verdicts == {"agrees_with_moments"} | ({"steps_agree"} if steps == "both" else set())
    assert "steps_agree" in CHECKS
