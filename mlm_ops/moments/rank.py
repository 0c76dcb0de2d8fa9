"""Find the columns that are linear combinations of others, and the size below which a number is a rounding error.

The columns are known by their cross-products alone, which are sums of products of centered variables. In units of the
columns' lengths (a diagonal of ones) each of k x k such numbers carries the rounding of

- the products themselves and of the engine's later steps: a few ``eps = 2.2e-16`` each, which move an
  eigenvalue by at most k times that (Weyl);
- a sum over m rows that is kept in one running total: at most ``m eps``, and of the order of ``sqrt(m) eps`` where
  roundings do not agree (Higham 2002, Accuracy and Stability of Numerical Algorithms, section 4.2). Columns of a few
  different values round alike: up to ``8 sqrt(m) eps`` was seen in single totals over 1,000 to 5,000,000 rows.

So the eigenvalues of a matrix of cross-products are known to within ``(4 k + 32 sqrt(m)) eps`` of the largest, and what
lies below that is zero (`rounding`). In 270 random designs with exact dependencies the spurious eigenvalues were below
``k eps`` of the largest, and all others above ``1e10 k eps``.

A cross-product is a *square*: a column at the relative distance d from the span of others makes an eigenvalue of the
order of d^2. So distances below the root of that bound are zero too; that is 1e-7, the tolerance of R's ``lm`` and
``lmer``, for a few columns and rows, and 1e-6 for a hundred columns of 10,000 rows (`ColumnSpan.tolerance`). Above it a
distance has the relative error ``(tolerance / d)^2``: a column nearer than `NEAR` has a few digits left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array

EPS = float(np.finfo(np.float64).eps)
#: A column whose distance from the span of those before it is below this share of its spread is aliased, as in R's lm.
ALIASING_TOLERANCE = 1e-7
#: A column nearer than this, 10^-5.5, loses digits: its square, 1e-11, keeps three to five of them.
NEAR = 10.0**-5.5
#: Roundings of a product and of the steps after it, and of a running total in units of the root of its length.
_OF_PRODUCTS, _OF_SUMS = 4.0, 32.0
#: The most by which a value computed in another order may differ, as a share of its size: 64 roundings.
VALUE_ROUNDING = 64 * EPS
#: The most by which columns' values, and combinations written with a few digits less than all, may differ.
_SLACK = 1e-9


def rounding(size: int, additions: float = 0.0) -> float:
    """Return the share of the largest eigenvalue, or singular value, below which another one is a rounding error.

    Parameters
    ----------
    size
        Rows of the matrix, k.
    additions
        Rows m that were added up in one running total; 0 for a matrix that is no sum over rows.
    """
    return EPS * (_OF_PRODUCTS * size + _OF_SUMS * float(np.sqrt(additions)))


def square_root(cross: Array, additions: float = 0.0) -> tuple[Array, float]:
    """Return R with ``R'R = cross`` for cross-products that may be singular, rounding errors set to zero.

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
    """Return the square roots of the diagonal, (k,), with one in place of zero."""
    scale: Array = np.sqrt(np.maximum(np.diag(cross), 0.0))
    return np.where(scale > 0, scale, 1.0)


def null_space(matrix: Array, error: float | None = None) -> Array:
    """Return the directions along which a symmetric positive semi-definite matrix is zero but for rounding.

    The matrix, such as an information matrix, is scaled to a diagonal of ones first, so that the parameters' units do
    not matter.

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
        (k, k - rank) orthonormal in the scaled parameters, returned in the matrix' own: ``matrix @ null_space = 0``.
    """
    if not len(matrix):
        return matrix.copy()
    scale = lengths(matrix)
    values, vectors = np.linalg.eigh(matrix / scale[:, None] / scale)
    share = max(rounding(len(matrix)), error or 0.0)
    null: Array = vectors[:, values <= share * max(float(values[-1]), 0.0)] / scale[:, None]
    return null


def independent_rows(rows: Array) -> Array:
    """Return orthonormal rows, (rank, p), with the span of (k, p) rows, leaving out those that are zero or rounding."""
    sizes = np.abs(rows).max(axis=1, initial=0.0)
    nonzero = rows[sizes > 0] / sizes[sizes > 0, None]
    nonzero = nonzero / np.linalg.norm(nonzero, axis=1)[:, None]
    if not nonzero.size:
        return np.zeros((0, rows.shape[1]))
    values, right = np.linalg.svd(nonzero, full_matrices=False)[1:]
    independent: Array = right[values > rounding(max(nonzero.shape)) * values[0]]
    return independent


