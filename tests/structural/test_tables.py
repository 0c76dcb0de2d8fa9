"""The tables of structural models: what each variable's row says, Monte Carlo intervals, and the note of clustering."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.tables.columns import with_model
from mlm_ops.structural.algebra.derived import monte_carlo
from mlm_ops.structural.results.random_paths import without_random_paths
from tests.structural.cases import data, fitted
from tests.structural.test_slopes import chain_rows

CFA = "cfa: f =~ y1 + y2 + y3"


def test_a_row_per_variable_of_a_level_has_its_shares_of_variance():
    found = mlm.sem(CFA, data("demo_twolevel"), cluster="cluster")
    rows = {(row["level"], row["variable"]): row for row in found.variables.iter_rows(named=True)}
    assert list(rows) == [(level, name) for level in (1, 2) for name in ("y1", "y2", "y3", "f")]
    assert {key: row["kind"] for key, row in rows.items() if key[1] in ("y1", "f")} == {
        (1, "y1"): "observed",
        (2, "y1"): "observed",
        (1, "f"): "latent",
        (2, "f"): "latent",
    }
    for name, icc in found.icc.iter_rows():
        assert rows[1, name]["icc"] == icc
        assert rows[2, name]["icc"] is None
    for level, name, share in found.r_squared.iter_rows():
        assert rows[level, name]["r_squared"] == share
    for level, name, omega, error in found.reliability.iter_rows():
        assert (rows[level, name]["omega"], rows[level, name]["omega_std_error"]) == (omega, error)
    # of one factor an indicator's share is loading^2 variance / its variance, and omega that of their sum
    assert rows[1, "f"]["r_squared"] is None
    assert rows[1, "y1"]["omega"] is None


def test_slopes_are_variables_of_level_2():
    found = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y + s ~ w\n y ~~ s', chain_rows(), cluster="g")
    row = found.variables.filter(variable="s").row(0, named=True)
    assert (row["level"], row["kind"], row["icc"]) == (2, "slope", None)
    assert row["r_squared"] == found.r_squared.filter(variable="s")["r_squared"][0]
    statistics = found.fit_statistics.row(0, named=True)
    assert (statistics["robust"], statistics["slopes"], statistics["missing"]) == (False, "latent", "listwise")
    assert statistics["mplus"] == found.equations("mplus")
    assert statistics["latex"] == found.equations("latex")
    plain = mlm.sem("contextual: y ~ x", chain_rows(), cluster="g", robust=True, missing="ml").fit_statistics
    assert plain.select("robust", "slopes", "missing").row(0) == (True, None, "ml")


def test_a_path_with_a_random_slope_is_read_without_its_zero():
    """Of several models: a label of one is no slope of another, and a path fixed to zero stays one."""
    slope = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ s', chain_rows(), cluster="g").parameters
    fixed = mlm.sem("level: 1\n y ~ s*x + 0*m\nlevel: 2\n y ~~ y", chain_rows(), cluster="g").parameters
    both = pl.concat([with_model("slope", slope), with_model("fixed", fixed)])
    read = without_random_paths(both)
    assert read.columns == both.columns
    changed = read.with_row_index().filter(pl.col("estimate").is_null())
    assert changed.select("model", "lhs", "rhs", "label", "conf_low").rows() == [("slope", "y", "x", "s", None)]
    assert read.drop_nulls("estimate").equals(both.filter(~((pl.col("model") == "slope") & (pl.col("op") == "~"))))
    assert without_random_paths(slope)["estimate"].null_count() == 1


def test_indirect_effects_have_their_monte_carlo_intervals_in_the_table():
    found = fitted("med_111")
    definitions = found.parameters.filter(op=":=")
    limits = found.defined().select("monte_carlo_low", "monte_carlo_high")
    assert definitions.select("monte_carlo_low", "monte_carlo_high").equals(limits)
    assert found.parameters.filter(pl.col("op") != ":=")["monte_carlo_low"].null_count() == len(found.parameters) - len(
        definitions
    )
    # the distribution of a product, by draws of our own: 20,000 know a limit to a hundredth of a standard error or two
    labels = {row.label: row.index for row in found.estimate.table.rows if row.label}
    pair = [labels["aw"], labels["bw"]]
    draws = np.random.default_rng(99).multivariate_normal(
        found.estimate.theta[pair], found.vcov[np.ix_(pair, pair)], size=200_000
    )
    (row,) = definitions.filter(rhs="aw*bw").iter_rows(named=True)
    expected = np.quantile(draws.prod(axis=1), [0.025, 0.975])
    ends = [row["monte_carlo_low"], row["monte_carlo_high"]]
    assert ends == pytest.approx(expected.tolist(), abs=0.05 * row["std_error"])
    assert "95% Monte Carlo from" in str(found)


def clustered(share):
    """Sixty clusters of ten rows; of x a share of the variance lies between them."""
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(60), 10)
    x = np.sqrt(share) * rng.normal(size=60)[g] + np.sqrt(1 - share) * rng.normal(size=600)
    return pl.DataFrame({"g": g, "x": x, "y": 0.5 * x + rng.normal(size=60)[g] + rng.normal(size=600)})


ONE_LEVEL = "level: 1\n y ~ x\nlevel: 2\n y ~~ y"


def test_a_clustered_variable_of_level_1_alone_is_noted():
    found = mlm.sem(ONE_LEVEL, clustered(0.3), cluster="g")
    icc = found.icc.filter(variable="x")["icc"][0]
    # the truth is .3
    assert icc == pytest.approx(0.3, abs=0.1)
    assert found.notes == [
        f"x is at level 1 only, and has an ICC of {icc:.3f}: what it does within and between clusters is one "
        "effect here, and its rows count as independent; name it at level 2 too, or subtract its cluster mean"
    ]
    with_slope = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ s', clustered(0.3), cluster="g")
    assert found.notes[0] in with_slope.notes
    incomplete = mlm.sem(ONE_LEVEL, clustered(0.3), cluster="g", missing="ml")
    assert found.notes == incomplete.notes


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (ONE_LEVEL, clustered(0.0)),
        (ONE_LEVEL, clustered(0.3).with_columns(pl.col("x") - pl.col("x").mean().over("g"))),
        ("contextual: y ~ x", clustered(0.3)),
    ],
)
def test_one_that_does_not_differ_between_clusters_or_has_a_part_there_is_not(text, rows):
    assert mlm.sem(text, rows, cluster="g").notes == []


def test_draws_do_not_change_with_the_signs_of_eigenvectors(monkeypatch):
    """Which are either, as the last digit and the machine have it: limits of equal seeds are equal everywhere."""
    found = fitted("med_111")
    arguments = found.estimate.table, found.estimate.theta, found.vcov, 0.95
    limits, eigh = np.array(monte_carlo(*arguments)), np.linalg.eigh

    def other_signs(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * np.where(np.arange(len(values)) % 2, 1.0, -1.0)

    monkeypatch.setattr(np.linalg, "eigh", other_signs)
    np.testing.assert_allclose(np.array(monte_carlo(*arguments)), limits, rtol=1e-9)
