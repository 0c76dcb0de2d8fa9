"""Algebra of many small matrices at once against numpy's of each."""

from __future__ import annotations

import numpy as np
import pytest

from mlm_ops.estimation.stacked import unit_cholesky, unit_inverse
from mlm_ops.moments.sums import lower_by_rows


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("signs", [(1.0,), (1.0, -1.0)])
def test_matrices_are_factored_and_inverted_whether_or_not_they_are_positive_definite(size, signs):
    """Of random matrices with eigenvalues of size one or more, which leave twelve digits."""
    rng, units = np.random.default_rng(size), 5
    lower = np.tril(rng.normal(size=(units, size, size)), -1) / size + np.eye(size)
    pivots = (1 + rng.random((units, size))) * np.resize(signs, size)
    matrices = np.einsum("jik,jk,jlk->jil", lower, pivots, lower)
    rows = [[matrices[:, i, j] for j in range(i + 1)] for i in range(size)]
    found, diagonal = unit_cholesky(rows)
    np.testing.assert_allclose(np.array(diagonal).T, pivots, rtol=1e-12)
    for i, row in enumerate(found):
        np.testing.assert_allclose(np.array(row).reshape(i, units).T, lower[:, i, :i], rtol=1e-10, atol=1e-12)
    inverses, (i, j) = np.linalg.inv(matrices), lower_by_rows(size)
    np.testing.assert_allclose(unit_inverse(found, diagonal).T, inverses[:, i, j], rtol=1e-10, atol=1e-12)
