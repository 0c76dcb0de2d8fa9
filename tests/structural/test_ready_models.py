"""Ready lines are the texts that they stand for, and have the numbers of lavaan, nlme and `mlm.fit`."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import FormulaError, SemFit
from mlm_ops.structural.language.ready_models import FORMS, expand_ready_model
from mlm_ops.structural.language.syntax import parse_sem
from tests.structural.cases import case, data

PATHS = "level: 2\n {m} ~ ab*{x}\n {y} ~ bb*{m} + cb*{x}\nindirect_between := ab*bb\ntotal_between := ab*bb + cb"
#: By design: x, m and y of Demo.twolevel, level 1 as it is written out, and lavaan 0.6-14's logLik, indirect effect and
#: standard error.
DESIGNS = [
    ("1-1-2", ("y1", "y2", "w1"), "level: 1\n y2 ~ aw*y1\n", -8886.110140, 0.1753753, 0.1573015),
    ("1-2-1", ("y1", "w1", "y2"), "level: 1\n y2 ~ cw*y1\n", -8886.110140, 0.0070947, 0.0069029),
    ("2-1-2", ("w1", "y1", "w2"), "level: 1\n y1 ~~ y1\n", -5139.763340, 0.0192598, 0.0161007),
]


@pytest.mark.parametrize(("design", "path", "within", "log_likelihood", "estimate", "std_error"), DESIGNS)
def test_mediation_by_variables_of_level_2(
    design: str, path: tuple[str, str, str], within: str, log_likelihood: float, estimate: float, std_error: float
) -> None:
    line = f"mediation {design}: {' -> '.join(path)}"
    x, m, y = path
    assert parse_sem(expand_ready_model(line)) == parse_sem(within + PATHS.format(x=x, m=m, y=y))
    found = mlm.sem(line, data("demo_twolevel"), cluster="cluster")
    assert found.estimate.log_likelihood == pytest.approx(log_likelihood, abs=2e-6)
    row = found.parameters.filter(lhs="indirect_between").row(0, named=True)
    # lavaan's search ends some 1e-4 of a standard error from its maximum
    assert row["estimate"] == pytest.approx(estimate, abs=1e-3 * std_error)
    assert row["std_error"] == pytest.approx(std_error, rel=1e-3)


PARALLEL = """
level: 1
  m ~ aw1*x
  n ~ aw2*x
  y ~ bw1*m + bw2*n + cw*x
  m + n + y ~ z
  m ~~ n
level: 2
  m ~ ab1*x
  n ~ ab2*x
  y ~ bb1*m + bb2*n + cb*x
  m + n + y ~ w
  m ~~ n
indirect_within_m := aw1*bw1
indirect_within_n := aw2*bw2
indirect_within := indirect_within_m + indirect_within_n
indirect_between_m := ab1*bb1
indirect_between_n := ab2*bb2
indirect_between := indirect_between_m + indirect_between_n
total_within := indirect_within + cw
total_between := indirect_between + cb
"""
SERIAL = """
level: 1
  n ~ dw*m
  y ~ bw1*m + bw2*n
  m + n + y ~ z
level: 2
  m ~ ab1*x
  n ~ ab2*x + db*m
  y ~ bb1*m + bb2*n + cb*x
indirect_between_m := ab1*bb1
indirect_between_n := ab2*bb2
indirect_between_m_n := ab1*db*bb2
indirect_between := indirect_between_m + indirect_between_n + indirect_between_m_n
total_between := indirect_between + cb
"""
MODERATED = """
level: 1
  y ~ bw*m
level: 2
  m ~ ab*x + w + moderation_a*xw
  y ~ bb*m + cb*x + w
  w ~ moderator_mean*1
  w ~~ moderator_variance*w
  w ~~ xw + x
  xw ~~ x
