"""Define the columns of the tables of structural models, which every store has, even without rows."""

from __future__ import annotations

from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes
from mlm_ops.results.tables.effects import RANDOM_EFFECTS

SEM_PARAMETERS: ColumnTypes = {
    "level": COUNT,
    "lhs": TEXT,
    "op": TEXT,
    "rhs": TEXT,
    "label": TEXT,
    "population": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "std_all": REAL,
    "monte_carlo_low": REAL,
    "monte_carlo_high": REAL,
}

SEM_VARIABLES: ColumnTypes = {
    "level": COUNT,
    "variable": TEXT,
    "kind": TEXT,
    "population": TEXT,
    "icc": REAL,
    "r_squared": REAL,
    "omega": REAL,
    "omega_std_error": REAL,
}

SEM_FIT: ColumnTypes = {
    "log_likelihood": REAL,
    "chi_square": REAL,
    "df": COUNT,
    "p_value": REAL,
    "cfi": REAL,
    "tli": REAL,
    "rmsea": REAL,
    "rmsea_low": REAL,
    "rmsea_high": REAL,
    "p_close": REAL,
    "scaling_factor": REAL,
    "chi_square_scaled": REAL,
    "p_value_scaled": REAL,
    "cfi_scaled": REAL,
    "tli_scaled": REAL,
    "rmsea_scaled": REAL,
    "rmsea_low_scaled": REAL,
    "rmsea_high_scaled": REAL,
    "p_close_scaled": REAL,
    "chi_square_within": REAL,
    "df_within": COUNT,
    "p_value_within": REAL,
    "cfi_within": REAL,
    "rmsea_within": REAL,
    "chi_square_between": REAL,
    "df_between": COUNT,
    "p_value_between": REAL,
    "cfi_between": REAL,
    "rmsea_between": REAL,
    "srmr_within": REAL,
    "srmr_between": REAL,
    "aic": REAL,
    "bic": REAL,
    "log_likelihood_given_x": REAL,
    "aic_given_x": REAL,
    "bic_given_x": REAL,
    "n_parameters_given_x": COUNT,
    "n_obs": COUNT,
    "n_clusters": COUNT,
    "n_parameters": COUNT,
    "robust": FLAG,
    "slopes": TEXT,
    "missing": TEXT,
    "grouped_by": TEXT,
    "group_equal": TEXT,
    "n_populations": COUNT,
    "converged": FLAG,
    "singular": FLAG,
    "bounded": FLAG,
    "seconds": REAL,
    "notes": TEXT,
    "syntax": TEXT,
    "latex": TEXT,
    "markdown": TEXT,
    "mathml": TEXT,
    "mplus": TEXT,
    "mermaid": TEXT,
}

#: As those of a mixed model's random effects, and the part that no variable of level 2 predicts.
SEM_SCORES: ColumnTypes = {
    **RANDOM_EFFECTS,
    "random_effect": REAL,
    "random_effect_std_error": REAL,
    "population": TEXT,
}

#: Columns of a chi-square test, plain and scaled.
SCALED_TEST: ColumnTypes = {
    "statistic": REAL,
    "df": COUNT,
    "p_value": REAL,
    "scaling_factor": REAL,
    "statistic_scaled": REAL,
    "p_value_scaled": REAL,
}

SEM_SCORE_TESTS: ColumnTypes = {
    "population": TEXT,
    "level": COUNT,
    "lhs": TEXT,
    "op": TEXT,
    "rhs": TEXT,
    "restriction": TEXT,
    **SCALED_TEST,
    "epc": REAL,
    "epc_std_all": REAL,
    "at_bound": FLAG,
    "information": TEXT,
}

#: Columns of the likelihood ratio of nested models.
RATIO: ColumnTypes = SCALED_TEST | {"scaling": TEXT}

SEM_INVARIANCE: ColumnTypes = {
    "step": COUNT,
    "across": TEXT,
    "invariance": TEXT,
    "reference": TEXT,
    **RATIO,
    "delta_aic": REAL,
    "delta_bic": REAL,
    "delta_cfi": REAL,
    "log_likelihood": REAL,
    "n_parameters": COUNT,
    "aic": REAL,
    "bic": REAL,
    "chi_square": REAL,
    "chi_square_df": COUNT,
    "cfi": REAL,
    "tli": REAL,
    "rmsea": REAL,
    "chi_square_scaled": REAL,
    "cfi_scaled": REAL,
    "rmsea_scaled": REAL,
    "srmr_within": REAL,
    "srmr_between": REAL,
    "converged": FLAG,
    "singular": FLAG,
}
