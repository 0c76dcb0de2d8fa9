"""Who may import whom: downwards only, and nothing heavy with ``import mlm_ops``."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mlm_ops

PACKAGE = Path(mlm_ops.__file__).parent
#: The rooms of the house, from the lowest up: each imports from those before it, and from nowhere else.
ROOMS = (
    "errors",
    "lazy",
    "logs",
    "language",
    "warehouse",
    "moments",
    "estimation",
    "inference",
    "results",
    "structural",
    "analyses",
    "reports",
    "plugins",
    "cli",
)
LEVEL = {room: level for level, room in enumerate(ROOMS)}
#: What stands at the root beside the rooms; both may import from anywhere.
ENTRANCES = {"__init__", "__main__"}
KNOW_A_DATABASE = {"warehouse", "moments", "plugins", "analyses"}
KNOW_DAGSTER = {"plugins/dagster"}
LAZY = ("dagster", "dbt", "pandas", "scipy.stats", "formulaic", "pydantic", "pyarrow", "rich", "yaml", "vl_convert")
LAZY += ("docx",)
#: What a fit that is printed does not need either: libraries, and rooms of what may be asked of it later.
HEAVY = (*LAZY, "polars", "scipy", "scipy.special", "scipy.linalg")
HEAVY += (
    "mlm_ops.analyses.run",
    "mlm_ops.inference.intervals.methods",
    "mlm_ops.inference.prediction.sql",
    "mlm_ops.results.export.lme4",
    "mlm_ops.results.tables.effects",
)
#: The folders of the room of reports, from the lowest up, and all that the lowest imports beside the standard library.
REPORTS = ("pictures", "drawing", "page")
PICTURES_IMPORT = {"polars", "mlm_ops.errors", "mlm_ops.results.words", "mlm_ops.warehouse.sql", "mlm_ops.reports"}
#: Two leaves of facts beside them: the order of a store's runs, and how far a 95% interval reaches.
PICTURES_IMPORT |= {"mlm_ops.language.spelling", "mlm_ops.analyses.store.version", "mlm_ops.inference.t_distribution"}
#: The folders of the room of structural models, from the lowest up, the same rooms as the house has.
STRUCTURAL = ("language", "algebra", "statistics", "likelihood", "estimation", "table_columns", "inference")
STRUCTURAL += ("results", "mplus")
#: The one way upwards: methods of these look a picture up by the public name of a room above, which imports neither.
LOOK_UP_PICTURES = {"results/fit.py", "structural/results/fit.py"}

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Every module that is imported anywhere, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            base = parent + (node.module or "")
            members = {f"{base}.{alias.name}" for alias in node.names}
            yield from sorted(members & MODULES.keys())
            if not members <= MODULES.keys():
                yield base


def run_time(tree: ast.Module) -> ast.Module:
    """The module without what only a type checker imports."""

    class Strip(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
                return node.orelse
            return self.generic_visit(node)

    return Strip().visit(tree)


MODULES = {module(path): path for path in FILES}
#: Packages that import what they name when it is first used: so a picture finds what draws it, and a fit its pictures.
LOOKED_UP = {"mlm_ops", "mlm_ops.reports"}
STANDARD = set(sys.stdlib_module_names)


def upward(path: Path, tree: ast.AST) -> list[str]:
    """The modules that a file imports, for its annotations too, from a room that is not below its own."""
    here, package = room(path), ".".join(path.relative_to(PACKAGE.parent).parent.parts)
    if here in ENTRANCES:
        return []
    names = (name for name in imported(tree, package) if name.startswith("mlm_ops."))
    allowed = {"mlm_ops.reports"} if str(path.relative_to(PACKAGE)) in LOOK_UP_PICTURES else set()
    rooms = {name: name.split(".")[1] for name in names if name not in allowed}
    return [name for name, there in rooms.items() if there != here and LEVEL.get(there, -1) >= LEVEL[here]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    here, tree = room(path), ast.parse(path.read_text())
    assert here in LEVEL or here in ENTRANCES, f"{here} has no place in the order of imports: give it one in ROOMS"
    assert upward(path, tree) == []
    outside = {name.split(".")[0] for name in imported(run_time(tree), "mlm_ops")}
    if here not in KNOW_A_DATABASE:
        assert "duckdb" not in outside, f"{here} may not know a database"
    if "/".join(path.relative_to(PACKAGE).parts[:2]) not in KNOW_DAGSTER:
        assert not any(name.startswith("dagster") for name in outside), f"{here} may not know Dagster"
    assert "pipelines" not in outside


def test_a_rule_breaker_is_found():
    tree = ast.parse("def f():\n    from mlm_ops.results import fit\n    from ..analyses.run import fit_analysis\n")
    assert upward(PACKAGE / "language" / "model.py", tree) == ["mlm_ops.results.fit", "mlm_ops.analyses.run"]
    assert upward(PACKAGE / "cli" / "main.py", tree) == []


def test_no_modules_import_each_other():
    """Annotations included: what is imported for a type checker alone ties two files together as well."""
    graph = {
        name: {other for other in imported(ast.parse(path.read_text()), "mlm_ops") if other in MODULES} - LOOKED_UP
        for name, path in MODULES.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names them


def reports_rules_broken(folder: str, tree: ast.Module) -> list[str]:
    """What a file of a folder of `REPORTS` imports against the order there: page, drawing, pictures."""
    outside = [name for name in imported(tree, f"mlm_ops.reports.{folder}") if name.split(".")[0] not in STANDARD]
    within = [name for name in outside if name.startswith("mlm_ops.reports.")]
    rest = [name for name in outside if name not in within]
    broken = [name for name in within if REPORTS.index(name.split(".")[2]) > REPORTS.index(folder)]
    broken += [name for name in rest if name == "vl_convert" and folder != "drawing"]
    return broken + [name for name in rest if folder == "pictures" and name not in PICTURES_IMPORT]


@pytest.mark.parametrize("folder", REPORTS)
def test_reports_import_page_drawing_pictures(folder):
    """Pictures know tables and words alone; they are drawn by looking a function up through `mlm_ops.reports`."""
    for path in sorted((PACKAGE / "reports" / folder).rglob("*.py")):
        assert reports_rules_broken(folder, ast.parse(path.read_text())) == [], path


def test_a_rule_breaker_among_reports_is_found():
    tree = ast.parse("import duckdb, vl_convert\nfrom mlm_ops.reports.drawing.svg import draw_svg")
    broken = reports_rules_broken("pictures", tree)
    assert broken == ["mlm_ops.reports.drawing.svg", "vl_convert", "duckdb", "vl_convert"]


def structural_rules_broken(folder: str, tree: ast.Module) -> list[str]:
    """What a file of a folder of `STRUCTURAL` imports from one above, for its annotations too."""
    names = [name.split(".") for name in imported(tree, f"mlm_ops.structural.{folder}")]
    inside = [parts for parts in names if parts[:2] == ["mlm_ops", "structural"]]
    order = {name: position for position, name in enumerate(STRUCTURAL)}
    return [".".join(parts) for parts in inside if order[parts[2]] > order[folder]]


@pytest.mark.parametrize("folder", STRUCTURAL)
def test_structural_models_import_one_way(folder):
    place = PACKAGE / "structural" / folder
    for path in sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        assert structural_rules_broken(folder, ast.parse(path.read_text())) == [], path


def test_structural_models_have_no_other_files():
    names = {path.stem for path in (PACKAGE / "structural").iterdir() if not path.name.startswith("__")}
    assert names == set(STRUCTURAL)


def test_a_rule_breaker_among_structural_models_is_found():
    tree = ast.parse("from mlm_ops.structural.results.fit import SemFit\nfrom mlm_ops.structural.language import model")
    assert structural_rules_broken("inference", tree) == ["mlm_ops.structural.results.fit"]


@pytest.mark.parametrize("name", sorted(LOOKED_UP))
def test_what_is_looked_up_is_imported_when_first_used(name):
    tree = run_time(ast.parse(MODULES[name].read_text()))
    assert {other for other in imported(tree, name) if other.startswith("mlm_ops")} <= {
        "mlm_ops.errors",
        "mlm_ops.lazy",
    }


def test_pictures_are_imported_without_what_draws_them():
    code = "import sys, mlm_ops.reports.pictures; print([n for n in ('vl_convert', 'duckdb') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rooms_alone_stand_at_the_root():
    names = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names == {*ROOMS, *ENTRANCES}


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, mlm_ops; print([name for name in {LAZY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_package_and_the_command_wait_for_what_they_need():
    code = (
        "import sys, mlm_ops.cli.main; print([name for name in ('numpy', 'polars', 'duckdb') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_printed_fit_of_a_small_file_imports_no_library_that_it_does_not_need(tmp_path):
    """Together they take longer to import than numpy, DuckDB, the file, the scan and the fit."""
    path = tmp_path / "rows.csv"
    path.write_text("g,x,y\n" + "".join(f"{i % 5},{i % 7},{(i * i) % 11}\n" for i in range(60)))
    code = (
        "import sys, mlm_ops.cli.main as command; status = command.main(sys.argv[1:]); "
        f"print('imported:', status, sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", "y ~ x + (x | g)", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "imported: 0 []"


def test_a_table_is_imported_by_its_name_and_is_no_file():
    """A file of a table's name would stand in its place as soon as it was imported."""
    from mlm_ops.results import tables

    files = {path.stem for path in (PACKAGE / "results" / "tables").glob("*.py")}
    assert files.isdisjoint(tables.__all__)
    assert all(getattr(tables, name) is not None for name in tables.__all__)
    with pytest.raises(AttributeError, match=r"module 'mlm_ops\.results\.tables' has no attribute 'fixd_effects'"):
        _ = tables.fixd_effects


