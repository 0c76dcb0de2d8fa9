"""Structural models as Mplus input: its names, its constraints, its estimator, its missing cells."""

from __future__ import annotations

import numpy as np
import polars as pl

import mlm_ops as mlm
from tests.structural.cases import data
from tests.structural.test_quadrature import some_rows


def test_mplus_input_is_within_its_limits():
    """Names of eight characters, variables, factors and labels; the columns of the file with what they hold."""
    rows = data("demo_twolevel").rename({"y1": "satisfaction_1", "y2": "satisfaction_2", "cluster": "organisation"})
    text = (
        "level: 1\n satisfaction =~ satisfaction_1 + satisfaction_2 + loading_y3*y3\n satisfaction ~ slope_within*x1\n"
        "level: 2\n satisfaction =~ satisfaction_1 + satisfaction_2 + y3\n"
        "effect_within := slope_within*loading_y3^2"
    )
    found = mlm.sem(text, rows, cluster="organisation").equations("mplus")
    assert max(map(len, found.splitlines())) <= 90
    assert found.startswith(
        "! Other names: loading_ is loading_y3, slope_wi is slope_within, effect_w is\n"
        "! effect_within, satisf_w is satisfaction within, satisf_b is satisfaction between.\n"
        "! The columns of the data file, in this order, all of them numbers:\n"
        "!   satisfac  satisfaction_1\n"
        "!   satisfa2  satisfaction_2\n"
        "!   y3        y3\n"
        "!   x1        x1\n"
        "!   organisa  organisation\n"
        "TITLE: two-level structural equation model;\n"
        "DATA: FILE = data.dat;\n"
        "VARIABLE:\n"
        "  NAMES = satisfac satisfa2 y3 x1 organisa;\n"
    )
    assert "  satisf_w BY y3* (loading_);\n  satisf_w ON x1* (slope_wi);\n" in found
    assert found.endswith("MODEL CONSTRAINT:\n  NEW(effect_w);\n  effect_w = slope_wi*loading_**2;")


def test_latent_variables_of_one_name_are_two_in_mplus():
    found = mlm.sem("cfa: f =~ y1 + y2 + y3", data("demo_twolevel"), cluster="cluster").equations("mplus")
    assert "f_w BY y1@1;" in found
    assert "f_b BY y1@1;" in found


def lines(text, rows, **options):
    return mlm.sem(text, rows, cluster="g", **options).equations("mplus").splitlines()


def test_slopes_are_random_and_the_estimator_is_as_asked():
    text = 'level: 1\n y ~ rv("slope_of_v")*v + x\nlevel: 2\n y + slope_of_v ~ w\n y ~~ slope_of_v'
    found = lines(text, some_rows(60), robust=True)
    assert found[0] == "! Other names: slope_of is slope_of_v."
    assert "  WITHIN = v x;" in found
    assert "  BETWEEN = w;" in found
    at = found.index("ANALYSIS:")
    assert found[at : at + 5] == [
        "ANALYSIS:",
        "  TYPE = TWOLEVEL RANDOM;",
        "  ESTIMATOR = MLR;",
        "MODEL:",
        "  %WITHIN%",
    ]
    assert found[at + 5 : at + 7] == ["  slope_of | y ON v;", "  y ON x*;"]
    assert "  slope_of ON w*;" in found
    assert "  y WITH slope_of*;" in found
    assert "  ESTIMATOR = ML;" in lines(text, some_rows(60))


def test_names_stay_distinct_in_eight_letters():
    """Columns, slopes, labels and definitions that begin alike."""
    rows = some_rows(60).rename({"v": "achievement_1", "w": "achievement_2", "y": "achievement"})
    text = (
        'level: 1\n achievement ~ rv("achievement_slope")*achievement_1\n'
        "level: 2\n achievement ~ achievement_label*achievement_2\n achievement_slope ~ achievement_mean*1\n"
        "achievement_sum := achievement_label + achievement_mean"
    )
    found = lines(text, rows)
    assert "  NAMES = achievem achieve2 achieve3 g;" in found
    assert "  achieve4 | achievem ON achieve2;" in found
    assert "  achievem ON achieve3* (achieve5);" in found
    assert found[-3:] == ["MODEL CONSTRAINT:", "  NEW(achieve7);", "  achieve7 = achieve5 + achieve6;"]


def test_constraints_have_a_label_or_zero_on_their_left():
    """Mplus takes nothing else there; a label of a fixed parameter is its value."""
    text = "level: 1\n y ~ a*x + b*v\nlevel: 2\n y ~ d*x + e*w\na == 2*b\na*b == .3 + b^2\na + b < 4\nd > e"
    found = lines(text, some_rows(60))
    assert found[-4:] == [
        "  a = 2*b;",
        "  0 = .3 + b**2 - (a*b);",
        "  0 < 4 - (a + b);",
        "  d > e;",
    ]
    fixed = lines("level: 1\n y ~ a*x + a*v\n y ~ -2*x\nlevel: 2\n y ~~ y\nd := 3 - a", some_rows())
    assert "  y ON x@-2;" in fixed
    assert "  y ON v@-2;" in fixed
    assert fixed[-1] == "  d = 3 - (-2);"


def test_missing_cells_are_periods():
    rows = some_rows(60).with_columns(y=pl.when(pl.Series(np.arange(len(some_rows(60))) % 4 != 0)).then(pl.col("y")))
    text = "level: 1\n y ~ v\nlevel: 2\n y ~ w"
    whole, complete = lines(text, rows, missing="ml"), lines(text, rows)
    assert "  MISSING = .;" in whole
    assert "DATA: FILE = data.dat;" in whole
    assert "  MISSING = .;" in complete
    assert "DATA: FILE = data.dat; LISTWISE = ON;" in complete
    assert "  MISSING = .;" not in lines(text, rows.drop_nulls())


def test_rows_without_the_predictor_of_a_slope_are_told():
    holes = some_rows(60).with_columns(v=pl.when(pl.col("w") > -1).then(pl.col("v")))
    found = lines('level: 1\n y ~ rv("s")*v\nlevel: 2\n y ~~ s', holes, missing="ml")
    assert found[0] == "! Rows without v are left out here; leave them out of the data file."
