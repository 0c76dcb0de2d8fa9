"""Define what the search, the bounds and the errors need from any likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.matrices import Structure


class Evaluated(Protocol):
    """-2 log L at some parameters, and its (k,) gradient."""

    @property
    def deviance(self) -> float:
        """-2 log L."""

    @property
    def gradient(self) -> Array:
        """(k,) by the parameters."""


class ColumnFacts(Protocol):
    """What the bounds need of the statistics of one group of rows."""

    @property
    def column_variances(self) -> Array:
        """(t,) whole variances of the columns."""


class GroupFacts(Protocol):
    """What the bounds need of the statistics."""

    @property
    def by_group(self) -> Sequence[ColumnFacts]:
        """Of each group of rows."""


class SemCriterion(Protocol):
    """-2 log L as a function of a model's parameters."""

    @property
    def structure(self) -> Structure:
        """The model's matrices."""

    @property
    def statistics(self) -> GroupFacts:
        """What it was made of."""

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where it does not exist."""

    def evaluate(self, theta: Array) -> Any:
        """An `Evaluated`, which the methods below take; None where it does not exist."""

    def hessian(self, theta: Array, at: Any) -> Array:
        """(k, k) exact second derivatives."""

    def expected_information(self, at: Any) -> Array:
        """(k, k) expected second derivatives, or an estimate of them."""

    def scores(self, at: Any, mean: Array) -> Array:
        """(J, k) of the clusters."""
