"""Steps of invariance across levels, with lavaan's fit and its scaled difference tests."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import IdentificationError
from mlm_ops.structural.estimation.estimate import SemEstimate, estimate_sem
from mlm_ops.structural.inference import invariance_steps
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.language.ready_models import expand_ready_model
from mlm_ops.structural.statistics.grouped import AnyStatistics
from tests.structural.cases import data, fitted

LINE = "cfa: f =~ y1 + y2 + y3; g =~ y4 + y5 + y6"


def test_steps_are_lavaans() -> None:
    """lavaan 0.6-14, estimator MLR, lavTestLRT(method = "satorra.bentler.2001")."""
    found = mlm.sem(LINE, data("demo_twolevel"), cluster="cluster")
    steps = found.invariance
    assert steps["invariance"].to_list() == ["configural", "metric", "scalar"]
    assert steps["reference"].to_list() == [None, "configural", "metric"]
    assert steps["df"].to_list() == [None, 4, 6]
    assert steps["n_parameters"].to_list() == [32, 28, 22]
    assert steps["chi_square_df"].to_list() == [16, 20, 26]
    # of four decimals: lavaan's unrestricted model is the end of an EM
    assert steps["chi_square"].to_list() == pytest.approx([12.6284, 26.1941, 440.3343], abs=5e-4)
    assert steps["log_likelihood"].to_list() == pytest.approx([-23968.697107, -23975.479918, -24182.550049], abs=1e-5)
    assert steps["statistic_scaled"][1] == pytest.approx(12.409, abs=1e-3)
    assert steps["p_value_scaled"][1] == pytest.approx(0.01456, abs=1e-5)
    # there lavaan warns that its factor is negative
    assert steps["statistic_scaled"][2] is None
    assert steps["delta_aic"].to_list()[1:] == pytest.approx(
        [s - 2 * df for s, df in zip(steps["statistic"][1:], (4, 6), strict=True)]
    )


def test_each_step_is_the_model_of_its_line() -> None:
    rows = data("demo_twolevel")
    line = "cfa: f =~ y1 + y2 + y3 | within(x1) + between(w1)"
    steps = mlm.sem(line, rows, cluster="cluster").invariance
    for name in ("metric", "scalar"):
        own = mlm.sem(line.replace("cfa", f"cfa {name}"), rows, cluster="cluster")
        row = steps.filter(invariance=name).row(0, named=True)
        assert row["log_likelihood"] == pytest.approx(own.estimate.log_likelihood, abs=1e-7)
        assert row["cfi"] == pytest.approx(own.measures.plain.cfi, abs=1e-7)
        assert own.invariance.is_empty()


def test_steps_are_printed() -> None:
    text = str(mlm.sem("cfa: f =~ y1 + y2 + y3", data("demo_twolevel"), cluster="cluster"))
    below = text.split("Invariance across levels\n")[1].split("\n\n")[0].splitlines()
    assert below[0].split() == ["chi-square", "df", "CFI", "RMSEA", "AIC", "difference", "df", "p", "scaled", "p"]
    assert [line.split()[0] for line in below[1:4]] == ["configural", "metric", "scalar"]
    assert below[4].strip() == "variances of zero are on their bound: p of the scalar step is too large"


def few_clusters(seed: int) -> pl.DataFrame:
    """Rows of so few clusters that searches may end at a lesser optimum."""
    draw = np.random.default_rng(seed)
    n_clusters, size = int(draw.integers(4, 9)), int(draw.integers(2, 5))
    between, codes = draw.normal(size=n_clusters), np.repeat(np.arange(n_clusters), size)
    within = draw.normal(size=len(codes))
    columns: dict[str, object] = {"g": [str(code) for code in codes]}
    for name in ("y0", "y1", "y2"):
        rows = draw.normal() * within + draw.normal(size=len(codes)) * draw.choice([0.01, 1])
        own = draw.normal() * between[codes] + draw.normal(size=n_clusters)[codes] * draw.choice([0, 0.01, 1])
        columns[name] = rows + own
    return pl.DataFrame(columns)


def test_a_step_without_a_test_keeps_its_row_and_says_why() -> None:
    fit = mlm.sem("cfa: f =~ y0 + y1 + y2", few_clusters(2), cluster="g")
    metric = fit.invariance.row(1, named=True)
    assert (metric["invariance"], metric["reference"]) == ("metric", "configural")
    # at the precision at which the search ends
    assert metric["log_likelihood"] == pytest.approx(-72.595287, abs=1e-4)
    assert (metric["statistic"], metric["p_value"]) == (None, None)
    assert fit.notes[-1] == (
        "the metric step of invariance across levels could not be tested against configural, and the steps end there: "
        "it fits better, with a log-likelihood of -72.6 against -72.9, so that the search for the configural model has "
        "ended short of its best fit"
    )
    assert f"Note: {fit.notes[-1]}." in str(fit)


def test_a_step_that_cannot_be_fitted_keeps_its_row_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(table: ParameterTable, statistics: AnyStatistics) -> SemEstimate:
        if table.n_free == 10:  # the scalar step: 3 loadings less one, 3 residuals, 3 means, 2 variances
            raise IdentificationError("There is no start.")
        return estimate_sem(table, statistics)

    monkeypatch.setattr(invariance_steps, "estimate_sem", fails)
    fit = mlm.sem("cfa: f =~ y1 + y2 + y3", data("demo_twolevel"), cluster="cluster")
    assert fit.invariance["invariance"].to_list() == ["configural", "metric", "scalar"]
    scalar = fit.invariance.row(2, named=True)
    told = {name for name, value in scalar.items() if value is not None}
    assert told == {"step", "across", "invariance", "reference"}
    sentence = (
        "the scalar step of invariance across levels could not be fitted, and the steps end there: There is no start"
    )
    assert sentence in fit.notes
    text = str(fit)
    assert f"Note: {sentence}." in text
    assert "p of the scalar step is too large" not in text


def test_models_without_common_factors_have_no_steps() -> None:
    assert fitted("path_demo").invariance.is_empty()
    # one whose loadings are equal already
    assert fitted("dl_contextual").invariance.is_empty()


def test_a_factor_whose_variance_is_its_unit_has_another_one_between() -> None:
    rows = data("demo_twolevel")
    line = "cfa: f =~ NA*y1 + y2 + y3; f ~~ 1*f"
    by_variance = mlm.sem(line, rows, cluster="cluster").invariance
    by_loading = mlm.sem("cfa: f =~ y1 + y2 + y3", rows, cluster="cluster").invariance
    for name in ("log_likelihood", "chi_square", "n_parameters", "p_value"):
        assert by_variance[name].to_list() == pytest.approx(by_loading[name].to_list(), abs=1e-6)
    text = (
        "level: 1\n  f =~ NA*y1 + f_y1*y1 + f_y2*y2 + f_y3*y3\n  f ~~ 1*f\n"
        "level: 2\n  f =~ NA*y1 + f_y1*y1 + f_y2*y2 + f_y3*y3"
    )
    assert expand_ready_model(line.replace("cfa", "cfa metric")) == text


def test_loadings_of_different_indicators_have_different_labels() -> None:
    """``a_b_c`` is that of c on a_b, of b_c on a, or a label of the text."""
    text = expand_ready_model("cfa metric: a =~ y1 + b_c + a_b_d*y3; a_b =~ y4 + c + d")
    block = "  a =~ y1 + a_b_c*b_c + a_b_d*y3\n  a_b =~ y4 + loading_a_b_c*c + loading_a_b_d*d"
    assert text == f"level: 1\n{block}\nlevel: 2\n{block}"
