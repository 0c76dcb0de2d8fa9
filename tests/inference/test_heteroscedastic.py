"""HC0 to HC3 against n x n matrices, where the rows come from, and when they are refused."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis, fit_analysis_model
from mlm_ops.errors import AnalysisError, MlmError, RowsChangedError

Array = NDArray[np.float64]
KINDS = ("HC0", "HC1", "HC2", "HC3")


def _data() -> pl.DataFrame:
    rng = np.random.default_rng(16)
    n = 150
    x, arm = rng.normal(size=n), rng.integers(0, 3, n)
    columns = {
        "x": x,
        "far": x * 3 + 1e5,
        "arm": np.array(["a", "b", "c"])[arm],
        "w": rng.uniform(0.5, 3.0, n),
        "one": (np.arange(n) == 7).astype(float),
        "school": np.arange(n) % 12,
    }
    return pl.DataFrame(columns | {"y": 2 + x + 0.5 * arm + np.exp(0.5 * x) * rng.normal(size=n)})


DATA = _data()
X = np.column_stack([np.ones(150), DATA["x"], DATA["arm"] == "b", DATA["arm"] == "c"])


def _dense(x: Array, y: Array, kind: str, w: Array | None = None) -> Array:
    """MacKinnon and White (1985) as they stand, with the whole hat matrix."""
    root = np.sqrt(np.ones(len(y)) if w is None else w)
    x, y = x * root[:, None], y * root
    m = np.linalg.inv(x.T @ x)
    hat = x @ m @ x.T
    e, h = y - hat @ y, np.diag(hat)
    n, p = x.shape
    # a row with leverage one has no residual
    free = np.where(h < 1 - 1e-10, 1 - h, np.inf)
    c = {"HC0": np.ones(n), "HC1": np.full(n, n / (n - p)), "HC2": 1 / free, "HC3": 1 / free**2}[kind]
    result: Array = m @ (x.T * (c * e**2)) @ x @ m
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_whole_matrices(kind: str) -> None:
    y = DATA["y"].to_numpy()
    plain = mlm.fit("y ~ x + arm", DATA, robust=kind)  # type: ignore[arg-type]
    np.testing.assert_allclose(plain.vcov, _dense(X, y, kind), rtol=1e-10, atol=1e-13)
    weighted = mlm.fit("y ~ x + arm", DATA, robust=kind, weights="w")  # type: ignore[arg-type]
    np.testing.assert_allclose(weighted.vcov, _dense(X, y, kind, DATA["w"].to_numpy()), rtol=1e-10, atol=1e-13)
    alone = mlm.fit("y ~ x + one", DATA, robust=kind)  # type: ignore[arg-type]
    columns = np.column_stack([X[:, :2], DATA["one"]])
    np.testing.assert_allclose(alone.vcov[:2, :2], _dense(columns, y, kind)[:2, :2], rtol=1e-10, atol=1e-13)


def test_a_predictor_far_from_zero_and_products_keep_their_digits() -> None:
    near, far = (mlm.fit(f"y ~ {x}*arm", DATA, robust="HC3") for x in ("x", "far"))
    slopes = [1, 4, 5]
    np.testing.assert_allclose(
        far.fixed_effects["std_error"].gather(slopes) * 3, near.fixed_effects["std_error"].gather(slopes), rtol=1e-8
    )


def test_strata_scale_the_rows() -> None:
    """With a variance for each arm, rows count as divided by their arm's standard deviation."""
    fit = mlm.fit("y ~ x", DATA, residual="by(arm)", robust="HC2")
    sigma2 = fit.variance_components.filter(group="residual")
    by_arm = dict(zip(sigma2["term"], sigma2["estimate"], strict=True))
    w = np.array([1 / by_arm[arm] for arm in DATA["arm"]])
    np.testing.assert_allclose(fit.vcov, _dense(X[:, :2], DATA["y"].to_numpy(), "HC2", w), rtol=1e-9)


def test_tests_intervals_and_notes_go_by_them() -> None:
    fit = mlm.fit("y ~ x + arm", DATA, robust="HC3")
    row = fit.fixed_effects.row(1, named=True)
    assert row["df"] == 146
    assert row["statistic"] == pytest.approx(row["estimate"] / row["std_error"], rel=1e-12)
    joint = fit.test(["x", "arm"]).row(0, named=True)
    v, gamma = fit.vcov[1:, 1:], fit.fixed_effects["estimate"].to_numpy()[1:]
    assert joint["statistic"] == pytest.approx(gamma @ np.linalg.solve(v, gamma) / 3, rel=1e-10)
    assert (joint["df1"], joint["df2"]) == (3, 146)
    assert fit.notes == [
        "standard errors and p values of the fixed effects are HC3: they allow for unequal residual variances, and "
        "take rows for independent"
    ]
    normal = mlm.fit("y ~ x + arm", DATA, robust="HC3", df="none")
    assert normal.fixed_effects["df"].null_count() == 4


