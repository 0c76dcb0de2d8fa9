"""F tests of several coefficients against lmerTest's contestMD, and their laws.

The numbers are from R 4.2.2 with lmerTest 3.1-3, pbkrtest 0.5.2 and lme4 1.1-31 (bobyqa, rhoend 1e-12):
``contestMD(model, L, ddf = "Satterthwaite")`` and ``ddf = "Kenward-Roger"``, L picking the coefficients. lmerTest
differentiates numerically, so that its Satterthwaite df are good to about 1e-6.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from mlm_ops.errors import MlmError
from mlm_ops.inference.fixed.tests import satterthwaite_denominator
from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

Row = tuple[float, int, float, float]

#: Case and first coefficient tested (all from there on are): F, df1, df2 and p by Satterthwaite, then by Kenward-Roger.
EXPECTED: dict[tuple[str, int], tuple[Row, Row | None]] = {
    ("machines_ri", 1): (
        (20.5760823418, 2, 9.99999956999, 0.000285548571325),
        (20.5760823418, 2, 10, 0.000285548520509),
    ),
    ("machines_ri", 0): (
        (271.574149292, 3, 9.69599285944, 1.17511777381e-09),
        (250.902080687, 3, 9.69712890329, 1.71297488007e-09),
    ),
    ("machines_factor_slopes", 1): (
        (41.0037799102, 2, 4.99999985854, 0.000791648872748),
        (32.8030239281, 2, 4, 0.00330237228722),
    ),
    ("machines_factor_slopes", 0): (
        (811.271373788, 3, 5.00000011433, 3.87427101984e-07),
        (486.762824273, 3, 3, 0.00015749563288),
    ),
    ("oats_split_plot", 4): (
        (0.498814815549, 2, 51.0000000267, 0.610181533356),
        (0.498814815549, 2, 51, 0.610181533358),
    ),
    ("oats_split_plot", 1): (
        (23.9479139718, 5, 19.3983766388, 1.11624213666e-07),
        (23.0073534061, 5, 29.9038964532, 2.00273172641e-09),
    ),
    ("bodyweight_growth", 1): (
        (53.6883636804, 5, 13.0040213635, 3.16997261439e-08),
        (48.8491907996, 5, 14.5287752921, 1.42116680445e-08),
    ),
    ("bodyweight_growth", 4): (
        (7.57430588916, 2, 12.9999959143, 0.00659419247017),
        (7.57430588916, 2, 13, 0.00659418931283),
    ),
    ("sim3_nested", 1): (
        (51.3521995916, 4, 49.0020541381, 6.18838414773e-17),
        (49.6237304566, 4, 63.9769090465, 6.17201635956e-19),
    ),
    ("sim3_nested", 0): (
        (1367.99974572, 5, 44.509419739, 1.59978948526e-47),
        (1320.51665182, 5, 60.6626784865, 1.66186430644e-60),
    ),
    ("orthodont_growth", 1): (
        (37.5289203309, 3, 25.0199294185, 2.05080154732e-09),
        (36.1455448404, 3, 27.5950802802, 1.06975872247e-09),
    ),
    ("slopes5_full", 1): (
        (23.5002235325, 6, 86.5063824116, 2.70996638438e-16),
        (21.9957938988, 6, 104.355441303, 1.38697125938e-16),
    ),
    ("sleep_rs", 0): (
        (749.959543329, 2, 16.999998462, 2.63412552302e-17),
        (705.844276074, 2, 16, 2.48823871997e-16),
    ),
    ("sleep_ri", 0): (
        (628.690344334, 2, 39.2655417876, 1.51898348923e-30),
        (618.495074149, 2, 40.3040979302, 5.66171952956e-31),
    ),
    ("egsingle_3level", 0): (
        (1778.20654746, 2, 55.9453178259, 2.33738166519e-51),
        (1742.37901391, 2, 56.5948524333, 1.46798700276e-51),
    ),
    ("sleep_rs_ml", 0): ((794.074736702, 2, 17.9999983055, 2.78856131187e-18), None),
    ("exam_ri", 0): ((1021.33056232, 2, 119.599969158, 6.61958586709e-76), None),
}


def _fitted(name: str, df: Any) -> Fit:
    case = reference.case(name)
    return fit(
        case["formula"],
        reference.table(name),
        connection=reference.connection(),
        estimator=case["estimator"].lower(),
        df=df,
    )


def _check(ours: pl.DataFrame, expected: Row) -> None:
    statistic, df1, df2, p_value = expected
    row = ours.row(0, named=True)
    assert row["statistic"] == pytest.approx(statistic, rel=1e-5)
    assert row["df1"] == df1
    assert row["df2"] == pytest.approx(df2, rel=1e-4)
    # a p value of 1e-60 multiplies a relative error of df by a hundred
    assert row["p_value"] == pytest.approx(p_value, rel=1e-3)


@pytest.mark.parametrize(("name", "first"), EXPECTED, ids=lambda value: str(value))
def test_several_coefficients(name: str, first: int) -> None:
    by_satterthwaite, by_kenward_roger = EXPECTED[name, first]
    fitted = _fitted(name, "satterthwaite")
    terms = fitted.fixed_effects["term"].to_list()[first:]
    _check(fitted.test(terms), by_satterthwaite)
    if by_kenward_roger is not None:
        _check(_fitted(name, "kenward-roger").test(terms), by_kenward_roger)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "none"])
def test_one_coefficient_is_the_square_of_its_t(df: str) -> None:
    fitted = _fitted("sim3_nested", df)
    table = fitted.fixed_effects
    for row in table.iter_rows(named=True):
        test = fitted.test(row["term"]).row(0, named=True)
        assert test["statistic"] == pytest.approx(row["statistic"] ** 2, rel=1e-10)
        assert test["df1"] == 1
        assert test["df2"] == (None if df == "none" else pytest.approx(row["df"], rel=1e-10))
        assert test["p_value"] == pytest.approx(row["p_value"], rel=1e-8)


def test_contrasts_as_a_matrix() -> None:
    """Rows that are combinations of others do not count; the same R, ``L = rbind(c(1, 1, 0), c(0, 2, -3))``."""
    by_kenward_roger, by_satterthwaite = (
        _fitted("machines_ri", "kenward-roger"),
        _fitted("machines_ri", "satterthwaite"),
    )
    contrasts = [[1.0, 1, 0], [0, 2, -3]]
    _check(by_satterthwaite.test(contrasts), (382.371991191, 2, 8.23477766129, 7.55763579746e-09))
    _check(by_kenward_roger.test(np.array(contrasts)), (362.615643106, 2, 9.94147827799, 5.12854935639e-10))
    deficient = [[0.0, 1, 0], [0, 0, 1], [0, 1, 1]]
    _check(by_satterthwaite.test(deficient), EXPECTED["machines_ri", 1][0])
    _check(by_kenward_roger.test(deficient), (20.5760823418, 2, 10, 0.000285548520509))
    _check(by_kenward_roger.test([0.0, 1, -1]), (7.47010738668, 1, 10, 0.0210791412599))


def test_a_term_stands_for_all_its_coefficients() -> None:
    fitted = _fitted("oats_split_plot", "kenward-roger")
    _check(fitted.test("nitro:variety"), (0.498814815549, 2, 51, 0.610181533358))
    _check(fitted.test("variety"), (1.94225316325, 2, 21.5747596218, 0.167644125601))
    assert fitted.test(["nitro", "variety"])["df1"][0] == 3


def test_normal_tests_are_chi_square() -> None:
    from scipy.special import chdtrc

    row = _fitted("sleep_rs", "none").test(["(Intercept)", "Days"]).row(0, named=True)
    assert row["df2"] is None
    assert row["p_value"] == pytest.approx(chdtrc(2, 2 * row["statistic"]), rel=1e-12)


def test_kenward_roger_does_not_depend_on_how_the_contrasts_are_written() -> None:
    fitted = _fitted("bodyweight_growth", "kenward-roger")
    contrasts = np.eye(6)[3:]
    mixed = np.array([[2.0, 1, 0], [1e6, 0, -3], [0.5, 1e-6, 1]]) @ contrasts
    assert fitted.test(mixed).row(0) == pytest.approx(fitted.test(contrasts).row(0), rel=1e-8)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_scale_of_the_predictors_does_not_matter_to_rank(df: Any) -> None:
    """A coefficient of 1e-8 beside one of 1e3: lmerTest takes the small one's variance for zero."""
    name = reference.table("sleep_rs")
    formula = "Reaction ~ x + (1 | Subject)"
    data = f"select *, Days * 1e6 as x from {name}"
    small = fit(formula, data, connection=reference.connection(), df=df).test(["(Intercept)", "x"])
    plain = _fitted("sleep_ri", df).test(["(Intercept)", "Days"])
    assert small["df1"][0] == 2
    assert small["statistic"][0] == pytest.approx(plain["statistic"][0], rel=1e-9)


