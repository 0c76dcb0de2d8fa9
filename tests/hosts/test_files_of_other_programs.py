"""Files that SAS, SPSS and Stata wrote, as R's package haven has them: no program of ours writes the first of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import mlm_ops as mlm

#: Debian's package r-cran-haven.
FOLDER = Path("/usr/lib/R/site-library/haven/examples")
FORMULAS = {
    "iris.sas7bdat": "Sepal_Length ~ Sepal_Width + (1 | Species)",
    "iris.sav": "`Sepal.Length` ~ `Sepal.Width` + (1 | Species)",
    "iris.dta": "sepallength ~ sepalwidth + (1 | species)",
}


@pytest.mark.skipif(not FOLDER.is_dir(), reason="R's package haven is not installed")
@pytest.mark.parametrize("name", FORMULAS)
def test_a_file_of_another_program(name: str) -> None:
    fit = mlm.fit(FORMULAS[name], FOLDER / name)
    assert fit.n_rows == 150
    # lme4 1.1-31: lmer(Sepal.Length ~ Sepal.Width + (1 | Species), iris); Stata's file has singles, of seven digits
    tolerance = 5e-7 if name.endswith(".dta") else 1e-8
    assert fit.fixed_effects["estimate"].to_list() == pytest.approx([3.406167068453, 0.797154251487], rel=tolerance)
