"""Likelihood-ratio tests: chi-square, a mixture or a note, by whether variances or covariances are tested."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2

import mlm_ops as mlm
from mlm_ops.inference.comparison import Comparison, compare_estimates
from mlm_ops.results.comparing import REFIT_NOTE
from tests.specification.examples import ROOT

CASES = ROOT / "tests" / "specification" / "reference" / "cases"

SEVERAL = "several variances tested at once: p is conservative"


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """40 units of 12 rows, effects of 1, x and z that covary, and a stratum and a time within the unit."""
    draw = np.random.default_rng(12)
    t = np.array([[1.0, 0.4, 0.2], [0.4, 0.8, 0.3], [0.2, 0.3, 0.6]])
    g = np.repeat(np.arange(40), 12)
    x, z = draw.normal(size=(2, 480))
    u = draw.multivariate_normal(np.zeros(3), t, 40)[g]
    y = 1 + x + u[:, 0] + u[:, 1] * x + u[:, 2] * z + draw.normal(size=480)
    kind, time = np.tile(["a", "b", "c"], 160), np.tile(np.arange(12), 40)
    noise = draw.normal(size=480) * np.where(kind == "a", 0.0, 1.0)
    return pl.DataFrame({"g": g, "x": x, "z": z, "y": y + noise, "kind": kind, "time": time})


def against(rows: pl.DataFrame, small: Any, large: Any) -> Comparison:
    """Of two models, each a random part or a mapping of arguments."""
    fits = []
    for wanted in (small, large):
        options = {"random": wanted} if isinstance(wanted, str) else dict(wanted)
        formula = f"y ~ {options.pop('fixed', 'x + z')} + {options.pop('random')}"
        fits.append(mlm.fit(formula.removesuffix(" + "), rows, estimator="ml", **options))
    first, second = fits
    assert not first.singular
    return compare_estimates(second.model, second.estimate, first.model, first.estimate)


def structure(name: Any, random: str = "(1 + x + z | g)") -> dict[str, Any]:
    return {"random": random, "covariance": {"g": name}}


#: Smaller, larger, degrees of freedom: parameters that are free to either side of their null value.
INTERIOR = [
    ("(x || g)", "(x | g)", 1),
    ("(1 | g) + (0 + x | g)", "(x | g)", 1),
    ("(x + z || g)", "(x + z | g)", 3),
    ("(x | g) + (0 + z | g)", "(x + z | g)", 2),
    (structure("diagonal"), structure("unstructured"), 3),
    (structure("identity"), structure("diagonal"), 2),
    (structure("identity"), structure("compound"), 1),
    (structure("identity"), structure("unstructured"), 5),
    (structure("compound"), structure("unstructured"), 4),
    (structure("identity"), "(x | g) + (0 + z | g)", 3),
    ({"random": "(x | g)"}, {"random": "(x | g)", "residual": "by(kind)"}, 2),
    ({"random": "(x | g)"}, {"random": "(x | g)", "residual": "ar1(time)"}, 1),
    ({"random": "(x | g)", "residual": "by(kind)"}, {"random": "(x | g)", "residual": "by(kind) + ar1(time)"}, 1),
    ({"random": "(x || g)", "fixed": "x"}, "(x | g)", 2),
]
#: Smaller, larger, degrees of freedom of which the last is a variance's.
ONE_VARIANCE = [
    ("", "(1 | g)", 1),
    ("(1 | g)", "(x | g)", 2),
    ("(1 | g)", "(x || g)", 1),
    ("(x || g)", "(x + z || g)", 1),
    ("(x | g)", "(x + z | g)", 3),
    ("(x | g)", "(x | g) + (0 + z | g)", 1),
    # the covariance of 1 and x is free, and so are the two of z
    ("(x || g)", "(x + z | g)", 4),
    ("", structure("identity"), 1),
    ({"random": "(1 | g)", "fixed": "x"}, "(z | g)", 3),
    ({"random": "(1 | g)"}, {"random": "(x || g)", "residual": "by(kind)"}, 3),
]
#: Smaller and larger with two variances or more between them.
MANY_VARIANCES = [
    ("", "(x | g)"),
    ("(1 | g)", "(x + z || g)"),
    ("(1 | g)", "(x + z | g)"),
    ("", structure("compound")),
    ("", structure("diagonal")),
]
#: Pairs of which neither holds the other, though the second has more parameters.
NOT_NESTED = [
    (structure("compound"), structure("diagonal")),
    ("(x | g)", "(1 | g) + (0 + x | g) + (0 + z | g) + (0 + x:z | g)"),
    ("(1 | g)", structure("compound")),
    ({"random": "(1 | g)", "residual": "ar1(time)"}, {"random": "(1 | g)", "residual": "by(kind)"}),
    ({"random": "(1 | g)", "weights": "w"}, "(x | g)"),
]


@pytest.mark.parametrize(("small", "large", "df"), INTERIOR)
def test_covariances_and_residual_parameters_are_tested_by_chi_square(
    rows: pl.DataFrame, small: Any, large: Any, df: int
) -> None:
    found = against(rows, small, large)
    assert (found.df, found.note, found.p_value_mixture) == (df, None, None)
    assert found.p_value == pytest.approx(chi2.sf(found.statistic, df), rel=1e-10)


@pytest.mark.parametrize(("small", "large", "df"), ONE_VARIANCE)
def test_one_variance_is_tested_by_a_mixture(rows: pl.DataFrame, small: Any, large: Any, df: int) -> None:
    """Of chi-squares with all of the df and with one less: Self and Liang (1987), case 6; one of none is a point."""
    found = against(rows, small, large)
    assert (found.df, found.note) == (df, None)
    less = chi2.sf(found.statistic, df - 1) if df > 1 else float(found.statistic <= 0)
    assert found.p_value_mixture == pytest.approx((chi2.sf(found.statistic, df) + less) / 2, rel=1e-10)


@pytest.mark.parametrize(("small", "large"), MANY_VARIANCES)
def test_several_variances_have_no_mixture(rows: pl.DataFrame, small: Any, large: Any) -> None:
    found = against(rows, small, large)
    assert (found.note, found.p_value_mixture) == (SEVERAL, None)


@pytest.mark.parametrize(("small", "large"), NOT_NESTED)
def test_structures_that_are_not_nested_have_no_ratio(rows: pl.DataFrame, small: Any, large: Any) -> None:
    found = against(rows.with_columns(w=pl.lit(2.0)), small, large)
    assert (found.statistic, found.p_value) == (None, None)
    assert found.note == "not nested: compare by AIC and BIC"


def test_a_singular_smaller_fit_has_a_note(rows: pl.DataFrame) -> None:
    """The slope's variance is zero: a covariance with it has nowhere to go, a further variance has no mixture."""
    draw = np.random.default_rng(2)
    flat = rows.with_columns(y=pl.Series(draw.normal(size=40)[rows["g"].to_numpy()] + draw.normal(size=480)))
    fits = [mlm.fit(f"y ~ x + z + {part}", flat, estimator="ml") for part in ("(x || g)", "(x | g)", "(x + z || g)")]
    assert fits[0].singular
    notes = [compare_estimates(f.model, f.estimate, fits[0].model, fits[0].estimate).note for f in fits[1:]]
    assert notes == [
        "the smaller fit is singular: a covariance is at its limit, p is approximate",
        "the smaller fit is singular: no mixture is valid, p is conservative",
    ]


