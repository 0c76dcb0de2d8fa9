"""Arguments of the public macros: one column where a list is taken, and what is missing, empty, or of another kind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from tests.hosts.dbt.dialects import package_for, package_in

ROWS = "(select * from (values ('a', 1.0, 2.0), ('a', 2.0, 4.5), ('b', 4.0, 4.0), ('b', 7.0, 1.0)) as t(g, x, z)) as t"
MACROS = {
    "centered": {"columns", "group"},
    "group_means": {"columns", "group"},
    "decomposition": {"columns", "group"},
    "group_moments": {"columns", "group"},
    "merge_group_moments": {"columns"},
}


def rows(sql: Any) -> list[tuple[Any, ...]]:
    return sorted(duckdb.sql(str(sql)).fetchall())


@pytest.mark.parametrize("macro", [name for name in MACROS if name != "merge_group_moments"])
def test_one_column_needs_no_list(macro: str) -> None:
    function = package_for("duckdb")[macro]
    assert rows(function(ROWS, "x", "g")) == rows(function(ROWS, ["x"], "g"))
    assert rows(function(ROWS, "x", "g", complete="z")) == rows(function(ROWS, ["x"], ["g"], complete=["z"]))


def test_moments_of_one_column() -> None:
    package = package_for("duckdb")
    moments = f"({package['group_moments'](ROWS, 'x', 'g', constants='g')}) as m"
    assert moments == f"({package['group_moments'](ROWS, ['x'], ['g'], constants=['g'])}) as m"
    merged = package["merge_group_moments"]
    assert rows(merged(moments, "x", "g", constants="g")) == rows(merged(moments, ["x"], ["g"], constants=["g"]))
    squares = package["group_moments"]
    assert rows(squares(ROWS, ["x", "z"], "g", ["x", "z"])) == rows(squares(ROWS, ["x", "z"], "g", [["x", "z"]]))


def test_a_product_of_another_column() -> None:
    with pytest.raises(ValueError, match=r"^mlm\.group_moments\(\) multiplies columns of columns=\. Got the product "):
        str(package_for("duckdb")["group_moments"](ROWS, "x", "g", products=[["x", "z"]]))


@pytest.mark.parametrize("macro", ["between", "within"])
@pytest.mark.parametrize("group", [None, "", [], ()])
def test_a_missing_group_is_said(macro: str, group: Any) -> None:
    given = () if group == () else (group,)
    with pytest.raises(ValueError, match="group") as raised:
        str(package_for("duckdb")[macro]("x", *given))
    assert str(raised.value) == (
        f"mlm.{macro}() needs group=, a column, or a list of columns that name a group together. Got nothing."
    )


@pytest.mark.parametrize("macro", MACROS)
def test_missing_arguments_are_said(macro: str) -> None:
    function = package_for("duckdb")[macro]
    for name in MACROS[macro] | {"relation"}:
        arguments = {"relation": ROWS, "columns": "x", "group": "g"}
        for value in (None, "", []):
            with pytest.raises(ValueError, match=rf"^mlm\.{macro}\(\) needs {name}=, .* Got nothing\.$"):
                str(function(**arguments | {name: value}))
        del arguments[name]
        with pytest.raises(ValueError, match=rf"^mlm\.{macro}\(\) needs {name}=, .* Got nothing\.$"):
            str(function(**arguments))


@pytest.mark.parametrize("macro", ["between", "within", "center"])
def test_an_expression_is_of_one_column(macro: str) -> None:
    function = package_for("duckdb")[macro]
    given = {"group": "g"} if macro != "center" else {}
    with pytest.raises(ValueError, match="column") as raised:
        str(function(["x", "z"], **given))
    assert str(raised.value) == f"mlm.{macro}() needs column=, one column, a text. Got ['x', 'z']."


def test_lists_that_a_query_fills_are_empty_while_dbt_parses() -> None:
    package = package_in("duckdb", {"execute": False})
    assert "select" in str(package["group_means"](ROWS, [], "g"))


@pytest.mark.parametrize("kept", ["view", "ephemeral", "table", "incremental"])
def test_a_fit_is_kept(kept: str) -> None:
    model = SimpleNamespace(resource_type="model", config=SimpleNamespace(materialized=kept))

    def call(**variables: Any) -> str:
        return str(package_in("duckdb", {"model": model, **variables})["fit"]("y ~ x + (1 | g)", "t"))

    assert "from mlm(" in call(execute=False)
    if kept in ("table", "incremental"):
        assert "from mlm(" in call(execute=True)
        return
    with pytest.raises(ValueError, match=kept) as raised:
        call(execute=True)
    assert str(raised.value) == (
        f"mlm.fit() would fit again whenever the {kept} is read, where only dbt knows how. Write "
        "{{ config(materialized='table') }} above it."
    )


def test_an_inline_query_may_fit() -> None:
    model = SimpleNamespace(resource_type="sql_operation", config=SimpleNamespace(materialized="view"))
    package = package_in("duckdb", {"model": model, "execute": True})
    assert "from mlm(" in str(package["fit"]("y ~ x + (1 | g)", "t"))
