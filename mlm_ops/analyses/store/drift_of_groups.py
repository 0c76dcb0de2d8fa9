"""Compare by SQL what two stored runs say of single groups: their influences on the estimates, and which there are.

The rows of single groups are the many ones of a store, so that they stay in the database: what comes out is a row for
each parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import polars as pl

from mlm_ops.analyses.drift import RESIDUAL, Counts, GroupChange, Groups, Symbols
from mlm_ops.analyses.store.tables import registered
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.sql import qualified


class RunPair(NamedTuple):
    """Two runs of an analysis, by their ids."""

    analysis: str
    now: str
    before: str


def compare_groups(
    connection: Connection, schema: str, parameters: Mapping[RunPair, Iterable[tuple[str, Symbols]]]
) -> dict[RunPair, Groups]:
    """Compare the groups of pairs of runs.

    Parameters
    ----------
    schema
        The schema of the store.
    parameters
        Of each pair the models and parameters that are compared, `RESIDUAL` of each model among them.
    """
    rows = [(*pair, model, *symbols) for pair, of_pair in parameters.items() for model, symbols in of_pair]
    names = ["analysis", "now", "before", "model", "symbol", "symbol_before"]
    frame = pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row").with_row_index("number")
    changes: dict[RunPair, dict[tuple[str, Symbols], GroupChange]] = {pair: {} for pair in parameters}
    counts: dict[RunPair, dict[str, list[Counts]]] = {pair: {} for pair in parameters}
    with registered(connection, "mlm_parameters", frame):
        for number, group, n, now, before, unknown, squares, spread in connection.execute(_changes(schema)).fetchall():
            (*pair, model, symbol, symbol_before), symbols = rows[number], rows[number][-2:]
            if now and before and not unknown:
                changes[RunPair(*pair)][model, (symbol, symbol_before)] = GroupChange(n, squares, spread)
            if now and before and symbols == RESIDUAL:
                counts[RunPair(*pair)][model] = [Counts(group, before, now, now + before - n)]
    others = [
        (*pair, model)
        for pair, of_pair in parameters.items()
        for model in dict.fromkeys(model for model, _ in of_pair)
        if model not in counts[pair]
    ]
    if others:
        frame = pl.DataFrame(others, dict.fromkeys(names[:4], pl.String), orient="row").with_row_index("number")
        with registered(connection, "mlm_models", frame):
            for number, group, now, before, shared in connection.execute(_counts(schema)).fetchall():
                *pair, model = others[number]
                counts[RunPair(*pair)].setdefault(model, []).append(Counts(group, before, now, shared))
    return {pair: Groups(changes[pair], counts[pair]) for pair in parameters}


def _changes(schema: str) -> str:
    """The query for a row of each parameter: the deviations from the mean in two steps, as rounding demands.

    The sums are compensated ones (Kahan), since others depend on the order of the rows and the number of threads.
    """
    return f"""
        with now_rows as ({_influences(schema, "now", "symbol")}),
        before_rows as ({_influences(schema, "before", "symbol_before")}),
        joined as materialized (
            select
                number, coalesce(n."group", b."group") as "group", n.unit is not null as is_now,
                b.unit is not null as is_before,
                (is_now and n.change is null) or (is_before and b.change is null) as is_unknown,
                coalesce(n.change, 0) - coalesce(b.change, 0) as change
            from now_rows as n full join before_rows as b using (number, unit)
        ),
        means as (
            select
                number, any_value("group") as "group", count(*) as n, count_if(is_now) as now,
                count_if(is_before) as before, count_if(is_unknown) as unknown, favg(change) as mean
            from joined group by number
        ),
        squares as (select number, (change - mean) ** 2 as square from joined join means using (number)),
        sums as (select number, fsum(square) as total, favg(square) as mean_square from squares group by number)
        select number, any_value("group"), any_value(n), any_value(now), any_value(before), any_value(unknown),
               any_value(total), fsum((square - mean_square) ** 2)
        from squares join means using (number) join sums using (number) group by number"""


def _influences(schema: str, run: str, symbol: str) -> str:
    return f"""
        select p.number, i."group", i.unit, i.change
        from {qualified(schema, "influence")} as i join mlm_parameters as p
        on i.run_id = p.{run} and i.analysis = p.analysis and i.model = p.model and i.symbol = p.{symbol}"""


def _counts(schema: str) -> str:
    """The query for how many groups there are by their effects, in the order of the later run."""
    return f"""
        with now_units as ({_units(schema, "now")}), before_units as ({_units(schema, "before")})
        select number, "group", count(n.unit), count(b.unit), count(n.unit) filter (b.unit is not null)
        from now_units as n full join before_units as b using (number, "group", unit)
        group by number, "group" having count(n.unit) > 0 order by number, min(n.place)"""


def _units(schema: str, run: str) -> str:
    return f"""
        select m.number, e."group", e.unit, min(e.rowid) as place
        from {qualified(schema, "random_effects")} as e join mlm_models as m
        on e.run_id = m.{run} and e.analysis = m.analysis and e.model = m.model
        group by m.number, e."group", e.unit"""
