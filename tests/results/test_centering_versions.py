"""One model raw and centered in every way: numbers of lme4, equalities that hold whatever the data, and sentences."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from mlm_ops.results.text.centering import remarks, versions_table

REFERENCE = Path(__file__).parents[1] / "specification" / "reference"
DATA = REFERENCE / "data"
#: What lme4 finds is known to about this share: the optimum of each is flat beyond.
LME4 = 2e-5
#: Numbers that are equal whatever the data are found by the same algorithm from the same columns, or others that span
#: the same space: equal up to the rounding of their cross-products.
ROUNDING = 1e-9

Row = dict[str, Any]


def versions(formula: str, data: str = "hsb", **options: Any) -> pl.DataFrame:
    """The table of a model's versions."""
    return mlm.fit(formula, DATA / f"{data}.csv", **options).centering()


def find(
    table: pl.DataFrame, version: str, quantity: str, predictor: str | None = None, other: str | None = None
) -> Row:
    """One row, of random effects that of the first grouping factor."""
    for row in table.to_dicts():
        asked = (version, quantity, predictor, other)
        if (row["version"], row["quantity"], row["predictor"], row["other"]) == asked and row["group"] != "residual":
            return row
    raise AssertionError((version, quantity, predictor, other))


def case(name: str) -> dict[str, Any]:
    """A reference case of lme4."""
    return json.loads((REFERENCE / "cases" / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("formula", "name", "version"),
    [
        ("mathach ~ ses + (1 | school)", "hsb_rancova_raw", "raw"),
        ("mathach ~ ses + (1 | school)", "hsb_rancova_cwc", "group mean"),
        ("mathach ~ ses + (1 | school)", "hsb_within_between", "group mean + mean"),
        # the model may be given centered already: its raw version is the same
        ("mathach ~ within(ses) + between(ses) + (1 | school)", "hsb_rancova_raw", "raw"),
        ("mathach ~ within(ses) + between(ses) + (1 | school)", "hsb_within_between", "group mean + mean"),
        ("mathach ~ center(ses) + (1 | school)", "hsb_rancova_cwc", "group mean"),
        ("mathach ~ ses + (ses | school)", "hsb_random_slope_raw", "raw"),
        ("mathach ~ ses + (ses | school)", "hsb_random_slope_cwc", "group mean"),
    ],
)
def test_each_version_has_the_numbers_of_lme4(formula: str, name: str, version: str) -> None:
    reference = case(name)
    table = versions(formula, estimator=reference["estimator"].lower())
    rows = [row for row in table.to_dicts() if row["version"] == version]
    fixed = [row for row in rows if row["quantity"] in {"intercept", "slope"}]
    for ours, theirs in zip(fixed, reference["fixed"], strict=True):
        assert ours["estimate"] == pytest.approx(theirs["estimate"], rel=LME4), theirs["term"]
        assert ours["std_error"] == pytest.approx(theirs["std_error"], rel=1e-4), theirs["term"]
    variances = [row["estimate"] for row in rows if row["quantity"] in {"variance", "covariance"}]
    expected = [component["vcov"] for component in reference["random"]]
    assert sorted(variances) == pytest.approx(sorted(expected), rel=5e-4, abs=1e-4)
    if reference["estimator"] == "ML":
        assert rows[-1]["estimate"] == pytest.approx(reference["loglik"], abs=1e-5)


GRID = [
    ("mathach ~ ses + (1 | school)", "hsb"),
    ("mathach ~ ses + (ses | school)", "hsb"),
    ("mathach ~ ses + (ses || school)", "hsb"),
    ("mathach ~ ses + (0 + ses | school)", "hsb"),
    ("mathach ~ 0 + ses + sector + (1 | school)", "hsb"),
    ("mathach ~ ses * sector + (ses | school)", "hsb"),
    ("mathach ~ within(ses) * sector + between(ses) * sector + (within(ses) | school)", "hsb"),
    ("mathach ~ ses * female + meanses + (1 | school)", "hsb"),
    ("mathach ~ poly(ses, 2, raw=True) + (1 | school)", "hsb"),
    ("mathach ~ poly(ses, 3) + C(sector, sum) + (1 | school)", "hsb"),
    ("mathach ~ center(ses, at=2) + within(female) + (ses | school)", "hsb"),
    ("math ~ year * lowinc + (year | schoolid/childid)", "egsingle"),
    ("y ~ within(x, school:class) + z + (1 | school/class)", "sim_3lev"),
    ("y ~ x * z + (x | school) + (1 | school:class)", "sim_3lev"),
    ("y ~ studage * service + (1 | s) + (1 | d)", "insteval_small"),
    ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    ("distance ~ age * Sex + (age | Subject)", "orthodont"),
]


@pytest.mark.parametrize("estimator", ["reml", "ml"])
@pytest.mark.parametrize(("formula", "data"), GRID)
def test_what_is_called_equal_is_equal_in_the_data(formula: str, data: str, estimator: str) -> None:
    table = versions(formula, data, estimator=estimator)
    keys = ("quantity", "group", "predictor", "other")
    rows = {(row["version"], *(row[key] for key in keys)): row for row in table.to_dicts()}
    claims = 0
    for (_, *key), row in rows.items():
        for version in (row["equal_to"] or "").split(", "):
            if version:
                claims += 1
                twin = rows[(version, *key)]
                assert row["estimate"] == pytest.approx(twin["estimate"], rel=ROUNDING, abs=1e-9), (version, key)
    assert claims > 0 or "||" in formula or "0 + ses |" in formula


@pytest.mark.parametrize(("formula", "data"), [pair for pair in GRID if "poly(ses, 3)" not in pair[0]])
def test_what_is_not_called_equal_differs(formula: str, data: str) -> None:
    # in these data nothing is equal by chance; log-likelihoods within a thousandth count as different
    table = versions(formula, data)
    keys = ("quantity", "group", "predictor", "other")
    for _, rows in itertools.groupby(
        sorted(table.to_dicts(), key=lambda row: [str(row[key]) for key in keys]),
        key=lambda row: [row[k] for k in keys],
    ):
        for one, other in itertools.combinations(list(rows), 2):
            if other["version"] not in (one["equal_to"] or "").split(", "):
                assert one["estimate"] != pytest.approx(other["estimate"], rel=1e-11), (
                    one["version"],
                    other["version"],
                )


def test_raw_and_grand_mean_are_one_model_and_tau_00_moves_with_random_slopes() -> None:
    table = versions("mathach ~ ses + (ses | school)")
    raw, grand = ([row for row in table.to_dicts() if row["version"] == version] for version in ("raw", "grand mean"))
    shift = pl.read_csv(DATA / "hsb.csv")["ses"].mean()
    assert isinstance(shift, float)
    gamma_00, gamma_10, tau_00, tau_10, tau_11 = (row["estimate"] for row in raw[:5])
    moved = [gamma_00 + shift * gamma_10, gamma_10, tau_00 + 2 * shift * tau_10 + shift**2 * tau_11]
    moved += [tau_10 + shift * tau_11, tau_11]
    assert [row["estimate"] for row in grand[:5]] == pytest.approx(moved, rel=1e-7)
    assert [row["equal_to"] for row in raw] == [None, "grand mean", None, None, *["grand mean"] * 3]
    assert find(table, "group mean", "log_likelihood")["equal_to"] is None


def test_the_mean_added_back_is_the_raw_model_with_the_mean_and_the_slope_is_that_within() -> None:
    table = versions("mathach ~ ses + (1 | school)")
    slope = find(table, "group mean", "slope", "ses")
    assert slope["equal_to"] == "group mean + mean, raw + mean"
    contextual = find(table, "raw + mean", "slope", "between(ses)")
    between = find(table, "group mean + mean", "slope", "between(ses)")
    assert contextual["estimate"] == pytest.approx(between["estimate"] - slope["estimate"], rel=1e-8)
    assert contextual["equal_to"] is None
    assert find(table, "raw + mean", "log_likelihood")["equal_to"] == "group mean + mean"
    assert contextual["explanation"] == (
        "The slope between the units of school minus that within them: the contextual effect. Another number in group "
        "mean + mean, the same model: the term beside it is another part of the same variable."
    )
    assert slope["explanation"] == (
        "The slope of ses within the units of school. Equal in group mean + mean and raw + mean: what sums to zero "
        "within the units of school is not correlated with what is the same in all their rows."
    )


def test_of_products_and_powers_only_the_highest_stays() -> None:
    table = versions("mathach ~ ses * female + (1 | school)")
    equal = {
        row["term"]: row["equal_to"] for row in table.to_dicts() if row["version"] == "raw" and row["group"] is None
    }
    assert equal == {"(Intercept)": None, "ses": None, "female": None, "ses:female": "grand mean", None: "grand mean"}
    assert find(table, "raw", "slope", "ses")["explanation"] == (
        "The slope of ses within the units of school and between them, as if these were one. Another number in grand "
        "mean, the same model: it is the slope where the others in ses:female are zero."
    )
    assert remarks(table)[-1] == (
        "Of powers and products only the highest order keeps its coefficient when a zero moves; the lower ones are "
        "slopes at the zero of the others."
    )
    powers = versions("mathach ~ poly(ses, 2, raw=True) + (1 | school)")
    first, second = (find(powers, "raw", "slope", f"poly(ses, 2, raw=True)[{k}]")["equal_to"] for k in (1, 2))
    assert (first, second) == (None, "grand mean")


def test_without_random_effects_the_slope_within_is_that_beside_the_mean() -> None:
    table = versions("mathach ~ ses + sector", levels="school")
    assert find(table, "group mean", "slope", "ses")["equal_to"] == "group mean + mean, raw + mean"
    slopes = [find(table, version, "slope", "ses")["estimate"] for version in ("group mean", "raw + mean")]
    assert slopes[0] == pytest.approx(slopes[1], rel=ROUNDING)


def test_independent_effects_are_two_models() -> None:
    table = versions("mathach ~ ses + (ses || school)")
    assert table["equal_to"].null_count() == table.height
    deviance = [find(table, version, "log_likelihood")["estimate"] for version in ("raw", "grand mean")]
    assert abs(deviance[0] - deviance[1]) > 1e-5


def test_equal_group_means_make_all_versions_one_model() -> None:
    table = versions("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    assert list(dict.fromkeys(table["version"])) == ["raw", "grand mean", "group mean"]
    assert find(table, "group mean", "log_likelihood")["equal_to"] == "raw, grand mean"
    assert find(table, "group mean", "variance", "(Intercept)")["equal_to"] == "grand mean"


def test_three_levels_subtract_the_lowest_mean_and_add_the_means_of_both_levels() -> None:
    table = versions("y ~ x + (1 | school/class)", "sim_3lev")
    formulas = dict(zip(table["version"], table["formula"], strict=True))
    assert formulas["group mean + mean"] == (
        "y ~ 1 + within(x, school:class) + between(x, school:class) + between(x, school) + (1 | school) + "
        "(1 | school:class)"
    )
    assert find(table, "group mean", "slope", "x")["equal_to"] == "group mean + mean, raw + mean"


def test_versions_stand_beside_each_other() -> None:
    lines = versions_table(versions("mathach ~ ses + (1 | school)")).lines()
    assert lines[0].split("  ")[-1] == "equal whatever the data"
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "intercept 12.66 12.66 12.64 12.68 12.68 group mean + mean = raw + mean",
        "slope: ses 2.390 2.390 2.191 2.191 2.191 raw = grand mean; group mean = group mean + mean = raw + mean",
        "slope: between(ses) 5.866 3.675",
        "variance over school: (Intercept) 4.768 4.768 8.672 2.693 2.693 raw = grand mean; "
        "group mean + mean = raw + mean",
        "residual variance 37.03 37.03 37.01 37.02 37.02 raw = grand mean; group mean + mean = raw + mean",
        "log-likelihood, ML -23,320.5 -23,320.5 -23,360.2 -23,281.9 -23,281.9 raw = grand mean; "
        "group mean + mean = raw + mean",
    ]


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        (
            "mathach ~ 1 + (1 | school)",
            "Nothing in mathach ~ 1 + (1 | school) can be recentered: it has no predictor of rows that is a number. "
            "Got no predictor; expected a number that varies within the groups.",
        ),
        (
            "mathach ~ sector + meanses + (1 | school)",
            "Nothing in mathach ~ sector + meanses + (1 | school) can be recentered: no number varies within school. "
            "Got sector, meanses; expected a number that varies within the groups.",
        ),
        (
            "mathach ~ ses",
            "Nothing in mathach ~ ses can be recentered: it has no groups to take means in, which levels would name. "
            "Got ses; expected a number that varies within the groups.",
        ),
        (
            "within(mathach, school) ~ ses",
            "The outcome within(mathach, school) has one part of each predictor only, whichever way that is centered. "
            "Compare versions of a model of the whole outcome.",
        ),
        (
            "mathach ~ ses + I(ses**2) + (1 | school)",
            "I(ses**2) is a function of ses, which centering ses would not reach. Write powers as poly(ses, 2, "
            "raw=True), products as ses:z, and compare the versions of that.",
        ),
    ],
)
def test_what_cannot_be_recentered_is_said_in_a_sentence(formula: str, sentence: str) -> None:
    with pytest.raises(MlmError) as refused:
        versions(formula)
    assert str(refused.value) == sentence