@dataclass(frozen=True)
class ColumnSpan:
    """The columns, of p, that span them all, and the others as combinations of these.

    Attributes
    ----------
    kept
        Indices of the columns that do not lie in the span of those before them, ascending.
    distance
        (p,) of each from the span of those before it, as a share of the length of what it adds; zero where it adds
        nothing.
    combination
        (rank, p) each column in the independent ones: ``X = X[:, independent] @ combination``, the identity for these.
    tolerance
        Distances below this are zero.
    zero
        Indices of the columns that are zero in every row.
    """

    independent: tuple[int, ...]
    distance: Array
    combination: Array
    tolerance: float
    zero: tuple[int, ...]

    @property
    def near(self) -> tuple[int, ...]:
        """Independent columns so near to the span of those before them that their estimates lose digits."""
        return tuple(i for i in self.independent if self.distance[i] < max(NEAR, 10 * self.tolerance))

    def estimable(self, contrasts: Array) -> NDArray[np.bool_]:
        """Tell whether the data determine each combination ``l' beta`` of all p coefficients, (k, p) -> (k,).

        It is determined if l lies in the span of the rows of X (Searle 1971, Linear Models, section 5.4), which is that
        of the rows of `combination`: l must give every dependent column what the independent ones give it. A row with
        NaN counts as determined.
        """
        independent = list(self.independent)
        if len(independent) == contrasts.shape[1]:
            return np.ones(len(contrasts), dtype=np.bool_)
        off = np.abs(contrasts[:, independent] @ self.combination - contrasts)
        size = np.abs(contrasts[:, independent]) @ np.abs(self.combination) + np.abs(contrasts)
        return np.asarray(~(off > self.slack * size).any(axis=1), dtype=np.bool_)

    @property
    def slack(self) -> float:
        """The most by which rounding can move a dependent column from its combination, as a share of its terms.

        `combination` solves normal equations, whose error grows with the inverse square of the independent columns'
        distances.
        """
        nearest = min((float(self.distance[i]) for i in self.independent), default=1.0)
        return min(max(_SLACK, (self.tolerance / nearest) ** 2), 1e-4)


def independent_columns(g: Array, cross: Array, additions: float = 0.0) -> ColumnSpan:
    """Find the columns that do not lie in the span of those before them: of a dependent set, the earlier ones.

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
    independent: list[int] = []
    distance = np.zeros(p)
    directions = np.zeros((len(root), 0))
    is_covered = np.zeros(len(g), dtype=bool)
    for i in range(p):
        addition = np.where(is_covered, 0.0, g[:, i])
        rest = root @ addition
        size = np.linalg.norm(rest)
        for _ in range(2):  # twice is enough (Giraud, Langou and Rozloznik 2005)
            rest = rest - directions @ (directions.T @ rest)
        remainder = np.linalg.norm(rest)
        if remainder > tolerance * size and remainder > 0:
            independent.append(i)
            distance[i] = remainder / size
            directions = np.column_stack((directions, rest / remainder))
            if np.count_nonzero(addition) == 1:
                is_covered |= addition != 0
    scale = lengths(cross)
    parts = np.linalg.norm(scale[:, None] * g, axis=0)
    zero = np.flatnonzero(np.linalg.norm(root @ g, axis=0) <= tolerance * parts)
    combination = _combination(g, root, scale, independent, set(zero.tolist()))
    return ColumnSpan(tuple(independent), distance, combination, tolerance, tuple(zero.tolist()))


def _combination(g: Array, root: Array, scale: Array, independent: list[int], zero: set[int]) -> Array:
    """Return every column as a combination of the independent ones, (rank, p).

    The part that follows from the coefficients in `g` is solved in these, so that large constants cancel exactly; the
    rest, which is as large as the columns' spreads, is solved with the rows' cross-products.
    """
    combination = np.zeros((len(independent), g.shape[1]))
    combination[np.arange(len(independent)), independent] = 1.0
    dependent = [i for i in range(g.shape[1]) if i not in independent and i not in zero]
    if not dependent:
        return combination
    columns = scale[:, None] * g
    orthonormal, triangular = np.linalg.qr(columns[:, independent])
    coefficients = orthonormal.T @ columns[:, dependent]
    rest = columns[:, dependent] - orthonormal @ coefficients
    rest[np.abs(rest) <= EPS * _OF_PRODUCTS * len(g) * np.abs(columns[:, dependent]).max(axis=0)] = 0.0
    of_rows = root / scale
    correction = np.linalg.lstsq(of_rows @ orthonormal, of_rows @ rest, rcond=None)[0]
    solution = np.linalg.solve(triangular, coefficients + correction)
    # a share of a column that is rounding would make a condition of every row of its own
    shares = np.abs(solution) * np.linalg.norm(of_rows @ columns[:, independent], axis=0)[:, None]
    combination[:, dependent] = np.where(shares > _SLACK * shares.max(axis=0), solution, 0.0)
    return combination
