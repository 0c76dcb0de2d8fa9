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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mlm_ops.inference.fixed.tests import holm
from mlm_ops.moments.arrays import Array
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
FIT_READS = ("fixed_effects", "variance_components", "fit_statistics", "influence", "random_effects", "models")
SEM_READS = ("sem_parameters", "sem_fit")
READS = (*FIT_READS, *SEM_READS)
#: A difference below this share of its parameter's standard error counts as rounding.
_ROUNDING = 1e-8
#: A run with fewer than this share of the earlier run's rows, or of its groups, is flagged.
SHRUNK = 0.5
_COMPONENT = ("group", "term", "other")
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


def drift(now: StoredRun, before: StoredRun, alpha: float) -> pl.DataFrame:
    """Compare two runs, model by model.

    Parameters
    ----------
    now, before
        The later run and the earlier one.
    alpha
        The significance level of the flags, for all tests of a model together (Holm).

    Returns
    -------
    polars.DataFrame
        Column ``model`` and the columns of `DRIFT`. ``against`` is null: the caller fills in whether the earlier run is
        the previous one or the baseline. A model that is not in both runs has no rows.
    """
    frames = [pl.DataFrame(schema={"model": pl.String(), **DRIFT})]
    for model, rows_of in _shared_models(now.tables, before.tables):
        now_tables, before_tables = (_tables_of_model(run.tables, model) for run in (now, before))
        rows = _with_flags(list(rows_of(now_tables, before_tables)), alpha)
        values = {name: [row.get(name) for row in rows] for name in DRIFT}
        values["reference_run"] = [before.run_id] * len(rows)
        frames.append(with_model(model, frame(DRIFT, values)))
    return pl.concat(frames)


def _shared_models(now: Tables, before: Tables) -> Iterator[tuple[str, Callable[[Tables, Tables], Iterator[Row]]]]:
    """Yield each model that both runs have, with the function that makes its rows."""
    for table, rows_of in (("models", _model_rows), ("sem_fit", _sem_rows)):
        before_models = set(before[table]["model"])
        yield from ((name, rows_of) for name in now[table]["model"] if name in before_models)


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


def _tables_of_model(tables: Tables, model: str) -> dict[str, pl.DataFrame]:
    # analyses of many partitions usually have one model, and a filter would copy all rows
    return {
        name: tables[name]
        if (is_of_model := tables[name]["model"] == model).all()
        else tables[name].filter(is_of_model)
        for name in READS
    }


def _model_rows(now_tables: Tables, before_tables: Tables) -> Iterator[Row]:
    """Yield the rows of a mixed model, tests first; the tests have no flags yet."""
    formulas = [tables["models"]["formula"][0] for tables in (now_tables, before_tables)]
    if formulas[0] != formulas[1]:
        note = f"the model has changed, so that its parameters are not compared; it was {formulas[1]}"
        yield {"kind": "model", "flagged": False, "note": note}
    else:
        yield from _parameter_rows(now_tables, before_tables)
    yield from _sample_rows(now_tables, before_tables)


def _parameter_rows(now_tables: Tables, before_tables: Tables) -> Iterator[Row]:
    changes = _Changes(now_tables["influence"], before_tables["influence"])
    tables = (("fixed_effect", "fixed_effects", ("term",)), ("variance", "variance_components", _COMPONENT))
    for kind, table, keys in tables:
        before_rows = {tuple(row[key] for key in keys): row for row in before_tables[table].iter_rows(named=True)}
        for now in now_tables[table].iter_rows(named=True):
            if (before := before_rows.get(tuple(now[key] for key in keys))) is not None:
                change = changes.of(now["symbol"], before["symbol"])
                errors, df = ((now.get(name), before.get(name)) for name in ("std_error", "df"))
                keys_of_row = {"kind": kind} | {key: now[key] for key in keys}
                yield keys_of_row | _comparison_row(now["estimate"], before["estimate"], errors, change, df)
    icc = now_tables["fit_statistics"]["icc"][0], before_tables["fit_statistics"]["icc"][0]
    if None not in icc:
        yield {"kind": "icc"} | _comparison_row(*icc, (None, None), changes.of("icc", "icc"), (None, None))


