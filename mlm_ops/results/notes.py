"""Say what a reader of a fit's numbers must know: what was dropped, what is not determined, whose the errors are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mlm_ops.language.model import Center, Column, Factor, columns_of, group_name, label, walk
from mlm_ops.results.cautions import few_groups, two_valued_outcome
from mlm_ops.results.numpy_warnings import quiet
from mlm_ops.results.record import FitRecord
from mlm_ops.results.words import cell, rows_left_out

#: A residual variance with fewer significant digits than this gets a note.
_DIGITS = 6
#: Robust tests by fewer degrees of freedom than this reject too often (Tipton 2015).
_LEAST_DEGREES = 4


@quiet
def notes_of(record: FitRecord) -> list[str]:
    """The notes of a fit, in their order: about how the model was chosen, about the rows and columns, the numbers."""
    return [*record.remarks, *(sentence for note in _NOTES for sentence in note(record))]


def _file(record: FitRecord) -> Iterator[str]:
    """Cells that the reading of a data file took for missing, and decimal signs that contradict each other."""
    if record.reading is None:
        return
    columns = _columns(record)
    for assumption in filter(None, (record.reading.missing(columns), record.reading.contradiction(columns))):
        yield f"as the file was read, {assumption}"


def _columns(record: FitRecord) -> set[str]:
    """The columns of the data that the model has."""
    residual, schema = record.model.residual, record.moments.schema
    variables = (*record.model.variables, *([residual.precision] if residual.precision is not None else []))
    own = {*schema.keys, residual.strata or "", residual.time or ""}
    return {column for variable in variables for column in columns_of(variable)} | own


def _means_taken_out(record: FitRecord) -> Iterator[str]:
    """The means of many groups, which stand for as many indicators."""
    split, fixed = record.estimate.design.split, record.estimate.design.fixed
    if split is not None and split.part == "within":
        absorbed = ", ".join(fixed.absorbed)
        yield (
            f"the {split.size} means of {group_name(split.group)} are taken out of the outcome and of every "
            "predictor" + (f", which leaves nothing of {absorbed}" if absorbed else "")
        )


def _dropped_columns(record: FitRecord) -> Iterator[str]:
    """Columns of the design that have no coefficient, or one with few digits."""
    fixed = record.estimate.design.fixed
    aliased = [name for name in fixed.aliased if name not in (*fixed.absorbed, *fixed.zero)]
    if fixed.zero:
        yield f"dropped, being zero in every row: {', '.join(fixed.zero)}"
    if aliased:
        yield f"dropped, being a combination of the other columns: {', '.join(aliased)}"
    if (fixed.zero or aliased) and not fixed.centered:
        yield "predictions, slopes and contrasts that need a dropped column cannot be estimated and are null"
    if fixed.near:
        yield f"almost a combination of the columns before, so that estimates have lost digits: {', '.join(fixed.near)}"


def _far_references(record: FitRecord) -> Iterator[str]:
    """Reference values of predictors that lie outside the data."""
    for node in dict.fromkeys(node for variable in record.model.variables for node in walk(variable)):
        if isinstance(node, Center) and node.at is not None and node.of in record.moments.ranges:
            low, high = record.moments.ranges[node.of]
            if not low <= node.at <= high:
                yield (
                    f"the reference value {node.at:g} of {label(node)} lies outside the data, where "
                    f"{label(node.of)} goes from {low:g} to {high:g}: the intercept, and all that holds where "
                    "predictors are zero, is extrapolated"
                )


def _grouping_predictors(record: FitRecord) -> Iterator[str]:
    """Grouping factors that also stand among the predictors, which is rarely meant."""
    units = {name for group in record.model.groups for name in group}
    columns = (v for term in record.model.fixed for v in term.variables if isinstance(v, Column | Factor))
    uses = {True: "a coefficient for each of its units", False: "its labels read as numbers"}
    for name in dict.fromkeys(name for v in columns for name in columns_of(v) if name in units):
        yield (
            f"{name} is a grouping factor and also a predictor, {uses[name in record.moments.schema.levels]}; if that "
            "is not meant, remove it from the fixed part"
        )


def _almost_numbers(record: FitRecord) -> Iterator[str]:
    """Text predictors most of whose values are numbers: a stray word in a column of numbers makes it text."""
    columns = (v for term in record.model.fixed for v in term.variables if isinstance(v, Column | Factor))
    for name in dict.fromkeys(name for v in columns for name in columns_of(v)):
        labels = record.moments.schema.levels.get(name, ())
        words = [label for label in labels if not _is_number(label)]
        if 0 < 2 * len(words) < len(labels):
            yield (
                f"{name} is text, with a coefficient for each value, though {len(labels) - len(words)} of its "
                f"{len(labels)} values are numbers; if it is to be one predictor, make {words[0]!r} missing"
            )


def _is_number(label: object) -> bool:
    try:
        float(str(label))
    except ValueError:
        return False
    return True


def _outcome_and_groups(record: FitRecord) -> Iterator[str]:
    """An outcome of two values, and grouping factors of few units whose variances are estimated."""
    levels = record.estimate.design.levels
    estimated = [one for one in levels if any(isinstance(block.covariance, str) for block in one.blocks)]
    sizes = {group_name(level.group): len(level.labels) for level in estimated}
    yield from filter(None, (two_valued_outcome(record.model, record.moments), few_groups(sizes)))


def _singular(record: FitRecord) -> Iterator[str]:
    """Covariance matrices of random effects that have a lower rank."""
    if record.singular:
        deficient = [
            _varies_less(one.group, one.rank, one.size)
            for one in record.ranks
            if one.rank is not None and one.rank < one.size
        ]
        yield (
            "singular: a variance is zero or a correlation is one, so a random term may be too much"
            + (f" ({', '.join(deficient)})" if deficient else "")
        )


def _varies_less(group: str, rank: int, size: int) -> str:
    """What it means that a group's covariance matrix T of several random effects has a lower rank."""
    if rank == 0:
        return f"{group} has no variance"
    return f"the {size} random effects of {group} vary in {rank} dimension{'s' * (rank > 1)}"


