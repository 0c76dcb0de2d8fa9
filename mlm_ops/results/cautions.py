"""Write the notes that warn of correct but doubtful numbers: few groups, an outcome with two values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mlm_ops.language.model import Column, Model, label
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place

#: Below this many units variances between them, and their standard errors, are unreliable (McNeish and Stapleton 2016,
#: Educational Psychology Review 28, 295-314; Hox, Moerbeek and van de Schoot 2018, chapter 12).
FEW_GROUPS = 20
#: Share of a row by which sums over two whole numbers may be off for rounding.
_ROUNDING = 1e-9


def few_groups(sizes: Mapping[str, int]) -> str | None:
    """What to know of grouping factors with few units, of those with their numbers of units; None if none has few.

    >>> few_groups({"school": 160, "class": 3})
    'class has 3 groups: variances between fewer than 20, and their standard errors, are unreliable'
    """
    few = [f"{name} has {n} group{'s' * (n != 1)}" for name, n in sizes.items() if n < FEW_GROUPS]
    if not few:
        return None
    return f"{', '.join(few)}: variances between fewer than {FEW_GROUPS}, and their standard errors, are unreliable"


def two_valued_outcome(model: Model, moments: Moments) -> str | None:
    """The note for an outcome whose only values are two consecutive whole numbers, such as 0 and 1; None otherwise."""
    low = _lower_of_two(model, moments)
    if low is None:
        return None
    return (
        f"{label(model.outcome)} is {low} or {low + 1} and the model linear, so that coefficients are differences of "
        "probabilities; for a logistic model use lme4 or brms"
    )


def _lower_of_two(model: Model, moments: Moments) -> int | None:
    outcome, n, schema = model.outcome, moments.n, moments.schema
    if not isinstance(outcome, Column):
        return None
    if outcome in schema.constants:
        means = np.asarray(moments.constants[schema.constants.index(outcome)], dtype=float)
        squares = np.zeros_like(means)
    elif (outcome,) in schema.monomials:
        place = schema.monomials.index((outcome,))
        means = moments.mean[place] + schema.centers.get(outcome, 0.0)
        squares = moments.scatter[packed_place(place, place)]
    else:
        return None
    center = float(n @ means / n.sum())
    # where both of two whole numbers occur, the sum of squares is (N - 1) / N at least
    if float(squares.sum() + n @ (means - center) ** 2) < 0.5:
        return None
    low = float(np.floor(center))
    # (x - low) (low + 1 - x) is never positive for whole numbers, and sums to zero in every unit only where all x are
    # one of the two; sums over other numbers are zero in every unit by chance alone
    products = n * (means - low) * (low + 1 - means) - squares
    # also false for NaN
    return int(low) if (np.abs(products) <= _ROUNDING * n).all() else None