def test_the_table_sets_them_beside_least_squares_and_clusters() -> None:
    fit = mlm.fit("y ~ x + arm", DATA, robust="HC3", levels="school")
    plain = mlm.fit("y ~ x + arm", DATA)
    clustered = mlm.fit("y ~ x + arm", DATA, robust="CR2", cluster="school")
    table = fit.standard_errors()
    assert table["std_error_kind"].to_list() == ["HC3"] * 4
    np.testing.assert_array_equal(table["std_error"], fit.fixed_effects["std_error"])
    np.testing.assert_allclose(table["naive_std_error"], plain.fixed_effects["std_error"], rtol=1e-12)
    np.testing.assert_allclose(table["robust_std_error"], clustered.fixed_effects["std_error"], rtol=1e-12)
    assert table["std_error_ratio"].null_count() == 4
    # without levels there are no clusters
    assert plain.standard_errors()["robust_std_error"].null_count() == 4
    assert plain.standard_errors()["std_error_kind"].to_list() == ["model"] * 4
    np.testing.assert_allclose(
        clustered.standard_errors()["robust_std_error"], clustered.fixed_effects["std_error"], rtol=1e-12
    )


FILE = """
analysis: hc
data: t
levels: school
models:
  multilevel: y ~ x + z + (1 | school)
  regression: {formula: y ~ x, robust: HC2}
compare: [regression, multilevel]
"""


def test_a_file_reads_the_rows_of_its_moments() -> None:
    """Rows that another model of the file cannot use are in neither; the multilevel model has its own errors."""
    gaps = DATA.with_columns(z=pl.when(pl.arange(0, 150) % 10 > 0).then(pl.col("w")))
    with duckdb.connect() as connection:
        connection.register("frame", gaps.to_arrow())
        connection.execute("create table t as from frame")
        tables = fit_analysis(parse_analysis(FILE), connection).tables
    errors = tables["fixed_effects"].filter(model="regression")["std_error"]
    complete = gaps.drop_nulls()
    expected = _dense(np.column_stack([np.ones(135), complete["x"]]), complete["y"].to_numpy(), "HC2")
    np.testing.assert_allclose(errors, np.sqrt(np.diag(expected)), rtol=1e-10)
    kinds = tables["standard_errors"].select("model", "std_error_kind").unique(maintain_order=True).rows()
    assert kinds == [("multilevel", "model"), ("regression", "HC2")]


def test_a_cluster_of_the_file_is_for_models_that_have_clusters() -> None:
    text = FILE.replace("levels: school", "cluster: school") + "  # and nothing else\n"
    text = text.replace("multilevel: y ~ x + z + (1 | school)", "multilevel: {formula: y ~ x, robust: CR2}")
    requests = parse_analysis(text).requests
    assert (requests["multilevel"].cluster, requests["regression"].cluster) == (("school",), ())


def test_rows_that_changed_are_refused() -> None:
    with duckdb.connect() as connection:
        connection.register("frame", DATA.with_columns(z="w").to_arrow())
        connection.execute("create table t as from frame")
        analysis = parse_analysis(FILE)
        moments = collect_analysis(analysis, connection)
        connection.execute("delete from t where one = 1")
        with pytest.raises(RowsChangedError) as caught:
            fit_analysis_model(analysis, "regression", moments, connection)
        assert "150 rows were fitted, 149 with other values read again" in str(caught.value)
        connection.execute("insert into t select * replace (x + 3 as x) from t limit 1")
        with pytest.raises(RowsChangedError, match="150 rows were fitted, 150 with other values read again"):
            fit_analysis_model(analysis, "regression", moments, connection)


def test_a_ladder_of_regressions() -> None:
    text = """
analysis: steps
data: t
robust: HC3
models: {start: y ~ 1}
strategy: build_up
start: start
candidates: {fixed: [x, w]}
"""
    with duckdb.connect() as connection:
        connection.register("frame", DATA.to_arrow())
        connection.execute("create table t as from frame")
        tables = fit_analysis(parse_analysis(text), connection).tables
        assert tables["ladder_steps"]["taken"].to_list() == [True, False]
        selected = tables["fixed_effects"].filter(model="build_up_1")
        expected = mlm.fit("y ~ x", DATA, robust="HC3").fixed_effects
        np.testing.assert_allclose(selected["std_error"], expected["std_error"], rtol=1e-12)
        with pytest.raises(MlmError, match="HC3 errors are for single-level regression"):
            fit_analysis(parse_analysis(text.replace("fixed: [x, w]", "random: ['x | school']")), connection)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"robust: HC2": "robust: HC9"},
            "Model 'regression': Unknown robust. Got 'HC9'; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3.",
        ),
        (
            {"formula: y ~ x,": "formula: y ~ x + (1 | school),"},
            "Model 'regression': HC2 errors are for single-level regression, as they take rows for independent. Got "
            "random effects of school; use CR2, which allows for unequal variances too.",
        ),
    ],
)
def test_bad_input_in_one_sentence(change: dict[str, Any], sentence: str) -> None:
    text = FILE
    for old, new in change.items():
        text = text.replace(old, new)
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(text)
    assert str(caught.value) == sentence
