"""Who may import whom: downwards only, and nothing heavy with ``import mlm_ops``."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mlm_ops

PACKAGE = Path(mlm_ops.__file__).parent
#: plugins, cli -> fit, tables, store -> inference, effect_sizes -> estimation -> moments -> language -> errors.
LAYERS = (
    {"errors", "sql_text", "arrow", "database_faults", "triangles", "visible", "ownership"},
    {"language"},
    {"moments"},
    {"estimation"},
    {"inference", "effect_sizes", "structural"},
    {
        "fitting",
        "fitted",
        "record",
        "analyze",
        "ladder",
        "diagnose",
        "finding",
        "side_by_side",
        "tables",
        "report",
        "written",
    }
    | {
        "drift",
        "drift_history",
        "newproject",
        "retention",
        "store",
        "store_checks",
        "staging",
        "sql_tables",
        "database",
        "replacing",
        "published_copy",
        "recovery",
        "prediction_views",
        "project",
        "provenance",
        "__init__",
    }
    | {"fitting_sem", "fitted_sem", "report_sem"}
    # not below: numbers and rows tell no log what they do
    | {"logs", "naming"},
    {"plugins", "cli", "cli_fit", "command_line", "display", "listing", "__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
KNOW_A_DATABASE = {"moments", "plugins", "prediction_views"} | {
    "store",
    "store_checks",
    "staging",
    "sql_tables",
    "database",
    "database_faults",
    "ownership",
    "published_copy",
    "recovery",
}
KNOW_DAGSTER = {"plugins/dagster", "plugins/dagster.py"}
LAZY = ("dagster", "dbt", "pandas", "scipy.stats", "formulaic", "pydantic", "pyarrow", "rich", "yaml")

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that is imported anywhere, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            base = parent + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if base == "mlm_ops")


def run_time(tree: ast.Module) -> ast.Module:
    """The module without what only a type checker imports."""

    class Strip(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return node.orelse
            return self.generic_visit(node)

    return Strip().visit(tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    here = room(path)
    package = ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    tree = ast.parse(path.read_text())
    assert here in LEVEL, f"{here} has no place in the order of imports: give it one in LAYERS"
    for name in imported(tree, package):
        parts = name.split(".")
        if parts[0] == "mlm_ops" and len(parts) > 1 and parts[1] in LEVEL:
            assert LEVEL[parts[1]] <= LEVEL[here], f"{here} may not import {name}"
    outside = {name.split(".")[0] for name in imported(run_time(tree), package)}
    if here not in KNOW_A_DATABASE:
        assert "duckdb" not in outside, f"{here} may not know a database"
    if "/".join(path.relative_to(PACKAGE).parts[:2]) not in KNOW_DAGSTER:
        assert not any(name.startswith("dagster") for name in outside), f"{here} may not know Dagster"
    assert "pipelines" not in outside


def test_a_rule_breaker_is_found():
    tree = ast.parse("def f():\n    from mlm_ops import store\n    from ..moments.collect import collect\n")
    assert set(imported(tree, "mlm_ops.language")) == {"mlm_ops", "mlm_ops.store", "mlm_ops.moments.collect"}


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, mlm_ops; print([name for name in {LAZY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_and_the_command_wait_for_what_they_need():
    code = "import sys, mlm_ops.cli; print([name for name in ('numpy', 'polars', 'duckdb') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "from mlm_ops import fit, Fit",
        "import mlm_ops as mlm; fit, Fit = mlm.fit, mlm.Fit",
        "import mlm_ops.analyze, mlm_ops as mlm; fit, Fit = mlm.fit, mlm.Fit",
        "from mlm_ops.fitting import fit; from mlm_ops.fitted import Fit; import mlm_ops; assert mlm_ops.fit is fit",
        "from mlm_ops import *",
    ],
)
def test_fit_is_the_function_whatever_was_imported_before(code):
    check = f"{code}\nassert fit.__name__ == 'fit' and isinstance(Fit, type)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_public_names_alone_are_listed():
    assert [name for name in dir(mlm_ops) if not name.startswith("__")] == sorted(mlm_ops.__all__)
    with pytest.raises(AttributeError, match="module 'mlm_ops' has no attribute 'fitt'"):
        _ = mlm_ops.fitt


def test_at_most_fifteen_public_names():
    assert len(mlm_ops.__all__) <= 15
    assert all(hasattr(mlm_ops, name) for name in mlm_ops.__all__)
