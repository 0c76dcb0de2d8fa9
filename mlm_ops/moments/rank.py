"""Decide which columns are combinations of others, and from where on a small number is a rounding error.

What is known of the columns are their cross-products, and these are sums of products of centered variables. In units
of the columns' lengths (a diagonal of ones) each of k x k such numbers carries the rounding of

- the products themselves and of what the engine makes of them afterwards: a few ``eps = 2.2e-16`` each, which move an
  eigenvalue by at most k times that (Weyl);
- a sum over m rows that is kept in one running total: at most ``m eps``, and of the order of ``sqrt(m) eps`` where
  roundings do not agree (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 4.2). Columns of a few
  different values round alike: up to ``8 sqrt(m) eps`` was seen in single totals over 1,000 to 5,000,000 rows.

So the eigenvalues of a matrix of cross-products are known to within ``(4 k + 32 sqrt(m)) eps`` of the largest, and what
lies below that is zero (`rounding`). In 270 random designs with exact dependencies the spurious eigenvalues were below
``k eps`` of the largest, and all others above ``1e10 k eps``.

A cross-product is a *square*: a column at the relative distance d from the span of others makes an eigenvalue of the
order of d^2. Distances below the root of what is known are zero too; that is 1e-7, the tolerance of R's ``lm`` and
``lmer``, for a few columns and rows, and 1e-6 for a hundred columns of 10,000 rows (`ColumnSpan.tolerance`). Above it a
distance has the relative error ``(tolerance / d)^2``: what lies nearer than `NEAR` has kept a few digits only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
#: A column whose distance from the span of those before it is below this share of its spread is aliased, as in R's lm.
ALIASING_TOLERANCE = 1e-7
#: A column nearer than this, 10^-5.5, loses digits: its square, 1e-11, keeps three to five of them.
NEAR = 10.0**-5.5
#: Roundings of a product and of what is made of it, and of a running total in units of the root of its length.
_OF_PRODUCTS, _OF_SUMS = 4.0, 32.0
#: What a value may be off by that was computed in another order: 64 roundings, as a share of its size.
VALUE_ROUNDING = 64 * EPS
#: What values of columns, and a combination written with a few digits less than all, may be off by.
_SLACK = 1e-9


def rounding(size: int, additions: float = 0.0) -> float:
    """Share of the largest eigenvalue, or singular value, below which another one is a rounding error.

    Parameters
    ----------
    size
        Rows of the matrix, k.
    additions
        Rows m that were added up in one running total; 0 for a matrix that is no sum over rows.
    """
    return EPS * (_OF_PRODUCTS * size + _OF_SUMS * float(np.sqrt(additions)))


def square_root(cross: Array, additions: float = 0.0) -> tuple[Array, float]:
    """R with ``R'R = cross``, what is rounding taken out, for cross-products that may be singular.

    Parameters
    ----------
    cross
        (k, k) positive semi-definite but for rounding; scaled to a diagonal of ones first, so that units do not matter.
    additions
        As in `rounding`.

    Returns
    -------
    root, resolution
        (k, k); and the share of a column's length below which a distance is zero.
    """
    if not len(cross):
        return cross.copy(), ALIASING_TOLERANCE
    scale = lengths(cross)
    values, vectors = np.linalg.eigh(cross / scale[:, None] / scale)
    least = rounding(len(cross), additions) * max(float(values[-1]), 0.0)
    root: Array = np.sqrt(np.where(values > least, values, 0.0))[:, None] * vectors.T * scale
    return root, max(ALIASING_TOLERANCE, float(np.sqrt(least)))


def lengths(cross: Array) -> Array:
    """(k,) roots of the diagonal, one in the place of zero."""
    scale: Array = np.sqrt(np.maximum(np.diag(cross), 0.0))
    return np.where(scale > 0, scale, 1.0)


def null_space(matrix: Array, error: float | None = None) -> Array:
    """Directions along which a symmetric positive semi-definite matrix is zero but for rounding.

    Scaled to a diagonal of ones first, so that the parameters' units do not matter: the rank of an information matrix.

    Parameters
    ----------
    matrix
        (k, k).
    error
        Relative error of the matrix' elements, where it is known to be larger than `rounding`: of derivatives taken
        numerically, or at an optimum that the search ended near.

    Returns
    -------
    Array
        (k, k - rank) orthonormal in the scaled parameters, given in the matrix' own: ``matrix @ null_space = 0``.
    """
    if not len(matrix):
        return matrix.copy()
    scale = lengths(matrix)
    values, vectors = np.linalg.eigh(matrix / scale[:, None] / scale)
    share = max(rounding(len(matrix)), error or 0.0)
    null: Array = vectors[:, values <= share * max(float(values[-1]), 0.0)] / scale[:, None]
    return null


def independent_rows(rows: Array) -> Array:
    """(rank, p) rows with the same span as (k, p) rows, orthonormal; rows that are zero or rounding are taken out."""
    sizes = np.abs(rows).max(axis=1, initial=0.0)
    used = rows[sizes > 0] / sizes[sizes > 0, None]
    used = used / np.linalg.norm(used, axis=1)[:, None]
    if not used.size:
        return np.zeros((0, rows.shape[1]))
    values, right = np.linalg.svd(used, full_matrices=False)[1:]
    independent: Array = right[values > rounding(max(used.shape)) * values[0]]
    return independent


@dataclass(frozen=True)
class ColumnSpan:
    """Which of p columns span them all.

    Attributes
    ----------
    kept
        Indices of the columns that do not lie in the span of those before them, ascending.
    distance
        (p,) of each from the span of those before it, as a share of the length of what it adds; zero where it adds
        nothing.
    combination
        (rank, p) each column in those that are kept: ``X = X[:, kept] @ combination``, the identity for these.
    tolerance
        What a distance was judged against.
    zero
        Indices of the columns that are zero in every row.
    """

    kept: tuple[int, ...]
    distance: Array
    combination: Array
    tolerance: float
    zero: tuple[int, ...]

    @property
    def near(self) -> tuple[int, ...]:
        """Kept columns so near to the span of those before them that digits of their estimates are lost."""
        return tuple(i for i in self.kept if self.distance[i] < max(NEAR, 10 * self.tolerance))

    def estimable(self, contrasts: Array) -> NDArray[np.bool_]:
        """(k,) whether the data determine each combination ``l' beta`` of all p coefficients, (k, p).

        It is determined if l lies in the span of the rows of X (Searle 1971, Linear Models, section 5.4), which is that
        of the rows of `combination`: l must give every dropped column what the kept ones give it. What is not a number
        stays undecided, and counts as determined.
        """
        kept = list(self.kept)
        if len(kept) == contrasts.shape[1]:
            return np.ones(len(contrasts), dtype=np.bool_)
        off = np.abs(contrasts[:, kept] @ self.combination - contrasts)
        size = np.abs(contrasts[:, kept]) @ np.abs(self.combination) + np.abs(contrasts)
        return np.asarray(~(off > self.slack * size).any(axis=1), dtype=np.bool_)

    @property
    def slack(self) -> float:
        """How far, as a share of its terms, a dropped column may be off its combination by rounding.

        `combination` solves normal equations, whose error grows with the inverse square of the kept columns' distances.
        """
        nearest = min((float(self.distance[i]) for i in self.kept), default=1.0)
        return min(max(_SLACK, (self.tolerance / nearest) ** 2), 1e-4)


def independent_columns(g: Array, cross: Array, additions: float = 0.0) -> ColumnSpan:
    """Find the columns that do not lie in the span of those before them: of a dependent set the earlier ones stay.

    Parameters
    ----------
    g
        (elements, p) the columns as combinations of elements.
    cross
        (elements, elements) cross-products of the elements.
    additions
        Rows, or units, that were added up in one running total.

    Notes
    -----
    A distance is judged against the spread of what a column adds, not against its length: x with mean 1e9 and standard
    deviation 1 is no copy of the intercept, nor is ``x:w`` one of x and w. Elements that earlier columns span are
    therefore struck from a column first, exactly, in the coefficients.
    """
    root, tolerance = square_root(cross, additions)
    p = g.shape[1]
    kept: list[int] = []
    distance = np.zeros(p)
    directions = np.zeros((len(root), 0))
    covered = np.zeros(len(g), dtype=bool)
    for i in range(p):
        added = np.where(covered, 0.0, g[:, i])
        rest = root @ added
        size = np.linalg.norm(rest)
        for _ in range(2):  # twice is enough (Giraud, Langou and Rozloznik 2005)
            rest = rest - directions @ (directions.T @ rest)
        left = np.linalg.norm(rest)
        if left > tolerance * size and left > 0:
            kept.append(i)
            distance[i] = left / size
            directions = np.column_stack((directions, rest / left))
            if np.count_nonzero(added) == 1:
                covered |= added != 0
    scale = lengths(cross)
    parts = np.linalg.norm(scale[:, None] * g, axis=0)
    zero = np.flatnonzero(np.linalg.norm(root @ g, axis=0) <= tolerance * parts)
    combination = _combination(g, root, scale, kept, set(zero.tolist()))
    return ColumnSpan(tuple(kept), distance, combination, tolerance, tuple(zero.tolist()))


def _combination(g: Array, root: Array, scale: Array, kept: list[int], zero: set[int]) -> Array:
    """(rank, p) every column in the kept ones.

    What the coefficients alone say is solved in these, so that the constants of far-off variables cancel exactly; the
    rows are asked for the rest, which is of the size of spreads.
    """
    found = np.zeros((len(kept), g.shape[1]))
    found[np.arange(len(kept)), kept] = 1.0
    dropped = [i for i in range(g.shape[1]) if i not in kept and i not in zero]
    if not dropped:
        return found
    scaled = scale[:, None] * g
    orthonormal, triangular = np.linalg.qr(scaled[:, kept])
    coefficients = orthonormal.T @ scaled[:, dropped]
    rest = scaled[:, dropped] - orthonormal @ coefficients
    rest[np.abs(rest) <= EPS * _OF_PRODUCTS * len(g) * np.abs(scaled[:, dropped]).max(axis=0)] = 0.0
    of_rows = root / scale
    solved = np.linalg.lstsq(of_rows @ orthonormal, of_rows @ rest, rcond=None)[0]
    solution = np.linalg.solve(triangular, coefficients + solved)
    # a share of a column that is rounding would make a condition of every row of its own
    shares = np.abs(solution) * np.linalg.norm(of_rows @ scaled[:, kept], axis=0)[:, None]
    found[:, dropped] = np.where(shares > _SLACK * shares.max(axis=0), solution, 0.0)
    return found
