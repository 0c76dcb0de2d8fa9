"""Columns of tables of moments have names of their own, whatever the columns of the rows are called."""

from __future__ import annotations

import json
from itertools import permutations

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlm_ops as mlm
from mlm_ops.analyses.centered import create_centered
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis, keep_moments
from mlm_ops.errors import DataError
from mlm_ops.moments.record import Moments
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.warehouse.sql import render
from tests.specification.reference.reference import HERE

ODD = [
    *("n", "N", "unit", "u_0", "x0", "c0", "v_0", "one", "part", "stratum", "gap", "place", "root", "mlm_rows"),
    *("mean_x", "mean_y", "center_x", "scatter_x_x", "scatter_x_y", "value_w", "deviation_x", "mean_x (2)", "n (2)"),
    *("a_b", "c", "a", "b_c", "a_b_c", "A", "B_C", "_", "x_by_y", 'quote"d', "with.dot", "ä", "Ä", "two words", "it's"),
]


def frame(names: list[str], group: str) -> pl.DataFrame:
    """Eight units of twelve rows; the outcome is called y, the text tt."""
    random = np.random.default_rng(len(names))
    columns: dict[str, object] = {group: [f"u{i % 8}" for i in range(96)], "y": random.normal(size=96)}
    columns |= {name: random.normal(size=96) + 10 for name in names}
    return pl.DataFrame(columns | {"tt": ["pqr"[i * 7 % 11 % 3] for i in range(96)]})


def sum_of_names(names: list[str]) -> str:
    return " + ".join(f"`{name}`" for name in names)


def same(moments: Moments, expected: Moments) -> None:
    assert moments.schema == expected.schema
    for name in ("n", "mean", "scatter"):
        np.testing.assert_array_equal(getattr(moments, name), getattr(expected, name))
    for ours, theirs in zip(
        (*moments.labels, *moments.constants), (*expected.labels, *expected.constants), strict=True
    ):
        assert ours.tolist() == theirs.tolist()


def _clash(columns: list[str], group: str) -> bool:
    table_columns = [group, "n", *(f"{what}_{c}" for c in columns for what in ("center", "mean"))]
    table_columns += [f"scatter_{a}_{b}" for i, a in enumerate(columns) for b in columns[: i + 1]]
    return len({name.lower() for name in table_columns}) < len(table_columns)


names_of_columns = st.lists(
    st.one_of(st.sampled_from(ODD), st.text("abxn_.\" '", min_size=1, max_size=6).filter(lambda s: s.strip())),
    min_size=2,
    max_size=6,
    unique_by=str.lower,
).filter(lambda names: not {"y", "tt"} & {name.lower() for name in names})


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(names_of_columns)
def test_any_names_are_kept_apart(names: list[str]) -> None:
    """The likelihood does not depend on names, and what is kept is what was collected."""
    group, *columns = names
    rows = frame(columns, group)
    plain = rows.rename({group: "g"} | {name: f"p{i}" for i, name in enumerate(columns)})
    expected = mlm.fit(f"y ~ {sum_of_names([f'p{i}' for i in range(len(columns))])} + tt + (1 | g)", plain)
    fit = mlm.fit(f"y ~ {sum_of_names(columns)} + tt + (1 | `{group}`)", rows)
    assert fit.estimate.log_likelihood == pytest.approx(expected.estimate.log_likelihood, abs=1e-9)
    connection = duckdb.connect()
    save_moments(connection, fit.moments, "kept")
    same(load_moments(connection, "kept"), fit.moments)
    connection.register("frame", rows.to_arrow())
    connection.execute("create table t as from frame")
    if _clash(["y", *columns], group):
        with pytest.raises(DataError, match=r"^mlm\.group_moments\(\) would call two columns "):
            render("group_moments", relation="t", columns=["y", *columns], group=group)
        return
    sql = render("group_moments", relation="t", columns=["y", *columns], group=group)
    connection.execute(f"create table made as {sql}")
    moments = mlm.read_moments("made", group, connection=connection)
    ours = mlm.fit(f"y ~ {sum_of_names(columns)} + (1 | `{group}`)", moments)
    theirs = mlm.fit(f"y ~ {sum_of_names(columns)} + (1 | `{group}`)", rows)
    assert ours.estimate.log_likelihood == pytest.approx(theirs.estimate.log_likelihood, abs=1e-8)


