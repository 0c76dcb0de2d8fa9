"""What has changed between two runs of an analysis, and whether by more than chance.

Two runs share groups, and often rows, so that their estimates are not independent. Where the store has each group's
influence on them, the error of a difference is its delete-one-group jackknife: leaving a group out of both runs changes
the difference by ``d_j``, the group's influence in the later run minus that in the earlier one, zero where it is not in
a run, and ``Var = (J - 1) / J sum_j (d_j - mean)^2`` over the J groups of either run (Efron and Stein 1981, Annals of
Statistics 9, 586-596). It needs no word on which rows are shared: what both runs have in common cancels in ``d_j``. The
t distribution's degrees of freedom are Satterthwaite's (1946) with the variance of the squares taken from the squares:
``2 (sum d^2)^2 / sum (d^2 - mean)^2``, so that a difference made by few groups is judged as one.

Elsewhere the errors are added as if the runs were independent. Shared rows make estimates alike, so that this test
errs on the side of silence: with the same rows in both runs it never speaks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.inference.fixed.tests import holm
from mlm_ops.results.tables.columns import FLAG, REAL, TEXT, Schema, frame, with_model

DRIFT: Schema = {
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
#: A difference of less than this share of its parameter's standard error is rounding.
_ROUNDING = 1e-8
#: A run with fewer than this share of the earlier run's rows, or of its groups, is flagged.
SHRUNK = 0.5
_COMPONENT = ("group", "term", "other")
_LEVELS = {1: "within", 2: "between"}
Tables = Mapping[str, pl.DataFrame]
Row = dict[str, Any]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it: its id, and those of its tables that `READS` names."""

    run_id: str
    tables: Mapping[str, pl.DataFrame]


def drift(now: StoredRun, before: StoredRun, alpha: float) -> pl.DataFrame:
    """Compare two runs, model by model.

    Parameters
    ----------
    now, before
        The later run and the earlier one.
    alpha
        Level of the flags, for all tests of a model together (Holm).

    Returns
    -------
    polars.DataFrame
        Column ``model`` and those of `DRIFT`, where ``against``, what the earlier run is to the later, is null; a model
        that is not in both runs has no rows.
    """
    made = [pl.DataFrame(schema={"model": pl.String(), **DRIFT})]
    for model, rows_of in _shared_models(now.tables, before.tables):
        ours, theirs = (_of_model(run.tables, model) for run in (now, before))
        rows = _judged(list(rows_of(ours, theirs)), alpha)
        values = {name: [row.get(name) for row in rows] for name in DRIFT}
        values["reference_run"] = [before.run_id] * len(rows)
        made.append(with_model(model, frame(DRIFT, values)))
    return pl.concat(made)


def _shared_models(now: Tables, before: Tables) -> Iterator[tuple[str, Callable[[Tables, Tables], Iterator[Row]]]]:
    """Models of both runs, and what draws up their rows."""
    for table, rows_of in (("models", _rows), ("sem_fit", _structural)):
        earlier = set(before[table]["model"])
        yield from ((name, rows_of) for name in now[table]["model"] if name in earlier)


def _structural(ours: Tables, theirs: Tables) -> Iterator[Row]:
    """Every row of a structural equation model; its parameters are compared as if the runs were independent."""
    texts = [tables["sem_fit"]["syntax"][0] for tables in (ours, theirs)]
    if texts[0] != texts[1]:
        yield {"kind": "model", "flagged": False, "note": "the model has changed, so its parameters are not compared"}
    else:
        keys = ["level", "lhs", "op", "rhs"]
        pairs = ours["sem_parameters"].join(
            theirs["sem_parameters"], on=keys, suffix="_before", nulls_equal=True, maintain_order="left"
        )
        for row in pairs.iter_rows(named=True):
            place = {"kind": "sem_parameter", "group": _LEVELS.get(row["level"]), "term": _written(row)}
            errors = row["std_error"], row["std_error_before"]
            yield place | _compared(row["estimate"], row["estimate_before"], errors, None, (None, None))
    for term, column in (("rows", "n_obs"), ("clusters", "n_clusters")):
        before, now = (tables["sem_fit"][column][0] for tables in (theirs, ours))
        yield _counted(term, None, before, now, now < SHRUNK * before)


def _written(row: Row) -> str:
    return f"{row['lhs']} {row['op']} {row['rhs']}".strip()


def _of_model(tables: Tables, model: str) -> dict[str, pl.DataFrame]:
    # most analyses of many partitions have one model, whose rows need not be looked for
    return {
        name: tables[name] if (own := tables[name]["model"] == model).all() else tables[name].filter(own)
        for name in READS
    }


def _rows(ours: Tables, theirs: Tables) -> Iterator[Row]:
    """Every row of a model, tests first, without flags of tests."""
    formulas = [tables["models"]["formula"][0] for tables in (ours, theirs)]
    if formulas[0] != formulas[1]:
        note = f"the model has changed, so that its parameters are not compared; it was {formulas[1]}"
        yield {"kind": "model", "flagged": False, "note": note}
    else:
        yield from _parameters(ours, theirs)
    yield from _sample(ours, theirs)