def _few_digits(record: FitRecord) -> Iterator[str]:
    """A residual variance that is small beside what is taken from the outcome's variation."""
    estimate = record.estimate
    if estimate.digits < _DIGITS:
        yield (
            f"predictors and groups leave {estimate.share_left:.0e} of the outcome's variation, so that the "
            f"residual variance, and all that rests on it, has about {max(int(estimate.digits), 1)} digits"
        )


def _undetermined_parameters(record: FitRecord) -> Iterator[str]:
    """Variances and covariances that the data do not determine."""
    undetermined, design = record.estimate.undetermined, record.estimate.design
    if not undetermined.any:
        return
    names: list[str] = []
    blocks = [(group_name(level.group), block) for level in design.levels for block in level.blocks]
    for (group, block), flags in zip(blocks, undetermined.tau, strict=True):
        columns = [column.name for column in block.columns]
        for i, j in zip(*np.nonzero(np.tril(flags)), strict=True):
            of = f"of {columns[i]}" if i == j else f"of {columns[j]} with {columns[i]}"
            names.append(f"{'the variance' if i == j else 'the covariance'} {of} over {group}")
    if design.residual is not None:
        strata = design.residual.strata[1:]
        names += [f"the residual variance of {s}" for s, flag in zip(strata, undetermined.rho, strict=False) if flag]
        names += ["phi"] * bool(design.residual.serial and undetermined.rho[-1])
    names += ["the residual variance"] * undetermined.sigma2
    parameters = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    missing = "one parameter is" if undetermined.missing == 1 else f"{undetermined.missing} parameters are"
    uncounted = f", and {missing} not counted" if undetermined.missing else ""
    yield (
        f"the data do not determine {parameters}: other values fit as well, so there is no standard error or "
        f"interval{uncounted}"
    )


def _without_ml(record: FitRecord) -> Iterator[str]:
    """No maximum of the likelihood, which is found by another search and concerns models with by() alone."""
    residual = record.estimate.design.residual
    if residual is not None and len(residual.strata) > 1 and record.without_ml is not None:
        yield f"deviance_ml, aic_ml and bic_ml are null. {record.without_ml}"


def _not_converged(record: FitRecord) -> Iterator[str]:
    """A search that did not end at a minimum."""
    optimum = record.estimate.optimum
    if optimum.verdict == "saddle":
        yield "not converged: the search ended on a saddle, from which the deviance falls"
    elif not optimum.converged:
        yield f"not converged: the deviance may still fall by {cell('decrement', optimum.decrement)}"


def _robust_over_clusters(record: FitRecord) -> Iterator[str]:
    """Errors robust to clusters, and coefficients whose tests rest on too few of them.

    Tipton (2015), Psychological Methods 20, 375-393.
    """
    clusters = record.estimate.design.clusters
    if record.robust is None or clusters is None:
        return
    yield (
        f"standard errors, df and p values of the fixed effects are cluster-robust: {record.robust} over "
        f"{clusters.size} clusters of {group_name(clusters.group)}"
    )
    names = [column.name for column in record.estimate.design.fixed.columns]
    few = [name for name, df in zip(names, record.tests.df, strict=True) if df < _LEAST_DEGREES]
    if few:
        yield (
            f"fewer than {_LEAST_DEGREES} degrees of freedom, which few or very unequal clusters leave: "
            f"{', '.join(few)}; there p values by robust errors are too small more often than they say"
        )


def _robust_over_rows(record: FitRecord) -> Iterator[str]:
    """Errors robust to unequal variances of rows."""
    if record.squares is not None:
        yield (
            f"standard errors and p values of the fixed effects are {record.robust}: they allow for unequal "
            "residual variances, and take rows for independent"
        )


def _rows_left_out(record: FitRecord) -> Iterator[str]:
    """Rows that miss a value."""
    if any(record.n_dropped.values()):
        yield rows_left_out(record.moments.n_obs, record.n_rows, record.n_dropped)


#: What each note is of, in the order in which they are read.
_NOTES: tuple[Callable[[FitRecord], Iterator[str]], ...] = (
    _file,
    _means_taken_out,
    _dropped_columns,
    _far_references,
    _grouping_predictors,
    _almost_numbers,
    _outcome_and_groups,
    _singular,
    _few_digits,
    _undetermined_parameters,
    _without_ml,
    _not_converged,
    _robust_over_clusters,
    _robust_over_rows,
    _rows_left_out,
)
