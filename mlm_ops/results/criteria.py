"""Choose the deviance, AIC and BIC that compare among models; those of REML do where the fixed parts are the same."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

#: Columns of fit_statistics: by the fit's own estimator, and of the same model by ML.
CRITERIA, CRITERIA_BY_ML = ("deviance", "aic", "bic"), ("deviance_ml", "aic_ml", "bic_ml")
_WHY = "by REML they compare among models of one fixed part only"
BY_ML = f"deviance, AIC and BIC are of the same models fitted by ML: {_WHY}"
NONE = f"deviance, AIC and BIC are left out: {_WHY}, and these results have none by ML; fit again to have them"
#: Of a table that has both.
BOTH = f"deviance, aic and bic are by the estimator, and {_WHY}; others by deviance_ml, aic_ml and bic_ml"


@dataclass(frozen=True)
class Comparable:
    """Columns of fit_statistics that compare among some models, perhaps none, and why they are not the fits' own."""

    columns: tuple[str, ...]
    note: str | None


def comparable(statistics: pl.DataFrame, fixed_effects: pl.DataFrame | None) -> Comparable:
    """Choose the deviance, AIC and BIC that compare among all models of a table.

    Parameters
    ----------
    statistics, fixed_effects
        The models' fit_statistics and fixed_effects, each with the column ``model``; without fixed effects, fixed parts
        count as different.
    """
    estimators, models = set(statistics["estimator"]), statistics["model"].to_list()
    if len(models) < 2 or estimators == {"ml"}:
        return Comparable(CRITERIA, None)
    if fixed_effects is not None and estimators == {"reml"}:
        terms = [frozenset(fixed_effects.filter(pl.col("model") == model)["term"]) for model in models]
        if len(set(terms)) == 1:
            return Comparable(CRITERIA, None)
    # results of an earlier version have no such columns, or nothing in them
    known = set(CRITERIA_BY_ML) <= set(statistics.columns) and not statistics["deviance_ml"].has_nulls()
    return Comparable(CRITERIA_BY_ML, BY_ML) if known else Comparable((), NONE)
