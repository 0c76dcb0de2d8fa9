"""Likelihood-ratio tests of two models on the same rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.language.model import Model

#: Why a model that has parameters more is not compared.
NOTHING_MORE = "the data determine no parameter more than in the smaller fit"


@dataclass(frozen=True)
class Comparison:
    """A model against a smaller one.

    Attributes
    ----------
    statistic, df
        Likelihood ratio and difference in parameters; None where no ratio of these likelihoods makes sense.
    p_value
        By chi-square with df degrees of freedom: conservative where a variance is tested.
    p_value_mixture
        By the mixture of chi-squares that holds where exactly one random effect is added to a block, or a block of one;
        None elsewhere. Stram and Lee (1994), Biometrics 50, 1171-1177.
    note
        What a reader of the table must know.
    """

    statistic: float | None
    df: int | None
    p_value: float | None
    p_value_mixture: float | None
    delta_aic: float
    delta_bic: float
    note: str | None


def compare(model: Model, fitted: Estimate, reference: Model, smaller: Estimate) -> Comparison:
    """Compare two fits by the same likelihood.

    Parameters
    ----------
    model, fitted
        The larger model.
    reference, smaller
        The smaller one, fitted by the same estimator; by ML unless the fixed parts are equal.

    Raises
    ------
    MlmError
        The models have different outcomes: neither likelihoods nor information criteria compare.
    """
    from scipy.special import chdtrc  # 0.4 s: not for those who only import the package

    if model.outcome != reference.outcome:
        raise MlmError(
            f"Models of different outcomes cannot be compared. Got {model.outcome_name} and {reference.outcome_name}; "
            "compare models of one outcome."
        )
    aic, bic = fitted.aic - smaller.aic, fitted.bic - smaller.bic
    df = fitted.n_parameters - smaller.n_parameters
    if df <= 0 and fitted.undetermined.missing and _nested(model, reference):
        return Comparison(None, None, None, None, aic, bic, NOTHING_MORE)
    if df <= 0 or not _nested(model, reference):
        return Comparison(None, None, None, None, aic, bic, "not nested: compare by AIC and BIC")
    statistic = max(2 * (fitted.log_likelihood - smaller.log_likelihood), 0.0)
    p_value = float(chdtrc(df, statistic))
    random_df = fitted.n_covariance - smaller.n_covariance
    if random_df == 0 or _frees_given_values(model, reference):
        return Comparison(statistic, df, p_value, None, aic, bic, None)
    added = _one_added_effect(model, reference)
    if added is not None and random_df != added + 1:  # one term, but a factor's: several effects
        added = None
    if random_df == df and fitted.undetermined.missing:
        note = "the data do not determine all variances and covariances of the larger fit: df counts those they do"
        return Comparison(statistic, df, p_value, None, aic, bic, note)
    if random_df != df:
        return Comparison(statistic, df, p_value, None, aic, bic, "fixed and random parts differ: p is conservative")
    if added is None:
        return Comparison(statistic, df, p_value, None, aic, bic, "several variances tested at once: p is conservative")
    if smaller.optimum.singular:
        return Comparison(
            statistic,
            df,
            p_value,
            None,
            aic,
            bic,
            "the smaller fit is singular: no mixture is valid, p is conservative",
        )
    lower = float(statistic <= 0) if added == 0 else float(chdtrc(added, statistic))
    mixture = (lower + float(chdtrc(added + 1, statistic))) / 2
    return Comparison(statistic, df, p_value, mixture, aic, bic, None)


def same_fixed_part(first: Estimate, second: Estimate) -> bool:
    """Whether two fits have the same fixed columns, so that their REML likelihoods are comparable."""
    return {c.name for c in first.design.fixed.columns} == {c.name for c in second.design.fixed.columns}


def _nested(model: Model, reference: Model) -> bool:
    """Whether every fixed term and every random block of the reference lies within one of the model.

    Fixed terms are matched by name; a model with other columns of the same span is not recognised.
    """
    terms = {frozenset(t.variables) for t in model.fixed}
    if any(frozenset(t.variables) not in terms for t in reference.fixed):
        return False
    given = [block for block in model.random if not isinstance(block.covariance, str)]
    return all(block in reference.random for block in given) and all(
        any(large.group == small.group and set(small.terms) <= set(large.terms) for large in model.random)
        for small in reference.random
    )


def _frees_given_values(model: Model, reference: Model) -> bool:
    """Whether the model only estimates what the reference gives as values inside of what is possible."""
    if [(b.group, b.terms) for b in model.random] != [(b.group, b.terms) for b in reference.random]:
        return False
    freed = [s.covariance for s, b in zip(reference.random, model.random, strict=True) if s != b]
    return all(not isinstance(t, str) and np.linalg.matrix_rank(np.array(t)) == len(t) for t in freed)


def _one_added_effect(model: Model, reference: Model) -> int | None:
    """Number of effects that the one added effect covaries with, if exactly one block has gained exactly one."""
    large = Counter((b.group, b.terms) for b in model.random)
    large.subtract((b.group, b.terms) for b in reference.random)
    gained = [key for key, count in large.items() if count > 0]
    lost = [key for key, count in large.items() if count < 0]
    if len(gained) != 1 or len(lost) > 1:
        return None
    before = lost[0][1] if lost else ()
    return len(before) if len(gained[0][1]) == len(before) + 1 and set(before) <= set(gained[0][1]) else None
