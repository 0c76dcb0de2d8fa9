"""Likelihood-ratio tests of two models on the same rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.covariances import DEFAULT, STRUCTURES
from mlm_ops.language.model import GroupingFactor, Matrix, Model, Variable, label
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place

#: Relative error of a deviance: a sum over rows, each right to 2e-16, at an optimum that the search ends 1e-12 above.
_ROUNDING = 1e-12
#: Share of a spread up to which means, and of a mean square up to which others, are those of the same rows.
_SAME = 1e-6


#: The note on a larger model whose additional parameters the data do not determine.
NOTHING_MORE = "the data determine no more parameters than in the smaller fit"


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
        By the mixture of chi-squares with df - 1 and df degrees of freedom, each by a half: it holds where exactly one
        of the parameters tested is a variance, whose null value of zero is an end of what is possible. None elsewhere.
        Stram and Lee (1994), Biometrics 50, 1171-1177.
    note
        Why there is no ratio, or how far its p value can be trusted.
    """

    statistic: float | None
    df: int | None
    p_value: float | None
    p_value_mixture: float | None
    delta_aic: float
    delta_bic: float
    note: str | None


def compare_estimates(model: Model, estimate: Estimate, reference: Model, smaller: Estimate) -> Comparison:
    """Compare two fits by the same likelihood.

    Parameters
    ----------
    model, estimate
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
    aic, bic = estimate.aic - smaller.aic, estimate.bic - smaller.bic
    df = estimate.n_parameters - smaller.n_parameters
    nested = _nested(estimate, model, smaller, reference)
    if df <= 0 and estimate.undetermined.missing and nested:
        return Comparison(None, None, None, None, aic, bic, NOTHING_MORE)
    if df <= 0 or not nested:
        return Comparison(None, None, None, None, aic, bic, "not nested: compare by AIC and BIC")
    statistic = float(2 * (estimate.log_likelihood - smaller.log_likelihood))
    # of a variance that is zero: by its sign of rounding p would be a half or one
    if statistic <= _ROUNDING * (abs(estimate.deviance) + abs(smaller.deviance) + estimate.design.n_obs):
        statistic = 0.0
    p_value = float(chdtrc(df, statistic))
    chi_square = Comparison(statistic, df, p_value, None, aic, bic, None)
    if estimate.criterion.n_random == smaller.criterion.n_random or estimate.n_covariance == smaller.n_covariance:
        return chi_square
    if estimate.undetermined.missing:
        note = "the data do not determine all variances and covariances of the larger fit: df counts those they do"
        return replace(chi_square, note=note)
    variances = _variances_gained(estimate, smaller)
    if smaller.optimum.singular:
        limit = (
            "no mixture is valid, p is conservative" if variances else "a covariance is at its limit, p is approximate"
        )
        return replace(chi_square, note=f"the smaller fit is singular: {limit}")
    if variances > 1:
        return replace(chi_square, note="several variances tested at once: p is conservative")
    if variances == 0:
        return chi_square
    lower = float(statistic == 0) if df == 1 else float(chdtrc(df - 1, statistic))
    return replace(chi_square, p_value_mixture=(lower + p_value) / 2)


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
    on the sizes of the units of every grouping factor that both hold, and on the variables' means in each of these, up
    to the order of summation.
    """
    if moments is reference:
        return
    difference = f"Got {moments.n_obs} rows and {reference.n_obs}"
    if moments.n_obs == reference.n_obs:
        unlike = _unlike(moments, reference)
        if unlike is None:
            return
        difference = f"Got {moments.n_obs} rows each that differ in {unlike}"
    raise MlmError(
        f"Models of different rows cannot be compared. {difference}; expected fits of the same rows. Fit both on the "
        "rows that are complete on the variables of both."
    )


def _unlike(moments: Moments, reference: Moments) -> str | None:
    """The variable or column by which two sets of as many rows differ; None where none does."""
    if moments.nested_in != reference.nested_in:  # labels that each model takes in its own way
        moments, reference = replace(moments, nested_in={}), replace(reference, nested_in={})
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
            for key in moments.schema.keys:
                if key in reference.schema.keys:
                    off = np.abs(_unit_means(moments, key, atom) - _unit_means(reference, key, atom))
                    if off.max() > slack:
                        return f"{label(atom)} by {key}"
    return None


