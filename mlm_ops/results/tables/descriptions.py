"""Describe the result tables and their columns.

These texts are the comments in the database, the catalogue of Dagster's UI, and docs/tables.md.
"""

from __future__ import annotations

#: What one row of each stored table is; the view ``latest_<table>`` holds the rows of the latest finished runs.
ROWS: dict[str, str] = {
    "store_version": "One row: the version of these tables",
    "runs": "One row per run and analysis: when it ran, which rows it read, and which versions it used",
    "fixed_effects": "One row per coefficient (gamma) of a model",
    "variance_components": "One row per variance, covariance or residual parameter (tau, sigma2) of a model",
    "random_effects": "One row per unit and random effect (u): its empirical Bayes estimate",
    "unit_lines": "One row per unit and slope: the unit's line as the model estimates it, and as its own rows alone "
    "give it",
    "fit_statistics": "One row per model: sample sizes, likelihood, information criteria, and how the fit ended",
    "comparisons": "One row per pair of models listed under compare: likelihood ratio test and information criteria",
    "r_squared": "One row per measure of the variance that a model explains",
    "groups": "One row per group and variable: the size of the group, and the mean and standard deviation of the "
    "variable in it",
    "decomposition": "One row per variable and grouping factor: its variance within and between groups, from an "
    "analysis of variance of that variable alone",
    "icc": "One row per model and grouping factor: intraclass correlation and design effect",
    "standard_errors": "One row per coefficient: its standard error, beside those that ignore the groups",
    "contextual_effects": "One row per predictor: its effects within and between groups, and their difference",
    "simple_slopes": "One row per slope, or predicted outcome, at a value of its moderators",
    "johnson_neyman": "One row per slope and moderator: the region where the slope differs from zero",
    "curves": "One row per point of a curve: the outcome along a predictor, or a slope along its moderator",
    "contrasts": "One row per combination of coefficients that the analysis file asks for",
    "centering": "One row per number of a model and way of centering: how it changes, where it stays equal, and why",
    "ladder_steps": "One row per model that the strategy tried: what was added or dropped, and whether the change was "
    "kept",
    "diagnostics": "One row per finding about the units or residuals of a model",
    "sem_parameters": "One row per parameter or definition of a structural equation model",
    "sem_invariance": "One row per step of the invariance tests of a factor model, across levels or groups, with the "
    "test against the previous step",
    "sem_scores": "One row per cluster and level-2 latent variable: its mean given all data of the cluster; empty if "
    "min_publish_n is set",
    "sem_score_tests": "One row per restriction of a structural equation model: how much the fit would improve without "
    "it; only for models with score_tests: true",
    "sem_variables": "One row per variable and level of a structural equation model: shares of its variance",
    "sem_fit": "One row per structural equation model: its fit measures, its equations, and the model in other "
    "notations",
    "drift": "One row per number of a run, compared with the same number in an earlier run",
    "influence_lists": "One row per unit and model: how the estimates change without the unit, as a list that the view "
    "influence unnests; not published",
    "influence": "One row per unit and estimate: how the estimate changes without the unit; not published",
    "models": "One row per model: its formula, its equations, and the model in other notations",
}

#: The columns that a view of predictions adds to the rows of the data.
PREDICTIONS: dict[str, str] = {
    "fixed_prediction": "Prediction from the fixed part alone",
    "prediction": "Prediction from the fixed part and the random effects of the row's groups, which are zero for a "
    "group that was not in the fit",
    "residual": "Outcome minus prediction, on the outcome's scale in the formula",
    "std_residual": "Residual divided by the residual standard deviation of the row",
    "new_group": "Whether the row belongs to a group that was not in the fit, or that is too small to be published",
}

#: The one column of ``store_version``.
VERSION_OF_STORE = "Version number, which increases when a table changes its meaning, but not for a new column"

