"""Check moments and fits: a verdict and one sentence each, for Dagster's asset checks.

`Plan.with_severities` says how severe a failure is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl

from mlm_ops.analyses.centered_agreement import TableDifference
from mlm_ops.analyses.drift_words import change_in_words, drift_sentence, one_row_a_number
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.record import Moments
from mlm_ops.plugins.dagster.metadata import Metadata, numbers
from mlm_ops.results.cautions import FEW_GROUPS, few_groups
from mlm_ops.results.fit import Fit
from mlm_ops.results.words import after_p, cell
from mlm_ops.structural.results.fit import SemFit

#: Two ways through the same sums differ by rounding only.
AGREEMENT = 1e-9
#: SQL and Polars do the same sums of the same rows, in another order.
STEPS_AGREEMENT = 1e-12


#: So many partitions are named in a sentence.
NAMED = 5


@dataclass(frozen=True)
class OtherPartitions:
    """Hold the partitions that a run did not read, and whose rows are not those of their moments.

    Attributes
    ----------
    changed
        By partition, rows in the moments and in the table.
    outside
        The same by value of the column, of values that lie in no partition, which no run reads again.
    new
        Partitions with rows that are not in the moments yet.
    parts_table
        The table after whose removal all rows are read again.
    shows_sizes
        Whether numbers of rows are told, which say of how few people rows came or went.
    """

    changed: Mapping[str, tuple[int, int]]
    outside: Mapping[str, tuple[int, int]]
    new: Sequence[str]
    parts_table: str
    shows_sizes: bool = True

    @property
    def sentence(self) -> str:
        """What has changed, and what to do; empty where nothing has."""
        sentences = []
        if self.changed:
            one = len(self.changed) == 1
            what = "Partition" if one else f"{len(self.changed):,} partitions have changed:"
            sentences.append(f"{what} {self._names(self.changed, one)}; materialize {'it' if one else 'them'}.")
        if self.outside:
            sentences.append(
                f"Rows that lie in no partition have changed: {self._names(self.outside)}. Drop the table "
                f"{self.parts_table} and materialize again, by which all rows are read."
            )
        return " ".join(sentences)

    def _names(self, partitions: Mapping[str, tuple[int, int]], one: bool = False) -> str:
        """Partitions, with their rows then and now where these are told."""
        texts = []
        for name, (kept, now) in partitions.items():
            sizes = f" ({kept:,} rows in the moments, {now:,} in the table)" if self.shows_sizes else ""
            texts.append(f"{name}{' has changed' * one}{sizes}")
        return list_names(texts, NAMED)


def rows_accounted_for(moments: Moments, rows: int, others: OtherPartitions | None = None) -> dg.AssetCheckResult:
    """Check that the rows in the moments and those dropped for a missing value make up the table.

    A row that misses several values is counted in each column, so the number lost lies between the largest count and
    their sum; where nothing is missing nothing may be lost.

    Parameters
    ----------
    moments
        The moments.
    rows
        Rows of the table, counted apart from them; of its partitions, those that the moments have.
    others
        Partitions that were not read, where the moments accumulate.
    """
    missing = {column: count for column, count in moments.n_dropped.items() if count}
    lost = rows - moments.n_obs
    passed = moments.n_rows == rows and max(missing.values(), default=0) <= lost <= sum(missing.values())
    by_column = ", ".join(f"{column} ({count:,})" for column, count in missing.items()) or "nowhere"
    change = "" if others is None else others.sentence
    new = [] if others is None else others.new
    sentence = f"Of {rows:,} rows {moments.n_obs:,} are in the moments and {lost:,} are not; values are missing: "
    not_yet = f" Not in the moments yet: {list_names(new, NAMED)}." if new else ""
    return dg.AssetCheckResult(
        check_name="rows_accounted_for",
        passed=passed and not change,
        description=f"{change or f'{sentence}{by_column}.'}{not_yet}",
        metadata={"rows": rows, "n_obs": moments.n_obs, "dropped": lost}
        | ({} if others is None else {"changed_partitions": len(others.changed), "new_partitions": len(new)}),
    )


def enough_groups(moments: Moments, factors: Iterable[GroupingFactor]) -> dg.AssetCheckResult:
    """Warn when there are few groups to estimate variances between groups from.

    Parameters
    ----------
    factors
        The grouping factors of the models.
    """
    columns = dict.fromkeys(map(moments.columns_of, factors))
    # the smallest units are counted already
    sizes = {
        group_name(one): moments.n_units if {*one} == {*moments.schema.keys} else len(moments.units_of(one)[1])
        for one in columns
    }
    doubt = few_groups(sizes)
    all_sizes = ", ".join(f"{name} has {n:,} groups" for name, n in sizes.items()) or "No model has groups"
    return dg.AssetCheckResult(
        check_name="enough_groups",
        passed=doubt is None,
        description=f"{doubt or all_sizes}.",
        metadata={"groups": min(sizes.values(), default=0), "expected": FEW_GROUPS},
    )


def centered_agrees(difference: float, changed: Sequence[str] = ()) -> dg.AssetCheckResult:
    """Check that the centered table and the moments have the same group means.

    Parameters
    ----------
    changed
        Partitions whose moments are not of the rows that they have now.
    """
    one = len(changed) == 1
    remedy = (
        f" The moments of {'partition' if one else 'the partitions'} {list_names(changed, NAMED)} are not of the rows "
        f"that {'it has' if one else 'they have'} now; materialize {'it' if one else 'them'}."
        if changed
        else ""
    )
    return dg.AssetCheckResult(
        check_name="agrees_with_moments",
        passed=difference <= AGREEMENT,
        description=f"Group means in the centered table and in the moments differ by at most {difference:.1e} relative"
        f" (allowed {AGREEMENT:.0e}).{remedy}",
        metadata={"largest_difference": difference},
    )


def steps_agree(difference: TableDifference, obstacle: str | None) -> dg.AssetCheckResult:
    """Check that Polars and SQL have made the same table.

    Parameters
    ----------
    difference
        How far the tables are apart.
    obstacle
        Why SQL made both, in one sentence; None where it did not.
    """
    passed = difference.largest <= STEPS_AGREEMENT
    where = f", in column {difference.column}" if difference.column else ""
    sentence = difference.other_rows or (
        f"Polars and SQL have {'' if passed else 'not '}made the same centered rows: their largest difference is "
        f"{difference.largest:.1e} standard deviations{where} (allowed {STEPS_AGREEMENT:.0e})."
    )
    return dg.AssetCheckResult(
        check_name="steps_agree",
        passed=passed,
        description=sentence if obstacle is None else f"{sentence} {obstacle}",
        metadata={"largest_difference": difference.largest, "column": difference.column or "none"},
    )


def converged(model: str, fit: Fit) -> dg.AssetCheckResult:
    """Stop the publication of a fit that did not reach its optimum."""
    statistics = fit.fit_statistics.row(0, named=True)
    gradient = cell("gradient", statistics["gradient"])
    how = f"largest gradient {gradient}" if gradient else "in closed form"
    sentence = f"Model {model} converged ({how})."
    failure = (
        f"Model {model} did not converge after {statistics['evaluations']} evaluations ({how}). "
        "Simplify its random part or rescale its predictors."
    )
    return dg.AssetCheckResult(
        check_name="converged",
        passed=bool(fit.converged),
        description=sentence if fit.converged else failure,
        metadata=numbers({name: statistics[name] for name in ("gradient", "evaluations")}),
    )


def not_singular(model: str, fit: Fit, statistics: Mapping[str, Any]) -> dg.AssetCheckResult:
    """Warn when a covariance matrix of random effects lost a dimension.

    Parameters
    ----------
    statistics
        The model's row of table ``fit_statistics`` as it is published: that of a model of too few rows has no numbers.
    """
    return dg.AssetCheckResult(
        check_name="not_singular",
        passed=not fit.singular,
        description=f"Model {model} is singular: some variance is zero or some correlation is one. "
        "Its likelihood holds; read its variance components and their tests with care."
        if fit.singular
        else f"The random effects of model {model} have a covariance matrix of full rank.",
        metadata=_rank(statistics),
    )


def _rank(statistics: Mapping[str, Any]) -> Metadata:
    """The rank of the covariance matrices of random effects, and their smallest eigenvalue."""
    eigenvalues = [value for values in json.loads(statistics["t_eigenvalues"] or "{}").values() for value in values]
    return numbers({"t_rank": statistics["t_rank"], "smallest_eigenvalue": min(eigenvalues, default=None)})


def no_influential_unit(model: str, flagged: pl.DataFrame) -> dg.AssetCheckResult:
    """Warn of units whose deletion moves a coefficient by more than its standard error.

    Parameters
    ----------
    flagged
        The flagged rows of the diagnostics.
    """
    rows = flagged.filter(pl.col("diagnostic") == "influence")
    units = ", ".join(f"{row['group']} {row['unit']} ({row['note']})" for row in rows.iter_rows(named=True))
    return dg.AssetCheckResult(
        check_name="no_influential_unit",
        passed=rows.is_empty(),
        description=f"Model {model} rests on single units: {units}."
        if units
        else f"No unit's deletion moves a coefficient of model {model} by more than its standard error.",
        metadata={"flagged": rows.height},
    )


def assumptions(model: str, flagged: pl.DataFrame) -> dg.AssetCheckResult:
    """Warn of outliers, residuals and effects that are not normal, unequal variances, and collinear predictors."""
    rows = flagged.filter(pl.col("diagnostic") != "influence")
    findings = [_finding(row) for row in rows.iter_rows(named=True)]
    *first, last = findings or [""]
    sentence = f"{', '.join(first)} and {last}" if first else last
    return dg.AssetCheckResult(
        check_name="assumptions",
        passed=rows.is_empty(),
        description=f"Of model {model}, {sentence}."
        if findings
        else f"Random effects, residual variances and predictors of model {model} look as the model assumes.",
        metadata={"flagged": rows.height},
    )


def _finding(row: Mapping[str, Any]) -> str:
    """What a flagged row of the diagnostics says, as part of a sentence."""
    texts = {
        "outlier": "the random effects of {group} {unit} lie far out",
        "normality": "the effects {term} of {group} are not normal" if row["term"] else "the residuals are not normal",
        "heteroscedasticity": "the residual variances "
        + ("change along {term}" if row["term"] else "differ from {group} to {group}"),
        "vif": "{term} is nearly a combination of the other predictors of level {level}",
        "largest_residual": "one residual lies far out",
        "binned_residual": "the residuals where {term} is about {value:.4g} have a mean other than zero",
    }
    if row["p_value"] is not None:
        how = f"p {after_p(row['p_value'])}"
    elif row["estimate"] is not None:
        how = f"variance inflation {row['estimate']:.3g}"
    else:
        how = "the numbers are withheld, as small groups are among them"
    return f"{texts[row['diagnostic']].format(**row)} ({how})"


def no_drift(drift: pl.DataFrame) -> dg.AssetCheckResult:
    """Warn of parameters that differ from an earlier run's by more than chance, and of a sample that shrank.

    Parameters
    ----------
    drift
        The rows of ``mlm.drift`` of the run.
    """
    rows = one_row_a_number(drift)
    flagged = rows.filter("flagged")
    changes = "; ".join(
        f"{change_in_words(row)} against the {row['against']} run" for row in flagged.iter_rows(named=True)
    )
    sentence = drift_sentence(drift)
    description = "There is no earlier run to compare with."
    if sentence is not None:
        description = f"{sentence}. All of them: mlm show --table drift."
    elif rows.height:
        runs = ", ".join(rows["against"].unique(maintain_order=True))
        nearest = rows.drop_nulls("p_adjusted").sort("p_adjusted", maintain_order=True).head(1).to_dicts()
        smallest = "".join(f"; the smallest adjusted p is that of {change_in_words(row)}" for row in nearest)
        description = f"No parameter is flagged against the run it is compared with ({runs}){smallest}."
    return dg.AssetCheckResult(
        check_name="no_drift",
        passed=flagged.is_empty(),
        description=description,
        metadata={"compared": rows.height, "flagged": flagged.height, **({"changes": changes} if changes else {})},
    )


def sem_converged(fit: SemFit) -> dg.AssetCheckResult:
    """Refuse a structural equation model whose search did not end at a minimum."""
    decrement = fit.estimate.optimum.decrement
    return dg.AssetCheckResult(
        check_name="converged",
        passed=fit.converged,
        description=f"The deviance may still fall by {cell('decrement', decrement)}.",
        metadata={"decrement": decrement},
    )


def sem_not_singular(fit: SemFit, notes: Sequence[str]) -> dg.AssetCheckResult:
    """Warn of a variance of zero or a correlation of one, with those of the fit's notes that are published."""
    sentence = "A variance is zero or a correlation is one." if fit.singular else "All variances are positive."
    return dg.AssetCheckResult(
        check_name="not_singular",
        passed=not fit.singular,
        description="; ".join(notes) or sentence,
        metadata={"notes": len(notes)},
    )
