"""Eliminate one grouping factor of many units, a chunk of them at a time.

The arrays of a chunk stay in the processor's cache, and of all units only the sums are kept that W, log |V| and their
derivatives need: memory does not grow with the random effects, and a million units cost a hundred times ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.nested import CHUNK, Elimination, Nest, Rung, eliminate_units, log_determinants
from mlm_ops.moments.arrays import Numbers


@dataclass(frozen=True)
class ChunkedElimination:
    """What the elimination of one grouping factor left for derivatives, as `Elimination` has it.

    `m`, `mb` and `zx` are arrays over all units, which are not kept: each access eliminates the units again, so that a
    caller who needs one twice takes it once.

    Attributes
    ----------
    rung, lam, roots
        As `Elimination` has them.
    sum_zz, pairs_zz, pairs_zx
        Its sums over the units.
    """

    rung: Rung
    lam: Numbers
    roots: Numbers
    sum_zz: Numbers
    pairs_zz: Numbers
    pairs_zx: Numbers

    def weighted_pairs(self, w_bar: Numbers) -> Numbers:
        """(q, q, q, q), as `Elimination.weighted_pairs`."""
        return np.asarray(sum(chunk.weighted_pairs(w_bar) for chunk in self._chunks()))

    @property
    def m(self) -> Numbers:
        """(q, q, J), as `Elimination.m`."""
        return np.concatenate([chunk.m for chunk in self._chunks()], axis=2)

    @property
    def mb(self) -> Numbers:
        """(q, r, J), as `Elimination.mb`."""
        return np.concatenate([chunk.mb for chunk in self._chunks()], axis=2)

    @property
    def zx(self) -> Numbers:
        """(q, r, J), as `Elimination.zx`."""
        return np.concatenate([chunk.zx for chunk in self._chunks()], axis=2)

    def _chunks(self) -> Iterator[Elimination]:
        return _chunks(self.rung, self.lam, self.roots)


def eliminate_in_chunks(nest: Nest, lam: Numbers) -> tuple[Numbers, Numbers, list[ChunkedElimination]]:
    """Eliminate the one level of a nest, as `nested.eliminate` does."""
    (rung,) = nest.rungs
    w, log_determinant = nest.rest[:, :, 0].astype(np.result_type(nest.rest, lam), copy=True), np.zeros((), lam.dtype)
    sums: list[Numbers] = []
    for step in _chunks(rung, lam, nest.roots):
        log_determinant = log_determinant + log_determinants(step.chol).sum()
        for effect in step.r:
            w += effect @ effect.T
        own = [step.sum_zz, step.pairs_zz, step.pairs_zx]
        sums = [total + more for total, more in zip(sums, own, strict=True)] if sums else own
    return w, log_determinant, [ChunkedElimination(rung, lam, nest.roots, *sums)]


def _chunks(rung: Rung, lam: Numbers, roots: Numbers) -> Iterator[Elimination]:
    for start in range(0, roots.shape[2], CHUNK):
        yield eliminate_units(rung, lam, roots[:, :, start : start + CHUNK])
