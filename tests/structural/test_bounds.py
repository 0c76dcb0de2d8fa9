"""What the data do not determine is not told."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm


def test_slopes_of_collinear_latent_means_are_not_told_and_their_total_is() -> None:
    """Between clusters the mediator is the predictor times a constant: only the total effect is determined."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(60), 16)
    mean = rng.normal(size=60)[group]
    dose = mean + rng.normal(size=960)
    med = 0.8 * mean + 0.5 * (dose - mean) + rng.normal(size=960)
    score = 1.2 * mean + 0.4 * med + rng.normal(size=60)[group] + rng.normal(size=960)
    rows = pl.DataFrame({"dose": dose, "med": med, "score": score, "g": group})
    fit = mlm.sem("mediation 1-1-1: dose -> med -> score", rows, cluster="g")
    found = dict(fit.parameters.filter(pl.col("label") != "").select("label", "estimate").iter_rows())
    found |= dict(fit.parameters.filter(op=":=").select("lhs", "estimate").iter_rows())
    assert (found["bb"], found["cb"], found["indirect_between"]) == (None, None, None)
    assert found["total_between"] is not None
    assert found["indirect_within"] == pytest.approx(found["aw"] * found["bw"])
