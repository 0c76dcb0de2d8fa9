"""Models of several groups of rows, against lavaan's and against fits of each group alone.

lavaan 0.6-14 weighs groups by their rows twice where they share parameters (its objective is the mean of the groups'
log-likelihoods divided by all rows, weighted by each group's rows), so that its estimates are those of maximum
likelihood only where the groups have as many rows: the cases ``even``. In the others, ``uneven``, its likelihood was
maximised by another search, and its own optimum lies below. Its searches leave 1e-5 in the log-likelihood, its
unrestricted model, the end of an EM, 1e-3 in chi-square; its scaled statistics have approximate scores of means.
"""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace
from typing import Any, get_args

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import SemFit
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import collect_analysis
from mlm_ops.analyses.structural_models import fit_analysis_sem
from mlm_ops.errors import DataError, MlmError
from mlm_ops.language.options import GroupEqual
from mlm_ops.structural.estimation.recentre import recentre_function
from mlm_ops.structural.language.defaults import filled_items, model_variables
from mlm_ops.structural.language.grouping import kind_of
from mlm_ops.structural.language.syntax import parse_sem
from tests.structural.cases import REFERENCE, data

LOG_LIKELIHOOD, ESTIMATE, STD_ERROR, CHI_SQUARE, SCALED = 1e-5, 0.01, 0.01, 1e-3, 0.02
CFA = "level: 1\n fw =~ y1 + y2 + y3 + y4\nlevel: 2\n fb =~ y1 + y2 + y3 + y4"
PATH = "level: 1\n y1 ~ {a}*x1 + x2\n y2 ~ y1 + x1\nlevel: 2\n y1 ~ {b}*w2\n y2 ~ y1 + w2\n"
EQUAL = {
    "configural": (),
    "metric": ("loadings",),
    "scalar": ("loadings", "intercepts"),
    "strict": ("loadings", "intercepts", "residuals"),
}
CASES = sorted(path.stem for path in (REFERENCE / "sem_groups").glob("*.json"))
SHORT = "level: 1\n y1 ~ x1\nlevel: 2\n y1 ~~ y1"


@cache
def case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / "sem_groups" / f"{name}.json").read_text())
    return content


@cache
def rows(kind: str = "even") -> pl.DataFrame:
    """Two groups of the clusters of 5 to 20 rows, one with a higher y2 and a wider y3."""
    every_other = (pl.col("cluster") - 1) // 4 % 2 == 1
    south = every_other if kind == "even" else pl.col("w1") > 0.2
    return data("demo_twolevel").with_columns(
        region=pl.when(south).then(pl.lit("south")).otherwise(pl.lit("north")),
        y2=pl.col("y2") + pl.when(south).then(0.5).otherwise(0.0),
        y3=pl.col("y3") * pl.when(south).then(1.4).otherwise(1.0),
    )


def alone(text: str, frame: pl.DataFrame, **options: Any) -> list[SemFit]:
    return [mlm.sem(text, frame.filter(region=value), cluster="cluster", **options) for value in ("north", "south")]


@cache
def fitted(name: str) -> SemFit:
    base, kind = name.rsplit("_", 1)
    if base == "path_equal":
        text = PATH.format(a="a", b="c(b1, b2)") + "diff := b1 - b2"
        return mlm.sem(text, rows(kind), cluster="cluster", group="region")
    return mlm.sem(CFA, rows(kind), cluster="cluster", group="region", group_equal=EQUAL[base])


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_lavaans(name: str) -> None:
    ours, theirs = fitted(name), case(name)
    assert ours.estimate.log_likelihood == pytest.approx(theirs["logl"], abs=LOG_LIKELIHOOD)
    assert ours.estimate.n_parameters == theirs["npar"]
    parameters = {
        (row["population"], row["level"], row["op"], frozenset((row["lhs"], row["rhs"]))): row
        for row in ours.parameters.iter_rows(named=True)
    }
    vcov = ours.estimate.robust_vcov
    place = {
        (row.group + 1, row.level, row.op, frozenset((row.lhs, row.rhs))): row.index for row in ours.estimate.table.rows
    }
    for row in theirs["parameters"]:
        key = (row["level"], row["op"], frozenset((row["lhs"], row["rhs"])))
        own = parameters["north" if row["group"] == 1 else "south", *key]
        error = row.get("std_error")
        assert own["estimate"] == pytest.approx(row["estimate"], abs=ESTIMATE * (error or 0.0) + 1e-9)
        assert (own["std_error"] is None) == (error is None)
        assert error is None or own["std_error"] == pytest.approx(error, rel=STD_ERROR)
        # lavaan's scores of means within clusters are approximate, as in the cases of one group
        if row.get("robust") and not (row["op"] == "~1" and row["level"] == 1) and row["op"] != "~":
            index = place[row["group"], *key]
            assert np.sqrt(vcov[index, index]) == pytest.approx(row["robust"], rel=STD_ERROR)


