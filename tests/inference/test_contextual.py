"""Contextual effects against lme4, lavaan's latent means, the textbook, and simulated truth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from tests.specification.reference import reference

DATA = reference.HERE / "data"
HSB, LUEDTKE = str(DATA / "hsb.csv"), str(DATA / "sim_luedtke.csv")
#: The manifest model as lme4 fitted it, and latent means as lavaan did, from the case ctx_luedtke.
MANIFEST = {"within": 0.28567006987981786, "between": 0.57712030945357118, "estimate": 0.29145023957375332}
MANIFEST_ERROR, LATENT, LATENT_ERROR = 0.04941301615811227, 0.77491067227814858, 0.13096063735126523


@pytest.mark.parametrize("formula", ["y ~ within(x) + between(x) + (1 | g)", "y ~ x + between(x) + (1 | g)"])
def test_either_parameterisation_against_lme4(formula: str) -> None:
    row = mlm.fit(formula, LUEDTKE, estimator="ml").contextual_effects().row(0, named=True)
    for name, expected in MANIFEST.items():
        assert row[name] == pytest.approx(expected, rel=1e-6)
    assert row["std_error"] == pytest.approx(MANIFEST_ERROR, rel=1e-6)
    # a balanced design: R's reliability is tau / (tau + sigma2 / 5) with lavaan's h1 variances, good to 1e-3
    assert row["reliability"] == pytest.approx(0.1126 / (0.1126 + 0.9290 / 5), abs=2e-3)
    # lavaan's is maximum likelihood, this one of moments: they differ by 1 / J = 0.002
    assert row["corrected"] == pytest.approx(LATENT, rel=0.005)
    assert row["corrected_std_error"] == pytest.approx(LATENT_ERROR, rel=0.005)
    assert row["bias_matters"]
    assert "reflective" in row["note"]


def test_high_school_and_beyond_by_its_book() -> None:
    """Raudenbush and Bryk (2002), Table 5.11: within 2.19, between 5.87, compositional effect 3.68 (0.38)."""
    row = mlm.fit("mathach ~ within(ses) + between(ses) + (1 | school)", HSB).contextual_effects().row(0, named=True)
    found = [row[name] for name in ("within", "between", "estimate", "std_error")]
    assert found == pytest.approx([2.191, 5.866, 3.675, 0.378], abs=1e-3)


def test_the_test_is_that_of_the_contrast() -> None:
    fitted = mlm.fit("mathach ~ within(ses) + between(ses) + (within(ses) | school)", HSB)
    row = fitted.contextual_effects().row(0, named=True)
    test = fitted.test([[0, -1, 1]]).row(0, named=True)
    assert row["statistic"] ** 2 == pytest.approx(test["statistic"], rel=1e-9)
    assert (row["df"], row["p_value"]) == pytest.approx((test["df2"], test["p_value"]), rel=1e-8)


def test_grand_mean_centering_changes_nothing() -> None:
    plain, centered = (
        mlm.fit(f"mathach ~ {fixed} + (1 | school)", HSB).contextual_effects()
        for fixed in ("ses + between(ses) + sector", "center(ses) + center(between(ses)) + sector")
    )
    for name in ("estimate", "std_error", "corrected", "corrected_std_error"):
        assert plain[name][0] == pytest.approx(centered[name][0], rel=1e-7)


def test_moderated_effects_have_a_note() -> None:
    fitted = mlm.fit("mathach ~ within(ses) * sector + between(ses) + (1 | school)", HSB)
    assert "where sector[Public] is zero" in fitted.contextual_effects()["note"][0]


def test_a_model_without_group_means_has_no_contextual_effect() -> None:
    assert mlm.fit("mathach ~ ses + (1 | school)", HSB).contextual_effects().is_empty()
    assert mlm.fit("mathach ~ within(ses) + (1 | school)", HSB).contextual_effects().is_empty()


def test_three_levels_have_an_effect_at_each() -> None:
    """Reparameterised: raw with both means, and deviations with means, give the same contextual effects."""
    data = str(DATA / "sim_3lev.csv")
    raw = mlm.fit("y ~ x + between(x, class) + between(x, school) + (1 | school/class)", data)
    centered = mlm.fit(
        "y ~ within(x, class) + within(between(x, class), school) + between(x, school) + (1 | school/class)", data
    )
    ours, theirs = raw.contextual_effects(), centered.contextual_effects()
    assert ours["group"].to_list() == ["school:class", "school"]
    assert ours["estimate"][1] == pytest.approx(theirs["estimate"][0], rel=1e-7)
    assert ours["corrected"].is_null().all()
    assert "two levels" in ours["note"][0]


def simulated(groups: int, size: int) -> pl.DataFrame:
    """Latent means a and b correlated 0.5 and with w; contextual effects 1 and -0.5, w 0.7; reliabilities near 0.5."""
    draw = np.random.default_rng(11)
    latent = draw.multivariate_normal(np.zeros(3), [[0.25, 0.1, 0.2], [0.1, 0.2, 0.0], [0.2, 0.0, 1.0]], groups)
    errors = draw.multivariate_normal([0, 0], [[1, 0.4], [0.4, 1]], (groups, size))
    a, b = (latent[:, None, i] + errors[:, :, i] for i in (0, 1))
    y = 0.3 * a + 0.2 * b + (latent @ [1, -0.5, 0.7])[:, None] + draw.normal(size=(groups, 1)) * 0.5
    y = y + draw.normal(size=a.shape)
    unit = np.repeat(np.arange(groups), size)
    return pl.DataFrame({"y": y.ravel(), "a": a.ravel(), "b": b.ravel(), "w": latent[unit, 2], "g": unit})


def test_correction_in_matrix_form_recovers_the_truth() -> None:
    """Two means with correlated errors and a covariate: one at a time would be off by several standard errors."""
    fitted = mlm.fit("y ~ within(a) + between(a) + within(b) + between(b) + w + (1 | g)", simulated(4000, 5))
    found = fitted.contextual_effects()
    assert found["predictor"].to_list() == ["a", "b"]
    for estimate, error, truth, manifest in zip(
        found["corrected"], found["corrected_std_error"], (1.0, -0.5), found["estimate"], strict=True
    ):
        assert abs(estimate - truth) < 3 * error
        assert abs(manifest - truth) > 5 * error
