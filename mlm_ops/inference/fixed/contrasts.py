"""Turn the terms, weights or numbers that a user wants tested into contrasts, and test these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.record import FixedDesign
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.tests import CoefficientMethod, CoefficientTests, estimable_tests, holm
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Centering, Column, Factor, Indicator, Poly, Term, Variable
from mlm_ops.moments.arrays import Array

Hypothesis = str | Sequence[str] | Sequence[Sequence[float]] | NDArray[Any]


def contrast_matrix(hypothesis: Hypothesis, terms: Sequence[Term], fixed: FixedDesign) -> Array:
    """(k, p) matrix L of the test ``L gamma = 0``.

    Parameters
    ----------
    hypothesis
        Names of coefficients or terms, or the matrix itself.
    terms
        The formula's fixed terms.
    """
    if isinstance(hypothesis, str):
        hypothesis = [hypothesis]
    names = [name for name in hypothesis if isinstance(name, str)]
    if not names:
        return _matrix(hypothesis)
    if len(names) != len(hypothesis):
        raise MlmError("A test takes names of terms or a matrix of numbers. Got both; expected one of them.")
    rows = dict.fromkeys(i for name in names for i in _coefficients(name, terms, fixed))
    return np.eye(len(fixed.columns))[list(rows)]


def _matrix(hypothesis: Any) -> Array:
    try:
        return np.atleast_2d(np.asarray(hypothesis, dtype=np.float64))
    except (TypeError, ValueError):
        raise MlmError("A test takes names of terms or a matrix of numbers. Got neither.") from None


def _coefficients(name: str, terms: Sequence[Term], fixed: FixedDesign) -> list[int]:
    """Places of the coefficients of a name."""
    exact = [i for i, column in enumerate(fixed.columns) if column.name == name]
    if exact:
        return exact
    places = [i for term in terms if term.name == name for i, c in enumerate(fixed.columns) if _belongs(c, term)]
    if places:
        return places
    if name in fixed.aliased:
        raise MlmError(f"{name!r} was dropped, being a combination of the other columns, so it cannot be tested.")
    names = dict.fromkeys([*(t.name for t in terms), *(c.name for c in fixed.columns)])
    raise MlmError(f"No such term or coefficient. Got {name!r}; expected one of {', '.join(names)}.")


def _belongs(column: DesignColumn, term: Term) -> bool:
    """Whether a design column is one of those that a term expands to."""
    if len(column.variables) != len(term.variables):
        return False
    return all(is_of(own, of) for own, of in zip(column.variables, term.variables, strict=True))


def is_of(own: Variable, of: Variable) -> bool:
    """Whether a variable is a column of a factor or polynomial, centered as that is, or the same variable."""
    if isinstance(own, Indicator):
        return own.column == (of.name if isinstance(of, Column) else of.column if isinstance(of, Factor) else None)
    if isinstance(own, Poly):
        return replace(own, power=None) == of
    if isinstance(own, Centering) and isinstance(of, Centering):
        return replace(own, of=of.of) == of and is_of(own.of, of.of)
    return own == of


Contrasts = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class LinearContrasts:
    """Tests of k combinations; ``p_adjusted`` (k,) by `holm`."""

    names: tuple[str, ...]
    weights: tuple[Mapping[str, float], ...]
    tests: CoefficientTests
    p_adjusted: Array


def linear_contrasts(
    estimate: Estimate, method: CoefficientMethod, terms: Sequence[Term], contrasts: Contrasts
) -> LinearContrasts:
    """T tests of ``sum weight * coefficient``; not a number where the data do not determine it.

    Parameters
    ----------
    terms
        The formula's fixed terms.
    contrasts
        By the contrast's name, the weight of each coefficient in it: ``{"contextual": {"between(ses)": 1,
        "within(ses)": -1}}``.

    Raises
    ------
    MlmError
        An unknown coefficient, a name of several, weights that are no numbers or all zero.
    """
    if not contrasts:
        raise MlmError("There is no contrast to test. Got none; expected names with weights of coefficients.")
    rows = []
    fixed = estimate.design.fixed
    dropped = {name: i for i, name in enumerate(c.name for c in fixed.asked) if i not in fixed.span.independent}
    for name, weights in contrasts.items():
        if not isinstance(weights, Mapping) or not weights:
            raise MlmError(f"The contrast {name!r} has no weights. Got {weights!r}; expected weights by coefficient.")
        row = np.zeros(len(fixed.asked))
        for coefficient, weight in weights.items():
            if coefficient in dropped:
                row[dropped[coefficient]] += _weight(name, weight)
                continue
            places = contrast_matrix(coefficient, terms, fixed)
            if len(places) > 1:
                columns = [fixed.columns[int(i)].name for i in places.argmax(axis=1)]
                raise MlmError(
                    f"{coefficient!r} in the contrast {name!r} names several coefficients. Got a factor; expected one "
                    f"of {', '.join(columns)}."
                )
            row += _weight(name, weight) * fixed.widened(places)[0]
        if not row.any():
            raise MlmError(f"The contrast {name!r} is zero, so there is nothing to test. Give it other weights.")
        rows.append(row)
    tests = estimable_tests(estimate, method, np.array(rows))
    return LinearContrasts(tuple(contrasts), tuple(contrasts.values()), tests, holm(tests.p_value))


def _weight(name: str, weight: float) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise MlmError(f"A weight of the contrast {name!r} is no number. Got {weight!r}; expected 1 or -0.5.") from None
