"""The sentences of the checks."""

from __future__ import annotations

import polars as pl

from mlm_ops.inference.diagnostics.findings import Finding
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.collect import collect
from mlm_ops.plugins.dagster.checks import OtherPartitions, assumptions, enough_groups, sem_not_singular
from mlm_ops.warehouse.source import open_source
from tests.structural.cases import fitted


def test_every_finding_is_part_of_one_sentence() -> None:
    found = [
        Finding("influence", "school", "7", "x", flagged=True),
        Finding("outlier", "school", "{7}", p_value=0.004, flagged=True),
        Finding("normality", "school", term="(Intercept)", p_value=0.002, flagged=True),
        Finding("heteroscedasticity", "school", p_value=0.00001, flagged=True),
        Finding("heteroscedasticity", "residual", term="ses", estimate=1.6, p_value=0.00001, flagged=True),
        Finding("vif", term="income", level=2, estimate=23.456, flagged=True),
        Finding("normality", "residual", p_value=0.00001, flagged=True),
        Finding("largest_residual", "residual", p_value=0.003, flagged=True),
        Finding("binned_residual", "residual", term="ses", value=-1.23456, p_value=0.001, flagged=True),
    ]
    result = assumptions("m", pl.DataFrame([vars(one) for one in found]))
    assert not result.passed
    assert result.description == (
        "Of model m, the random effects of school {7} lie far out (p = 0.004), the effects (Intercept) of school are "
        "not normal (p = 0.002), the residual variances differ from school to school (p <0.001), the residual "
        "variances change along ses (p <0.001), income is nearly a combination of the other predictors of level 2 "
        "(variance inflation 23.5), the residuals are not normal (p <0.001), one residual lies far out (p = 0.003) and "
        "the residuals where ses is about -1.235 have a mean other than zero (p = 0.001)."
    )


def test_a_finding_whose_numbers_are_withheld() -> None:
    """As `min_publish_n` leaves those of all effects, where a small group is among them."""
    result = assumptions("m", pl.DataFrame([vars(Finding("normality", "school", term="(Intercept)", flagged=True))]))
    assert result.description == (
        "Of model m, the effects (Intercept) of school are not normal (the numbers are withheld, as small groups are "
        "among them)."
    )


def test_notes_of_a_structural_model_that_is_not_published_are_not_told() -> None:
    """They have numbers of its rows, and metadata are published too."""
    result = sem_not_singular(fitted("path_demo"), [])
    assert result.description == "All variances are positive."
    assert result.metadata["notes"].value == 0
    noted = sem_not_singular(fitted("path_demo"), ["x is at level 1 only, and has an ICC of 0.25"])
    assert noted.description == "x is at level 1 only, and has an ICC of 0.25"


def test_each_factor_has_to_have_enough_groups() -> None:
    """25 classes are enough, the 5 schools that they lie in are not; rows of a class and a subject are no groups."""
    rows = pl.DataFrame({"i": range(300)}).with_columns(
        subject=pl.col("i") % 3,
        school=pl.col("i") % 5,
        number=pl.col("i") // 60,
        y=(pl.col("i") * 7 % 11).cast(pl.Float64),
    )
    model = parse_formula("y ~ subject + (1 | school/number)")
    verdict = enough_groups(collect(open_source(rows), [model]), model.groups)
    assert not verdict.passed
    assert verdict.description == (
        "school has 5 groups: variances between fewer than 20, and their standard errors, are unreliable."
    )
    moments = collect(open_source(rows), [model], keys=["subject"])
    verdict = enough_groups(moments, [("school", "number")])
    assert verdict.passed
    assert verdict.description == "school:number has 25 groups."
    assert enough_groups(moments, []).description == "No model has groups."


def test_sizes_of_partitions_are_withheld_with_small_groups() -> None:
    changed = {"2026-01-07": (12, 11), "2026-01-08": (3, 0)}
    sentence = OtherPartitions(changed, {}, [], "days_moments_parts", shows_sizes=False).sentence
    assert sentence == "2 partitions have changed: 2026-01-07, 2026-01-08; materialize them."
    sentence = OtherPartitions(changed, {}, [], "days_moments_parts").sentence
    assert sentence == (
        "2 partitions have changed: 2026-01-07 (12 rows in the moments, 11 in the table), 2026-01-08 (3 rows in the "
        "moments, 0 in the table); materialize them."
    )