def _unit_means(moments: Moments, key: str, atom: Variable) -> Array:
    """(J,) means of a variable in the units of one column, in the order of their names."""
    codes, labels = moments.units_of((key,))
    total = np.bincount(codes, moments.n * moments.mean[moments.schema.monomials.index((atom,))])
    means: Array = total / np.bincount(codes, moments.n) + moments.schema.centers[atom]
    return means[np.argsort(labels.astype(str), kind="stable")]


def _mean_and_square(moments: Moments, atom: Variable) -> tuple[float, float]:
    """Mean of a variable over all rows, and its mean square around that."""
    i = moments.schema.monomials.index((atom,))
    shift = float(moments.n @ moments.mean[i]) / moments.n_obs
    squares = moments.scatter[packed_place(i, i)] + moments.n * (moments.mean[i] - shift) ** 2
    return moments.schema.centers[atom] + shift, float(squares.sum()) / moments.n_obs


def same_fixed_part(first: Estimate, second: Estimate) -> bool:
    """Whether two fits have the same fixed columns, so that their REML likelihoods are comparable."""
    return {c.name for c in first.design.fixed.columns} == {c.name for c in second.design.fixed.columns}


def _nested(estimate: Estimate, model: Model, smaller: Estimate, reference: Model) -> bool:
    """Whether every fixed term, every random block and the residual's structure lie within those of the model.

    Fixed terms are matched by name; a model with other columns of the same span is not recognised.
    """
    terms = {frozenset(t.variables) for t in model.fixed}
    if any(frozenset(t.variables) not in terms for t in reference.fixed):
        return False
    ours, theirs = model.residual, reference.residual
    if theirs.precision != ours.precision:
        return False
    if theirs.strata not in (None, ours.strata) or theirs.time not in (None, ours.time):
        return False
    large, small = _parts(estimate), _parts(smaller)
    given_parts = [part for part in large if part.matrix is not None]
    return all(part in small for part in given_parts) and all(_holds(large, part) for part in small)


@dataclass(frozen=True)
class _Part:
    """Effects of one grouping factor whose covariance matrix is one of a kind.

    ``structure`` is the name of one; ``matrix`` is the matrix where it is not estimated.
    """

    group: GroupingFactor
    effects: frozenset[DesignColumn]
    structure: str
    matrix: Matrix | None = None

    @property
    def alike(self) -> bool:
        """Whether all effects have one variance."""
        return STRUCTURES[self.structure].alike

    def holds(self, other: _Part) -> bool:
        """Whether another's covariance matrix, zero where it has no effect, is one of this kind."""
        special_cases = STRUCTURES[self.structure].special_cases
        if self.matrix is not None or (other.matrix is not None and special_cases is not None):
            return self == other
        kind = special_cases is None or other.structure in (self.structure, *special_cases)
        same = self.effects == other.effects
        return kind and self.group == other.group and (same or (other.effects < self.effects and not self.alike))


def _parts(estimate: Estimate) -> list[_Part]:
    """The random part in pieces: independent effects one by one."""
    parts = []
    for level in estimate.design.levels:
        for block in level.blocks:
            effects, name = frozenset(block.columns), block.covariance
            if not isinstance(name, str):
                parts.append(_Part(level.group, effects, DEFAULT, name))
            elif len(effects) == 1 or not (STRUCTURES[name].correlated or STRUCTURES[name].alike):
                parts += [_Part(level.group, frozenset((effect,)), DEFAULT) for effect in block.columns]
            else:
                parts.append(_Part(level.group, effects, name))
    return parts


def _holds(large: list[_Part], part: _Part) -> bool:
    """Whether the model's covariance matrices can be those of a part of the reference."""
    own = [other for other in large if other.group == part.group]
    if any(other.holds(part) for other in own):
        return True
    if part.matrix is not None or (STRUCTURES[part.structure].correlated and len(part.effects) > 1):
        return False
    # independent effects may each be among others, if these have variances of their own
    free = (other.effects for other in own if other.matrix is None and not other.alike)
    return part.effects <= frozenset().union(*free)


def _variances_gained(estimate: Estimate, smaller: Estimate) -> int:
    """Number of variances of the larger model that are zero in the smaller one; covariances have no such bound."""
    large, small = _parts(estimate), _parts(smaller)
    # a given matrix of deficient rank holds variances at zero too
    matrices = [np.array(part.matrix) for part in small if part.matrix is not None and part not in large]
    count = sum(len(matrix) - int(np.linalg.matrix_rank(matrix)) for matrix in matrices)
    for part in large:
        new = len(part.effects.difference(*(other.effects for other in small if other.group == part.group)))
        count += STRUCTURES[part.structure].n_variances(new)
    return count