def test_a_variance_of_zero_has_one_p_value_on_any_processor() -> None:
    """Half of all null data give it: the ratio is then 0 and p 1, not 1e-13 and a half by the sign of rounding."""
    zero = 0
    for seed in range(30):
        draw = np.random.default_rng(seed)
        rows = pl.DataFrame({"g": np.repeat(np.arange(10), 8), "y": draw.normal(size=80).round(3)})
        small, large = (mlm.fit(formula, rows) for formula in ("y ~ 1", "y ~ 1 + (1 | g)"))
        found = compare_estimates(large.model, large.estimate, small.model, small.estimate)
        if large.singular:
            zero += 1
            assert (found.statistic, found.p_value, found.p_value_mixture) == (0.0, 1.0, 1.0)
        else:
            assert 0 < found.p_value_mixture < 0.5
    assert zero > 10


class TestOfFits:
    """`smaller.compare(larger)`, as an analysis file's `compare` and R's anova have it."""

    def test_other_fixed_parts_are_compared_by_ml(self) -> None:
        """lme4's anova of the case lrt_hsb refits by ML; its numbers to the 1e-6 of the reference cases."""
        students = ROOT / "pipelines" / "data" / "hsb.csv"
        anova, rancova = (mlm.fit(f"mathach ~ {x} + (1 | school)", students) for x in ("1", "within(ses)"))
        (row,) = anova.compare(rancova).to_dicts()
        reference = json.loads((CASES / "lrt_hsb.json").read_text())["models"]
        assert row["statistic"] == pytest.approx(2 * (reference["m2"]["loglik"] - reference["m1"]["loglik"]), abs=1e-6)
        assert row["delta_aic"] == pytest.approx(reference["m2"]["aic"] - reference["m1"]["aic"], abs=1e-6)
        assert (row["df"], row["estimator"], row["note"]) == (1, "ml", REFIT_NOTE)
        assert (row["model"], row["reference_model"]) == (rancova.model.text, anova.model.text)

    def test_other_estimators_are_compared_by_the_larger_ones(self, rows: pl.DataFrame) -> None:
        smaller, larger = mlm.fit("y ~ x + (1 | g)", rows, estimator="ml"), mlm.fit("y ~ x + (x | g)", rows)
        again = mlm.fit("y ~ x + (1 | g)", rows)
        (mixed,), (same,) = smaller.compare(larger).to_dicts(), again.compare(larger).to_dicts()
        assert mixed["estimator"] == "reml"
        assert mixed["statistic"] == pytest.approx(same["statistic"], abs=1e-8)  # two searches of one optimum

    def test_what_cannot_be_compared(self, rows: pl.DataFrame) -> None:
        fit = mlm.fit("y ~ x + (1 | g)", rows)
        with pytest.raises(mlm.MlmError, match=r"^Models of different rows cannot be compared\. Got 480 rows and 470;"):
            mlm.fit("y ~ 1 + (1 | g)", rows.head(470)).compare(fit)
        with pytest.raises(mlm.MlmError, match=r"larger is not understood. Got .*; expected a fit of a larger model."):
            fit.compare("y ~ x + z + (1 | g)")  # type: ignore[arg-type]
        (row,) = mlm.fit("y ~ x + z + (1 | g)", rows).compare(fit).to_dicts()
        assert row["note"] == f"not nested: compare by AIC and BIC; {REFIT_NOTE}"


