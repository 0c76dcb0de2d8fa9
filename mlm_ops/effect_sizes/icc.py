"""The intraclass correlation."""

from __future__ import annotations

from mlm_ops.estimation.estimate import Estimate


def intraclass_correlation(fitted: Estimate) -> float | None:
    """Share of the grouping factors' intercept variances in the total; None where slopes vary or nothing does.

    With random slopes the share depends on the predictors' values, so it is no single number (Goldstein, Browne and
    Rasbash 2002).
    """
    between = [tau for tau in fitted.tau if len(tau) == 1]
    intercepts = all(not c.variables for block in fitted.blocks for c in block.columns)
    if not between or not intercepts:
        return None
    shared = float(sum(tau[0, 0] for tau in between))
    return shared / (shared + fitted.sigma2)
