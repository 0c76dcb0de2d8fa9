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


def three_level(rows: int, classes: int, schools: int) -> duckdb.DuckDBPyConnection:
    """A table `data`: y on x with a random slope in every class and every school, in the order of both."""
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    connection.execute("select setseed(0.4)")
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    connection.execute(
        f"create table schools as select school, {normal} as u0, 0.3 * {normal} as u1 "
        f"from range({schools}) as r(school)"
    )
    connection.execute(
        f"create table classes as select class, class * {schools} // {classes} as school, 0.8 * {normal} as v0, "
        f"0.2 * {normal} as v1, {normal} as z from range({classes}) as r(class)"
    )
    connection.execute(
        f"""create table data as
        with drawn as (
            select (i * {classes} // {rows})::bigint as class, {normal} as x, {normal} as e from range({rows}) as r(i)
        )
        select school, class, x, z, 1 + u0 + v0 + 0.3 * z + (0.5 + u1 + v1) * x + e as y
        from drawn join classes using (class) join schools using (school) order by school, class"""
    )
    return connection


def crossed(rows: int, students: int, lecturers: int, departments: int) -> duckdb.DuckDBPyConnection:
    """A table `data` like lme4's InstEval: ratings y of lecturers by students, in departments."""
    connection = duckdb.connect()
    connection.execute("select setseed(0.4)")
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    for name, size, scale in (("s", students, 0.33), ("d", lecturers, 0.5), ("dept", departments, 0.1)):
        connection.execute(
            f"create table {name}s as select i as {name}, {scale} * {normal} as u_{name} from range({size}) as r(i)"
        )
    connection.execute(
        f"""create table data as
        with drawn as (
            select (random() * {students})::bigint % {students} as s,
                   (random() * {lecturers})::bigint % {lecturers} as d,
                   (random() < 0.4)::int as service, 1.18 * {normal} as e
            from range({rows})
        )
        select s, d, d % {departments} as dept, service, 3.3 - 0.09 * service + u_s + u_d + u_dept + e as y
        from drawn join ss using (s) join ds using (d) join depts on depts.dept = d % {departments} order by s, d"""
    )
    return connection


def many_predictors(rows: int, groups: int, predictors: int, slopes: int) -> duckdb.DuckDBPyConnection:
    """A table `data`: y on p1, p2, …, independent normal, the first `slopes` of them with random slopes."""
    connection = duckdb.connect()
    connection.execute("set threads = 2")
    connection.execute("select setseed(0.4)")
    normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
    effects = ", ".join(f"0.3 * {normal} as u{i}" for i in range(1, slopes + 1))
    connection.execute(
        f"create table groups as select g, {normal} as u0{', ' if slopes else ''}{effects} from range({groups}) as r(g)"
    )
    drawn = ", ".join(f"{normal} as p{i}" for i in range(1, predictors + 1))
    terms = [f"(0.1{f' + u{i}' if i <= slopes else ''}) * p{i}" for i in range(1, predictors + 1)]
    connection.execute(
        f"""create table data as
        with drawn as (
            select (i * {groups} // {rows})::bigint as g, {drawn}, {normal} as e from range({rows}) as r(i)
        )
        select drawn.* exclude (e), 1 + u0 + {" + ".join(terms)} + e as y from drawn join groups using (g) order by g"""
    )
    return connection