#: The columns of all tables, by name.
COLUMNS: dict[str, str] = {
    "against": "Which run this one is compared with: previous or baseline",
    "reference_run": "Id of the run that this one is compared with",
    "before": "The number in the run that this one is compared with",
    "now": "The number in this run",
    "difference": "Now minus before",
    "change": "The estimate minus the estimate without the unit",
    "changes": "For each entry of symbols, the estimate minus the estimate without the unit",
    "lhs": "Left side of the parameter, in lavaan's notation",
    "op": "Operator: =~ loading, ~ regression, ~~ (co)variance, ~1 intercept, := definition, == equation of labels",
    "rhs": "Right side of the parameter, in lavaan's notation",
    "label": "The parameter's label; parameters with equal labels are equal. For a path within clusters that has a "
    "random slope (and is itself 0), the name of that slope, which is a variable between clusters",
    "std_all": "Completely standardised estimate at its level",
    "monte_carlo_low": "Lower end of a definition's 95% interval from 20,000 draws of the estimates, which may be "
    "asymmetric; null for other parameters",
    "monte_carlo_high": "Upper end of a definition's 95% interval from 20,000 draws of the estimates",
    "r_squared": "Share of the variance at the level that predictors and factors explain; null if there are none",
    "omega": "Reliability of the sum of a latent variable's indicators at the level, if all of them are observed",
    "omega_std_error": "Standard error of omega, by the delta method",
    "robust": "Whether standard errors are robust (a sandwich of the clusters' scores)",
    "slopes": "What random slopes are slopes of, if a predictor appears at both levels: its latent or its observed "
    "values; null without random slopes",
    "missing": "listwise: rows with a missing value are left out; ml: full-information maximum likelihood",
    "population": "The group of rows (option group) that the row is about; null without groups, for a definition that "
    "uses labels of several groups, and for an equation of labels",
    "grouped_by": "The column given as group, whose values are the groups of rows; null without groups",
    "group_equal": "Kinds of parameters that are equal in all groups of rows, and the exceptions; null if group_equal "
    "names none",
    "n_populations": "Number of groups of rows (option group); null without groups",
    "chi_square": "Likelihood ratio test statistic against the unrestricted model",
    "cfi": "Comparative fit index",
    "tli": "Tucker-Lewis index",
    "rmsea": "Root mean square error of approximation",
    "rmsea_low": "Lower end of the 90% interval of RMSEA",
    "rmsea_high": "Upper end of the 90% interval of RMSEA",
    "p_close": "P value of the hypothesis that RMSEA is .05 or less",
    "scaling_factor": "Divisor of chi-square, or of a modification index, that allows for non-normal rows (MLR, "
    "Yuan-Bentler); null if an estimate is on a bound",
    "chi_square_scaled": "Chi-square divided by the scaling factor",
    "p_value_scaled": "P value of the scaled chi-square, likelihood ratio or modification index",
    "cfi_scaled": "CFI from the scaled chi-squares of the model and of the independence model",
    "tli_scaled": "TLI from the scaled chi-squares of the model and of the independence model",
    "rmsea_scaled": "RMSEA from the scaled chi-square",
    "rmsea_low_scaled": "Lower end of the 90% interval of RMSEA from the scaled chi-square",
    "rmsea_high_scaled": "Upper end of the 90% interval of RMSEA from the scaled chi-square",
    "p_close_scaled": "P value of the hypothesis that RMSEA is .05 or less, from the scaled chi-square",
    "chi_square_within": "Chi-square of level 1 alone, with level 2 unrestricted; null if labels cross levels",
    "df_within": "Degrees of freedom of chi_square_within",
    "p_value_within": "P value of chi_square_within",
    "cfi_within": "CFI of level 1, compared with independence at that level alone",
    "rmsea_within": "RMSEA of level 1, whose sample size is the number of rows",
    "chi_square_between": "Chi-square of level 2 alone, with level 1 unrestricted; null if labels cross levels",
    "df_between": "Degrees of freedom of chi_square_between",
    "p_value_between": "P value of chi_square_between",
    "cfi_between": "CFI of level 2, compared with independence at that level alone",
    "rmsea_between": "RMSEA of level 2, whose sample size is the number of clusters",
    "log_likelihood_given_x": "Log-likelihood of the other variables given those that are exogenous at every level "
    "where they appear",
    "aic_given_x": "AIC from log_likelihood_given_x",
    "bic_given_x": "BIC from log_likelihood_given_x",
    "n_parameters_given_x": "Number of parameters, without the means, variances and covariances of the exogenous "
    "variables",
    "across": "What the parameters are equal across: levels, or groups of rows",
    "invariance": "configural: the model as it is. Across levels, metric: equal loadings; scalar: also no residuals "
    "between clusters. Across groups of rows, metric: equal loadings; scalar: also equal intercepts; strict: also "
    "equal residuals",
    "reference": "The previous step, which this step is tested against",
    "statistic_scaled": "Likelihood ratio, or modification index, that allows for non-normal rows (MLR)",
    "restriction": "What would be released: a parameter that is left out, fixed to a value, or equal to others (by a "
    "label or otherwise), or an equation",
    "epc": "Expected change of the parameter without the restriction; for a parameter equal to others, its change from "
    "the common value; for an equation, its expected left side minus its right side",
    "epc_std_all": "Expected change (epc), completely standardised by the level's standard deviations; for "
    "covariances, by those of the residuals",
    "at_bound": "Whether the parameter is a variance that is zero, or a covariance of a variable whose variance is "
    "zero: the chi-square p value does not hold there, and a negative change of the variance is impossible",
    "information": "Second derivatives that the index is based on: expected; or observed, if random slopes or missing "
    "cells leave no expected ones",
    "scaling": "Where the scaling factor of a likelihood ratio comes from: differences, or at the smaller model",
    "delta_cfi": "CFI of this step minus CFI of the previous step",
    "chi_square_df": "Degrees of freedom of chi_square",
    "random_effect": "The part of the variable that no level-2 variable predicts",
    "random_effect_std_error": "Standard deviation of random_effect given all data of the cluster",
    "srmr_within": "Root mean square difference between observed and implied correlations within clusters",
    "srmr_between": "Root mean square difference between observed and implied correlations between clusters",
    "n_clusters": "Number of clusters that the model was fitted to",
    "syntax": "The model's text",
    "mermaid": "The path diagram as a Mermaid flowchart",
    "run_id": "The run that wrote the row: Dagster's run id, or an id of mlm-ops' own outside Dagster",
    "analysis": "Name of the analysis in its file",
    "model": "Name of the model in the analysis file; null for rows about all models",
    "term": "Coefficient, as the formula names it; (Intercept) for the constant; in sem_scores, the level-2 variable",
    "symbol": "The textbook's letter: gamma for fixed effects, tau and sigma2 for variances",
    "symbols": "The textbook's letters of the model's numbers, as in the column symbol, and icc",
    "level": "Level of the predictor: 1 for rows, 2 for the groups of rows; for a simple slope, the moderator's level; "
    "0 for definitions of a structural model",
    "estimate": "Point estimate",
    "std_error": "Standard error of the estimate; for a random effect, its conditional standard deviation",
    "df": "Degrees of freedom; null for the normal distribution",
    "statistic": "Estimate divided by its standard error; for a comparison, twice the difference of log-likelihoods; "
    "for a score test, the modification index, which approximates that difference",
    "p_value": "Two-sided p value; for a comparison, from the chi-square distribution",
    "p_value_mixture": "P value from the mixture of chi-squares that applies if a variance may be zero; null otherwise",
    "conf_low": "Lower end of the 95% interval",
    "conf_high": "Upper end of the 95% interval",
    "group": "Grouping factor; residual for the variance of rows",
    "unit": "The group's label; for several columns, their labels joined by colons, with a backslash before any colon "
    "inside a label other than the last",
    "other": "Second term of a covariance; null for a variance",
    "std_dev": "Square root of a variance; for a variable in a unit, with divisor n - 1 and null if it is constant",
    "correlation": "Correlation of two random effects of one group",
    "reliability_hlm": "Mean over units of variance / (variance + sampling variance of the unit's own least squares "
    "estimate)",
    "reliability_units": "Number of units that have such a least squares estimate",
    "reliability": "Share of the variance of random effects, or of group means, that is not sampling error",
    "n_obs": "Number of rows that the model was fitted to",
    "n_groups": "Number of groups of each grouping factor, as JSON",
    "n_parameters": "Number of fixed effects and variance components",
    "estimator": "reml or ml",
    "log_likelihood": "Log-likelihood, by REML or ML as in the column estimator. By REML it compares only models with "
    "the same fixed part, and so do deviance, AIC and BIC",
    "deviance": "Minus twice the log-likelihood",
    "aic": "Deviance plus twice the number of parameters",
    "bic": "Deviance plus log(n_obs) times the number of parameters",
    "deviance_ml": "Deviance of the same model fitted by ML, which also compares models with different fixed parts",
    "aic_ml": "AIC of the same model fitted by ML, which also compares models with different fixed parts",
    "bic_ml": "BIC of the same model fitted by ML, which also compares models with different fixed parts",
    "icc": "Share of the variance that lies between groups: by the model's estimator, or in decomposition by analysis "
    "of variance; null for a mixed model with random slopes, and at level 2",
    "converged": "Whether the optimum was reached",
    "singular": "Whether a variance is zero or a correlation is one",
    "t_rank": "Rank of T over all grouping factors: the number of directions in which random effects vary by 0.0001 "
    "residual standard deviations or more, with each predictor in units of its own spread; null without random "
    "effects, or if the data do not determine T",
    "t_eigenvalues": "Eigenvalues of T in its own units by grouping factor, the largest first, as JSON; null if the "
    "data do not determine T",
    "implied_variance": "Variance of the outcome under the model, for a random row of a random group: fixed part, "
    "random effects and residual together; tau_00 + sigma2 without predictors. Null with weights, and for parts of an "
    "outcome",
    "outcome_variance": "Variance of the outcome over the rows, with divisor n - 1. It can differ from "
    "implied_variance even without predictors, because large groups count for more in it and it loses a degree of "
    "freedom",
    "bounded": "Whether the chi-square test compares with an unrestricted model that is on its bounds, which makes p "
    "too large",
    "gradient": "Largest component of the criterion's gradient at the end of the search",
    "evaluations": "Number of evaluations of the criterion",
    "seconds": "Time to fit in seconds, without the scan",
    "measure": "Which R-squared: its source, its scope, and what explains the share; ends in _change for a difference",
    "reference_model": "The model that this one is measured against",
    "delta_aic": "AIC of the model minus that of the reference model",
    "delta_bic": "BIC of the model minus that of the reference model",
    "diagnostic": "influence, outlier, normality, heteroscedasticity, vif (variance inflation) or condition_number; "
    "from the rows also residual_quantile, binned_residual or largest_residual",
    "bound": "What the estimate must exceed for the finding to be flagged, whatever its p value; for a condition "
    "number, to be worth a thought; null if p alone decides",
    "expected": "The estimate to expect under the model",
    "n": "Number of rows of the unit, or that the finding is about",
    "flagged": "Whether the row deserves a look",
    "variable": "A number that the model's variables are computed from; for a structural model, also a latent variable",
    "n_units": "Number of units of the grouping factor",
    "mean": "Mean over all rows, or over the rows of the unit",
    "total_variance": "Variance over the rows: sum of squares divided by the number of rows minus one. It is not the "
    "sum of the other two variances, and is smaller than the variance within groups if the group means are alike",
    "within_variance": "Mean square within groups: sum of squares divided by the number of rows minus the number of "
    "groups",
    "between_variance": "Variance between groups, from a one-way random-effects analysis of variance",
    "step": "Number of the candidate or invariance step, in the order of trial",
    "strategy": "build_up or tear_down",
    "phase": "Kind of candidate: fixed, level 2, random, cross-level",
    "taken": "Whether the ladder continued from this model",
    "reason": "Why the model was taken or not",
    "gain_f": "Share of the variance explained by fixed effects: with the term minus without it",
    "gain_fv": "Share of the variance explained by fixed effects and random slopes: with the term minus without it",
    "gain_fvm": "Share of the variance explained by fixed effects, random slopes and random intercepts: with the term "
    "minus without it",
    "n_covariances": "Number of elements of T",
    "note": "Note that a reader of the row needs",
    "formula": "Formula of the model, as in the analysis file",
    "level_equations": "The model level by level",
    "reduced_equation": "The model in one equation",
    "latex": "The level equations in LaTeX",
    "lme4": "The same model as R code",
    "mplus": "The same model as Mplus input",
    "markdown": "The level equations in Markdown, with the estimates for mixed models",
    "mathml": "The level equations in MathML, with the estimates for mixed models",
    "notes": "Notes that a reader of the numbers needs",
    "method": "How the interval, or the standard error of a difference, was computed",
    "conditional": "Whether predictors were taken into account: if so, the ICC is a share of the variance that they "
    "leave",
    "row_correlation": "Correlation of two rows of the same unit",
    "group_size": "Mean size of a row's group: the mean over rows of the size of their group",
    "design_effect": "Factor by which the variance of a mean exceeds that of as many independent rows",
    "n_effective": "Rows divided by the design effect",
    "naive_estimate": "Least squares estimate, as if all rows were independent",
    "naive_std_error": "Least squares standard error, as if all rows were independent",
    "std_error_kind": "Kind of standard error: model, kenward-roger, or the robust kind, such as HC3 or CR2",
    "robust_std_error": "Least squares standard error that is robust to clusters (CR2); null without clusters and for "
    "crossed factors",
    "std_error_ratio": "Standard error of the multilevel model divided by the naive one; null for single-level "
    "regression",
    "predictor": "The variable whose effect this is",
    "within": "Effect of the variable within groups",
    "between": "Effect of the variable's group mean between groups",
    "predicted_bias": "Bias that the sampling error of the group means is predicted to add to the estimate",
    "corrected": "The estimate without that bias",
    "corrected_std_error": "Standard error of the corrected estimate, with the reliability taken as known",
    "bias_matters": "Whether the predicted bias exceeds 0.4 standard errors",
    "kind": "slope, or intercept (the outcome where the predictor is zero). For a curve: simple_slope (the outcome "
    "along the term) or johnson_neyman (the slope along its moderator). For a variable of a structural model: "
    "observed, latent or slope",
    "setting": "Values of the moderators; all other variables are at their means",
    "value": "The number at which the moderator is held, null for a factor or several moderators; for a diagnostic, "
    "the probability of a quantile or the mean of a bin",
    "moderator_value": "Where the moderator is held, in words; null if the curve runs along the moderator",
    "at": "Earlier name of setting, or of value in diagnostics; it will be removed in the next version",
    "skewness": "Skewness of the residuals or random effects whose normality was tested; zero for a normal "
    "distribution",
    "x": "Position on the curve: a value of the term, or of the moderator",
    "x_low": "Mean of the term in the unit minus its standard deviation there",
    "x_high": "Mean of the term in the unit plus its standard deviation there",
    "intercept": "Height of the unit's line where the term is zero: the fixed part at the unit's own values, with "
    "other variables at their means, plus the random effects",
    "slope": "Slope of the unit's line: the fixed part at the unit's own values plus the random effects",
    "own_intercept": "Intercept where the term is zero, by least squares in the unit alone",
    "own_slope": "Slope by least squares in the unit alone; null with fewer than three rows or if the term does not "
    "vary",
    "position": "The model's position in the analysis file, from 1; models of a ladder come after",
    "range_low": "Lower end of the range that holds the effects of 95% of the groups; null if they do not vary",
    "range_high": "Upper end of the range that holds the effects of 95% of the groups",
    "moderator": "The variable on which the slope depends",
    "low": "Lower end of the region; null if the region is unbounded below",
    "high": "Upper end of the region; null if the region is unbounded above",
    "significant": "Whether the slope differs from zero in the region, by the fit's degrees of freedom",
    "direction": "Sign of the slope where it differs from zero",
    "share": "Share of the units whose moderator lies in the region; null for a moderator that varies within units",
    "version": "How the predictors are centered: raw, grand mean, group mean; + mean if the group means are predictors "
    "as well",
    "quantity": "intercept, slope, variance, covariance or log_likelihood (by ML, which compares the versions)",
    "equal_to": "Other versions that give the same number whatever the data, because their columns span the same space",
    "meaning": "Meaning of the intercept, or of the variance of the intercepts, in words",
    "explanation": "What the number means, and why it is the same or different in other versions",
    "intercept_meaning": "Meaning of gamma_00 under the model's centering, in words; null without an intercept",
    "intercept_variance_meaning": "Meaning of tau_00 under the model's centering, in words; null if no intercept "
    "varies",
    "contrast": "Name of the combination of coefficients",
    "combination": "Weights and coefficients of the combination",
    "p_adjusted": "P value adjusted by Holm's method for all contrasts of the model",
    "started_at": "When the run began",
    "finished_at": "When the results were ready to be written",
    "data": "The relation or query that the rows come from, as in the analysis file",
    "n_rows": "Number of rows of the data, after the filter where",
    "n_dropped": "Number of rows with a missing value, by column, as JSON",
    "moments_checksum": "Checksum of the moments; equal rows give equal checksums, whatever their order",
    "engine_version": "Version of mlm-ops",
    "status": "finished; or empty for a run without rows, after which the analysis has no latest results",
    "analysis_text": "The analysis file as JSON, without keys that have their default",
    "analysis_hash": "Hash of analysis_text",
    "versions": "Versions of Python and of the packages that compute, as JSON",
    "seed": "Seed of all random numbers that results rest on; further sets of draws count up from it",
    "host_time": "The machine's clock when the run was recorded, with its UTC offset",
    "sequence": "Number of the run, in the order of writing",
}
