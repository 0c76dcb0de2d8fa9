"""The recipes of docs/hosts.md for DuckDB's clients, each run in an environment that has them.

Run on request, as CONTRIBUTING.md says: the environment is installed from the package index.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from tests.hosts.environments import ROOT, environment, lines_of

SECTION = (ROOT / "docs" / "hosts.md").read_text(encoding="utf-8").partition("## DuckDB's clients")[2]
RECIPES = re.findall(r"^(\w+)[^\n]*:\n\n```python\n(.*?)```", SECTION, re.MULTILINE | re.DOTALL)
#: ibis calls a method that DuckDB 2.0 no longer has.
PACKAGES = ("duckdb<2", "duckdb-engine", "ibis-framework[duckdb]", "ipython", "jupysql", "pandas")


def test_there_are_four_recipes() -> None:
    assert [name for name, _ in RECIPES] == ["SQLAlchemy", "ibis", "pandas", "jupysql"]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("clients"), str(ROOT), *PACKAGES)


@pytest.mark.clients
@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_a_recipe_gives_the_numbers_of_fit(name: str, recipe: str, python: Path, tmp_path: Path) -> None:
    data = ROOT / "pipelines" / "data" / "hsb.csv"
    # by the older DuckDB, which cannot read a file of a newer one
    table = f"create table students as from '{data}'"
    script = f"import duckdb\nduckdb.connect('school.duckdb').execute({table!r}).close()\n{recipe}\nfor row in rows:\n"
    script += "    print('row', *row)\n"
    rows = [line.split()[1:] for line in lines_of(python, script, tmp_path) if line.startswith("row ")]
    expected = mlm.fit("mathach ~ ses + (1 | school)", duckdb.read_csv(str(data)).pl()).fixed_effects
    assert [name for name, _ in rows] == expected["term"].to_list()
    # two versions of DuckDB may add in another order
    assert [float(value) for _, value in rows] == pytest.approx(expected["estimate"].to_list(), rel=1e-9)