def test_lavaans_own_optimum_of_groups_of_unequal_size_is_below_the_maximum_of_its_likelihood() -> None:
    for name, gap in (("scalar_uneven", 0.36), ("strict_uneven", 1.31)):
        assert fitted(name).estimate.log_likelihood - case(name)["lavaan_logl"] == pytest.approx(gap, abs=0.01)


@pytest.mark.parametrize("name", [name for name in CASES if "fit" in case(name) and case(name)["fit"].get("chisq")])
def test_measures_of_fit_are_lavaans(name: str) -> None:
    """RMSEA has the factor of the square root of the number of groups."""
    ours, theirs = fitted(name).fit_statistics.row(0, named=True), case(name)["fit"]
    assert ours["chi_square"] == pytest.approx(theirs["chisq"], abs=CHI_SQUARE)
    assert (ours["df"], ours["n_parameters"]) == (theirs["df"], theirs["npar"])
    assert ours["p_value"] == pytest.approx(theirs["pvalue"], abs=1e-4)
    for index in ("cfi", "tli", "rmsea", "srmr_within", "srmr_between"):
        assert ours[index] == pytest.approx(theirs[index], abs=1e-3)
    for index, name_there in (("rmsea_low", "rmsea.ci.lower"), ("rmsea_high", "rmsea.ci.upper")):
        assert ours[index] == pytest.approx(theirs[name_there], abs=1e-4)
    assert ours["p_close"] == pytest.approx(theirs["rmsea.pvalue"], abs=1e-4)
    for index in ("aic", "bic"):
        assert ours[index] == pytest.approx(theirs[index], abs=1e-4)
    assert ours["chi_square_scaled"] == pytest.approx(theirs["chisq.scaled"], rel=SCALED)
    assert (ours["grouped_by"], ours["n_populations"]) == ("region", 2)
    measures = fitted(name).measures
    assert measures.plain.baseline_chi_square == pytest.approx(theirs["baseline.chisq"], abs=2 * CHI_SQUARE)
    assert measures.plain.baseline_df == theirs["baseline.df"]


def test_the_ladder_over_groups_is_that_of_the_models() -> None:
    steps = fitted("configural_even").invariance
    assert steps["invariance"].to_list() == list(EQUAL)
    assert steps["across"].unique().to_list() == ["groups"]
    for step in steps.iter_rows(named=True):
        theirs = case(f"{step['invariance']}_even")
        assert step["log_likelihood"] == pytest.approx(theirs["logl"], abs=LOG_LIKELIHOOD)
        assert step["n_parameters"] == theirs["npar"]
        if (difference := theirs.get("difference")) is not None:
            assert step["df"] == difference["df"]
            assert step["statistic_scaled"] == pytest.approx(difference["statistic_scaled"], rel=SCALED)
    one = fitted("scalar_even").compare(fitted("metric_even")).row(0, named=True)
    assert one["statistic"] == pytest.approx(steps["statistic"][2], abs=1e-6)
    # one that is restricted already has none
    metric = fitted("metric_even")
    assert metric.invariance.is_empty()
    assert [note for note in metric.notes if "invariance" in note] == [
        "no steps of invariance across groups: they start from a model without group_equal, and this one has loadings "
        "equal already; leave group_equal out to have them"
    ]
    assert not any("invariance" in note for note in fitted("configural_even").notes)


def test_the_latent_mean_of_the_second_group_is_free_where_intercepts_are_equal() -> None:
    means = fitted("scalar_uneven").parameters.filter(lhs="fb", op="~1")
    assert means["estimate"][0] == 0
    assert means["std_error"].is_null().to_list() == [True, False]
    within = fitted("scalar_uneven").parameters.filter(lhs="fw", op="~1")
    assert within["estimate"].to_list() == [0, 0]
    held = mlm.sem(
        CFA, rows(), cluster="cluster", group="region", group_equal=["loadings", "between(intercepts)", "means"]
    )
    assert held.parameters.filter(lhs="fb", op="~1")["estimate"].to_list() == [0, 0]
    assert held.estimate.n_parameters == fitted("scalar_even").estimate.n_parameters - 1