def test_regression_has_the_exact_f() -> None:
    """R's ``anova(lm(mpg ~ 1), lm(...))`` by its formula: rows minus coefficients, by every method."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 3))
    y = x @ [0.5, 0.2, 0.0] + rng.normal(size=40)
    data = pl.DataFrame({"y": y, "a": x[:, 0], "b": x[:, 1], "c": x[:, 2]})
    design = np.column_stack([np.ones(40), x])
    rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    expected = ((y - y.mean()) @ (y - y.mean()) - rest @ rest) / 3 / (rest @ rest / 36)
    methods: list[Any] = ["satterthwaite", "kenward-roger"]
    for df in methods:
        test: dict[str, Any] = fit("y ~ a + b + c", data, df=df).test(["a", "b", "c"]).row(0, named=True)
        assert test["statistic"] == pytest.approx(expected, rel=1e-10)
        assert test["df2"] == pytest.approx(36, rel=1e-9)


def test_denominator() -> None:
    assert satterthwaite_denominator(np.array([7.0, 7.0])) == 7
    assert satterthwaite_denominator(np.array([7.0, 1.5])) == 2
    # E = 10/8 + 6/4 = 2.75; 2 E / (E - 2)
    assert satterthwaite_denominator(np.array([10.0, 6.0])) == pytest.approx(5.5 / 0.75)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nonsense", "No such term or coefficient. Got 'nonsense'; expected one of"),
        ([[1.0, 2.0]], r"Got shape \(1, 2\); expected \(any number, 6\)"),
        (np.zeros((2, 6)), "The contrast is zero"),
        (np.full((1, 6), np.nan), "finite"),
        (["nitro", 3.0], "Got both"),
        ([[object()] * 6], r"contrasts is not understood\. Got a list of 1; expected names of terms, or a matrix"),
        ([], "expected"),
    ],
)
def test_what_cannot_be_tested(wanted: Any, message: str) -> None:
    with pytest.raises(MlmError, match=message):
        _fitted("oats_split_plot", "satterthwaite").test(wanted)


def test_a_dropped_column_cannot_be_tested() -> None:
    data = f"select *, 2 * Days as twice from {reference.table('sleep_rs')}"
    fitted = fit("Reaction ~ Days + twice + (1 | Subject)", data, connection=reference.connection())
    with pytest.raises(MlmError, match="'twice' was dropped"):
        fitted.test("twice")
