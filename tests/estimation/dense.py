"""The slow, obvious likelihood of a linear mixed model: an n x n covariance matrix from the rows.

``V = sum_i t_i V_i`` with ``V_i`` an element of a T, or the identity for sigma2. Searle, Casella and McCulloch (1992),
Variance Components, sections 6.6 (derivatives of the restricted log-likelihood) and 8.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def covariance_parts(blocks: list[tuple[Array, NDArray[Any], str]]) -> list[Array]:
    """``V_i`` of each block's T, the lower triangle by columns (its diagonal for "diagonal"), then of sigma2.

    Parameters
    ----------
    blocks
        (n, q) random columns, (n,) units, and the structure.
    """
    parts = []
    for z, units, structure in blocks:
        same = (units[:, None] == units[None, :]).astype(float)
        for i in range(z.shape[1]):
            for j in range(i, z.shape[1]):
                if i == j or structure == "unstructured":
                    pair = np.outer(z[:, i], z[:, j])
                    parts.append(same * (pair if i == j else pair + pair.T))
    return [*parts, np.eye(len(same))]


def log_likelihood(t: Array, parts: list[Array], x: Array, y: Array, *, reml: bool) -> float:
    """Of the rows, restricted or not."""
    v = sum(value * part for value, part in zip(t, parts, strict=True))
    solved = np.linalg.solve(v, np.column_stack((x, y)))
    xvx = x.T @ solved[:, :-1]
    residual = y - x @ np.linalg.solve(xvx, x.T @ solved[:, -1])
    n = len(y) - (x.shape[1] if reml else 0)
    deviance = n * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + residual @ np.linalg.solve(v, residual)
    return float(-(deviance + (np.linalg.slogdet(xvx)[1] if reml else 0.0)) / 2)


def standard_errors(t: Array, parts: list[Array], x: Array, y: Array) -> tuple[Array, Array]:
    """Of every t by the observed REML information; and the gradient of the restricted deviance.

    ``-2 l'_i = tr(P V_i) - y' P V_i P y``, ``-2 l''_ij = -tr(P V_i P V_j) + 2 y' P V_i P V_j P y``.
    """
    inverse = np.linalg.inv(sum(value * part for value, part in zip(t, parts, strict=True)))
    p = inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    pv = [p @ part for part in parts]
    py = p @ y
    vpy = [part @ py for part in parts]
    gradient = [float(np.trace(own)) - float(py @ moved) for own, moved in zip(pv, vpy, strict=True)]
    hessian = [
        [2 * float(vpy[i] @ p @ vpy[j]) - float((pv[i] * pv[j].T).sum()) for j in range(len(parts))]
        for i in range(len(parts))
    ]
    return np.sqrt(np.diag(2 * np.linalg.inv(np.array(hessian)))), np.array(gradient)