@pytest.mark.parametrize("order", list(permutations(["a_b", "c", "a", "b_c"])))
def test_names_that_run_together(order: tuple[str, ...]) -> None:
    """In some orders two scatters would have one name; in others each has its own, and is read as what it is."""
    rows = frame(list(order), "g")
    formula = f"y ~ {sum_of_names(sorted(order))} + (1 | g)"
    fit, connection = mlm.fit(formula, rows), duckdb.connect()
    save_moments(connection, fit.moments, "kept")
    same(load_moments(connection, "kept"), fit.moments)
    connection.register("frame", rows.to_arrow())
    connection.execute("create table t as from frame")
    if _clash(["y", *order], "g"):
        with pytest.raises(DataError, match=r"two columns scatter_a_b_c: the scatter of .*, and the scatter of"):
            render("group_moments", relation="t", columns=["y", *order], group="g")
        return
    sql = render("group_moments", relation="t", columns=["y", *order], group="g")
    connection.execute(f"create table made as {sql}")
    from_table = mlm.fit(formula, mlm.read_moments("made", "g", connection=connection))
    assert from_table.estimate.log_likelihood == pytest.approx(fit.estimate.log_likelihood, abs=1e-8)


def test_a_scatter_of_two_pairs_is_refused() -> None:
    """In a table whose columns stand in another order than the macro's."""
    sums = {"n": [2, 2], **{f"mean_{c}": [1.0, 2.0] for c in ("b_c", "a", "c", "a_b")}}
    columns = ["b_c", "a", "c", "a_b"]
    scatters = {f"scatter_{a}_{b}": [1.0, 2.0] for i, a in enumerate(columns) for b in columns[: i + 1]}
    scatters["scatter_a_b_c"] = [0.1, 0.2]
    with pytest.raises(DataError) as error:
        mlm.read_moments(pl.DataFrame({"g": ["p", "q"], **sums, **scatters}), "g")
    assert str(error.value) == (
        "scatter_a_b_c in the data may be of 'a' and 'b_c', or of 'a_b' and 'c'. Rename one of these columns where "
        "mlm.group_moments() reads it."
    )


def test_groups_called_n() -> None:
    rows = frame(["x"], "n")
    fit = mlm.fit("y ~ x + (x | n)", rows)
    expected = mlm.fit("y ~ x + (x | g)", rows.rename({"n": "g"}))
    assert fit.estimate.log_likelihood == expected.estimate.log_likelihood
    connection = duckdb.connect()
    connection.register("frame", rows.to_arrow())
    connection.execute("create table t as from frame")
    keep_moments(parse_analysis("analysis: a\ndata: t\nmodels:\n  m: y ~ x + (x | n)\n"), connection)
    columns = [name for name, *_ in connection.execute("describe main.a_moments").fetchall()]
    assert columns[:4] == ["n", "n (2)", "mean_y", "mean_x"]
    with pytest.raises(DataError) as error:
        render("group_moments", relation="t", columns=["x"], group="n")
    assert str(error.value) == (
        "mlm.group_moments() would call two columns n: the group's column n, and the groups' sizes. Rename a column in "
        "a model before it."
    )
    with pytest.raises(DataError) as error:
        mlm.read_moments(pl.DataFrame({"n": [1], "n_1": [2], "mean_x": [1.0], "scatter_x_x": [1.0]}), "n")
    assert str(error.value) == (
        "The grouping column 'n' of the data has the name of the column with the groups' sizes. Rename it where "
        "mlm.group_moments() reads it."
    )


