"""The likelihood of several groups of rows: the sum of the groups' likelihoods, which may share parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.matrices import GroupedStructure
from mlm_ops.structural.likelihood.criterion import SemCriterion
from mlm_ops.structural.statistics.grouped import GroupedStatistics


@dataclass(frozen=True)
class GroupedEvaluation:
    """The deviance, its gradient, and the evaluation of each group."""

    deviance: float
    gradient: Array
    by_group: tuple[Any, ...]


@dataclass(frozen=True)
class GroupedLikelihood:
    """The criterion of several groups; `by_group` are theirs, each over its own parameters."""

    structure: GroupedStructure
    statistics: GroupedStatistics
    by_group: tuple[SemCriterion, ...]

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where a group's does not exist."""
        return sum(one.deviance(theta[places]) for one, places in self._parts())

    def evaluate(self, theta: Array) -> GroupedEvaluation | None:
        """The deviance and its gradient; None where a group has none."""
        evaluations = []
        for one, places in self._parts():
            at = one.evaluate(theta[places])
            if at is None:
                return None
            evaluations.append(at)
        return self.joined(evaluations)

    def joined(self, evaluations: Sequence[Any]) -> GroupedEvaluation:
        """The evaluation of all groups from that of each."""
        gradient = np.zeros(self.structure.n_free)
        for (_, places), at in zip(self._parts(), evaluations, strict=True):
            gradient[places] += at.gradient
        return GroupedEvaluation(sum(at.deviance for at in evaluations), gradient, tuple(evaluations))

    def hessian(self, theta: Array, at: GroupedEvaluation) -> Array:
        """(k, k) exact second derivatives of the deviance."""
        pairs = zip(self._parts(), at.by_group, strict=True)
        return self._sum([one.hessian(theta[places], own) for (one, places), own in pairs])

    def expected_information(self, at: GroupedEvaluation) -> Array:
        """(k, k) expected second derivatives, or an estimate of them."""
        return self._sum([one.expected_information(own) for one, own in zip(self.by_group, at.by_group, strict=True)])

    def scores(self, at: GroupedEvaluation, mean: Array) -> Array:
        """(J, k) of the clusters of each group in turn.

        Parameters
        ----------
        mean
            The implied means of each group's columns in turn.
        """
        rows, start = [], 0
        for (one, places), own, (structure, _) in zip(self._parts(), at.by_group, self.structure.parts, strict=True):
            end = start + structure.n_columns
            scores = one.scores(own, mean[start:end])
            spread = np.zeros((len(scores), self.structure.n_free))
            spread[:, places] = scores
            rows.append(spread)
            start = end
        return np.concatenate(rows)

    def _parts(self) -> Iterator[tuple[SemCriterion, NDArray[np.int64]]]:
        for one, (_, places) in zip(self.by_group, self.structure.parts, strict=True):
            yield one, places

    def _sum(self, matrices: Sequence[Array]) -> Array:
        """(k, k) of the groups' own."""
        whole = np.zeros((self.structure.n_free,) * 2)
        for matrix, (_, places) in zip(matrices, self.structure.parts, strict=True):
            whole[np.ix_(places, places)] += matrix
        return whole
