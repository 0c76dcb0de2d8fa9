"""Likelihood-ratio tests of two models on the same rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.language.model import Model, Variable, label
from mlm_ops.moments.moments import Moments
from mlm_ops.moments.rank import VALUE_ROUNDING

#: Share of a spread up to which means, and of a mean square up to which others, are those of the same rows.
_SAME = 1e-6


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

    check_outcomes(model, reference)
    aic, bic = fitted.aic - smaller.aic, fitted.bic - smaller.bic
    df = fitted.n_parameters - smaller.n_parameters
    if df <= 0 or not _nested(model, reference):
        return Comparison(None, None, None, None, aic, bic, "not nested: compare by AIC and BIC")
    statistic = max(2 * (fitted.log_likelihood - smaller.log_likelihood), 0.0)
    p_value = float(chdtrc(df, statistic))
    random_df = fitted.criterion.n_relative - smaller.criterion.n_relative
    if random_df == 0 or _frees_given_values(model, reference):
        return Comparison(statistic, df, p_value, None, aic, bic, None)
    added = _one_added_effect(model, reference)
    if added is not None and random_df != added + 1:  # one term, but a factor's: several effects
        added = None
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


def check_outcomes(model: Model, reference: Model) -> None:
    """Refuse models of different outcomes."""
    if model.outcome != reference.outcome:
        raise MlmError(
            f"Models of different outcomes cannot be compared. Got {model.outcome_name} and {reference.outcome_name}; "
            "compare models of one outcome."
        )


def check_same_rows(moments: Moments, reference: Moments) -> None:
    """Refuse moments that cannot be of the same rows, by all that they have in common.

    Two scans of the same rows agree on the number of rows, on the means and squares of every variable that both hold,
    and on the sizes of the units of every grouping factor that both hold, up to the order of summation.
    """
    if moments is reference:
        return
    differing = f"Got {moments.n_obs} rows and {reference.n_obs}"
    if moments.n_obs == reference.n_obs:
        unlike = _unlike(moments, reference)
        if unlike is None:
            return
        differing = f"Got {moments.n_obs} rows each that differ in {unlike}"
    raise MlmError(
        f"Models of different rows cannot be compared. {differing}; expected fits of the same rows. Fit both on the "
        "rows that are complete on the variables of both."
    )


def _unlike(moments: Moments, reference: Moments) -> str | None:
    """What shows that two sets of as many rows are not the same; None where nothing does."""
    for key in moments.schema.keys:
        if key in reference.schema.keys:
            sizes = [np.sort(np.bincount(m.units_of((key,))[0], m.n)) for m in (moments, reference)]
            if len(sizes[0]) != len(sizes[1]) or (sizes[0] != sizes[1]).any():
                return key
    for atom in moments.schema.centers:
        if (atom,) in moments.schema.monomials and (atom,) in reference.schema.monomials:
            (mean, square), (other, others) = (_mean_and_square(m, atom) for m in (moments, reference))
            slack = _SAME * np.sqrt(square) + VALUE_ROUNDING * abs(mean)
            if abs(mean - other) > slack or abs(square - others) > 2 * slack * np.sqrt(square):
                return label(atom)
    return None


def _mean_and_square(moments: Moments, atom: Variable) -> tuple[float, float]:
    """Mean of a variable over all rows, and its mean square around that."""
    i = moments.schema.monomials.index((atom,))
    shift = float(moments.n @ moments.mean[i]) / moments.n_obs
    squares = moments.scatter[i * (i + 3) // 2] + moments.n * (moments.mean[i] - shift) ** 2
    return moments.schema.centers[atom] + shift, float(squares.sum()) / moments.n_obs


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
