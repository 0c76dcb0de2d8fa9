"""Clustered data made inside DuckDB, in the order of their groups."""

from __future__ import annotations

import duckdb


def two_level(rows: int, groups: int, seed: float = 0.4) -> duckdb.DuckDBPyConnection:
    """A table `data`: y on x (random slope), two more level-1 and two level-2 predictors, in `groups` groups g."""
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    connection.execute(f"select setseed({seed})")
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    connection.execute(
        f"create table groups as select g, {normal} as u0, 0.3 * {normal} as u1, {normal} as w, "
        f"(random() < 0.5)::int as t from range({groups}) as r(g)"
    )
    connection.execute(
        f"""create table data as
        with drawn as (
            select (i * {groups} // {rows})::bigint as g, {normal} as x, {normal} as z, {normal} as v, {normal} as e
            from range({rows}) as r(i)
        )
        select g, w, t, x + 0.5 * w as x, z, v,
               1 + u0 + 0.5 * w + 0.2 * t + (0.4 + u1 + 0.2 * w) * (x + 0.5 * w) + 0.1 * z + e as y
        from drawn join groups using (g) order by g"""
    )
    return connection
