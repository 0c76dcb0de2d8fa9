"""Clustered errors of least squares against those of the clusters' spans, which take any working model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.estimation.design.groups import make_clusters
from mlm_ops.estimation.estimate import estimate_design
from mlm_ops.inference.fixed.clustered_least_squares import clustered_vcov
from mlm_ops.inference.fixed.robust import cluster_robust


def rows(sizes: list[int]) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(len(sizes)), sizes)
    x = 50 + rng.normal(size=len(g)) * (1 + g % 3)
    w = rng.normal(size=len(sizes))[g]
    y = x + w + rng.normal(size=len(sizes))[g] + rng.normal(size=len(g))
    return pl.DataFrame({"g": g, "s": g % 40, "x": x, "w": w, "one": (g == 0).astype(float), "y": y})


@pytest.mark.parametrize(
    ("formula", "sizes"),
    [
        # leverages of about 0.02, of which the root is a series; one cluster with most of the rows; few clusters
        ("y ~ x * w + (1 | g)", [5, 9, 7] * 60),
        ("y ~ x + w + (1 | g)", [400, *[3, 1, 6] * 60]),
        ("y ~ x + (1 | g)", [4, 8, 5, 6]),
        # a coefficient that one cluster alone tells of
        ("y ~ x + one + (1 | g)", [5, 9, 7] * 20),
        # no coefficient at all
        ("y ~ 0 + (1 | g)", [5, 9, 7] * 20),
        # clusters of several cells
        ("y ~ x + w + (1 | s/g)", [5, 9, 7] * 60),
    ],
)
def test_the_covariance_is_that_of_the_clusters_spans(formula, sizes):
    design = mlm.fit(formula, rows(sizes)).estimate.design
    effects = sum(level.size for level in design.levels)
    fixed = replace(design.cross, combination=design.cross.combination[:, effects:])
    regression = estimate_design(replace(design, levels=(), cross=fixed), reml=True)
    top = design.levels[-1]
    clusters = make_clusters(top.group, top.codes, top.labels, ())
    expected = cluster_robust(regression, "CR2", clusters).vcov
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # both take some hundred roundings, of a predictor that is fifty deviations from zero
    assert clustered_vcov(regression, clusters) / scale == pytest.approx(expected / scale, abs=1e-11)
