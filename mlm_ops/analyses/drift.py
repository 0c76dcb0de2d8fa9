"""Compare two runs of an analysis, and test whether their estimates differ by more than chance.

Two runs share groups, and often rows, so their estimates are not independent. Where the store has the influence of each
group on the estimates, the standard error of a difference is its delete-one-group jackknife: leaving a group out of
both runs changes the difference by ``d_j``, the group's influence in the later run minus that in the earlier one (zero
for a run that does not have the group), and ``Var = (J - 1) / J sum_j (d_j - mean)^2`` over the J groups of either run
(Efron and Stein 1981, Annals of Statistics 9, 586-596). Which rows are shared need not be known: what both runs have in
common cancels in ``d_j``. The t distribution has Satterthwaite's (1946) degrees of freedom with the variance of the
squares estimated from the squares, ``2 (sum d^2)^2 / sum (d^2 - mean)^2``: they are few where few groups make the
difference.

Without influences the two variances are added as if the runs were independent. Shared rows make the estimates similar,
so this test is conservative: with the same rows in both runs it never rejects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from mlm_ops.inference.fixed.tests import holm
from mlm_ops.inference.t_distribution import two_sided_p
from mlm_ops.results.tables.columns import FLAG, REAL, TEXT, ColumnTypes, frame, with_model

DRIFT: ColumnTypes = {
    "against": TEXT,
    "reference_run": TEXT,
    "kind": TEXT,
    "group": TEXT,
    "term": TEXT,
    "other": TEXT,
    "before": REAL,
    "now": REAL,
    "difference": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "p_adjusted": REAL,
    "method": TEXT,
    "flagged": FLAG,
    "note": TEXT,
}

#: Result tables of a run that a comparison reads.
FIT_READS = ("fixed_effects", "variance_components", "fit_statistics", "models")
SEM_READS = ("sem_parameters", "sem_fit")
READS = (*FIT_READS, *SEM_READS)
#: A difference below this share of its parameter's standard error counts as rounding.
_ROUNDING = 1e-8
#: A run with fewer than this share of the earlier run's rows, or of its groups, is flagged.
SHRUNK = 0.5
_COMPONENT = ("group", "term", "other")
#: Symbols by which a parameter goes in the later and the earlier run: a factor's new level moves those behind it.
Symbols = tuple[str, str]
#: The parameter that every model has, whose influences tell which groups there are.
RESIDUAL: Symbols = ("sigma2", "sigma2")
#: The intraclass correlation goes by the same name in both runs.
ICC: Symbols = ("icc", "icc")
_LEVELS = {1: "within", 2: "between"}
#: Of a structural model beside its text.
_SEM_OPTIONS = ("slopes", "missing", "grouped_by", "group_equal")
Tables = Mapping[str, pl.DataFrame]
Row = dict[str, Any]


@dataclass(frozen=True)
class StoredRun:
    """A run as it is stored: its id, and its tables that `READS` names."""

    run_id: str
    tables: Mapping[str, pl.DataFrame]

    def of_model(self, model: str) -> dict[str, pl.DataFrame]:
        """The rows of one model in each table."""
        return {name: by_model.get(model, self.tables[name].clear()) for name, by_model in self._by_model.items()}

    @cached_property
    def _by_model(self) -> dict[str, dict[str, pl.DataFrame]]:
        """The rows of each table by model, once for all comparisons of the run."""
        return {
            name: {str(model): rows for (model,), rows in self.tables[name].partition_by("model", as_dict=True).items()}
            for name in READS
        }


@dataclass(frozen=True)
class GroupChange:
    """How the difference of a parameter between two runs changes when each of J groups is left out of both.

    Attributes
    ----------
    n
        J, the groups of either run.
    squares
        The sum of the squared deviations of the changes from their mean.
    spread
        The sum of the squared deviations of those squares from theirs.
    """

    n: int
    squares: float
    spread: float


@dataclass(frozen=True)
class Counts:
    """How many groups of a grouping factor the earlier run has, the later one, and both."""

    group: str
    before: int
    now: int
    shared: int


@dataclass(frozen=True)
class Groups:
    """What two runs say of single groups.

    Attributes
    ----------
    changes
        By model and symbols; a parameter whose influences are not known in both runs is missing.
    counts
        By model.
    """

    changes: Mapping[tuple[str, Symbols], GroupChange]
    counts: Mapping[str, Sequence[Counts]]


def drift(now: StoredRun, before: StoredRun, groups: Groups, alpha: float) -> pl.DataFrame:
    """Compare two runs, model by model.

    Parameters
    ----------
    now, before
        The later run and the earlier one.
    groups
        What they say of single groups, of the parameters that `symbol_pairs` lists.
    alpha
        The significance level of the flags, for all tests of a model together (Holm).

    Returns
    -------
    polars.DataFrame
        Column ``model`` and the columns of `DRIFT`. ``against`` is null: the caller fills in whether the earlier run is
        the previous one or the baseline. A model that is not in both runs has no rows.
    """
    frames = [pl.DataFrame(schema={"model": pl.String(), **DRIFT})]
    models = [(model, True) for model in _shared(now.tables, before.tables, "models")]
    models += [(model, False) for model in _shared(now.tables, before.tables, "sem_fit")]
    for model, is_mixed in models:
        both = now.of_model(model), before.of_model(model)
        rows = _with_flags(list(_model_rows(model, *both, groups) if is_mixed else _sem_rows(*both)), alpha)
        values = {name: [row.get(name) for row in rows] for name in DRIFT}
        values["reference_run"] = [before.run_id] * len(rows)
        frames.append(with_model(model, frame(DRIFT, values)))
    return pl.concat(frames)


def _shared(now: Tables, before: Tables, table: str) -> list[str]:
    """The models of a table that both runs have."""
    before_models = set(before[table]["model"])
    return [name for name in now[table]["model"] if name in before_models]


def _sem_rows(now_tables: Tables, before_tables: Tables) -> Iterator[Row]:
    """Yield the rows of a structural equation model, its parameters compared as if the runs were independent."""
    now_fit, before_fit = (tables["sem_fit"].row(0, named=True) for tables in (now_tables, before_tables))
    # runs of an earlier version do not tell of slopes and missing
    options = [name for name in _SEM_OPTIONS if before_fit[name] not in (None, now_fit[name])]
    if now_fit["syntax"] != before_fit["syntax"] or options:
        was = "".join(f"; {name} was {before_fit[name]}" for name in options)
        note = f"the model has changed, so its parameters are not compared{was}"
        yield {"kind": "model", "flagged": False, "note": note}
    else:
        keys = ["level", "lhs", "op", "rhs", "population"]
        # a parameter that is fixed, as that of a random slope's path, has no error and an interval of its value
        is_fixed = pl.col("std_error").is_null() & pl.col("conf_low").is_not_null()
        pairs = (
            now_tables["sem_parameters"]
            .filter(~is_fixed)
            .join(before_tables["sem_parameters"], on=keys, suffix="_before", nulls_equal=True, maintain_order="left")
        )
        for row in pairs.iter_rows(named=True):
            keys_of_row = {"kind": "sem_parameter", "group": _LEVELS.get(row["level"]), "term": _parameter_text(row)}
            errors = row["std_error"], row["std_error_before"]
            yield keys_of_row | _comparison_row(row["estimate"], row["estimate_before"], errors, None, (None, None))
    for term, column in (("rows", "n_obs"), ("clusters", "n_clusters")):
        before, now = (tables["sem_fit"][column][0] for tables in (before_tables, now_tables))
        yield _count_row(term, None, before, now, now < SHRUNK * before)


def _parameter_text(row: Row) -> str:
    text = f"{row['lhs']} {row['op']} {row['rhs']}".strip()
    return text if row["population"] is None else f"{text} in {row['population']}"


def _model_rows(model: str, now_tables: Tables, before_tables: Tables, groups: Groups) -> Iterator[Row]:
    """Yield the rows of a mixed model, tests first; the tests have no flags yet."""
    formulas = [tables["models"]["formula"][0] for tables in (now_tables, before_tables)]
    if formulas[0] != formulas[1]:
        note = f"the model has changed, so that its parameters are not compared; it was {formulas[1]}"
        yield {"kind": "model", "flagged": False, "note": note}
    else:
        yield from _parameter_rows(model, now_tables, before_tables, groups.changes)
    yield from _sample_rows(now_tables, before_tables, groups.counts.get(model, ()))


def symbol_pairs(now: StoredRun, before: StoredRun) -> list[tuple[str, Symbols]]:
    """Models and parameters of two runs for `compare_groups`: of every mixed model the residual variance."""
    pairs = []
    for model in _shared(now.tables, before.tables, "models"):
        now_tables, before_tables = now.of_model(model), before.of_model(model)
        pairs.append((model, RESIDUAL))
        if now_tables["models"]["formula"][0] == before_tables["models"]["formula"][0]:
            estimates = _estimates(now_tables, before_tables)
            symbols = [(now_row["symbol"], before_row["symbol"]) for _, _, now_row, before_row in estimates]
            pairs += [(model, pair) for pair in dict.fromkeys((*symbols, ICC)) if pair != RESIDUAL]
    return pairs


def _estimates(now_tables: Tables, before_tables: Tables) -> Iterator[tuple[str, Sequence[str], Row, Row]]:
    """Yield kind, keys and both rows of each fixed effect and variance that both runs have."""
    tables = (("fixed_effect", "fixed_effects", ("term",)), ("variance", "variance_components", _COMPONENT))
    for kind, table, keys in tables:
        before_rows = {tuple(row[key] for key in keys): row for row in before_tables[table].iter_rows(named=True)}
        for now in now_tables[table].iter_rows(named=True):
            if (before := before_rows.get(tuple(now[key] for key in keys))) is not None:
                yield kind, keys, now, before


def _parameter_rows(
    model: str, now_tables: Tables, before_tables: Tables, changes: Mapping[tuple[str, Symbols], GroupChange]
) -> Iterator[Row]:
    for kind, keys, now, before in _estimates(now_tables, before_tables):
        change = changes.get((model, (now["symbol"], before["symbol"])))
        errors, df = ((now.get(name), before.get(name)) for name in ("std_error", "df"))
        keys_of_row = {"kind": kind} | {key: now[key] for key in keys}
        yield keys_of_row | _comparison_row(now["estimate"], before["estimate"], errors, change, df)
    icc = now_tables["fit_statistics"]["icc"][0], before_tables["fit_statistics"]["icc"][0]
    if None not in icc:
        yield {"kind": "icc"} | _comparison_row(*icc, (None, None), changes.get((model, ICC)), (None, None))


def _comparison_row(
    now: float | None,
    before: float | None,
    errors: tuple[float | None, float | None],
    change: GroupChange | None,
    degrees: tuple[float | None, float | None],
) -> Row:
    """Return the row of one comparison, without its flag."""
    row: Row = {"before": before, "now": now}
    if now is None or before is None:
        return row
    row["difference"] = difference = now - before
    scale = max((error for error in errors if error is not None), default=abs(before)) or abs(before)
    if change is not None:
        row |= {"method": "jackknife", "std_error": _jackknife(change), "df": _degrees(change)}
    elif errors[0] is not None and errors[1] is not None:
        df = min((value for value in degrees if value is not None), default=None)
        row |= {"method": "independent", "std_error": math.hypot(errors[0], errors[1]), "df": df}
    error = row.get("std_error")
    if error is None or max(error, abs(difference)) <= _ROUNDING * scale or error == 0.0:
        return row
    row["statistic"] = difference / error
    return row | {"p_value": _two_sided(row["statistic"], row["df"])}


def _jackknife(change: GroupChange) -> float:
    return math.sqrt((change.n - 1) / change.n * change.squares)


def _degrees(change: GroupChange) -> float | None:
    return min(2.0 * change.squares**2 / change.spread, change.n - 1.0) if change.spread > 0 else None


def _two_sided(statistic: float, df: float | None) -> float:
    return float(two_sided_p(math.inf if df is None else df, statistic))


def _with_flags(rows: list[Row], alpha: float) -> list[Row]:
    """Add adjusted p values and flags to the rows."""
    tests = [row for row in rows if row.get("p_value") is not None]
    for row, adjusted in zip(tests, holm(np.array([row["p_value"] for row in tests])), strict=True):
        row |= {"p_adjusted": float(adjusted), "flagged": bool(adjusted < alpha)}
    return [{"flagged": False} | row for row in rows]


def _sample_rows(now_tables: Tables, before_tables: Tables, counts: Sequence[Counts]) -> Iterator[Row]:
    """Yield the number of rows of the model, and of its shared, new and vanished groups."""
    rows = [tables["fit_statistics"]["n_obs"][0] for tables in (now_tables, before_tables)]
    yield _count_row("rows", None, rows[1], rows[0], rows[0] < SHRUNK * rows[1])
    for of in counts:
        yield _count_row("groups", of.group, of.before, of.now, of.shared < SHRUNK * of.before)
        for term, n in (("shared", of.shared), ("new", of.now - of.shared), ("vanished", of.before - of.shared)):
            yield {"kind": "sample", "group": of.group, "term": f"groups {term}", "now": float(n)}


def _count_row(term: str, group: str | None, before: int, now: int, flagged: bool) -> Row:
    return {
        "kind": "sample",
        "group": group,
        "term": term,
        "before": float(before),
        "now": float(now),
        "difference": float(now - before),
        "flagged": flagged,
    }