class _Changes:
    """The influence of each group on the parameters of two runs, with one numbering for the groups of both."""

    def __init__(self, now_rows: pl.DataFrame, before_rows: pl.DataFrame) -> None:
        numbers = pl.concat([now_rows["unit"], before_rows["unit"]]).rank("dense").to_numpy().astype(np.int64) - 1
        self._size = int(numbers.max(initial=-1)) + 1
        self._runs = [
            (run["symbol"], run["change"].to_numpy(), own)
            for run, own in ((now_rows, numbers[: now_rows.height]), (before_rows, numbers[now_rows.height :]))
        ]

    def of(self, symbol: str, before: str) -> Array | None:
        """Return (J,) the change of the difference when each group is left out; None where influences are missing."""
        difference, is_member = np.zeros(self._size), np.zeros(self._size, dtype=bool)
        for (symbols, values, numbers), run_symbol, sign in zip(self._runs, (symbol, before), (1.0, -1.0), strict=True):
            mask = (symbols == run_symbol).to_numpy()
            if not mask.any() or np.isnan(values[mask]).any():
                return None
            difference[numbers[mask]] += sign * values[mask]
            is_member[numbers[mask]] = True
        return difference[is_member]


def _comparison_row(
    now: float | None,
    before: float | None,
    errors: tuple[float | None, float | None],
    change: Array | None,
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


def _jackknife(change: Array) -> float:
    size = len(change)
    return float(np.sqrt((size - 1) / size * np.sum((change - change.mean()) ** 2)))


def _degrees(change: Array) -> float | None:
    squares = (change - change.mean()) ** 2
    spread = float(np.sum((squares - squares.mean()) ** 2))
    return min(2.0 * float(squares.sum()) ** 2 / spread, len(change) - 1.0) if spread > 0 else None


def _two_sided(statistic: float, df: float | None) -> float:
    from scipy.special import ndtr, stdtr

    return float(2 * (ndtr(-abs(statistic)) if df is None else stdtr(df, -abs(statistic))))


def _with_flags(rows: list[Row], alpha: float) -> list[Row]:
    """Add adjusted p values and flags to the rows."""
    tests = [row for row in rows if row.get("p_value") is not None]
    for row, adjusted in zip(tests, holm(np.array([row["p_value"] for row in tests])), strict=True):
        row |= {"p_adjusted": float(adjusted), "flagged": bool(adjusted < alpha)}
    return [{"flagged": False} | row for row in rows]


def _sample_rows(now_tables: Tables, before_tables: Tables) -> Iterator[Row]:
    """Yield the number of rows of the model, and of its shared, new and vanished groups."""
    counts = [tables["fit_statistics"]["n_obs"][0] for tables in (now_tables, before_tables)]
    yield _count_row("rows", None, counts[1], counts[0], counts[0] < SHRUNK * counts[1])
    source = (
        "influence" if all(tables["influence"].height for tables in (now_tables, before_tables)) else "random_effects"
    )
    units, before_units = (_units(tables[source]) for tables in (now_tables, before_tables))
    for group, now in units.items():
        before = before_units.get(group, set())
        shared = len(now & before)
        yield _count_row("groups", group, len(before), len(now), shared < SHRUNK * len(before))
        for term, count in (("shared", shared), ("new", len(now - before)), ("vanished", len(before - now))):
            yield {"kind": "sample", "group": group, "term": f"groups {term}", "now": float(count)}


def _units(rows: pl.DataFrame) -> dict[str, set[str]]:
    """Return the units of each grouping factor."""
    units: dict[str, set[str]] = {}
    for group, unit in zip(rows["group"], rows["unit"], strict=True):
        units.setdefault(group, set()).add(unit)
    return units


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
