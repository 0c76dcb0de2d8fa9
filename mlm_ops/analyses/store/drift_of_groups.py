"""Compare the groups of two stored runs: which groups each has, and their influence on the estimates.

The influences of a group are a list, so that those of a model are read as one array.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from mlm_ops.analyses.drift import Counts, GroupChange, Groups, Symbols
from mlm_ops.moments.arrays import Array
from mlm_ops.results.tables.effects import SEPARATOR
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import Connection, registered
from mlm_ops.warehouse.sql import literal, qualified


class RunPair(NamedTuple):
    """Two runs of an analysis, by their ids."""

    analysis: str
    now: str
    before: str


@dataclass(frozen=True)
class Influences:
    """The influences of the units of one model in one run.

    Attributes
    ----------
    group
        The grouping factor.
    units
        (J,) their names.
    changes
        (J,) by symbol: the estimate minus that without each unit; not a number where that is unknown.
    """

    group: str
    units: pl.Series
    changes: Mapping[str, Array]


def compare_groups(
    connection: Connection,
    schema: str,
    parameters: Mapping[RunPair, Iterable[tuple[str, Symbols]]],
    written: Mapping[tuple[str, str], pl.DataFrame] | None = None,
) -> dict[RunPair, Groups]:
    """Compare the groups of pairs of runs.

    Parameters
    ----------
    schema
        The schema of the store.
    parameters
        Of each pair the models and parameters that are compared, `RESIDUAL` of each model among them.
    written
        The rows of ``influence_lists`` of runs that were just written, by run and analysis, which need not be read.
    """
    changes: dict[RunPair, dict[tuple[str, Symbols], GroupChange]] = {pair: {} for pair in parameters}
    counts: dict[RunPair, dict[str, list[Counts]]] = {pair: {} for pair in parameters}
    others: list[tuple[str, ...]] = []
    by_model: dict[str, dict[RunPair, list[Symbols]]] = {}
    for pair, of_pair in parameters.items():
        for model, symbols in of_pair:
            by_model.setdefault(model, {}).setdefault(pair, []).append(symbols)
    written = written or {}
    keys = dict.fromkeys((run, pair.analysis) for pair in parameters for run in (pair.now, pair.before))
    headings = _headings(connection, schema, [key for key in keys if key not in written])
    # model by model, as a run has millions of them
    for model, symbols_by_pair in by_model.items():
        influences = _written_influences(model, symbols_by_pair, written)
        influences |= _stored_influences(connection, schema, model, symbols_by_pair, headings)
        for pair, of_model in symbols_by_pair.items():
            now, before = (influences.get((run, pair.analysis)) for run in (pair.now, pair.before))
            if now is None or before is None:
                others.append((*pair, model))
                continue
            same_units = now.units.equals(before.units)
            compared = _compare(now, before, of_model, same_units=same_units)
            changes[pair] |= {(model, key): change for key, change in compared.items()}
            shared = len(now.units) if same_units else int(now.units.is_in(before.units.implode()).sum())
            counts[pair][model] = [Counts(now.group, len(before.units), len(now.units), shared)]
    if others:
        names = dict.fromkeys(("analysis", "now", "before", "model"), pl.String)
        frame = pl.DataFrame(others, names, orient="row").with_row_index("number")
        with registered(connection, ArrowStream(frame)) as models:
            for number, group, n, n_before, shared in connection.execute(_counts(schema, models)).fetchall():
                *of_pair, model = others[number]
                counts[RunPair(*of_pair)].setdefault(model, []).append(Counts(group, n_before, n, shared))
    return {pair: Groups(changes[pair], counts[pair]) for pair in parameters}


#: The grouping factor and the symbols of influences, by run, analysis and model.
_Headings = Mapping[tuple[str, str, str], tuple[str, str]]


def _headings(connection: Connection, schema: str, keys: Collection[tuple[str, str]]) -> _Headings:
    """What all units of a model have alike, of these runs and analyses: to read it row by row takes twice as long."""
    if not keys:
        return {}
    rows = connection.execute(
        f"""
        select run_id, analysis, model, any_value("group"), any_value(symbols)
        from {qualified(schema, "influence_lists")}
        where run_id in ({", ".join(map(literal, dict.fromkeys(run for run, _ in keys)))})
        and analysis in ({", ".join(map(literal, dict.fromkeys(analysis for _, analysis in keys)))})
        group by run_id, analysis, model"""
    ).fetchall()
    return {(run, analysis, model): (group, symbols) for run, analysis, model, group, symbols in rows}


def _stored_influences(
    connection: Connection, schema: str, model: str, pairs: Iterable[RunPair], headings: _Headings
) -> dict[tuple[str, str], Influences]:
    """The influences of a model in the runs of all pairs that have headings, by run and analysis."""
    analyses_by_run: dict[str, dict[str, None]] = {}
    for run, analysis in ((run, pair.analysis) for pair in pairs for run in (pair.now, pair.before)):
        if (run, analysis, model) in headings:
            analyses_by_run.setdefault(run, {})[analysis] = None
    influences: dict[tuple[str, str], Influences] = {}
    # a query for each run finds its rows side by side; one for all would join, and copy the rows
    for run, analyses in analyses_by_run.items():
        names = list(analyses)
        rows: pl.DataFrame = connection.sql(
            f"""
            select {"" if len(names) == 1 else "analysis, "}unit, changes from {qualified(schema, "influence_lists")}
            where run_id = {literal(run)} and analysis in ({", ".join(map(literal, names))})
            and model = {literal(model)}"""
        ).pl()
        # to tell the rows of several apart copies them
        parts = {names[0]: rows} if len(names) == 1 else _by_analysis(rows)
        for analysis, part in parts.items():
            influences[run, analysis] = _of_model(part, *headings[run, analysis, model])
    return influences


def _by_analysis(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {part["analysis"][0]: part for part in rows.partition_by("analysis", maintain_order=True)}


def _written_influences(
    model: str, pairs: Iterable[RunPair], written: Mapping[tuple[str, str], pl.DataFrame]
) -> dict[tuple[str, str], Influences]:
    """The influences of a model in the runs that were just written, by run and analysis."""
    influences: dict[tuple[str, str], Influences] = {}
    for key in dict.fromkeys((run, pair.analysis) for pair in pairs for run in (pair.now, pair.before)):
        if key in written and (own := written[key].filter(pl.col("model") == model)).height:
            influences[key] = _of_model(own, own["group"][0], own["symbols"][0])
    return influences


def _of_model(rows: pl.DataFrame, group: str, text: str) -> Influences:
    symbols = text.split(SEPARATOR)
    changes = rows["changes"].explode().to_numpy().reshape(len(rows), len(symbols))
    return Influences(group, rows["unit"], dict(zip(symbols, changes.T, strict=True)))


def _compare(
    now: Influences, before: Influences, pairs: Collection[Symbols], *, same_units: bool
) -> dict[Symbols, GroupChange]:
    """Compare the parameters whose influences are known in both runs.

    A run that does not have a unit is not changed by leaving it out.
    """
    pairs = [pair for pair in pairs if pair[0] in now.changes and pair[1] in before.changes]
    if not pairs:
        return {}
    values, values_before = (
        np.column_stack([run.changes[pair[i]] for pair in pairs]) for i, run in enumerate((now, before))
    )
    if not same_units:
        units = pl.concat([now.units, before.units]).unique(maintain_order=True)
        values, values_before = (
            _of_units(units, run.units, array) for run, array in ((now, values), (before, values_before))
        )
    change = values - values_before
    n = len(change)
    if not change.any():
        # as where a run reads the same rows again; what is not a number counts as a change
        return dict.fromkeys(pairs, GroupChange(n, 0.0, 0.0))
    squares = (change - _sum(change) / n) ** 2
    total = _sum(squares)
    spread = _sum((squares - total / n) ** 2)
    return {
        pair: GroupChange(n, float(total[i]), float(spread[i]))
        for i, pair in enumerate(pairs)
        if np.isfinite(change[:, i]).all()
    }


def _of_units(units: pl.Series, own: pl.Series, values: Array) -> Array:
    """(J, S) values of all units, zero for those that the run does not have.

    In stores of before 0.2 two units of several columns may have one name; of these the first stands for both.
    """
    places = pl.DataFrame({"unit": own}).with_row_index("place").unique("unit", keep="first", maintain_order=True)
    at = pl.DataFrame({"unit": units}).join(places, on="unit", how="left", maintain_order="left")["place"]
    rows: Array = np.where(at.is_not_null().to_numpy()[:, None], values[at.fill_null(0).to_numpy()], 0.0)
    return rows


def _sum(values: Array) -> Array:
    """(S,) sums of (J, S) values, with what rounding took from each addition of two given back.

    A plain sum of numbers of very different size depends on their order (Ogita, Rump and Oishi 2005, SIAM Journal on
    Scientific Computing 26, 1955-1988).
    """
    lost = np.zeros(values.shape[1])
    while len(values) > 1:
        half = len(values) // 2
        a, b, rest = values[:half], values[half : 2 * half], values[2 * half :]
        total = a + b
        part = total - a
        lost += ((a - (total - part)) + (b - part)).sum(axis=0)
        values = np.concatenate((total, rest))
    sums: Array = values[0] + lost
    return sums


def _counts(schema: str, models: str) -> str:
    """The query for how many groups there are by their effects, in the order of the later run.

    Parameters
    ----------
    models
        The relation of the numbered models: their analyses, and the two runs of each.
    """
    return f"""
        with now_units as ({_units(schema, models, "now")}), before_units as ({_units(schema, models, "before")})
        select number, "group", count(n.unit), count(b.unit), count(n.unit) filter (b.unit is not null)
        from now_units as n full join before_units as b using (number, "group", unit)
        group by number, "group" having count(n.unit) > 0 order by number, min(n.place)"""


def _units(schema: str, models: str, run: str) -> str:
    return f"""
        select m.number, e."group", e.unit, min(e.rowid) as place
        from {qualified(schema, "random_effects")} as e join {models} as m
        on e.run_id = m.{run} and e.analysis = m.analysis and e.model = m.model
        group by m.number, e."group", e.unit"""