def _parameters(ours: Tables, theirs: Tables) -> Iterator[Row]:
    changes = _Changes(ours["influence"], theirs["influence"])
    tables = (("fixed_effect", "fixed_effects", ("term",)), ("variance", "variance_components", _COMPONENT))
    for kind, table, keys in tables:
        earlier = {tuple(row[key] for key in keys): row for row in theirs[table].iter_rows(named=True)}
        for now in ours[table].iter_rows(named=True):
            if (before := earlier.get(tuple(now[key] for key in keys))) is not None:
                change = changes.of(now["symbol"], before["symbol"])
                errors, df = ((now.get(name), before.get(name)) for name in ("std_error", "df"))
                place = {"kind": kind} | {key: now[key] for key in keys}
                yield place | _compared(now["estimate"], before["estimate"], errors, change, df)
    icc = ours["fit_statistics"]["icc"][0], theirs["fit_statistics"]["icc"][0]
    if None not in icc:
        yield {"kind": "icc"} | _compared(*icc, (None, None), changes.of("icc", "icc"), (None, None))


class _Changes:
    """How leaving out a group changes the parameters of two runs, the groups of either numbered once."""

    def __init__(self, ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
        numbers = pl.concat([ours["unit"], theirs["unit"]]).rank("dense").to_numpy().astype(np.int64) - 1
        self._size = int(numbers.max(initial=-1)) + 1
        self._runs = [
            (run["symbol"], run["change"].to_numpy(), own)
            for run, own in ((ours, numbers[: ours.height]), (theirs, numbers[ours.height :]))
        ]

    def of(self, symbol: str, before: str) -> Array | None:
        """(J,) how leaving out each group of either run changes the difference; None where that is not known."""
        difference, present = np.zeros(self._size), np.zeros(self._size, dtype=bool)
        for (symbols, values, numbers), own, sign in zip(self._runs, (symbol, before), (1.0, -1.0), strict=True):
            here = (symbols == own).to_numpy()
            if not here.any() or np.isnan(values[here]).any():
                return None
            difference[numbers[here]] += sign * values[here]
            present[numbers[here]] = True
        return difference[present]


def _compared(
    now: float | None,
    before: float | None,
    errors: tuple[float | None, float | None],
    change: Array | None,
    degrees: tuple[float | None, float | None],
) -> Row:
    """One test: a row without its flag."""
    row: Row = {"before": before, "now": now}
    if now is None or before is None:
        return row
    row["difference"] = difference = now - before
    scale = max((error for error in errors if error is not None), default=abs(before)) or abs(before)
    if change is not None:
        row |= {"method": "jackknife", "std_error": _jackknife(change), "df": _degrees(change)}
    elif errors[0] is not None and errors[1] is not None:
        df = min((found for found in degrees if found is not None), default=None)
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


def _judged(rows: list[Row], alpha: float) -> list[Row]:
    """The rows with adjusted p values and flags."""
    tested = [row for row in rows if row.get("p_value") is not None]
    for row, adjusted in zip(tested, holm(np.array([row["p_value"] for row in tested])), strict=True):
        row |= {"p_adjusted": float(adjusted), "flagged": bool(adjusted < alpha)}
    return [{"flagged": False} | row for row in rows]


def _sample(ours: Tables, theirs: Tables) -> Iterator[Row]:
    """Rows of the model, and how many groups are shared, new and gone."""
    counts = [tables["fit_statistics"]["n_obs"][0] for tables in (ours, theirs)]
    yield _counted("rows", None, counts[1], counts[0], counts[0] < SHRUNK * counts[1])
    source = "influence" if all(tables["influence"].height for tables in (ours, theirs)) else "random_effects"
    units, earlier = (_units(tables[source]) for tables in (ours, theirs))
    for group, now in units.items():
        before = earlier.get(group, set())
        shared = len(now & before)
        yield _counted("groups", group, len(before), len(now), shared < SHRUNK * len(before))
        for term, found in (("shared", shared), ("new", len(now - before)), ("vanished", len(before - now))):
            yield {"kind": "sample", "group": group, "term": f"groups {term}", "now": float(found)}


def _units(rows: pl.DataFrame) -> dict[str, set[str]]:
    """The units of each grouping factor."""
    found: dict[str, set[str]] = {}
    for group, unit in zip(rows["group"], rows["unit"], strict=True):
        found.setdefault(group, set()).add(unit)
    return found


def _counted(term: str, group: str | None, before: int, now: int, flagged: bool) -> Row:
    return {
        "kind": "sample",
        "group": group,
        "term": term,
        "before": float(before),
        "now": float(now),
        "difference": float(now - before),
        "flagged": flagged,
    }