def test_errors_robust_to_clusters_are_those_of_the_version_by_itself() -> None:
    table = versions("mathach ~ ses + (1 | school)", robust="CR2")
    alone = mlm.fit("mathach ~ within(ses) + (1 | school)", DATA / "hsb.csv", robust="CR2").fixed_effects
    errors = [
        find(table, "group mean", *what)["std_error"] for what in (("intercept", "(Intercept)"), ("slope", "ses"))
    ]
    assert errors == pytest.approx(alone["std_error"].to_list(), rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "options", "plain"),
    [
        ("mathach ~ ses", {"levels": "school", "robust": "HC3"}, "mathach ~ within(ses, school)"),
        ("mathach ~ ses + (1 | school)", {"weights": "weight"}, "mathach ~ within(ses) + (1 | school)"),
        ("mathach ~ ses + (1 | school)", {"residual": "by(sector)"}, "mathach ~ within(ses) + (1 | school)"),
        ("mathach ~ ses + (1 | school)", {"residual": "ar1(place)"}, "mathach ~ within(ses) + (1 | school)"),
        ("mathach ~ ses + (1 | school)", {"residual": "fixed(variance)"}, "mathach ~ within(ses) + (1 | school)"),
    ],
)
def test_a_version_is_the_model_by_itself(formula: str, options: dict[str, Any], plain: str) -> None:
    place = pl.int_range(pl.len())
    rows = pl.read_csv(DATA / "hsb.csv").with_columns(
        place.over("school").alias("place"), weight=1 + place % 3, variance=20 + place % 5
    )
    table = mlm.fit(formula, rows, **options).centering()
    # HC errors read the rows, which the versions are fitted without
    of_versions = {key: value for key, value in options.items() if key != "robust"}
    alone, by_ml = (mlm.fit(plain, rows, estimator=estimator, **of_versions) for estimator in ("reml", "ml"))
    slope, expected = find(table, "group mean", "slope", "ses"), alone.fixed_effects.row(1, named=True)
    likelihood = table.filter(pl.col("quantity") == "log_likelihood", pl.col("version") == "group mean")["estimate"][0]
    assert (slope["estimate"], slope["std_error"], likelihood) == pytest.approx(
        (expected["estimate"], expected["std_error"], by_ml.fit_statistics["log_likelihood"][0]), rel=1e-9
    )