@pytest.mark.parametrize(
    ("text", "options", "holes"),
    [
        (CFA, {}, False),
        (CFA, {"missing": "ml"}, True),
        ('level: 1\n y1 ~ rv("s")*x1\nlevel: 2\n y1 ~~ s\n s ~ w1', {}, False),
        ("level: 1\n y1 ~ x1\n y1 ~~ 3*y1\nlevel: 2\n y1 ~ w1", {}, False),
    ],
)
def test_without_equal_parameters_a_model_is_the_sum_of_separate_fits(
    text: str, options: dict[str, Any], holes: bool
) -> None:
    """Of slopes, missing cells and latent-centred slopes alike; scores, errors and traces too."""
    frame = rows()
    if holes:
        frame = frame.filter(pl.col("cluster") <= 80)
        frame = frame.with_columns(y2=pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise("y2"))
    whole = mlm.sem(text, frame, cluster="cluster", group="region", **options)
    parts = alone(text, frame, **options)
    assert whole.estimate.log_likelihood == pytest.approx(sum(p.estimate.log_likelihood for p in parts), abs=1e-8)
    for column in ("estimate", "std_error", "std_all"):
        theirs = pl.concat([part.parameters[column] for part in parts]).to_numpy()
        assert whole.parameters[column].to_numpy() == pytest.approx(theirs, rel=1e-4, abs=1e-4, nan_ok=True)
    robust = np.concatenate([np.diag(part.estimate.robust_vcov) for part in parts])
    assert np.diag(whole.estimate.robust_vcov) == pytest.approx(robust, rel=1e-3, nan_ok=True)
    if not whole.estimate.table.slopes:
        chi_squares = [part.fit_statistics["chi_square"][0] for part in parts]
        assert whole.fit_statistics["chi_square"][0] == pytest.approx(sum(chi_squares), abs=1e-6)
        assert whole.populations["chi_square"].to_list() == pytest.approx(chi_squares, abs=1e-6)
    assert whole.populations["n_clusters"].to_list() == [frame["cluster"].n_unique() / 2] * 2
    scores = pl.concat([part.scores["estimate"] for part in parts])
    assert whole.scores["estimate"].to_list() == pytest.approx(scores.to_list(), abs=1e-3)
    assert whole.scores["population"].unique(maintain_order=True).to_list() == ["north", "south"]


def test_the_derivatives_of_shared_parameters_are_those_of_the_deviance() -> None:
    estimate = fitted("scalar_uneven").estimate
    likelihood, theta = estimate.likelihood, estimate.optimum.theta + 0.01
    at = likelihood.evaluate(theta)
    steps = 1e-5 * np.eye(len(theta))
    slopes = [(likelihood.deviance(theta + s) - likelihood.deviance(theta - s)) / 2e-5 for s in steps]
    assert at.gradient == pytest.approx(np.array(slopes), rel=1e-5, abs=1e-3)
    curves = [(likelihood.evaluate(theta + s).gradient - likelihood.evaluate(theta - s).gradient) / 2e-5 for s in steps]
    assert likelihood.hessian(theta, at) == pytest.approx(np.array(curves), rel=1e-5, abs=1e-3)
    scores = likelihood.scores(at, likelihood.structure.implied(theta).mean)
    assert scores.shape == (200, 31)
    assert scores.sum(axis=0) == pytest.approx(at.gradient, rel=1e-9, abs=1e-6)


