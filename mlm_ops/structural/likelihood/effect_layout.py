"""List the random effects of a cluster: their positions in Sigma_B, their effect on rows, and their covariates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.moments.sums import packed_place, packed_size
from mlm_ops.structural.algebra.matrices import SemStructure
from mlm_ops.structural.statistics.cluster_sums import NODE, ClusterSums


@dataclass(frozen=True)
class EffectLayout:
    """The q random effects of a model: parts between clusters, slopes, and parts that a slope of theirs multiplies."""

    structure: SemStructure
    statistics: ClusterSums

    @cached_property
    def parts(self) -> NDArray[np.int64]:
        """(b,) columns of level 1 that have a part between clusters."""
        position = self.structure.levels[1].position
        return np.sort(position[position < self.statistics.n_row_level])

    @cached_property
    def effects(self) -> NDArray[np.int64]:
        """(q,) the random effects' places in Sigma_B.

        The slope s of a part within clusters multiplies x, and -s the part of x between clusters, once more an effect.
        """
        slopes = np.arange(len(self.statistics.columns), self.structure.n_columns, dtype=np.int64)
        predictors = [self.structure.slopes[slope][1] for slope in self.latent]
        return np.concatenate([self.parts, slopes, np.array(predictors, dtype=np.int64)])

    @cached_property
    def latent(self) -> list[int]:
        """Slopes whose values at the nodes of a quadrature are among what clusters show."""
        return list(self.structure.latent_slopes) if NODE in self.statistics.covariates else []

    @cached_property
    def level2(self) -> NDArray[np.int64]:
        """(r,) places in Sigma_B of what clusters show of level 2: observed columns, and slopes at their nodes."""
        t = len(self.statistics.columns)
        return np.array([*range(self.statistics.n_row_level, t), *(t + slope for slope in self.latent)], dtype=np.int64)

    @cached_property
    def origin(self) -> Array:
        """(t + K,) of columns and random slopes."""
        return np.concatenate([self.statistics.origin, np.zeros(len(self.structure.slopes))])

    def directions(self, of_slopes: Numbers) -> Numbers:
        """(…, p, q - b) what slopes add to the columns, those of parts within clusters once more."""
        return np.concatenate([of_slopes, of_slopes[..., self.latent]], axis=-1)

    @cached_property
    def covariates(self) -> NDArray[np.int64]:
        """(q,) each effect's covariate: 0 is one, others are the predictors in the order of the statistics."""
        of_slopes = [self.statistics.covariates.index(predictor) + 1 for _, predictor in self.structure.slopes]
        nodes = [self.statistics.covariates.index(NODE - k) + 1 for k in range(len(self.latent))]
        return np.array([*[0] * len(self.parts), *of_slopes, *nodes], dtype=np.int64)

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(q, q) the place of each pair's cross-product among the packed ones, and (q,) that with one."""
        c = self.covariates
        zero = np.zeros_like(c)
        return packed_place(np.maximum.outer(c, c), np.minimum.outer(c, c)), packed_place(c, zero)

    def spread_products(self, products: Array) -> Array:
        """(…, O, q, q) D' P_o D over the packed cross-products of the covariates: (…, O c, q, q)."""
        place, _ = self.places
        count = packed_size(len(self.statistics.covariates) + 1)
        of_place = place == np.arange(count)[:, None, None]
        whole = products[..., None, :, :] * of_place
        size = count * len(self.statistics.patterns)
        return np.asarray(whole.reshape(*products.shape[:-3], size, *products.shape[-2:]))

    def spread_pulls(self, pulled: Array, at_mean: Array) -> Array:
        """(…, O, p, q) P_o D and (…, O, q) D' P_o mu over cross-products and sums of covariates: (…, f, q)."""
        _, with_one = self.places
        size = len(self.statistics.covariates) + 1
        of_product = with_one == np.arange(packed_size(size))[:, None]
        of_sum = self.covariates == np.arange(size)[:, None]
        lead, (patterns, p, q) = pulled.shape[:-3], pulled.shape[-3:]
        products = -at_mean[..., None, :] * of_product
        sums = pulled[..., None, :, :] * of_sum[:, None, :]
        flat = (
            products.reshape(*lead, patterns * packed_size(size), q),
            sums.reshape(*lead, patterns * size * p, q),
        )
        return np.concatenate(flat, axis=-2)
