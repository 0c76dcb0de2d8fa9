"""Robust errors from moments against a slow version with rows, and the sentences for bad options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import AnalysisError, DataError, IdentificationError, MlmError
from mlm_ops.inference.fixed import cluster_span
from mlm_ops.inference.fixed.cluster_span import Span
from mlm_ops.inference.fixed.robust import CORRECTIONS, cr2_adjustment

Array = NDArray[np.float64]

#: Rows in each of 14 classes; schools hold 1, 2 or 3 of them, so that one school has a single row.
SIZES = (1, 4, 7, 2, 9, 3, 1, 12, 6, 5, 8, 2, 3, 11)
SCHOOLS = (0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7)


def _data() -> pl.DataFrame:
    rng = np.random.default_rng(11)
    cls = np.repeat(np.arange(len(SIZES)), SIZES)
    school = np.array(SCHOOLS)[cls]
    x, n = rng.normal(size=len(cls)) + 0.3 * cls, len(cls)
    w = rng.normal(size=8)[school]
    y = 1 + 0.5 * x + w + 1.5 * rng.normal(size=8)[school] + rng.normal(size=14)[cls] * (1 + 0.4 * x)
    return pl.DataFrame(
        {
            "y": y + rng.normal(size=n),
            "x": x,
            "w": w,
            "only": (school == 2).astype(float),
            "single": (school == 0).astype(float),
            "school": school,
            "class": cls,
            "item": np.arange(n) % 3 + 10 * school,
            "precision": rng.uniform(0.5, 2.0, n),
        }
    ).sample(fraction=1.0, shuffle=True, seed=4)


DATA = _data()


@dataclass(frozen=True)
class Dense:
    vcov: Array
    df: Array
    reference: tuple[float, float]


def _power(matrix: Array, exponent: float) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    powers = np.where(values > 1e-10, np.maximum(values, 1e-10) ** exponent, 0.0)
    result: Array = (vectors * powers) @ vectors.T
    return result


def _dense(fit: mlm.Fit, kind: str, cluster: Array, y: Array, x: Array, z: list[Array], contrast: Array) -> Dense:
    """Bell and McCaffrey (2002), Pustejovsky and Tipton (2018) as they stand, with n x n matrices."""
    v = fit.estimate.sigma2 * np.eye(len(y))
    for block, tau in zip(z, fit.estimate.tau, strict=True):
        v += block @ np.kron(np.eye(block.shape[1] // len(tau)), tau) @ block.T
    w = np.linalg.inv(v)
    m = np.linalg.inv(x.T @ w @ x)
    hat = x @ m @ x.T @ w
    e = (np.eye(len(y)) - hat) @ y
    clusters = [np.flatnonzero(cluster == c) for c in np.unique(cluster)]
    columns, meat = [], np.zeros_like(m)
    for rows in clusters:
        here, vj = x[rows], v[np.ix_(rows, rows)]
        a = np.eye(len(rows))
        if kind == "CR2":
            root = np.linalg.cholesky(vj).T
            a = root.T @ _power(root @ (vj - here @ m @ here.T) @ root.T, -0.5) @ root
        g = a @ np.linalg.inv(vj) @ here @ m
        meat += np.outer(g.T @ e[rows], g.T @ e[rows])
        columns.append((np.eye(len(y)) - hat)[rows].T @ g)
    j, n, p = len(clusters), *x.shape
    factor = {"CR1": j / (j - 1), "CR1S": j * (n - 1) / ((j - 1) * (n - p))}.get(kind, 1.0)
    stack = np.array(columns)
    products = np.einsum("iak,ab,jbk->kij", stack, v, stack)
    df = np.trace(products, axis1=1, axis2=2) ** 2 / (products**2).sum(axis=(1, 2))
    standard = stack @ contrast.T @ _power(contrast @ m @ contrast.T, -0.5)
    k = np.einsum("ias,ab,jbt->ijst", standard, v, standard)
    total = (np.trace(k, axis1=2, axis2=3) ** 2).sum() + np.einsum("ijst,ijts->", k, k)
    q = len(contrast)
    eta = q * (q + 1) / total
    return Dense(factor * meat, df, ((eta - q + 1) / eta, eta - q + 1))


def _indicators(codes: Array, *columns: Array) -> Array:
    """Z of one grouping factor, unit by unit."""
    return np.column_stack([(codes == unit) * column for unit in np.unique(codes) for column in columns])


def _columns(*names: str) -> list[Array]:
    known = {"1": np.ones(len(DATA))} | {name: DATA[name].to_numpy() for name in DATA.columns}
    return [known[name] for name in names]


CASES: dict[str, tuple[str, str, tuple[str, ...], list[tuple[str, tuple[str, ...]]]]] = {
    "regression": ("y ~ x + w", "school", ("1", "x", "w"), []),
    "intercept only": ("y ~ 1", "class", ("1",), []),
    "predictor of one cluster": ("y ~ x + only", "school", ("1", "x", "only"), []),
    "predictor of one row": ("y ~ x + single", "school", ("1", "x", "single"), []),
    "random intercept": ("y ~ x + w + (1 | school)", "school", ("1", "x", "w"), [("school", ("1",))]),
    "intercept, one cluster's predictor": (
        "y ~ x + only + (1 | school)",
        "school",
        ("1", "x", "only"),
        [("school", ("1",))],
    ),
    "random slope": ("y ~ x + w + (x | school)", "school", ("1", "x", "w"), [("school", ("1", "x"))]),
    "three levels": (
        "y ~ x + w + (1 | school) + (x | school:class)",
        "school",
        ("1", "x", "w"),
        [("class", ("1", "x")), ("school", ("1",))],
    ),
    "clusters above": ("y ~ x + w + (x | class)", "school", ("1", "x", "w"), [("class", ("1", "x"))]),
    "crossed within clusters": (
        "y ~ x + w + (1 | class) + (1 | item)",
        "school",
        ("1", "x", "w"),
        [("item", ("1",)), ("class", ("1",))],
    ),
}


@pytest.mark.parametrize("kind", CORRECTIONS)
@pytest.mark.parametrize("name", CASES)
def test_moments_give_what_rows_give(name: str, kind: Any) -> None:
    formula, cluster, fixed, random = CASES[name]
    fit = mlm.fit(formula, DATA, robust=kind, cluster=cluster)
    x = np.column_stack(_columns(*fixed))
    z = [_indicators(DATA[group].to_numpy(), *_columns(*effects)) for group, effects in random]
    contrast = np.eye(x.shape[1])[-2:]
    expected = _dense(fit, kind, DATA[cluster].to_numpy(), DATA["y"].to_numpy(), x, z, contrast)
    scale = np.sqrt(np.outer(np.diag(fit.estimate.vcov), np.diag(fit.estimate.vcov)))
    np.testing.assert_allclose(fit.vcov / scale, expected.vcov / scale, atol=1e-9)
    np.testing.assert_allclose(fit.fixed_effects["df"], expected.df, rtol=1e-8)
    np.testing.assert_allclose(fit.method.degrees(2.0 * contrast), expected.df[-2:], rtol=1e-8)
    np.testing.assert_allclose(fit.method.reference(contrast), expected.reference, rtol=1e-8)


def test_cr0_is_the_textbook_sandwich() -> None:
    x = np.column_stack(_columns("1", "x", "w"))
    y, school = DATA["y"].to_numpy(), DATA["school"].to_numpy()
    bread = np.linalg.inv(x.T @ x)
    scores = x * (y - x @ bread @ x.T @ y)[:, None]
    by_school = np.array([scores[school == s].sum(axis=0) for s in np.unique(school)])
    fit = mlm.fit("y ~ x + w", DATA, robust="CR0", cluster="school")
    np.testing.assert_allclose(fit.vcov, bread @ by_school.T @ by_school @ bread, rtol=1e-10)


def test_weighted_rows_count_as_scaled_by_their_roots() -> None:
    root = np.sqrt(DATA["precision"].to_numpy())
    x = np.column_stack(_columns("1", "x", "w")) * root[:, None]
    z = [_indicators(DATA["school"].to_numpy(), root)]
    fit = mlm.fit("y ~ x + w + (1 | school)", DATA, robust="CR2", weights="precision")
    expected = _dense(fit, "CR2", DATA["school"].to_numpy(), DATA["y"].to_numpy() * root, x, z, np.eye(3)[1:])
    np.testing.assert_allclose(fit.vcov, expected.vcov, rtol=1e-8)
    np.testing.assert_allclose(fit.fixed_effects["df"], expected.df, rtol=1e-8)


@pytest.mark.parametrize("formula", ["y ~ x + w", "y ~ x + w + (1 | school) + (x | school:class)"])
def test_blocks_of_clusters_make_no_difference(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mlm.fit(formula, DATA, robust="CR2", cluster="school")
    expected = whole.vcov, whole.fixed_effects["df"].to_numpy()
    monkeypatch.setattr(cluster_span, "_BLOCK", 1)
    piecewise = mlm.fit(formula, DATA, robust="CR2", cluster="school")
    np.testing.assert_allclose(piecewise.vcov, expected[0], rtol=1e-10)
    np.testing.assert_allclose(piecewise.fixed_effects["df"], expected[1], rtol=1e-10)


def test_robust_errors_follow_the_scale_of_the_data() -> None:
    moved = DATA.with_columns(x=1e6 + pl.col("x") * 1e-3, y=pl.col("y") * 1e5)
    first, second = (
        mlm.fit("y ~ x + w + (x | school)", data, robust="CR2").fixed_effects.row(1, named=True)
        for data in (DATA, moved)
    )
    assert second["std_error"] == pytest.approx(first["std_error"] * 1e8, rel=1e-6)
    assert second["df"] == pytest.approx(first["df"], rel=1e-6)


@pytest.mark.parametrize("ratio", [1e2, 1e5, 1e8])
def test_the_adjustment_solves_its_equation_however_large_the_variances_between(ratio: float) -> None:
    rng = np.random.default_rng(2)
    variance = np.concatenate((1 + ratio * np.array([1.0, 0.01]), np.ones(4)))
    x = rng.normal(size=(6, 4)) * 0.2 * np.sqrt(variance)[:, None]
    (a,) = cr2_adjustment(Span(variance[None], x[None], np.zeros((1, 6)), np.zeros((1, 4))))
    relative = a @ (np.diag(variance) - x @ x.T) @ a / np.sqrt(np.outer(variance, variance))
    np.testing.assert_allclose(relative, np.eye(6), atol=1e-11)
    np.testing.assert_allclose(a, a.T, rtol=1e-12)


def test_a_fit_names_its_robust_errors() -> None:
    plain, robust = (mlm.fit("y ~ x + (1 | school)", DATA, robust=kind) for kind in (None, "CR1S"))
    note = "standard errors, df and p values of the fixed effects are cluster-robust: CR1S over 8 clusters of school"
    assert note in robust.notes
    assert note in str(robust)
    assert not any("robust" in text for text in plain.notes)
    assert (plain.fixed_effects["std_error"] != robust.fixed_effects["std_error"]).all()
    np.testing.assert_allclose(robust.fixed_effects["std_error"], np.sqrt(np.diag(robust.vcov)), rtol=1e-14)
    normal = mlm.fit("y ~ x + (1 | school)", DATA, robust="CR1S", df="none")
    np.testing.assert_array_equal(normal.vcov, robust.vcov)
    assert normal.fixed_effects["df"].is_null().all()


def test_clusters_may_be_named_by_two_columns_or_be_texts() -> None:
    text = DATA.with_columns(cluster="s" + pl.col("school").cast(pl.String), one=pl.lit("a"))
    fits = [mlm.fit("y ~ x", text, robust="CR2", cluster=c) for c in ("school", "cluster", "one:school")]
    for other in fits[1:]:
        np.testing.assert_allclose(other.vcov, fits[0].vcov, rtol=1e-12)


def test_rows_without_a_cluster_are_left_out_and_counted() -> None:
    gaps = DATA.with_columns(cluster=pl.when(pl.col("school") > 0).then(pl.col("school")))
    fit = mlm.fit("y ~ x", gaps, robust="CR2", cluster="cluster")
    np.testing.assert_allclose(
        fit.vcov, mlm.fit("y ~ x", DATA.filter(pl.col("school") > 0), robust="CR2", cluster="school").vcov, rtol=1e-12
    )
    assert any("1 of 74 rows left out for missing values (cluster 1)" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("formula", "options", "error", "sentence"),
    [
        (
            "y ~ x + (1 | school)",
            {"robust": "CR3"},
            MlmError,
            "Unknown robust. Got 'CR3'; expected one of CR0, CR1, CR1S, CR2, HC0, HC1, HC2, HC3.",
        ),
        ("y ~ x", {"robust": "CR2"}, MlmError, "Robust errors of single-level regression need clusters."),
        ("y ~ x", {"cluster": "school"}, MlmError, "Got cluster 'school' without robust; add robust 'CR2'."),
        (
            "y ~ x",
            {"robust": "CR2", "cluster": ""},
            MlmError,
            "cluster is not understood. Got nothing; expected a column, or several joined by a colon.",
        ),
        (
            "y ~ x + (1 | school)",
            {"robust": "CR2", "df": "kenward-roger"},
            MlmError,
            "Kenward-Roger's errors and robust errors exclude each other.",
        ),
        (
            "y ~ x",
            {"robust": "CR2", "cluster": "School"},
            DataError,
            "Column 'School' is not in the data. Did you mean 'school'?",
        ),
        (
            "y ~ x",
            {"robust": "CR2", "cluster": "one"},
            IdentificationError,
            "Cluster-robust errors need two clusters or more. Got one, one = 1; name another column.",
        ),
        (
            "y ~ x + (1 | school)",
            {"robust": "CR2", "cluster": "class"},
            IdentificationError,
            "The clusters of class cut through units of the grouping factor school. Got 2 in 3 clusters; cluster by a "
            "column that holds its units whole.",
        ),
        (
            "y ~ x + (1 | class) + (1 | third)",
            {"robust": "CR2"},
            IdentificationError,
            "The clusters of third cut through units of the grouping factor class.",
        ),
    ],
)
def test_bad_input_in_one_sentence(formula: str, options: dict[str, Any], error: Any, sentence: str) -> None:
    data = DATA.with_columns(one=pl.lit(1), third=pl.col("item") % 10)
    with pytest.raises(error) as caught:
        mlm.fit(formula, data, **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_coefficients_for_the_clusters() -> None:
    fit = mlm.fit("y ~ x + w + only + single", DATA, robust="CR2", cluster="school")
    with pytest.raises(MlmError, match=r"too few to test so many coefficients at once\. Got 4 coefficients and 8"):
        fit.test(["x", "w", "only", "single"])
    two = DATA.filter(pl.col("school").is_in([2, 4]))
    fit = mlm.fit("y ~ x + precision", two, robust="CR0", cluster="school")
    with pytest.raises(MlmError, match="Got 2 coefficients and 2 clusters of school"):
        fit.test(["x", "precision"])


def test_an_analysis_end_to_end() -> None:
    connection = duckdb.connect()
    connection.register("rows_of_classes", DATA.to_arrow())
    analysis = parse_analysis(
        "analysis: a\ndata: rows_of_classes\nlevels: [class, school]\nrobust: CR2\n"
        "models:\n  plain: y ~ x\n  ri: y ~ x + (1 | school)\n  item: y ~ x + (1 | item)\n"
    )
    result = fit_analysis(analysis, connection)
    for name, group in (("plain", "school"), ("ri", "school"), ("item", "item")):
        direct = mlm.fit(analysis.models[name].formula, DATA, robust="CR2", cluster=group)
        table = result.tables["fixed_effects"].filter(pl.col("model") == name)
        np.testing.assert_allclose(table["std_error"], direct.fixed_effects["std_error"], rtol=1e-8)
        (notes,) = result.tables["models"].filter(pl.col("model") == name)["notes"]
        assert f"cluster-robust: CR2 over {DATA[group].n_unique()} clusters of {group}" in notes


def test_analysis_files() -> None:
    text = "analysis: a\ndata: t\n{}\nmodels:\n  plain: y ~ x\n  ri: y ~ x + (1 | school)\n"
    analysis = parse_analysis(text.format("levels: [class, school]\nrobust: CR2"))
    assert {r.robust for r in analysis.requests.values()} == {"CR2"}
    assert {name: r.cluster for name, r in analysis.requests.items()} == {"plain": ("school",), "ri": ()}
    assert analysis.keys == ("class", "school")
    named = parse_analysis(text.format("levels: class\nrobust: CR1\ncluster: district:school"))
    assert {(r.robust, r.cluster) for r in named.requests.values()} == {("CR1", ("district", "school"))}
    assert named.keys == ("class", "district", "school")
    with pytest.raises(AnalysisError, match="Model 'plain': Robust errors of single-level regression need clusters"):
        _ = parse_analysis(text.format("robust: CR2")).compiled_models
    with pytest.raises(AnalysisError, match="robust"):
        parse_analysis(text.format("robust: CR3"))
    with pytest.raises(AnalysisError, match="A cluster is for robust errors"):
        _ = parse_analysis(text.format("cluster: school")).compiled_models


def test_few_degrees_of_freedom_are_told() -> None:
    fit = mlm.fit("y ~ x + w + (1 | school)", DATA, robust="CR2")
    few = [name for name, df in fit.fixed_effects.select("term", "df").rows() if df < 4]
    note = (
        "fewer than 4 degrees of freedom, which few or very unequal clusters leave: {}; there p values by robust "
        "errors are too small more often than they say"
    )
    assert few == ["w"]
    assert note.format("w") in fit.notes
    assert not any("degrees of freedom" in text for text in mlm.fit("y ~ x + w", DATA).notes)
