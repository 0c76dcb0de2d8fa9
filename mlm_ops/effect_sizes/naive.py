"""What ignoring the nesting would have cost: the same coefficients without it, beside the multilevel model's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate, estimate
from mlm_ops.inference.robust import cluster_robust
from mlm_ops.moments.clusters import make_clusters

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Naive:
    """Least squares of the fixed part; every array is (p,).

    Attributes
    ----------
    estimate, std_error
        As if all rows were independent.
    robust_std_error
        Of the same estimate, robust to clusters (CR2); None where grouping factors cross, as errors of different
        clusters are then correlated.
    """

    estimate: Array
    std_error: Array
    robust_std_error: Array | None


def without_nesting(fitted: Estimate) -> Naive:
    """Fit the fixed part by least squares on the cross-products that the design has already.

    The clusters are the units of the top grouping factor. Moulton (1986), Journal of Econometrics 32, 385-397, for what
    the naive errors miss; Bell and McCaffrey (2002), Survey Methodology 28, 169-181, for CR2.
    """
    design = fitted.design
    effects = sum(level.size for level in design.levels)
    fixed = replace(design.cross, combination=design.cross.combination[:, effects:])
    plain = replace(design, levels=(), cross=fixed, residual=None, clusters=None)
    regression = estimate(plain, reml=True)
    robust = None
    if design.nested:
        top = design.levels[-1]
        clusters = make_clusters(top.group, top.codes, top.labels, ())
        robust = np.sqrt(np.diag(cluster_robust(regression, "CR2", clusters).vcov))
    return Naive(regression.gamma, np.sqrt(np.diag(regression.vcov)), robust)