@cache
def slopes_of_groups() -> pl.DataFrame:
    """Two groups of 40 clusters of 10 rows, with slopes within clusters around .5 and .6."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(80), 10)
    u, v, xb = 0.6 * rng.standard_normal((3, 80))
    x, e = xb[g] + rng.standard_normal(800), rng.standard_normal(800)
    y = u[g] + (0.5 + 0.1 * (g >= 40) + v[g]) * (x - xb[g]) + 0.3 * xb[g] + e
    return pl.DataFrame({"g": g, "k": g // 40, "x": x, "y": y})


@pytest.mark.parametrize("slopes", ["observed", "latent"])
def test_slopes_of_groups(slopes: str) -> None:
    """Apart they are separate fits; the likelihood ratio of one mean is near to the Wald test."""
    frame = slopes_of_groups()
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n s ~~ y\n s ~ {}*1'
    free, equal = (
        mlm.sem(text.format(label), frame, cluster="g", group="k", slopes=slopes) for label in ("c(m0, m1)", "m")
    )
    parts = [mlm.sem(text.format("m"), frame.filter(k=k), cluster="g", slopes=slopes) for k in (0, 1)]
    assert free.estimate.log_likelihood == pytest.approx(sum(p.estimate.log_likelihood for p in parts), abs=1e-8)
    if slopes == "latent":
        errors = [part.estimate.quadrature_error for part in parts]
        assert free.estimate.quadrature_error == pytest.approx(sum(errors), abs=1e-9)
    assert free.estimate.table.groups == ("0", "1")
    assert equal.converged
    assert equal.estimate.n_parameters == free.estimate.n_parameters - 1
    ratio = equal.compare(free).row(0, named=True)
    wald = free.wald("m0 == m1").row(0, named=True)
    assert ratio["df"] == wald["df"] == 1
    assert ratio["statistic"] == pytest.approx(wald["statistic"], abs=0.1)
    assert equal.parameters.filter(label="m")["estimate"].n_unique() == 1


def test_labels_definitions_and_constraints_go_over_all_groups() -> None:
    text = PATH.format(a="c(a1, a2)", b="c(0, NA)*start(c(0, 0.5))").replace("start(c(0, 0.5))*", "")
    found = mlm.sem(text + "diff := a1 - a2\na1 == 2*a2", rows(), cluster="cluster", group="region")
    labels = dict(found.parameters.drop_nulls("label").select("label", "estimate").iter_rows())
    assert labels["a1"] == pytest.approx(2 * labels["a2"], abs=1e-9)
    assert labels["diff"] == pytest.approx(labels["a2"], abs=1e-9)
    slopes = found.parameters.filter(level=2, lhs="y1", rhs="w2")
    assert slopes["population"].to_list() == ["north", "south"]
    assert slopes["estimate"][0] == 0
    assert slopes["std_error"].is_null().to_list() == [True, False]
    assert found.parameters.filter(op=":=")["population"].to_list() == [None]
    free = fitted_path()
    assert free.wald("a1 == a2")["statistic"][0] == pytest.approx(
        free.parameters.filter(lhs="diff")["statistic"][0] ** 2, rel=1e-6
    )


@cache
def fitted_path() -> SemFit:
    text = PATH.format(a="c(a1, a2)", b="b") + "diff := a1 - a2"
    return mlm.sem(text, rows(), cluster="cluster", group="region")


def test_equal_parameters_of_data_far_from_zero_keep_their_digits() -> None:
    far = rows("uneven").with_columns(pl.col("y1") + 1e6, pl.col("y2") - 5e5)
    found = mlm.sem(CFA, far, cluster="cluster", group="region", group_equal=EQUAL["scalar"])
    near = fitted("scalar_uneven")
    assert found.estimate.log_likelihood == pytest.approx(near.estimate.log_likelihood, abs=1e-6)
    moved = found.parameters["estimate"] - near.parameters["estimate"]
    shift = near.parameters.select(
        pl.when((pl.col("op") == "~1") & (pl.col("level") == 2))
        .then(pl.col("lhs").replace_strict({"y1": 1e6, "y2": -5e5}, default=0.0))
        .otherwise(0.0)
    ).to_series()
    assert (moved - shift).abs().max() < 1e-6


def test_exceptions_and_kinds_of_one_level() -> None:
    def count(equal: list[str], partial: list[str]) -> int:
        options = {"group_equal": equal, "group_partial": partial}
        return mlm.sem(CFA, rows(), cluster="cluster", group="region", **options).estimate.n_parameters

    whole = fitted("configural_even").estimate.n_parameters
    assert count(["within(loadings)"], []) == whole - 3
    assert count(["loadings"], ["fb =~ y3"]) == whole - 5
    # of both levels, and of one
    assert count(["residuals"], ["y2~~y2"]) == whole - 6
    assert count(["residuals"], ["y2~~y2.l2"]) == whole - 7


def test_groups_are_sorted_by_value_and_told() -> None:
    numbers = rows().with_columns(region=pl.when(pl.col("region") == "north").then(10).otherwise(9))
    found = mlm.sem(SHORT, numbers, cluster="cluster", group="region")
    assert found.populations["population"].to_list() == ["9", "10"]
    text = str(found)
    assert text.splitlines()[2] == "groups of region: 9 (1,250 rows in 100), 10 (1,250 rows in 100)"
    assert "Level 1 (within clusters), 9\ny1_W,ij = beta_1*x1_ij + e_y1,ij" in text
    assert "Within clusters, 10\n" in text
    assert 'subgraph g1within["Within clusters, 10"]' in found.diagram("mermaid")
    assert ">Within clusters, 9<" in found.diagram()
    assert ">Within clusters, 10<" in found.diagram(population="10")
    with pytest.raises(MlmError, match=r"^The model has no group '8'\. Got groups: 9, 10\.$"):
        found.diagram(population="8")


def test_what_is_equal_is_printed() -> None:
    partial = mlm.sem(CFA, rows(), cluster="cluster", group="region", group_equal="loadings", group_partial="fw =~ y2")
    assert str(partial).splitlines()[3] == "equal in all groups: loadings, but fw =~ y2"
    assert "Invariance across groups\n" in str(fitted("configural_even"))


def test_every_word_of_group_equal_is_of_some_parameter() -> None:
    """And a word that is none of the option's is refused by the type checker."""
    model = parse_sem(
        "level: 1\n f =~ y1 + y2\n g =~ y3 + y4\n f ~~ g\n y1 ~~ y3\nlevel: 2\n y1 ~ w1\n h =~ y1 + y2\n h ~ 1\n y2 ~ 1"
    )
    variables = dict(zip((1, 2), model_variables(model), strict=True))
    kinds = {kind_of(item, variables[item.level]) for item, _ in filled_items(model)}
    assert kinds == {None, *get_args(GroupEqual)}