def test_a_model_in_sql_does_not_wait_for_pandas_nor_for_structural_models():
    code = """import sys, duckdb; from mlm_ops.plugins.duckdb import register
connection = duckdb.connect(); register(connection)
connection.execute("create table t as select g, g + n * n as y from range(3) a(g), range(4) b(n)")
assert connection.sql("select estimate from mlm('y ~ 1 + (1 | g)', 't')").fetchall() == [(4.5,)]
print([name for name in ('pandas', 'mlm_ops.structural') if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "code",
    [
        "from mlm_ops import fit, Fit",
        "import mlm_ops as mlm; fit, Fit = mlm.fit, mlm.Fit",
        "import mlm_ops.analyses.run, mlm_ops as mlm; fit, Fit = mlm.fit, mlm.Fit",
        "from mlm_ops.results.fitting import fit; from mlm_ops.results.fit import Fit",
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


def test_at_most_seventeen_public_names():
    assert len(mlm_ops.__all__) <= 17
    assert all(hasattr(mlm_ops, name) for name in mlm_ops.__all__)


#: What projects that `mlm init` has written import, now and in the release before.
FOR_PROJECTS = {
    "mlm_ops": {"DataError"},
    "mlm_ops.errors": {"DataError"},
    "mlm_ops.plugins.dagster": {
        "Warehouse",
        "build_analysis_assets",
        "file_literal",
        "literal",
        "load_file",
        "read_analyses",
    },
    "mlm_ops.language.analysis": {"read_analyses"},
    "mlm_ops.sql_text": {"file_literal", "literal"},
}
MOVED = ("mlm_ops.language.analysis", "mlm_ops.sql_text")


@pytest.mark.parametrize("name", FOR_PROJECTS)
def test_what_projects_import_is_there(name):
    code = "".join(f"from {name} import {member}; assert {member}\n" for member in sorted(FOR_PROJECTS[name]))
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    warned = [line for line in done.stderr.splitlines() if line.startswith("<string>:1: DeprecationWarning: mlm_ops")]
    assert warned == [
        f"<string>:1: DeprecationWarning: {name} has moved, and its old name goes with mlm-ops 0.2. Import "
        "read_analyses, literal and file_literal from mlm_ops.plugins.dagster."
    ] * (name in MOVED)


def test_new_projects_import_public_names_alone():
    """A template imports from the package and from its plugin for Dagster, and nothing that is not listed there."""
    for path in (PACKAGE / "analyses" / "starter" / "templates").rglob("*.py.jinja"):
        for line in path.read_text().splitlines():
            if line.startswith("from mlm_ops"):
                name = line.split()[1]
                names = set(re.findall(r"\w+", line.partition(" import ")[2])) - {
                    "if",
                    "from_database",
                    "by_library",
                    "else",
                }
                assert names <= FOR_PROJECTS[name], line