moderator_low := moderator_mean - sqrt(moderator_variance)
moderator_high := moderator_mean + sqrt(moderator_variance)
indirect_low := (ab + moderation_a*moderator_low)*bb
indirect_mean := (ab + moderation_a*moderator_mean)*bb
indirect_high := (ab + moderation_a*moderator_high)*bb
index := moderation_a*bb
"""
#: Lines, their text, names of columns of Demo.twolevel for those of the text, and lavaan 0.6-14's logLik, chi-square,
#: scaled one, and definitions with standard errors. (lavaan's own chi-squares of four decimals: its EM for the
#: unrestricted model ends there.)
LINES = [
    (
        "mediation 1-1-1: x -> m + n -> y | within(z) + between(w)",
        PARALLEL,
        {"x": "y1", "m": "y2", "n": "y4", "y": "y5", "z": "x1", "w": "w1"},
        (-19978.615225, 0.0, None),
        {"indirect_within_y2": (0.0259197, 0.0067587), "indirect_within": (0.0495672, 0.0077836)},
    ),
    (
        "mediation 2-1-1-1: x -> m -> n -> y | within(z)",
        SERIAL,
        {"x": "w1", "m": "y1", "n": "y2", "y": "y3", "z": "x1"},
        (-16088.650444, 0.0, None),
        {"indirect_between_y1_y2": (0.0163955, 0.0160559), "total_between": (0.0510939, 0.0576497)},
    ),
    (
        "mediation 2-1-1: x -> m -> y by first(w, xw)",
        MODERATED,
        {"x": "w1", "m": "y1", "y": "y2", "w": "w2", "xw": "w12"},
        (-9410.745109, 0.0636, 0.0423),
        {
            "indirect_low": (0.1302323, 0.0809266),
            "indirect_high": (0.1175429, 0.0734267),
            "index": (-0.0065773, 0.0573624),
        },
    ),
    (
        "contextual: y ~ (f =~ a + b + c) | within(z) + between(w)",
        "level: 1\n f =~ a + l2*b + l3*c\n y ~ within*f + z\nlevel: 2\n f =~ a + l2*b + l3*c\n y ~ between*f + w\n"
        "contextual := between - within",
        {"y": "y1", "a": "y4", "b": "y5", "c": "y6", "z": "x2", "w": "w1"},
        (-19806.105329, 11.6755, None),
        {"contextual": (-1.3591827, 0.1795594)},
    ),
    (
        "cfa: f =~ a + b + c | within(z) + between(w)",
        "level: 1\n f =~ a + b + c\n f ~ z\nlevel: 2\n f =~ a + b + c\n f ~ w",
        {"a": "y1", "b": "y2", "c": "y3", "z": "x1", "w": "w1"},
        (-16090.457947, 3.6149, 3.5664),
        {},
    ),
    (
        "cfa metric: f =~ a + b + c; g =~ d + e + h",
        "level: 1\n f =~ a + f_b*b + f_c*c\n g =~ d + g_e*e + g_h*h\n"
        "level: 2\n f =~ a + f_b*b + f_c*c\n g =~ d + g_e*e + g_h*h",
        {name: f"y{i}" for i, name in enumerate("abcdeh", start=1)},
        (-23975.479918, 26.1941, 25.7238),
        {},
    ),
    (
        "cfa scalar: f =~ a + b + c; g =~ d + e + h",
        "level: 1\n f =~ a + f_b*b + f_c*c\n g =~ d + g_e*e + g_h*h\n"
        "level: 2\n f =~ a + f_b*b + f_c*c\n g =~ d + g_e*e + g_h*h\n" + "\n".join(f"{n} ~~ 0*{n}" for n in "abcdeh"),
        {name: f"y{i}" for i, name in enumerate("abcdeh", start=1)},
        (-24182.550049, 440.3343, 874.4105),
        {},
    ),
]


@pytest.mark.parametrize(("line", "text", "columns", "fit", "effects"), LINES, ids=[line[0] for line in LINES])
def test_lines_are_their_texts_and_have_lavaans_numbers(
    line: str,
    text: str,
    columns: dict[str, str],
    fit: tuple[float, float, float | None],
    effects: dict[str, tuple[float, float]],
) -> None:
    assert parse_sem(expand_ready_model(line)) == parse_sem(text)
    rows = data("demo_twolevel").with_columns(w12=pl.col("w1") * pl.col("w2"))
    rows = rows.select("cluster", **{name: pl.col(column) for name, column in columns.items()})
    found = mlm.sem(line, rows, cluster="cluster")
    statistics = found.fit_statistics.row(0, named=True)
    log_likelihood, chi_square, scaled = fit
    # lavaan's maximum is below ours by the tolerance of its search
    assert log_likelihood - 1e-6 <= found.estimate.log_likelihood <= log_likelihood + 1e-5
    assert statistics["chi_square"] == pytest.approx(chi_square, abs=5e-4)
    if scaled is not None:
        # lavaan's scores of the unrestricted model are at the end of its EM
        assert statistics["chi_square_scaled"] == pytest.approx(scaled, rel=0.01)
    named = {column: name for name, column in columns.items()}
    for name, (estimate, std_error) in effects.items():
        own = "_".join(named.get(part, part) for part in name.split("_"))
        row = found.parameters.filter(lhs=own).row(0, named=True)
        assert row["estimate"] == pytest.approx(estimate, abs=2e-3 * std_error)
        assert row["std_error"] == pytest.approx(std_error, rel=1e-3)


def test_a_doubly_latent_contextual_model_is_the_reference_case() -> None:
    reference = case("dl_contextual")
    found = mlm.sem("contextual: y ~ (f =~ x1 + x2 + x3)", data("sim_dlc"), cluster="g")
    assert found.estimate.log_likelihood == pytest.approx(reference["loglik"], abs=1e-6)
    # observed means of a factor are none
    assert found.contextual.is_empty()


def test_covariates_of_a_contextual_model_stand_in_the_mixed_model_too() -> None:
    rows = data("demo_twolevel")
    found = mlm.sem("contextual: y1 ~ y2 | y3 + within(x1) + between(w1)", rows, cluster="cluster")
    mixed = mlm.fit(
        "y1 ~ y2 + between(y2) + y3 + between(y3) + x1 + w1 + (1 | cluster)", rows, estimator="ml"
    ).fixed_effects
    observed = found.contextual.filter(means="observed").row(0, named=True)
    effect = mixed.filter(term="between(y2)").row(0, named=True)
    assert observed["estimate"] == pytest.approx(effect["estimate"], abs=1e-9)
    assert observed["std_error"] == pytest.approx(effect["std_error"], abs=1e-9)
    assert observed["within"] == pytest.approx(mixed.filter(term="y2")["estimate"][0], abs=1e-9)


def test_a_contextual_model_without_differences_between_means_has_no_mixed_model_beside_it() -> None:
    """Its refusal of the means is not that of the structural model, whose notes tell it."""
    rng = np.random.default_rng(1)
    rows = pl.DataFrame({"g": np.repeat(np.arange(30), 2), "x": rng.normal(size=60), "y": rng.normal(size=60)})
    beginning = "no contextual effect with observed cluster means, whose mixed model cannot be fitted: "
    for x, is_there in ((pl.col("x"), True), (pl.col("x") - pl.col("x").mean().over("g"), False)):
        found = mlm.sem("contextual: y ~ x", rows.with_columns(x), cluster="g")
        assert (found.observed is not None) is is_there
        assert found.contextual.is_empty() is not is_there
        assert [note.startswith(beginning) for note in found.notes].count(True) == (not is_there)


def test_only_the_line_of_the_ready_model_has_the_mixed_model_beside_it() -> None:
    rows = data("demo_twolevel")
    line = mlm.sem("contextual: y1 ~ y2", rows, cluster="cluster")
    written_out = mlm.sem(expand_ready_model("contextual: y1 ~ y2"), rows, cluster="cluster")
    assert (line.model.ready, written_out.model.ready) == ("contextual", None)
    assert mlm.sem("cfa: f =~ y1 + y2 + y3", rows, cluster="cluster").model.ready == "cfa"
    assert line.observed is not None
    assert written_out.observed is None
    assert line.estimate.log_likelihood == written_out.estimate.log_likelihood


def growth() -> tuple[SemFit, mlm.Fit]:
    rows = data("orthodont").with_columns(male=(pl.col("Sex") == "Male").cast(pl.Float64))
    found = mlm.sem("growth: distance ~ age by male", rows, cluster="Subject")
    return found, mlm.fit("distance ~ age*male + (age | Subject)", rows, estimator="ml", df="none")


def test_growth_is_the_mixed_model() -> None:
    text = 'level: 1\n distance ~ rv("slope_age")*age\nlevel: 2\n distance + slope_age ~ male\n distance ~~ slope_age'
    assert parse_sem(expand_ready_model("growth: distance ~ age by male")) == parse_sem(text)
    found, mixed = growth()
    assert found.measures.given_x.log_likelihood == pytest.approx(mixed.estimate.log_likelihood, abs=1e-8)
    at = {(r["level"], r["lhs"], r["op"], r["rhs"]): r["estimate"] for r in found.parameters.iter_rows(named=True)}
    fixed = dict(zip(mixed.fixed_effects["term"], mixed.fixed_effects["estimate"], strict=True))
    assert at[2, "distance", "~1", ""] == pytest.approx(fixed["(Intercept)"], abs=1e-6)
    assert at[2, "slope_age", "~1", ""] == pytest.approx(fixed["age"], abs=1e-6)
    assert at[2, "distance", "~", "male"] == pytest.approx(fixed["male"], abs=1e-6)
    assert at[2, "slope_age", "~", "male"] == pytest.approx(fixed["age:male"], abs=1e-6)
    variances = mixed.variance_components["estimate"].to_list()
    ours = [
        at[2, "distance", "~~", "distance"],
        at[2, "distance", "~~", "slope_age"],
        at[2, "slope_age", "~~", "slope_age"],
        at[1, "distance", "~~", "distance"],
    ]
    assert sorted(ours) == pytest.approx(sorted(variances), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "line", "formula"),
    [
        # all persons at the same times, whose scores tell nothing of the mean of time, and intercepts far from times
        ("bodyweight", "growth: weight ~ Time", "weight ~ Time + (Time | Rat)"),
        ("orthodont", "growth: distance ~ year", "distance ~ year + (year | Subject)"),
    ],
)
def test_growth_at_the_same_times_and_far_from_zero_is_the_mixed_model(name: str, line: str, formula: str) -> None:
    rows = data(name)
    rows = rows.with_columns(year=pl.col("age") + 2000) if "age" in rows.columns else rows
    found = mlm.sem(line, rows, cluster=rows.columns[2])
    mixed = mlm.fit(formula, rows, estimator="ml", df="none")
    assert found.converged
    # two thousand years from zero the intercepts' variance costs digits
    tolerance = 1e-7 if name == "orthodont" else 1e-8
    assert found.measures.given_x.log_likelihood == pytest.approx(mixed.estimate.log_likelihood, abs=tolerance)


def test_growth_of_two_slopes_and_a_time_varying_covariate() -> None:
    text = (
        'level: 1\n y ~ rv("slope_t")*t + rv("slope_u")*u\n y ~ z\n'
        "level: 2\n y ~ z\n y ~~ slope_t + slope_u\n slope_t ~~ slope_u"
    )
    assert parse_sem(expand_ready_model("growth: y ~ t + u | z")) == parse_sem(text)
    assert "slope_slope_t" in expand_ready_model("growth: y ~ t by slope_t")


def test_moderated_mediation_of_random_slopes() -> None:
    """nlme 3.1 on the stacked rows of m and y, by ML, and its conditional indirect effects from fixef and getVarCov."""
    line = "mediation 1-1-1 random: x -> m -> y by w"
    rows = data("rs111")
    found = mlm.sem(line, rows, cluster="g", slopes="observed")
    w = rows.group_by("g").agg(pl.col("w").first())["w"].to_numpy()
    # the moderator's mean and variance have labels, and so its density is in the likelihood of the outcomes
    of_w = -0.5 * len(w) * (np.log(2 * np.pi * w.var()) + 1)
    deviance = -2 * (found.measures.given_x.log_likelihood - of_w)
    assert deviance == pytest.approx(8742.4707482, abs=1e-5)
    effects = dict(zip(found.defined()["name"], found.defined()["estimate"], strict=True))
    assert effects["moderator_low"] == pytest.approx(w.mean() - w.std(), abs=1e-6)
    for name, value in {"indirect_low": 0.0973071, "indirect_mean": 0.2000241, "indirect_high": 0.3381359}.items():
        # nlme's search ends at 1e-5 of the slopes
        assert effects[name] == pytest.approx(value, abs=1e-5)
    slope = (effects["indirect_high"] - effects["indirect_low"]) / (2 * w.std())
    # the effect is a parabola in w, whose slope at the mean is that of the chord around it
    assert effects["index"] == pytest.approx(slope, abs=1e-6)


def test_stages_of_moderation() -> None:
    def definitions(line: str) -> dict[str, str]:
        return {d.name: d.text for d in parse_sem(expand_ready_model(line)).definitions}

    line = "mediation 1-1-1 random: x -> m -> y by {}"
    assert definitions(line.format("first(w)"))["index"] == "moderation_a*mean_b"
    assert definitions(line.format("second(w)"))["index"] == "moderation_b*mean_a"
    assert definitions(line.format("first(w) + second(w)")) == definitions(line.format("w"))
    both = definitions("mediation 2-2-1: x -> m -> y by first(w, xw) + second(w, mw)")
    assert both["indirect_mean"] == "(ab + moderation_a*moderator_mean)*(bb + moderation_b*moderator_mean)"


def test_two_mediators_with_random_slopes() -> None:
    model = parse_sem(expand_ready_model("mediation 1-1-1 random: x -> m + n -> y"))
    texts = {d.name: d.text for d in model.definitions}
    assert texts == {
        "indirect_m": "mean_a1*mean_b1 + cov_ab1",
        "indirect_n": "mean_a2*mean_b2 + cov_ab2",
        "indirect": "indirect_m + indirect_n",
        "total": "indirect + mean_c",
    }
    labels = {(item.lhs, item.rhs): item.label for item in model.at(2) if item.op == "~~"}
    assert len(labels) == 28
    assert {pair for pair, label in labels.items() if label} == {("a1", "b1"), ("a2", "b2")}


def test_covariates_of_random_slopes_act_on_intercepts() -> None:
    text = expand_ready_model("mediation 1-1-1 random: x -> m -> y by w | z + between(v)")
    assert "  m + y ~ z\nlevel: 2" in text
    assert "  m + y ~ z + v\n" in text
    assert "  w ~~ z + v\n  z ~~ v\n" in text


def test_random_slopes_have_names_that_no_column_has() -> None:
    def slopes(line: str) -> list[str | None]:
        return [item.slope for item in parse_sem(expand_ready_model(line)).at(1) if item.slope is not None]

    assert slopes("mediation 1-1-1 random: x -> m -> y by a | within(b) + between(c)") == [
        "slope_a",
        "slope_b",
        "slope_c",
    ]
    assert slopes("growth: y ~ slope_time + time") == ["slope_slope_time", "slope_slope_slope_time"]


BAD = [
    ("mediation 2-2-1: x -> m -> y by first(w, xw) + first(w, xv)", "Each stage of a mediation is moderated once."),
    ("mediation 1-1-1: x -> m -> y | z + within(z)", "Each variable of a ready model may have one place only. Got 'z'"),
    ("mediation 1-1-1:", FORMS["mediation"]),
    ("cfa: f =~ a + b + c | z + z", "Each variable of a ready model may have one place only. Got 'z' twice."),
    ("cfa: f =~ a + b + c | a", "Each variable of a ready model may have one place only. Got 'a' twice."),
    ("cfa: | z", FORMS["cfa"]),
    ("cfa metric:", FORMS["cfa"]),
    ("cfa metric: y ~ x", FORMS["cfa"]),
    ("mediation 2-1-1: x -> m -> y by w", "Make x times w in a view, and write by first(w, its name)."),
    ("mediation 1-1-1: x -> m -> y by first(w, xw)", "Moderate the slopes instead, by mediation 1-1-1 random."),
    ("mediation 1-1-1 random: x -> m -> y by first(w, xw)", "With random slopes 'w' predicts the slopes and needs no"),
    ("mediation 1-1-1 random: x -> m -> y by first(w) + second(v)", "One moderator is offered. Got v, w; write a"),
    ("mediation 1-1-1 random: x -> m + n -> y by w", "Moderation is offered with one mediator."),
    ("mediation 1-1-1: x -> m -> x", "Each variable of a ready model may have one place only. Got 'x' twice."),
    ("mediation 1-1-1-1 random: x -> m -> n -> y", FORMS["mediation"]),
    ("mediation 2-2-2: x -> m -> y", FORMS["mediation"]),
    ("mediation 1-1-1: x -> m -> y | within(z, v)", FORMS["mediation"]),
    ("contextual: y ~ (f =~ ) + x", FORMS["contextual"]),
    ("contextual latent: y ~ x", FORMS["contextual"]),
    ("contextual: y ~ x by w", FORMS["contextual"]),
    ("cfa strict: f =~ a + b", FORMS["cfa"]),
    ("growth: y ~ time by", FORMS["growth"]),
    ("growth: y ~ time | w)", FORMS["growth"]),
    (
        "contextul: y ~ x",
        "Unknown ready model 'contextul'. Did you mean 'contextual'? There are contextual, mediation, cfa, growth.",
    ),
    ("contextual y ~ x", FORMS["contextual"]),
    ("mediation 1-1-1 x -> m -> y", FORMS["mediation"]),
    ("mediation 1-1-1: x => m => y", "The model does not parse: unexpected character '='. A path is -> here."),
    ("mediaton 1-1-1: x -> m -> y", "Unknown ready model 'mediaton'. Did you mean 'mediation'?"),
]


@pytest.mark.parametrize(("line", "sentence"), BAD)
def test_bad_lines_are_refused_in_a_sentence(line: str, sentence: str) -> None:
    with pytest.raises(FormulaError) as caught:
        expand_ready_model(line)
    assert sentence in str(caught.value)
    assert line in str(caught.value)