def test_rows_without_a_group_are_left_out_and_told() -> None:
    holes = rows().with_columns(region=pl.when(pl.col("cluster") >= 20).then("region"))
    found = mlm.sem(SHORT, holes, cluster="cluster", group="region")
    assert found.notes == ["230 of 2,500 rows left out for missing values (region 230)"]


THIRD = pl.col("cluster") % 3 == 2
HOLES = rows().with_columns(
    region=pl.when(THIRD).then(pl.lit("o'hare")).otherwise("region"), x1=pl.when(~THIRD).then("x1")
)
LOST = "group \"o'hare\" of 'region' is not in the model: all its rows are left out"


def test_a_group_none_of_whose_rows_is_in_the_model_is_named() -> None:
    n = HOLES["x1"].null_count()
    found = mlm.sem(SHORT, HOLES, cluster="cluster", group="region")
    assert found.group_values == ("north", "south")
    assert found.notes[-2:] == [f"{n} of 2,500 rows left out for missing values (x1 {n})", LOST]
    with pytest.raises(DataError) as error:
        mlm.sem(SHORT, HOLES.filter(pl.col("region") != "south"), cluster="cluster", group="region")
    assert str(error.value) == (
        "Groups are two or more. Got one value of 'region', north beside \"o'hare\", whose rows all miss a value; drop "
        "group."
    )


@pytest.mark.parametrize("least", [1, 900])
def test_a_lost_group_too_small_to_be_published_is_not_named(least: int) -> None:
    analysis = parse_analysis(
        f"{{analysis: a, data: main.t, levels: cluster, min_publish_n: {least}, "
        "models: {m: y1 ~ x1 + (1 | cluster)}, "
        f"sem: {{s: {{model: {json.dumps(SHORT)}, group: region}}}}}}"
    )
    with duckdb.connect() as connection:
        connection.register("frame", HOLES)
        connection.execute("create table main.t as from frame")
        moments = collect_analysis(analysis, connection)
        assert (LOST in fit_analysis_sem(analysis, "s", moments, connection).notes) is (least == 1)
        # the rows are others by now
        connection.execute("insert into main.t select * replace ('west' as region) from main.t limit 9")
        assert LOST not in fit_analysis_sem(analysis, "s", moments, connection).notes


