"""Nothing but quoted names and values becomes part of SQL: every f-string of SQL is looked at, piece by piece."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlm_ops.warehouse import sql
from mlm_ops.warehouse.sql import render

ROOT = Path(__file__).parents[2]
#: What runs SQL.
RUNS = {"execute", "executemany", "sql", "query", "_run", "run", "_one"}
#: How SQL of ours begins, whole or in part.
BEGINS = re.compile(
    r"\s*\(?(select|insert into|create|delete from|update|drop|attach|detach|use|from|with|describe|comment on|alter|"
    r"copy|set|checkpoint|values|where|case when|cast\(|count\(|min\(|max\(|coalesce\(|avg\(|any_value\()\b"
)
#: Rooms that know no database, as tests/specification/test_imports.py keeps it.
WITHOUT_SQL = {"language", "effect_sizes", "equations", "structural", "estimation"}
#: What returns SQL that is quoted already.
QUOTING = {
    *("identifier", "literal", "qualified", "quoted_table", "category", "expression", "key_expression", "render"),
    *("named_relation", "condition", "_is_text", "_raw", "_moments", "_merge", "_sums", "reader", "len"),
}
#: Pieces that hold what was quoted before, or is ours. A new piece is quoted where it stands, or gets its reason here.
EVERYWHERE = {
    "relation": "what stands after FROM: open_source makes it of a quoted name or of one proved SELECT",
    "source.relation": "the same",
    "self.relation": "the same",
    "self._parts": "a quoted table",
    "self._facts": "a quoted table",
    "i": "a number",
}
REASONS = {
    "mlm_ops/results/fit.py": {
        "rows": "a quoted table, one SELECT in parentheses, or a reader of a file, its path a literal",
    },
    "mlm_ops/analyses/store/drift_of_groups.py": {
        "_units(schema, models, 'now')": "a query of qualified names",
        "_units(schema, models, 'before')": "a query of qualified names",
        "models": "a registered name of ours",
        "'' if len(names) == 1 else 'analysis, '": "a column of ours",
        "run": "a column of ours",
    },
    "mlm_ops/warehouse/files/codes.py": {
        "parts": "a function of each quoted name",
    },
    "mlm_ops/analyses/store/long_rows.py": {
        "_rows(stored, run_id, analysis)": "a qualified name with comparisons of literals",
        "rows": "a qualified name with comparisons of literals",
    },
    "mlm_ops/analyses/store/kept_runs.py": {
        "pairs": "pairs of literals",
        "LATEST_FIRST": "a constant",
        "runs": "a qualified name",
    },
    "mlm_ops/analyses/store/drift_table.py": {
        "pairs": "pairs of literals",
    },
    "mlm_ops/inference/prediction/sql.py": {
        "key": "a quoted name",
        "', '.join(lists)": "literals and quoted names",
        "' and '.join(present)": "conditions on quoted names",
        "' or '.join(undetermined)": "comparisons of rendered expressions and literals",
        "total": "a sum of rendered expressions",
        "present": "a condition on a quoted name",
        "fitted": "a rendered expression",
        "own": "a rendered expression",
        "known": "literals",
    },
    "mlm_ops/analyses/centered.py": {
        "staged_rows": "a quoted name and a literal",
        "needs.complete": "a rendered condition",
        "rows.relation": "a quoted relation, or a query of it",
        "means": "rendered expressions",
        "values": "rendered expressions and literals, as quoted names",
    },
    "mlm_ops/analyses/centered_agreement.py": {
        "label": "casts of quoted names",
        "means": "aggregates of quoted names",
        "keys": "quoted names",
        "columns_sql": "quoted names, and aggregates of them",
        "group_by": "quoted names",
        "side": "one of two letters",
        "bounds": "aggregates of numbered names",
        "groups": "two queries of quoted tables",
        "spreads": "aggregates of rendered expressions",
        "name": "a constant",
        "differences": "two queries of quoted tables, and a condition of constants",
    },
    "mlm_ops/plugins/centered_in_polars.py": {
        "place": "a quoted name",
        "kept": "a name of ours that nobody has",
        "rows.relation": "a quoted relation, or a query of it",
        "numbered_rows": "a query of a quoted relation",
        "columns": "quoted names, as numbered ones",
        "target": "a literal",
    },
    "mlm_ops/warehouse/files/cells.py": {
        "', '.join(counted)": "aggregates of quoted names and literals",
        "', '.join(selection)": "aggregates of quoted names and literals",
        "cell": "a quoted name, trimmed",
        "cells": "aggregates of quoted names and literals",
        "condition": "comparisons of quoted names with literals",
        "filled": "a quoted name and literals",
        "value": "a cast of a quoted name",
    },
    "mlm_ops/warehouse/files/delimited.py": {
        "', '.join((f'count({n})' for n in empty))": "quoted names",
        "', '.join(text)": "quoted names",
        "beginning": "a query of quoted names",
        "cell": "a quoted name",
        "kind": "a type of ours",
        "reader": "a reader of a file",
        "value": "a cast of a quoted name",
        "counts": "aggregates of quoted names",
        "rows": "a reader of a file, or a quoted table",
    },
    "mlm_ops/warehouse/files/dialect.py": {
        "', '.join(call)": "literals, and names of options that are constants",
    },
    "mlm_ops/warehouse/files/folders.py": {
        "reader": "constants, its paths literals",
    },
    "mlm_ops/warehouse/files/read.py": {
        "kind": "a constant",
        "ordered": "quoted names",
        "rows": "a reader of a file, or a quoted table",
        "table": "a quoted table",
    },
    "mlm_ops/warehouse/files/reading.py": {
        "', '.join(cells)": "quoted names, and expressions of them",
        "reader": "a reader of a file, or a quoted table",
    },
    "mlm_ops/moments/from_macros.py": {
        "', '.join(expressions)": "casts of quoted names",
        "order": "aliases of ours",
    },
    "mlm_ops/moments/single_statement.py": {
        "number": "a cast of a quoted name",
        "label": "a cast of a quoted name",
        "_is_type(name, TEXT)": "a test of a quoted name's type",
        "_is_type(name, WHOLE)": "a test of a quoted name's type",
        "_is_type(name, ROUNDED)": "a test of a quoted name's type",
        "whole": "a quoted name",
        "text": "a quoted name",
    },
    "mlm_ops/moments/needs.py": {
        "complete": "a condition of quoted expressions",
    },
    "mlm_ops/moments/scan.py": {
        "new_names": "aliases of ours",
        "old_names": "aliases of ours",
        "sql": "a rendered query",
    },
    "mlm_ops/moments/partition_tables.py": {
        "rows": "a rendered query",
        "values": "literals",
        "cast": "a cast of a literal",
        "selection": "casts of literals",
        "tuples": "literals",
        "self._origin": "a quoted table",
        "table": "a quoted table",
        "total": "a quoted table",
    },
    "mlm_ops/moments/storage.py": {
        "table": "a quoted table",
        "description": "a literal",
        "order": "numbers of columns",
    },
    "mlm_ops/moments/totals.py": {
        "self._table": "a quoted table",
        "is_touched": "comparisons of quoted names",
        "', '.join(sums)": "aggregates of quoted names",
        "rows": "a registered name of ours",
    },
    "mlm_ops/warehouse/sql.py": {
        "name(column)": "a quoted name, or a rendered expression",
        "argument": "a rendered expression",
        "comparison": "a constant",
        "function": "a constant",
        "minus": "a literal",
    },
    "mlm_ops/moments/patterns.py": {
        "averages": "aggregates of quoted names",
    },
    "mlm_ops/moments/survey.py": {
        "', '.join(ends)": "extremes of quoted names",
        "needs.complete": "a rendered condition",
    },
    "mlm_ops/warehouse/row_filter.py": {
        "where": "a condition that is being proved one, and is only parsed here",
    },
    "mlm_ops/warehouse/relation.py": {
        "text": "a SELECT in parentheses with a name after it, which DuckDB parses as one SELECT",
    },
    "mlm_ops/warehouse/source.py": {
        "self.reading.relation": "a reader of a file, its path a literal",
        "name": "a quoted name",
        "filtered": "a relation and a proved condition",
        "numbered": "a relation and a quoted name",
        "same": "a comparison of a quoted name with a literal",
    },
    "mlm_ops/cli/new_project/files.py": {
        "rows": "a quoted table",
        "table": "a plain word, made of the file's name",
        "order": "quoted names",
    },
    "mlm_ops/analyses/starter/survey.py": {
        "aggregates": "aggregates of aliases of ours",
        "by_group": "a query of quoted names",
        "column": "a quoted name",
        "expressions": "quoted names, or casts of them",
        "finite": "a condition on quoted names",
        "grouped_rows": "a relation and a quoted name",
        "least": "an expression of a quoted name",
        "line": "an aggregate of quoted names, or a number",
        "means": "aggregates of quoted names",
        "one": "a quoted name",
        "other": "a quoted name",
        "pairs": "a query of quoted names",
        "same": "aggregates of aliases of ours",
        "sizes": "a query of quoted names",
        "tests": "aggregates of quoted names",
        "', '.join(tests)": "aggregates of quoted names",
        "x": "a quoted name",
        "y": "a quoted name",
    },
    "mlm_ops/warehouse/ownership.py": {
        "claim.quoted": "a qualified name",
        "database_sql": "a literal, or a function of SQL",
        "kind": "table or view",
        "relation.kind": "table or view",
        "names": "a qualified name",
        "body": "a query of the caller's, made of what is quoted there",
        "query": "the same",
    },
    "mlm_ops/plugins/dagster/partition_windows.py": {
        "kind": "a type as DuckDB writes it",
        "parts": "literals",
    },
    "mlm_ops/plugins/duckdb.py": {
        "name": "a constant",
        "kind": "a constant",
        "table": "a quoted name",
        "nothing": "names of columns, which are constants",
        "self.query.relation": "a relation",
        "' limit 0' if empty else ''": "a constant",
        "parameters": "names and defaults of options, which are constants",
        "arguments": "parameters of the macro, cast to constant types",
        "call": "calls of ours with parameters of the macro",
        "', '.join((f'null as {n}' for n in _ANSWER[1:]))": "constants",
    },
    "mlm_ops/analyses/store/recovery.py": {
        "table": "a qualified name",
    },
    "mlm_ops/analyses/store/tables.py": {
        "name": "a qualified name",
        "table": "a qualified name",
        "typed[column]": "a quoted name and a type of ours",
    },
    "mlm_ops/analyses/store/staging.py": {
        "places": "conditions with literals",
        "names": "quoted names",
    },
    "mlm_ops/analyses/store/checks.py": {
        "' or '.join(gaps)": "conditions on quoted names",
    },
    "mlm_ops/analyses/store/version.py": {
        "schema": "a constant",
    },
    "mlm_ops/analyses/store/latest.py": {
        "columns": "a query of constants",
        "', '.join(values)": "quoted names",
        "condition": "a condition of constants and a number",
    },
    "mlm_ops/analyses/store/copying.py": {
        "target": "a constant",
        "own": "a qualified name",
        "copied": "a qualified name",
        "published": "a condition on columns of ours",
        "facts": "numbers of quoted names",
        "columns": "quoted names",
    },
    "mlm_ops/analyses/store/runs.py": {
        "view": "a qualified name",
        "pairs": "literals",
        "published_runs": "a qualified name",
        "rows": "a query of quoted names and literals",
        "target": "a constant",
    },
    "mlm_ops/analyses/store/published_copy.py": {
        "version.quoted": "a quoted name",
        "columns": "columns of ours",
    },
    "mlm_ops/analyses/store/layout.py": {
        "LATEST_FIRST": "a constant",
        "LATEST": "a constant",
        "_VERSION": "a constant",
        "STORE_VERSION": "a number",
        "version.quoted": "a qualified name",
        "claim.quoted": "a qualified name",
        "table": "a qualified name",
        "gap": "a condition on quoted names",
    },
    "mlm_ops/reports/pictures/rows.py": {
        "'distinct ' if distinct else ''": "a constant",
        "', '.join(parts)": "quoted names, and expressions that are constants",
        "stored(frame, name)": "a table of ours, or a quoted name",
        "' and '.join(conditions)": "quoted names with literals, and conditions that are constants",
    },
    "mlm_ops/reports/pictures/model_comparison.py": {
        "model_text(least['reference_model'])": "a sentence, no SQL",
        "model_text(least['model'])": "a sentence, no SQL",
    },
    "mlm_ops/reports/pictures/history.py": {
        "conditions": "comparisons of quoted names with literals",
        "quantity.table": "a constant",
        "' and '.join([of_analysis, *quantity.conditions()])": "comparisons of quoted names with literals",
        "runs.height": "a number",
        "values": "constants",
    },
    "mlm_ops/reports/pictures/series.py": {
        "text": "an expression of constants",
    },
    "mlm_ops/reports/pictures/unflagged.py": {
        "place": "a number",
        "quantity.columns['estimate']": "an expression of constants",
        "error": "an expression of constants",
        "quantity.table": "a constant",
        "' and '.join(conditions)": "comparisons of quoted names with literals",
        "runs": "a query of ours",
        "union": "queries of ours",
    },
    "mlm_ops/reports/pictures/by_partition.py": {
        "begin + 1": "a number",
        "quantity.table": "a constant",
        "values": "constants",
        "' and '.join([of_analysis, *quantity.conditions(), f'{value} is not null'])": "comparisons with literals",
    },
    "mlm_ops/reports/pictures/two_slopes.py": {
        "name": "a table of ours, or a quoted name",
        "analysis": "comparisons with literals",
    },
}


def test_every_piece_of_sql_is_quoted() -> None:
    unquoted = []
    for path, joined in _sql_texts():
        reasons = EVERYWHERE | REASONS.get(path, {})
        unquoted += [
            f"{path}:{joined.lineno}: {ast.unparse(piece)}" for piece in _pieces(joined) if not _quoted(piece, reasons)
        ]
    assert unquoted == [], "quote these with mlm_ops/warehouse/sql.py, or say in REASONS why they may stand as they are"


def test_every_reason_is_still_needed() -> None:
    told = {(path, piece) for path, pieces in REASONS.items() for piece in pieces}
    used = {(path, ast.unparse(piece)) for path, joined in _sql_texts() for piece in _pieces(joined)}
    assert told <= used


def test_the_check_finds_a_name_that_is_not_quoted() -> None:
    """An f-string is found where it is run, and where it only begins like SQL."""
    for code in ("connection.execute(f'{a}')", "sql = f'select {a} from t'", "run(f'from ({identifier(b)}, {a})')"):
        (joined,) = _in_tree(ast.parse(code))
        assert [ast.unparse(piece) for piece in _pieces(joined) if not _quoted(piece, {})] == ["a"]
    (joined,) = _in_tree(ast.parse("f\"select {', '.join(map(identifier, names))} from {qualified(A, b)}\""))
    assert all(_quoted(piece, {}) for piece in _pieces(joined))


def test_columns_in_macros_are_quoted() -> None:
    """A bare column's name never stands in the SQL of a macro; what these hold was quoted before, or is an option's."""
    quoted_before = {
        "fit.sql": "{{ name }}",
        "has_value.sql": "{{ name }}",
        "partition_facts.sql": "{{ partition }}",
        "rows_in_parts.sql": "{{ columns |",
        "values_in_windows.sql": "{{ column }}",
    }
    bare = re.compile(r"\{\{-?\s*(column|columns|name|group|of|key|partition)\s*(\||\}\}|-\}\})")
    faults = {
        path.name: found.group()
        for path in sorted((ROOT / "sql").rglob("*.sql"))
        if (found := bare.search(path.read_text(encoding="utf-8")))
    }
    assert faults == quoted_before


def test_nothing_starts_a_shell() -> None:
    shells = re.compile(
        r"shell\s*=\s*True|os\.system|os\.popen|getoutput|\beval\(|\bexec\(|pickle|yaml\.(unsafe_|full_)"
    )
    found = [
        path.name
        for room in ("mlm_ops", "pipelines")
        for path in (ROOT / room).rglob("*.py")
        if shells.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_an_unknown_macro_is_a_missing_attribute_with_its_name() -> None:
    with pytest.raises(AttributeError) as refused:
        render("group_momentz")
    assert str(refused.value) == "There is no macro group_momentz in sql/macros."
    assert refused.value.name == "group_momentz"


def _sql_texts() -> Iterator[tuple[str, ast.JoinedStr]]:
    for room in ("mlm_ops", "pipelines"):
        for path in sorted((ROOT / room).rglob("*.py")):
            here = path.relative_to(ROOT)
            if WITHOUT_SQL.isdisjoint(here.parts):
                for joined in _in_tree(ast.parse(path.read_text(encoding="utf-8"))):
                    yield here.as_posix(), joined


def _in_tree(tree: ast.AST) -> list[ast.JoinedStr]:
    """f-strings that are run, or begin like SQL."""
    found: dict[int, ast.JoinedStr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node) in RUNS:
            found |= {id(argument): argument for argument in node.args if isinstance(argument, ast.JoinedStr)}
        elif isinstance(node, ast.JoinedStr) and BEGINS.match(_text(node)):
            found[id(node)] = node
    return list(found.values())


def _text(joined: ast.JoinedStr) -> str:
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in joined.values)


def _pieces(joined: ast.JoinedStr) -> list[ast.expr]:
    return [part.value for part in joined.values if isinstance(part, ast.FormattedValue)]


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _quoted(piece: ast.expr, reasons: dict[str, str]) -> bool:
    if ast.unparse(piece) in reasons:
        return True
    match piece:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return name.isupper()  # a constant of the module
        case ast.Call() if _name(piece) == "join":
            return all(_quoted(argument, reasons) for argument in piece.args)
        case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id=function), *_]):
            return function in QUOTING
        case ast.Call():
            return _name(piece) in QUOTING or (_name(piece) == "values" and ast.unparse(piece) == "typed.values()")
        case ast.GeneratorExp(elt=inner) | ast.ListComp(elt=inner) | ast.Subscript(value=inner):
            return _quoted(inner, reasons)
        case ast.JoinedStr():
            return all(_quoted(inner, reasons) for inner in _pieces(piece))
    return False


def test_macros_are_compiled_once_and_again_when_their_text_changes(tmp_path, monkeypatch):
    macros = tmp_path / "macros" / "internal"
    macros.mkdir(parents=True)
    monkeypatch.setattr(sql, "_macro_directory", lambda: tmp_path / "macros")
    monkeypatch.setattr(sql, "cache_from_source", lambda _: str(tmp_path / "bytecode" / "sql.pyc"))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def rendered(text: str) -> tuple[str, int]:
        (macros / "one.sql").write_text(f"{{% macro one() %}}{text}{{% endmacro %}}")
        written = str(sql._Package().one())
        return written, len([*tmp_path.glob("bytecode/macro-*.jinja2")])

    assert rendered("1") == ("1", 0)  # Python has kept nothing there, as in a folder that cannot be written to
    (tmp_path / "bytecode").mkdir()
    assert rendered("1") == ("1", 1)
    (compiled,) = tmp_path.glob("bytecode/*")
    before = compiled.stat().st_mtime_ns
    assert rendered("1") == ("1", 1)
    assert compiled.stat().st_mtime_ns == before
    assert rendered("2") == ("2", 1)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered("3") == ("3", 1)
    assert compiled.stat().st_mtime_ns != before
