"""Two-level structural equation models against lavaan's, polished by Newton steps on a likelihood of its own.

Tolerances: the reference's own gradient leaves 1e-9 in the log-likelihood and 1e-8 in the estimates; its SRMR, ICC and
standardised values are lavaan's, whose unrestricted model stops at 1e-4.
"""

from __future__ import annotations

import polars as pl
import pytest

from mlm_ops import sem
from tests.structural.cases import NAMES, case, data, fitted

LOG_LIKELIHOOD, ESTIMATE, STD_ERROR, CHI_SQUARE, INDEX, LAVAAN = 1e-7, 1e-6, 1e-6, 1e-6, 1e-6, 2e-3
#: Of path_demo, by lavaan 0.6-14: estimator MLR, observed Hessian, in the order of the parameters.
LAVAAN_MLR = (
    0.02137955,
    0.02704614,
    0.02591405,
    0.02272379,
    0.04624496,
    0.03701918,
    0.0282248,
    0.01994861,
    0.02715676,
    0.01949056,
    0.02044439,
    0.07041568,
    0.05752029,
    0.06595538,
    0.05435873,
    0.05560284,
    0.06713995,
    0.08326275,
    0.06057872,
    0.09105153,
    0.04762111,
    0.05926051,
    0.06595537,
    0.06821284,
)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_lavaans(name):
    ours, theirs = fitted(name).parameters, case(name)["parameters"]
    keys = ("level", "lhs", "op")
    assert [tuple(row[k] for k in keys) for row in theirs] == ours.select(keys).rows()
    assert [row["rhs"].replace(" ", "") for row in theirs] == [rhs.replace(" ", "") for rhs in ours["rhs"]]
    for row, reference in zip(ours.iter_rows(named=True), theirs, strict=True):
        assert row["estimate"] == pytest.approx(reference["estimate"], abs=ESTIMATE, rel=ESTIMATE)
        assert (row["std_error"] is None) == (reference["std_error"] is None)
        assert row["std_error"] is None or row["std_error"] == pytest.approx(reference["std_error"], rel=STD_ERROR)
        assert row["std_all"] == pytest.approx(reference["std_all"], abs=LAVAAN)
        assert row["label"] == reference["label"]


@pytest.mark.parametrize("name", NAMES)
def test_fit_measures_are_lavaans(name):
    ours, theirs = fitted(name).fit_statistics.row(0, named=True), case(name)["fit"]
    assert ours["log_likelihood"] == pytest.approx(case(name)["loglik"], abs=LOG_LIKELIHOOD)
    assert ours["chi_square"] == pytest.approx(theirs["chisq"], abs=CHI_SQUARE)
    assert (ours["df"], ours["n_parameters"]) == (theirs["df"], theirs["npar"])
    assert ours["p_value"] == (pytest.approx(theirs["pvalue"], abs=INDEX) if theirs.get("pvalue") else None)
    for index in ("cfi", "tli", "rmsea"):
        assert theirs[index] is None or ours[index] == pytest.approx(theirs[index], abs=INDEX)
    for index in ("aic", "bic"):
        assert ours[index] == pytest.approx(theirs[index], abs=LOG_LIKELIHOOD)
    for index in ("srmr_within", "srmr_between"):
        assert ours[index] == pytest.approx(theirs[index], abs=LAVAAN)
    assert (ours["n_obs"], ours["n_clusters"]) == (case(name)["n_obs"], case(name)["n_clusters"])
    assert ours["converged"]
    assert not ours["singular"]


@pytest.mark.parametrize("name", [name for name in NAMES if case(name)["fit"]["baseline.chisq"]])
def test_baseline_is_lavaans(name):
    measures, theirs = fitted(name).measures, case(name)["fit"]
    assert measures.plain.baseline_df == theirs["baseline.df"]
    # the reference polishes its unrestricted model but not its baseline
    assert measures.plain.baseline_chi_square == pytest.approx(theirs["baseline.chisq"], abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_icc_is_lavaans(name):
    """lavaan's is 0 for columns that the model has at level 1 alone, whatever the clusters have of them."""
    table = fitted(name).estimate.table
    ours = {name: icc for name, icc in fitted(name).icc.rows() if name in table.both}
    assert ours == pytest.approx({n: icc for n, icc in case(name)["icc"].items() if n in table.both}, abs=LAVAAN)


def test_robust_errors_are_those_of_lavaans_mlr():
    found = sem(case("path_demo")["syntax"], data("demo_twolevel"), cluster="cluster", robust=True)
    ours = found.parameters.filter(pl.col("std_error").is_not_null())
    pairs = zip(ours.iter_rows(named=True), LAVAAN_MLR, strict=True)
    # lavaan's scores of the means within clusters are approximate, which moves slopes on them by 4e-4;
    # these means themselves have a test of their own
    kept = [(row["std_error"], theirs) for row, theirs in pairs if not (row["op"] == "~1" and row["level"] == 1)]
    assert [a for a, _ in kept] == pytest.approx([b for _, b in kept], rel=1e-3)


def test_robust_error_of_a_mean_within_clusters_is_that_of_the_clusters_totals():
    """An exogenous variable of level 1 alone: its likelihood is that of independent rows."""
    rows = data("demo_twolevel")
    found = sem(case("path_demo")["syntax"], rows, cluster="cluster", robust=True).parameters
    ours = found.filter((pl.col("lhs") == "x1") & (pl.col("op") == "~1"))["std_error"][0]
    totals = rows.group_by("cluster").agg((pl.col("x1") - rows["x1"].mean()).sum())["x1"]
    assert ours == pytest.approx((totals**2).sum() ** 0.5 / len(rows), rel=1e-9)