def test_moments_by_group_serve() -> None:
    found = fitted("configural_even")
    again = mlm.sem(CFA, found.moments, cluster="cluster", group="region")
    assert again.estimate.log_likelihood == found.estimate.log_likelihood


MIXED = rows().with_columns(region=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("east")).otherwise("region"))


@pytest.mark.parametrize(
    ("text", "frame", "options", "sentence"),
    [
        (
            SHORT,
            MIXED,
            {"group": "region"},
            "A cluster lies in one group. Got 200 of 200 clusters of 'cluster' with rows of several groups of "
            "'region', for example 1 with rows of east and north. If these are different clusters of one name, "
            "distinguish them by cluster='region:cluster'; if not, give each cluster one group.",
        ),
        (
            SHORT,
            rows().filter(region="north"),
            {"group": "region"},
            "Groups are two or more. Got one value of 'region', north; drop group.",
        ),
        (
            SHORT,
            rows(),
            {"group": "cluster"},
            "A model has at most 100 groups. Got 200 values of 'cluster'; a column of so many is one of clusters, or "
            "is put into classes in a view or SELECT.",
        ),
        (
            SHORT.replace("~ x1", "~ c(a, b, d)*x1"),
            rows(),
            {"group": "region"},
            "c() has a value for each group. Got 3 in the model and 2 groups of 'region': north, south.",
        ),
        (
            SHORT.replace("~ x1", "~ c(a, b)*x1"),
            rows(),
            {},
            "A value for each group, by c(), needs groups. Got 2 values and no group; give the column by group=, or "
            "write one value.",
        ),
        (
            SHORT,
            rows(),
            {"group_equal": "loadings"},
            "group_equal needs groups of rows. Got loadings and no group; name its column.",
        ),
        (
            SHORT,
            rows(),
            {"group": "region", "group_partial": "y1~1"},
            "group_partial names exceptions from group_equal. Got y1~1 alone; add group_equal.",
        ),
        (
            CFA,
            rows(),
            {"group": "region", "group_equal": "loadings", "group_partial": "fw=~y9"},
            "group_partial names no parameter that group_equal makes equal. Got 'fw=~y9'. Did you mean 'fw=~y4'? A "
            "parameter is named as it is written, as in f=~y2 or y2~1, with .l2 behind for level 2 alone.",
        ),
        (
            CFA,
            rows(),
            {"group": "region", "group_equal": "thresholds"},
            "group_equal is not understood. Got 'thresholds'; expected one or a list of loadings, intercepts, means, "
            "regressions, residuals, residual.covariances, lv.variances, lv.covariances, each also of one level, as in "
            "between(intercepts).",
        ),
        (
            SHORT,
            rows(),
            {"group": "x1"},
            "'x1' names the groups and is in the model too. Leave it out of the model.",
        ),
        (
            SHORT,
            rows().with_columns(x1=pl.when(pl.col("region") == "north").then("x1").otherwise(1.0)),
            {"group": "region"},
            "'x1' has one value in group 'south' of 'region', where nothing determines its parameters. Leave the "
            "variable out, or the group by a row filter.",
        ),
        (
            SHORT,
            rows().with_columns(x1=pl.when(pl.col("region") == "north").then("x1").otherwise("w1")),
            {"group": "region"},
            "In group 'south' of 'region': 'x1' is at level 1, but does not vary within clusters of 'cluster'. "
            "Name it at level 2 only; as a covariate of a ready model it is | between(x1).",
        ),
    ],
)
def test_what_is_refused(text: str, frame: pl.DataFrame, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MlmError) as caught:
        mlm.sem(text, frame, cluster="cluster", **options)
    assert str(caught.value).split("\n")[0] == sentence


def test_fits_of_other_groups_are_not_compared() -> None:
    ungrouped = mlm.sem(SHORT, rows(), cluster="cluster")
    grouped = mlm.sem(SHORT, rows(), cluster="cluster", group="region")
    with pytest.raises(MlmError) as caught:
        ungrouped.compare(grouped)
    assert str(caught.value) == "Nested models must have the same groups. Got none and 'region'; fit both by one."


def test_mplus_has_a_model_of_each_group() -> None:
    text = fitted("scalar_even").equations("mplus")
    assert "  GROUPING = region (1 = north 2 = south);\n" in text
    north, south = text.split("MODEL north:\n")[1].split("MODEL south:\n")
    # no label stands in the model of all groups, where it would make a parameter equal in them
    assert "(" not in text.split("MODEL:\n")[1].split("MODEL north:")[0]
    assert "  fw BY y2* (equal0);\n" in north
    assert "  fw BY y2* (equal0);\n" in south
    assert "  [fb@0];" in north
    assert "  [fb*];" in south


