"""Parameters on a bound, or that the data do not determine, are null, and notes say so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm


def test_slopes_of_collinear_latent_means_are_null_and_their_total_is_not() -> None:
    """Between clusters the mediator is the predictor times a constant: only the total effect is determined."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(60), 16)
    mean = rng.normal(size=60)[group]
    dose = mean + rng.normal(size=960)
    med = 0.8 * mean + 0.5 * (dose - mean) + rng.normal(size=960)
    score = 1.2 * mean + 0.4 * med + rng.normal(size=60)[group] + rng.normal(size=960)
    rows = pl.DataFrame({"dose": dose, "med": med, "score": score, "g": group})
    fit = mlm.sem("mediation 1-1-1: dose -> med -> score", rows, cluster="g")
    found = dict(fit.parameters.filter(pl.col("label") != "").select("label", "estimate").iter_rows())
    found |= dict(fit.parameters.filter(op=":=").select("lhs", "estimate").iter_rows())
    assert (found["bb"], found["cb"], found["indirect_between"]) == (None, None, None)
    assert found["total_between"] is not None
    assert found["indirect_within"] == pytest.approx(found["aw"] * found["bw"])


def without_between_variance(seed: int) -> pl.DataFrame:
    """30 clusters of 6 rows; x has a tenth of the between variance that chance gives a mean."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(30), 6)
    x = rng.normal(size=180)
    x = x - 0.9 * pl.DataFrame({"g": group, "x": x}).select(pl.col("x").mean().over("g")).to_series().to_numpy()
    y = 0.3 * x + rng.normal(size=30)[group] + rng.normal(size=180)
    z = rng.normal(size=30)[group] + rng.normal(size=180)
    return pl.DataFrame({"g": group, "x": x, "y": y, "z": z, "w": rng.normal(size=30)[group]})


COVARYING = "level: 1\n y ~ x\nlevel: 2\n y ~~ w\n x ~~ w"


def test_a_variance_at_zero_with_a_free_covariance_has_a_note() -> None:
    found = mlm.sem(COVARYING, without_between_variance(3), cluster="g")
    assert found.converged
    assert found.singular
    between = found.parameters.filter((pl.col("level") == 2) & (pl.col("op") == "~~"))
    x = between.filter((pl.col("lhs") == "x") | (pl.col("rhs") == "x"))
    assert x["estimate"].to_list() == [0.0, 0.0]
    assert x["std_error"].to_list() == [None, None]
    # the other variances keep theirs
    assert between.filter(pl.col("lhs") == pl.col("rhs"))["std_error"].null_count() == 1
    assert found.notes[0] == "the between variance of x is zero"


@pytest.mark.parametrize("seed", range(6))
def test_what_is_on_a_bound_has_no_standard_error(seed: int) -> None:
    """A variance or covariance has one only if the data could have moved it to both sides."""
    found = mlm.sem(COVARYING, without_between_variance(seed), cluster="g")
    spread = found.estimate.structure.moments(found.estimate.theta)[1].spread
    names = list(found.estimate.table.between.all)
    assert found.singular
    tested = 0
    for row in found.parameters.filter((pl.col("level") == 2) & (pl.col("op") == "~~")).iter_rows(named=True):
        # of x: zero, or a correlation of one with w that leaves it next to nothing
        if "x" in (row["lhs"], row["rhs"]):
            assert row["std_error"] is None
            tested += 1
    assert tested == 2
    x = names.index("x")
    # shares of the whole variance, which is about one
    assert spread[x, x] < 1e-3
    assert "singular" in found.notes[0] or "zero" in found.notes[0]
    assert found.vcov.shape == (found.estimate.n_parameters,) * 2


def test_the_lowest_of_several_bounds_is_taken() -> None:
    """From the usual start y's variances went to zero, 13.6 log-likelihood units below."""
    found = mlm.sem("cfa: f =~ y + x + z", without_between_variance(4), cluster="g")
    other = mlm.sem("level: 1\n f =~ x + y + z\nlevel: 2\n f =~ z + y + x", without_between_variance(4), cluster="g")
    assert found.converged
    assert found.estimate.log_likelihood > other.estimate.log_likelihood - 0.01


def test_a_start_on_a_saddle_is_left() -> None:
    """Loadings of zero have a gradient of zero: their signs are arbitrary."""
    from tests.structural.cases import data

    starts = " + ".join(f"start(0)*y{i}" for i in (1, 2, 3))
    text = f"level: 1\n f =~ NA*y1 + {starts}\n f ~~ 1*f\nlevel: 2\n f =~ y1 + y2 + y3"
    found = mlm.sem(text, data("demo_twolevel"), cluster="cluster")
    assert found.converged
    # lavaan's of the same model with a marker
    assert found.estimate.log_likelihood == pytest.approx(-12513.702392, abs=2e-6)


def test_a_chi_square_on_a_bound_has_a_note() -> None:
    """The unrestricted model has a zero variance of x between clusters."""
    rows = without_between_variance(3)
    found = mlm.sem("level: 1\n y ~ x + z\n x ~~ 0*z\nlevel: 2\n y ~ z\n x ~~ x", rows, cluster="g")
    statistics = found.fit_statistics
    assert statistics["bounded"][0]
    sentence = (
        "the unrestricted model that chi-square compares with has a variance of zero or a correlation of one: "
        "chi-square is too small and p too large, CFI, TLI and RMSEA look too good"
    )
    assert sentence in found.notes
    assert sentence in statistics["notes"][0]
    assert "(on a bound), CFI" in str(found)
    free = mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~~ y", rows, cluster="g")
    assert not free.fit_statistics["bounded"][0]
    assert "on a bound" not in str(free)


def test_clusters_are_counted_against_the_columns_of_level_2() -> None:
    """Six clusters, seven columns, one of them at level 2."""
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(6), 30)
    columns = {f"x{i}": rng.normal(size=180) for i in range(6)}
    rows = pl.DataFrame({"g": group, **columns, "y": rng.normal(size=6)[group] + rng.normal(size=180)})
    text = "level: 1\n y ~ x0 + x1 + x2 + x3 + x4\n x5 ~ 0*x0\nlevel: 2\n y ~~ y"
    statistics = mlm.sem(text, rows, cluster="g").fit_statistics
    assert statistics["df"][0] == 5
    # given x0 to x5, y is free in both models; so the ratio is that of lm(x5 ~ 1) and lm(x5 ~ x0 + … + x4)
    x5, others = columns["x5"], np.column_stack([np.ones(180), *[columns[f"x{i}"] for i in range(5)]])
    residual = x5 - others @ np.linalg.lstsq(others, x5, rcond=None)[0]
    ratio = 180 * np.log(((x5 - x5.mean()) ** 2).sum() / (residual**2).sum())
    assert statistics["chi_square"][0] == pytest.approx(ratio, rel=1e-6)


def test_the_icc_of_a_column_of_level_1_alone_is_that_of_the_data() -> None:
    from tests.structural.cases import data

    hsb = data("hsb")
    found = mlm.sem("level: 1\n mathach ~ ses\nlevel: 2\n mathach ~~ mathach", hsb, cluster="school")
    theirs = mlm.fit("ses ~ 1 + (1 | school)", hsb, estimator="ml").fit_statistics["icc"][0]
    assert dict(found.icc.rows())["ses"] == pytest.approx(theirs, abs=1e-6)
