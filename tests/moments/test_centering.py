"""Centering at every level of a nest, against columns that polars computes on the rows.

Both sides are the same least squares or the same likelihood in another order of sums: 1e-9 relative covers the
condition of the designs.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError, FormulaError, IdentificationError
from mlm_ops.results.fit import Fit

RTOL = 1e-9


def _pupils(labels: str = "unique") -> pl.DataFrame:
    """Pupils in classes of unequal size in schools; a predictor at 1e4; labels of classes unique or anew in each."""
    rng = np.random.default_rng(11)
    school = np.repeat(np.arange(12), 40)
    number = np.concatenate([np.sort(rng.integers(0, 4, 40)) for _ in range(12)])
    room = school * 4 + number
    x = 1e4 + rng.normal(size=480) + rng.normal(size=48)[room] + rng.normal(size=12)[school]
    z = rng.normal(size=480) + 0.5 * rng.normal(size=12)[school]
    y = 0.3 * x + rng.normal(size=48)[room] + rng.normal(size=12)[school] + z + rng.normal(size=480)
    sex = np.where(rng.random(480) < 0.4 + 0.02 * school, "F", "M")
    names = room if labels == "unique" else number
    return pl.DataFrame({"school": school, "class": names, "room": room, "x": x, "z": z, "y": y, "sex": sex})


def _by(name: str, *groups: str) -> pl.Expr:
    return pl.col(name).mean().over(*groups)


#: Mean over rows of the class, of the school; mean over the school's classes, each counting once.
COLUMNS = {
    "class_mean": _by("x", "room"),
    "school_mean": _by("x", "school"),
    "of_classes": (_by("x", "room") / pl.len().over("room")).sum().over("school")
    / pl.col("room").n_unique().over("school"),
    "grand": pl.col("x").mean(),
}
ROWS = _pupils().with_columns(**COLUMNS)
OF_UNITS = ROWS.unique("school", maintain_order=True)["school_mean"].mean()
CENTERED = {
    "within(x, class)": pl.col("x") - pl.col("class_mean"),
    "within(x, school)": pl.col("x") - pl.col("school_mean"),
    "between(x, class)": pl.col("class_mean"),
    "between(x, school)": pl.col("school_mean"),
    "within(between(x, class), school)": pl.col("class_mean") - pl.col("school_mean"),
    "between(between(x, class), school)": pl.col("school_mean"),
    "between(x, school, over=class)": pl.col("of_classes"),
    "within(x, school, over=class)": pl.col("x") - pl.col("of_classes"),
    "within(between(x, class), school, over=class)": pl.col("class_mean") - pl.col("of_classes"),
    "center(x)": pl.col("x") - pl.col("grand"),
    "center(x, at=9999)": pl.col("x") - 9999,
    "center(x, over=school)": pl.col("x") - OF_UNITS,
    "center(between(x, class), over=school)": pl.col("class_mean") - OF_UNITS,
    "within(sex, school)": (pl.col("sex") == "M") - (pl.col("sex") == "M").mean().over("school"),
    "within(x, class):within(z, school)": (pl.col("x") - pl.col("class_mean")) * (pl.col("z") - _by("z", "school")),
    "within(I(x - 1e4), school)": pl.col("x") - pl.col("school_mean"),
    "poly(within(x, school), 2, raw=True)": (pl.col("x") - pl.col("school_mean")) ** 2,
}


def _assert_same(ours: Fit, theirs: Fit) -> None:
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(ours.fixed_effects[name][-1], theirs.fixed_effects[name][-1], rtol=1e-7)
    assert ours.fit_statistics["log_likelihood"][0] == pytest.approx(
        theirs.fit_statistics["log_likelihood"][0], rel=RTOL
    )


@pytest.mark.parametrize("term", CENTERED)
@pytest.mark.parametrize("random", ["", " + (1 | school/class)"])
def test_centering_equals_columns_computed_on_rows(term: str, random: str) -> None:
    raw = " + within(x, school)" if term.startswith("poly") else ""
    rows = ROWS.with_columns(c=CENTERED[term], w=ROWS["x"] - ROWS["school_mean"])
    ours = mlm.fit(f"y ~ z + {term}{random}", ROWS)
    theirs = mlm.fit(f"y ~ z{' + w' if raw else ''} + c{random}", rows)
    _assert_same(ours, theirs)


def test_three_parts_add_up() -> None:
    """Pupils around classes, classes around schools, schools: uncorrelated, so each slope is that of its part alone."""
    split = mlm.fit("y ~ within(x, class) + within(between(x, class), school) + between(x, school)", ROWS)
    for name, slope in list(zip(split.fixed_effects["term"], split.fixed_effects["estimate"], strict=True))[1:]:
        part = ROWS.select(CENTERED[name] - CENTERED[name].mean()).to_series().to_numpy()
        assert slope == pytest.approx(part @ ROWS["y"].to_numpy() / (part @ part), rel=1e-7)


def test_weights_do_not_weight_means() -> None:
    rows = ROWS.with_columns(c=CENTERED["within(x, school)"], v=1.0 + pl.int_range(480) % 5)
    _assert_same(
        mlm.fit("y ~ within(x) + (1 | school)", rows, weights="v"), mlm.fit("y ~ c + (1 | school)", rows, weights="v")
    )


def test_means_are_over_complete_rows() -> None:
    """A row without an outcome, or with NaN in another predictor, counts in no mean."""
    rows = _pupils().with_columns(
        y=pl.when(pl.int_range(480) % 7 != 0).then("y"),
        z=pl.when(pl.int_range(480) % 11 == 0).then(np.nan).otherwise("z"),
    )
    complete = rows.filter(pl.col("y").is_not_null() & pl.col("z").is_not_nan())
    ours = mlm.fit("y ~ z + within(x) + between(x) + (1 | school)", rows)
    theirs = mlm.fit(
        "y ~ z + w + b + (1 | school)", complete.with_columns(w=pl.col("x") - _by("x", "school"), b=_by("x", "school"))
    )
    _assert_same(ours, theirs)
    assert ours.n_dropped == {"school": 0, "y": 69, "z": 44, "x": 0}


@pytest.mark.parametrize("term", ["within(x, class)", "between(x, class)", "within(between(x, class), school)"])
def test_labels_that_repeat_mean_the_nest(term: str) -> None:
    """By the random part, and in predictions too, for rows of known and of new schools."""
    anew, unique = _pupils("anew"), _pupils()
    formula = f"y ~ z + {term} + (1 | school/class)"
    ours, theirs = mlm.fit(formula, anew), mlm.fit(formula, unique)
    _assert_same(ours, theirs)
    new = pl.concat([anew, anew[:40].with_columns(school=pl.lit(99, pl.Int64))])
    new_unique = pl.concat(
        [unique, unique[:40].with_columns(school=pl.lit(99, pl.Int64), **{"class": pl.col("class") + 900})]
    )
    np.testing.assert_allclose(ours.predict(new)["prediction"], theirs.predict(new_unique)["prediction"], rtol=1e-9)


def test_labels_that_repeat_mean_the_nest_by_levels() -> None:
    model = "y ~ z + within(x, class) + between(x, class) + (1 | class) + (1 | school)"
    ours, theirs = (mlm.fit(model, _pupils(kind), levels=["class", "school"]) for kind in ("anew", "unique"))
    _assert_same(ours, theirs)
    np.testing.assert_allclose(
        ours.predict(_pupils("anew"))["prediction"], theirs.predict(_pupils())["prediction"], rtol=1e-9
    )


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ within(x, class) + (1 | school)",
        "y ~ between(x, class) + between(x, school)",
        "y ~ within(between(x, class), school)",
        "y ~ center(x, over=class) + (1 | school)",
        "between(y, class) ~ between(x, class) + (1 | school)",
    ],
)
def test_labels_that_repeat_are_never_pooled(formula: str) -> None:
    with pytest.raises(
        IdentificationError, match=r"labels of class repeat across the units of school: 4 labels, 48 com"
    ):
        mlm.fit(formula, _pupils("anew"))


def test_classes_count_once_in_each_school_whatever_their_labels() -> None:
    formula = "y ~ z + between(x, school, over=class) + (1 | school)"
    _assert_same(mlm.fit(formula, _pupils("anew")), mlm.fit(formula, _pupils()))


def test_predictions_center_with_the_fitted_means() -> None:
    terms = ["within(x, school, over=class)", "between(x, school, over=class)", "within(between(x, class), school)"]
    fit = mlm.fit(f"y ~ {' + '.join(terms)} + poly(x, 3) * C(sex, sum)", ROWS)
    few = fit.predict(ROWS[100:103])["prediction"]
    np.testing.assert_allclose(few, fit.predict(ROWS)["prediction"][100:103], rtol=1e-12)
    residual = ROWS["y"] - fit.predict(ROWS)["prediction"]
    assert abs(residual.sum()) < 1e-6
    sigma2 = fit.variance_components["estimate"][-1]
    assert (residual**2).sum() / (480 - fit.fixed_effects.height) == pytest.approx(sigma2, rel=1e-8)


def test_within_a_variable_of_the_groups_is_refused() -> None:
    rows = ROWS.with_columns(w=pl.col("school") * 0.3)
    with pytest.raises(DataError, match=r"within\(w\) is zero in every row, because w does not vary within school"):
        mlm.fit("y ~ within(w) + (1 | school)", rows)


@pytest.mark.parametrize("predictor", ["y", "log(y)", "between(y)", "within(y):x", "I(y - x)"])
def test_the_outcome_on_both_sides_is_refused(predictor: str) -> None:
    with pytest.raises(FormulaError, match="The outcome 'y' is also among the predictors"):
        mlm.fit(f"y ~ {predictor} + (1 | school)", ROWS)


@pytest.mark.parametrize(("kind", "words"), [(pl.Int64, "read as numbers"), (pl.String, "a coefficient for each")])
def test_a_grouping_factor_among_the_predictors_is_noted(kind: pl.DataType, words: str) -> None:
    rows = ROWS.with_columns(pl.col("school").cast(kind))
    fit = mlm.fit("y ~ school + x + (1 | school)", rows)
    assert any("school is a grouping factor and also a predictor" in note and words in note for note in fit.notes)
    assert "also a predictor" in str(fit)