class TestOfManyFits:
    """`mlm.compare(a, b, …)`, as R's anova has it."""

    def test_a_row_for_each_larger_fit(self) -> None:
        """lme4 1.1-31, anova(m2, m0, m1) of the models by ML; its bobyqa ends 1e-5 from the optimum's deviance."""
        students = ROOT / "pipelines" / "data" / "hsb.csv"
        fits = [
            mlm.fit(f"mathach ~ {terms}", students, estimator="ml")
            for terms in ("ses + (ses | school)", "1 + (1 | school)", "ses + (1 | school)")
        ]
        table = mlm.compare(*fits)
        assert table["model"].to_list() == ["mathach ~ ses + (1 | school)", "mathach ~ ses + (ses | school)"]
        assert table["reference_model"].to_list() == ["mathach ~ 1 + (1 | school)", "mathach ~ ses + (1 | school)"]
        assert table["df"].to_list() == [1, 2]
        assert table["statistic"].to_list() == pytest.approx([474.80568266230, 4.53544282869], abs=1e-4)
        assert table["p_value"][1] == pytest.approx(0.1035478541, abs=1e-5)
        assert table.row(0) == fits[1].compare(fits[2]).row(0)

    def test_structural_models_are_named_by_their_places(self) -> None:
        rows = pl.read_csv(ROOT / "tests" / "specification" / "reference" / "data" / "sim_luedtke.csv")
        text = "level: 1\ny ~ {within}*x\nlevel: 2\ny ~ x"
        free, fixed = (mlm.sem(text.format(within=w), rows, "g") for w in ("w", "0.3"))
        table = mlm.compare(free, fixed)
        assert table.select("model", "reference_model").row(0) == ("1", "2")
        assert table.drop("model", "reference_model").row(0) == fixed.compare(free).row(0)

    def test_what_is_no_comparison(self, rows: pl.DataFrame) -> None:
        fit = mlm.fit("y ~ x + (1 | g)", rows)
        for fits, found in [((), "none"), ((fit,), "1 of Fit"), ((fit, 2), "2 of Fit and int")]:
            with pytest.raises(mlm.MlmError) as error:
                mlm.compare(*fits)  # type: ignore[arg-type]
            assert str(error.value) == (
                f"compare() takes two fits or more, all of mlm.fit or all of mlm.sem. Got {found}."
            )
