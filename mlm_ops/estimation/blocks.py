"""Find the position of each random block: its level, its effects within the level, and its part of theta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlm_ops.estimation.covariance import Covariance, Known
from mlm_ops.moments.arrays import Array

#: Where 1 / sigma stands in theta: last. Blocks of known covariance share it, as Lambda is relative to sigma.
_LAST = slice(-1, None)


@dataclass(frozen=True)
class Block:
    """A random block: its level in the nest, its place among the level's effects, and the place of its theta."""

    level: int
    effects: slice
    theta: slice
    covariance: Covariance

    @property
    def size(self) -> int:
        """Random effects q."""
        return int(self.effects.stop - self.effects.start)

    @property
    def known(self) -> bool:
        """Whether T is given, not estimated."""
        return self.theta == _LAST

    @property
    def n_estimated(self) -> int:
        """Parameters of its own."""
        return 0 if self.known else int(self.theta.stop - self.theta.start)

    def slopes(self, theta: Array) -> Array:
        """(n, q, q) derivatives of Lambda by its n elements of the model's theta."""
        return self.covariance.slopes(theta[self.theta], self.size)


def make_blocks(levels: Sequence[Sequence[tuple[int, Covariance]]]) -> tuple[Block, ...]:
    """Blocks from (size, covariance structure) pairs by level, lowest level first."""
    blocks = []
    used = 0
    for height, parts in enumerate(levels):
        first = 0
        for size, structure in parts:
            place = _LAST
            if not isinstance(structure, Known):
                place = slice(used, used + len(structure.start(size)))
                used = place.stop
            blocks.append(Block(height, slice(first, first + size), place, structure))
            first += size
    return tuple(blocks)
