"""Linear combinations of fixed effects, with p values for all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.contrasts import contrast_matrix
from mlm_ops.inference.f_tests import DfMethod
from mlm_ops.inference.fixed_effects import CoefficientTests, estimable_tests
from mlm_ops.inference.multiplicity import holm
from mlm_ops.language.model import Term

Array = NDArray[np.float64]
Contrasts = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class LinearContrasts:
    """Tests of k combinations; ``p_adjusted`` (k,) by `holm`."""

    names: tuple[str, ...]
    weights: tuple[Mapping[str, float], ...]
    tests: CoefficientTests
    p_adjusted: Array


def linear_contrasts(fitted: Estimate, method: DfMethod, terms: Sequence[Term], wanted: Contrasts) -> LinearContrasts:
    """T tests of ``sum weight * coefficient``; not a number where the data do not determine it.

    Parameters
    ----------
    terms
        The formula's fixed terms.
    wanted
        By the contrast's name, the weight of each coefficient in it: ``{"contextual": {"between(ses)": 1,
        "within(ses)": -1}}``.

    Raises
    ------
    MlmError
        An unknown coefficient, a name of several, weights that are no numbers or all zero.
    """
    if not wanted:
        raise MlmError("There is no contrast to test. Got none; expected names with weights of coefficients.")
    rows = []
    fixed = fitted.design.fixed
    dropped = {name: i for i, name in enumerate(c.name for c in fixed.asked) if i not in fixed.span.kept}
    for name, weights in wanted.items():
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
    tests = estimable_tests(fitted, method, np.array(rows))
    return LinearContrasts(tuple(wanted), tuple(wanted.values()), tests, holm(tests.p_value))


def _weight(name: str, weight: float) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError):
        raise MlmError(f"A weight of the contrast {name!r} is no number. Got {weight!r}; expected 1 or -0.5.") from None
