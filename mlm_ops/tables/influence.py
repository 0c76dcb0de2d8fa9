"""How each unit of the top grouping factor moves each parameter: what a comparison of two runs rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.effect_sizes.icc import intraclass_correlation
from mlm_ops.inference.deletion import one_step
from mlm_ops.language.equations import coefficient_symbol
from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import REAL, TEXT, Schema, empty, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

#: More units are not kept: their number times that of the parameters is the number of rows.
MOST_UNITS = 20_000

INFLUENCE: Schema = {"group": TEXT, "unit": TEXT, "symbol": TEXT, "change": REAL}


def influence(fitted: Fit) -> pl.DataFrame:
    """One row a unit and parameter: the estimate minus that without the unit, by one Newton step.

    None for crossed factors, estimated residual structures, single-level regression, and more than `MOST_UNITS` units.
    """
    design = fitted.result.design
    few = bool(design.levels) and len(design.levels[-1].labels) <= MOST_UNITS
    deletions = one_step(fitted.result, fitted.moments) if few else None
    if deletions is None:
        return empty(INFLUENCE)
    index = fitted.structure.indices
    changes = {
        coefficient_symbol(index[column]): fitted.result.gamma[i] - deletions.gamma[i]
        for i, column in enumerate(fitted.structure.fixed)
    }
    without = [tau[i, j] for tau in deletions.tau for i in range(len(tau)) for j in range(i, len(tau))] + [
        deletions.sigma2
    ]
    for component, values in zip(fitted.components, without, strict=True):
        changes[component.symbol] = component.estimate - values
    icc = intraclass_correlation(fitted.result)
    if icc is not None and np.isfinite(icc):
        between = np.sum([tau[0, 0] for tau in deletions.tau], axis=0)
        changes["icc"] = icc - between / (between + deletions.sigma2)
    units = deletions.labels.astype(str)
    return frame(
        INFLUENCE,
        {
            "group": [group_name(design.levels[-1].group)] * (len(units) * len(changes)),
            "unit": np.tile(units, len(changes)),
            "symbol": np.repeat(list(changes), len(units)),
            "change": np.concatenate(list(changes.values())),
        },
    )
