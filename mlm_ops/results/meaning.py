"""Say what the intercept of a fit and the variance of its intercepts mean, and how far the zeros are from the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_ops.inference.effect_sizes.decomposition import numbers_in
from mlm_ops.language.columns import atoms
from mlm_ops.language.meaning import Wording, intercept_meaning, variance_meaning

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def wording_of(record: FitRecord) -> Wording:
    """What sentences about a fit need to know: levels of factors, means and standard deviations of numbers."""
    model, moments = record.model, record.moments
    spreads = {}
    for atom in dict.fromkeys(atom for variable in model.predictors for atom in atoms(variable)):
        for number in numbers_in([atom], moments):
            shift = float(np.average(number.mean, weights=moments.n))
            squares = np.sum(number.scatter) + np.sum(moments.n * (number.mean - shift) ** 2)
            spreads[atom] = number.center + shift, float(np.sqrt(squares / moments.n_obs))
    return Wording(model.outcome, moments.schema.levels, model.default_group, spreads)


def intercept_meanings(record: FitRecord) -> tuple[str | None, str | None]:
    """What gamma_00 is, and what tau_00 is, each None where the model has none."""
    design, wording = record.estimate.design, wording_of(record)
    blocks = [(level.group, block.columns) for level in design.levels for block in level.blocks]
    return intercept_meaning(design.fixed.columns, wording), variance_meaning(blocks, wording)
