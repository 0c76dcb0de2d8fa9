"""Fits, estimates and moments go through pickle and copy: an orchestrator hands what an asset returns to the next."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source


def pupils() -> pl.DataFrame:
    random = np.random.default_rng(5)
    school, n = np.repeat(np.arange(24), 10), 240
    x, z = random.normal(size=(2, n))
    y = random.normal(size=24)[school] + 0.5 * x + random.normal(size=n)
    return pl.DataFrame(
        {
            "school": school,
            "district": school // 4,
            "item": np.tile(np.arange(10), 24),
            "t": np.tile(np.arange(10), 24),
            "sex": np.where(random.uniform(size=n) < 0.5, "f", "m"),
            "w": random.uniform(0.5, 2.0, size=n),
            "x": x,
            "z": z + 0.3 * y,
            "y": y,
        }
    )


#: One of every engine, residual structure, covariance structure and error.
FITS: dict[str, tuple[str, dict[str, Any]]] = {
    "single level": ("y ~ x * sex", {}),
    "nested": ("y ~ within(x) + between(x) + (1 + within(x) | school)", {"df": "kenward-roger"}),
    "three levels": ("y ~ x + (1 | district/school)", {}),
    "crossed": ("y ~ x + (1 | school) + (1 | item)", {}),
    "uncorrelated": ("y ~ x + (x || school)", {"estimator": "ml"}),
    "strata": ("y ~ x + (1 | school)", {"residual": "by(sex)"}),
    "series": ("y ~ x + (1 | school)", {"residual": "ar1(t)"}),
    "known": ("y ~ x + (1 | school)", {"residual": "fixed(w)"}),
    "weights": ("y ~ x + (1 | school)", {"weights": "w"}),
    "robust": ("y ~ x + (1 | school)", {"robust": "CR2"}),
    "within": ("within(y, school) ~ x", {}),
    "given": ("y ~ x + (1 | school)", {"covariance": {"school": [[0.5]]}}),
}


def through_pickle(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.fixture(params=[through_pickle, copy.deepcopy], ids=["pickle", "deepcopy"])
def trip(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    way: Callable[[Any], Any] = request.param
    return way


@pytest.mark.parametrize("kind", FITS)
def test_a_fit_comes_back_equal_and_answers_alike(kind: str, trip: Callable[[Any], Any]) -> None:
    formula, options = FITS[kind]
    fit = mlm.fit(formula, pupils(), **options)
    back = trip(fit)
    assert type(back) is type(fit)
    # equal to the last bit: nothing is computed anew on the way
    for table in ("fixed_effects", "variance_components", "random_effects", "fit_statistics"):
        assert getattr(back, table).equals(getattr(fit, table)), table
    assert np.array_equal(back.vcov, fit.vcov)
    assert (back.equations(), str(back)) == (fit.equations(), str(fit))
    # what evaluates the criterion again, at other parameters
    theta = fit.estimate.optimum.theta + 0.01
    assert back.estimate.criterion.solve(theta).criterion == fit.estimate.criterion.solve(theta).criterion
    if kind in ("crossed", "strata"):
        assert back.intervals("profile").equals(fit.intervals("profile"))
    assert back.predict(pupils()).equals(fit.predict(pupils()))


def test_a_fit_from_a_file_and_from_moments_comes_back_equal(tmp_path: Path, trip: Callable[[Any], Any]) -> None:
    pupils().write_csv(tmp_path / "pupils.csv")
    model = parse_formula("y ~ x + (1 | school)")
    moments = collect(open_source(tmp_path / "pupils.csv"), [model])
    back = trip(moments)
    assert back.checksum == moments.checksum
    assert back.schema == moments.schema
    fits = [fit_model(Request(model), one) for one in (moments, back)]
    assert fits[0].fixed_effects.equals(fits[1].fixed_effects)
    estimate = fits[0].estimate
    assert np.array_equal(trip(estimate).vcov, estimate.vcov)


@pytest.mark.parametrize("options", [{}, {"robust": True}], ids=["plain", "robust"])
def test_a_structural_fit_comes_back_equal(options: dict[str, Any], trip: Callable[[Any], Any]) -> None:
    text = "level: 1\n  y ~ a*x\n  z ~ b*y\nlevel: 2\n  y ~~ z\nab := a*b"
    fit = mlm.sem(text, pupils(), cluster="school", **options)
    back = trip(fit)
    assert back.parameters.equals(fit.parameters)
    assert back.fit_statistics.equals(fit.fit_statistics)
    assert (back.equations(), str(back), back.diagram()) == (fit.equations(), str(fit), fit.diagram())


def test_a_dagster_asset_may_return_a_fit(tmp_path: Path) -> None:
    @dg.asset
    def model() -> mlm.Fit:
        return mlm.fit("y ~ x + (1 | school)", pupils())

    @dg.asset
    def slope(model: mlm.Fit) -> float:
        return float(model.fixed_effects["estimate"][1])

    result = dg.materialize([model, slope], resources={"io_manager": dg.FilesystemIOManager(base_dir=str(tmp_path))})
    assert result.output_for_node("slope") == mlm.fit("y ~ x + (1 | school)", pupils()).fixed_effects["estimate"][1]


def test_another_process_reads_a_pickled_fit(tmp_path: Path) -> None:
    fit = mlm.fit("y ~ x + (1 | school)", pupils())
    path = tmp_path / "fit.pickle"
    path.write_bytes(pickle.dumps(fit))
    code = f"import pickle; print(pickle.load(open({str(path)!r}, 'rb')).estimate.log_likelihood.hex())"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (process.returncode, process.stdout.strip()) == (0, fit.estimate.log_likelihood.hex()), process.stderr
