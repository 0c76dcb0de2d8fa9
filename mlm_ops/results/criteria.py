"""Choose a deviance, AIC and BIC that can compare models: those of REML only if the fixed parts are the same."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

#: Columns of fit_statistics: by the fit's own estimator, and of the same model by ML.
CRITERIA, CRITERIA_BY_ML = ("deviance", "aic", "bic"), ("deviance_ml", "aic_ml", "bic_ml")
_REML_COMPARES = "by REML they compare only models with the same fixed part"
BY_ML_NOTE = f"deviance, AIC and BIC come from the same models fitted by ML: {_REML_COMPARES}"
NO_CRITERIA_NOTE = (
    f"deviance, AIC and BIC are left out: {_REML_COMPARES}, and these results have none by ML; fit again to have them"
)
#: Of a table that has both kinds of columns.
BOTH_CRITERIA_NOTE = (
    f"deviance, aic and bic are by the estimator, and {_REML_COMPARES}; others by deviance_ml, aic_ml and bic_ml"
)


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
        fixed_parts = dict(fixed_effects.group_by("model").agg("term").select("model", "term").iter_rows())
        if len({frozenset(fixed_parts.get(model, ())) for model in models}) == 1:
            return Comparable(CRITERIA, None)
    # results of an earlier version have no such columns, or nothing in them
    has_ml = set(CRITERIA_BY_ML) <= set(statistics.columns) and not statistics["deviance_ml"].has_nulls()
    return Comparable(CRITERIA_BY_ML, BY_ML_NOTE) if has_ml else Comparable((), NO_CRITERIA_NOTE)
