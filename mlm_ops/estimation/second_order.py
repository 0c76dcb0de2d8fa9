"""Second derivatives of the profiled deviance by ``T / sigma2``, from what an engine knows of W and log |V|."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlm_ops.moments.arrays import Array


@dataclass(frozen=True)
class SecondOrder:
    """Along k directions of the T / sigma2 of all factors, V_i being the change of V along one.

    Attributes
    ----------
    dw
        (k, r, r) derivatives of ``W = [X y]' V^-1 [X y]``.
    schur
        (k, k) ``tr W_bar [X y]' V^-1 V_i V^-1 V_j V^-1 [X y]``.
    determinant
        (k, k) ``tr V^-1 V_i V^-1 V_j``; None where it was not asked for.
    """

    dw: Array
    schur: Array
    determinant: Array | None


def profiled_hessian(
    parts: SecondOrder, w: Array, beta: Array, sigma2: float, degrees: int | None, *, reml: bool
) -> Array:
    """Second derivatives of the profiled deviance along the directions.

    Parameters
    ----------
    parts
        With the derivative of the deviance by W for W_bar.
    w, beta, sigma2, degrees
        (p + 1, p + 1), (p,), and numbers, as `criterion.Solution` has them; degrees are None where sigma2 is not
        profiled out.

    Returns
    -------
    Array
        (k, k).
    """
    assert parts.determinant is not None
    inverse, along, slopes = _projected(parts.dw, w, beta)
    data = -2 / sigma2 * along @ inverse @ along.T
    if degrees is not None:
        data -= np.outer(slopes, slopes) / (degrees * sigma2**2)
    if reml:
        inverse_dw = inverse @ parts.dw
        data -= np.einsum("krs,lsr->kl", inverse_dw, inverse_dw)
    result: Array = data - parts.determinant + parts.schur + parts.schur.T
    return result


def average_information(parts: SecondOrder, w: Array, beta: Array, sigma2: float, degrees: int | None) -> Array:
    """The mean of the observed and the expected information along the directions: no traces, and never negative.

    Gilmour, Thompson and Cullis (1995), Biometrics 51, 1440-1450, eq. 3, for -2 log-likelihood and sigma2 profiled out.

    Parameters
    ----------
    parts
        With ``b b' / sigma2`` for W_bar, b being ``(-beta, 1)``; `profiled_hessian` says the rest.

    Returns
    -------
    Array
        (k, k).
    """
    inverse, along, slopes = _projected(parts.dw, w, beta)
    information: Array = (parts.schur + parts.schur.T) / 2 - along @ inverse @ along.T / sigma2
    if degrees is not None:
        information -= np.outer(slopes, slopes) / (degrees * sigma2**2)
    return information


def _projected(dw: Array, w: Array, beta: Array) -> tuple[Array, Array, Array]:
    """W_xx^-1, padded (r, r); the residual's rows of dW, (k, r); and the slopes of the residual's square, (k,)."""
    p = len(beta)
    inverse = np.zeros_like(w)
    inverse[:p, :p] = np.linalg.inv(w[:p, :p])
    b = np.append(-beta, 1.0)
    along = dw @ b
    return inverse, along, along @ b