def test_columns_that_differ_in_letter_case() -> None:
    """DuckDB would call the second of a frame's A and a a_1, and a column a_1 something else."""
    random = np.random.default_rng(5)
    rows = pl.DataFrame({"g": [i % 6 for i in range(48)]} | {c: random.normal(size=48) for c in ("y", "A", "a", "a_1")})
    plain = rows.rename({"A": "p", "a": "q", "a_1": "r"})
    expected = mlm.fit("y ~ p + r + (1 | g)", plain)
    for data in (rows, rows.lazy(), rows.to_arrow(), rows.to_pandas()):
        fit = mlm.fit("y ~ A + a_1 + (1 | g)", data)
        assert fit.estimate.log_likelihood == pytest.approx(expected.estimate.log_likelihood, abs=1e-10)
        with pytest.raises(DataError) as error:
            mlm.fit("y ~ a + (1 | g)", data)
        assert str(error.value) == (
            "Columns 'A' and 'a' differ only in letter case, which DuckDB ignores. Rename one of them."
        )


def test_kept_means_are_means() -> None:
    """mean_x of the kept table is what the macro's is, and can be read as the macro's table."""
    connection = duckdb.connect()
    connection.execute(f"create table t as from read_csv('{HERE / 'data' / 'hsb.csv'}')")
    analysis = parse_analysis("analysis: hsb\ndata: t\nmodels:\n  m: mathach ~ ses + (1 | school)\n")
    keep_moments(analysis, connection)
    sql = render("group_moments", relation="t", columns=["mathach", "ses"], group="school")
    columns = ("n", "mean_mathach", "mean_ses", "scatter_ses_mathach", "scatter_mathach_mathach")
    off = ", ".join(f"max(abs(k.{c} - m.{c}))" for c in columns)
    (differences,) = connection.execute(
        f"select {off} from main.hsb_moments k join ({sql}) m on k.school = m.school"
    ).fetchall()
    # sums of 7,185 rows around other centers: 1e-13 of squares of 20
    assert max(differences) < 1e-9
    fit = fit_analysis(analysis, connection).fits["m"]
    moments = mlm.read_moments(
        "select * exclude (deviation_mathach, deviation_ses) from main.hsb_moments", "school", connection=connection
    )
    from_table = mlm.fit("mathach ~ ses + (1 | school)", moments)
    np.testing.assert_allclose(from_table.fixed_effects["estimate"], fit.fixed_effects["estimate"], rtol=1e-9)


def test_moments_of_the_first_version_are_read() -> None:
    """Before, mean_x was the deviation from the center, and there was no deviation_x."""
    rows, connection = frame(["x"], "g"), duckdb.connect()
    moments = mlm.fit("y ~ x + tt + (1 | g)", rows).moments
    save_moments(connection, moments, "kept")
    names = [name for name, *_ in connection.execute("describe kept").fetchall()]
    old = [
        f'"deviation_{n[5:]}" as "{n}"' if n.startswith("mean_") else f'"{n}"' for n in names if n[:10] != "deviation_"
    ]
    connection.execute(f"create or replace table kept as select {', '.join(old)} from kept")
    ((text,),) = connection.execute("select description from kept_description").fetchall()
    description = json.loads(text)
    assert description.pop("version") == 2
    connection.execute("update kept_description set description = ?", [json.dumps(description)])
    same(load_moments(connection, "kept"), moments)


def test_a_column_that_centering_would_make() -> None:
    connection = duckdb.connect()
    connection.register("frame", frame(["x", "Between_x"], "g").to_arrow())
    connection.execute("create table t as from frame")
    analysis = parse_analysis("analysis: a\ndata: t\nmodels:\n  m: y ~ within(x) + (1 | g)\n")
    with pytest.raises(DataError) as error:
        create_centered(connection, analysis, "made")
    assert str(error.value) == (
        "Table t has a column 'Between_x', and the table with centered columns would have another. Rename it in a view "
        "or SELECT."
    )
