"""Reliability of the indicators of each latent variable, at each level: omega (Geldhof, Preacher and Zyphur 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.structural.model import BETWEEN, WITHIN
from mlm_ops.language.structural.parameters import ParameterTable
from mlm_ops.structural.matrices import Numbers, Structure

Array = NDArray[np.float64]
_STEP = 1e-30


@dataclass(frozen=True)
class Omega:
    """Composite reliability of one latent variable's indicators at one level."""

    level: int
    latent: str
    estimate: float
    std_error: float


def omegas(table: ParameterTable, structure: Structure, theta: Array, vcov: Array) -> list[Omega]:
    """Reliabilities with errors by the delta method, of latent variables whose indicators are all observed."""
    found = []
    known = np.where(np.isnan(vcov), 0.0, vcov)
    for level in (WITHIN, BETWEEN):
        variables = table.variables(level)
        for latent in variables.latent:
            indicators = [r.rhs for r in table.at(level) if r.op == "=~" and r.lhs == latent]
            if not set(indicators) <= set(variables.observed):
                continue
            at = variables.all.index(latent)
            rows = np.array([variables.all.index(name) for name in indicators])
            gradient = np.empty(len(theta))
            for i in range(len(theta)):
                stepped = theta.astype(complex)
                stepped[i] += _STEP * 1j
                gradient[i] = complex(_omega(structure, level, at, rows, stepped)).imag / _STEP
            estimate = float(_omega(structure, level, at, rows, theta))
            found.append(Omega(level, latent, estimate, float(np.sqrt(gradient @ known @ gradient))))
    return found


def _omega(structure: Structure, level: int, latent: int, rows: NDArray[np.int64], theta: Numbers) -> Numbers:
    """``(sum lambda)^2 phi / ((sum lambda)^2 phi + sum of the residuals' covariances)``."""
    moments = structure.moments(theta)[level - 1]
    common = moments.arrows[rows, latent].sum() ** 2 * moments.covariance[latent, latent]
    with np.errstate(invalid="ignore"):
        return np.asarray(common / (common + moments.spread[np.ix_(rows, rows)].sum()))