@pytest.mark.parametrize("line", ["mediation 1-1-1: x -> m -> y", "contextual: y ~ x"])
def test_labels_of_a_ready_model_are_each_groups_own(line: str) -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(40), 6)
    second = cluster % 2 == 1
    u = rng.normal(size=(3, 40))[:, cluster]
    x = rng.normal(size=240) + u[0]
    m = np.where(second, 0.5, 0.2) * x + u[1] + rng.normal(size=240)
    y = 0.4 * m + 0.2 * x + u[2] + rng.normal(size=240)
    data = pl.DataFrame({"g": cluster, "x": x, "m": m, "y": y, "part": np.where(second, "b", "a")})
    fit = mlm.sem(line, data, cluster="g", group="part")
    alone = [mlm.sem(line, data.filter(part=part), cluster="g") for part in ("a", "b")]
    # what two searches leave of the same optimum
    assert fit.estimate.log_likelihood == pytest.approx(sum(f.estimate.log_likelihood for f in alone), abs=1e-8)
    defined = {row["name"]: row["estimate"] for row in fit.defined().to_dicts()}
    for number, one in enumerate(alone, start=1):
        own = {f"{row['name']}.g{number}": row["estimate"] for row in one.defined().to_dicts()}
        assert fit.parameters.filter(op=":=", population="ab"[number - 1])["lhs"].to_list() == list(own)
        assert {name: defined[name] for name in own} == pytest.approx(own, abs=1e-6)
    equal = mlm.sem(line, data, cluster="g", group="part", group_equal="regressions")
    paths = fit.parameters.filter(op="~", population="a").height
    assert equal.estimate.n_parameters == fit.estimate.n_parameters - paths


def test_a_column_far_off_does_not_hide_a_fixed_mean_of_another() -> None:
    """y1 has free intercepts and y2 the mean zero: around an origin of y2 that is not zero it is another model."""
    text = "level: 1\n y1 ~~ y2\nlevel: 2\n y1 ~~ y2\n y2 ~ 0*1"
    estimate = mlm.sem(text, rows(), cluster="cluster", group="region").estimate
    table, structure = estimate.table, estimate.structure
    assert table.columns == ("y1", "y2")

    def function(first: float, second: float) -> Any:
        statistics: Any = SimpleNamespace(origin=np.array([first, second]))
        return recentre_function(table, structure, statistics)

    assert function(1e9, 1.0) is None
    moved = function(1e9, 0.0)(np.zeros(table.n_free))
    assert sorted(moved[moved != 0]) == [1e9, 1e9]


def test_steps_are_of_the_levels_that_have_a_factor() -> None:
    """Where items have no factor between clusters, what they have there is no matter of measurement."""
    text = "level: 1\nf =~ y1 + y2 + y3 + y4\nlevel: 2\n" + "\n".join(
        f"y{i} ~~ {' + '.join(f'y{j}' for j in range(i, 5))}" for i in range(1, 5)
    )
    rows = data("demo_twolevel").with_columns(half=pl.col("cluster") % 2)
    fit = mlm.sem(text, rows, cluster="cluster", group="half")
    steps = fit.invariance.select("invariance", "df").rows()
    # three loadings, and four residuals within clusters
    assert steps == [("configural", None), ("metric", 3), ("strict", 4)]


@pytest.mark.filterwarnings("error")
def test_a_variable_that_a_group_never_has_is_named_and_warns_of_nothing() -> None:
    cluster = np.repeat(np.arange(30), 5)
    rng = np.random.default_rng(2)
    rows = pl.DataFrame({"g": cluster, "x": rng.normal(size=150), "y": rng.normal(size=150), "part": cluster % 3})
    rows = rows.with_columns(y=pl.when(pl.col("part") < 2).then("y"))
    with pytest.raises(MlmError) as caught:
        mlm.sem("level: 1\ny ~ x\nlevel: 2\ny ~ x", rows, cluster="g", group="part", missing="ml")
    assert str(caught.value) == "In group '2' of 'part': 'y' has no value in any row. Leave it out."
