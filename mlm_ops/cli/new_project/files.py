"""Render the templates of a new project: the files of a Dagster project for `mlm run`, or of a dbt project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.analyses.starter.analysis_file import PREDICTORS, comment, formulas, left_out
from mlm_ops.analyses.starter.guess import Guess
from mlm_ops.warehouse.files import READERS
from mlm_ops.warehouse.sql import file_literal, identifier, literal

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class NewProject:
    """The data and names that a new project is made from.

    Attributes
    ----------
    name
        The name of the analysis, the package and the table: a plain word.
    path
        The path of the data file from the project's folder.
    table
        The quoted table of a DuckDB file; None for other files.
    guess
        The roles of the columns.
    """

    name: str
    path: str
    table: str | None
    guess: Guess

    @property
    def source(self) -> str:
        """The table in the attached DuckDB file, with its schema."""
        assert self.table is not None
        return f"source.{self.table}" if '"."' in self.table else f"source.main.{self.table}"


def dagster_files(project: NewProject, analysis: str) -> dict[str, str]:
    """Return the texts of a Dagster project's files by path; `analysis` is the text of the analysis file."""
    package, table = f"{project.name}_pipelines", f"main.{project.name}"
    rows = READERS[Path(project.path).suffix.lower()] if project.table is None else project.source
    order = ", ".join(identifier(level) for level in reversed(project.guess.levels))
    values: dict[str, str | bool | None] = {
        "package": package,
        "name": project.name,
        "path": project.path,
        "table": table,
        "from_database": project.table is not None,
        "load": f"create or replace table {table} as select * from {rows} order by {order}",
    }
    return {
        "pyproject.toml": _render("dagster/pyproject.toml", values),
        ".gitignore": _render("dagster/gitignore", values),
        "dagster_home/dagster.yaml": _render("dagster/dagster.yaml", values),
        f"{package}/__init__.py": "",
        f"{package}/definitions.py": _render("dagster/definitions.py", values),
        f"{package}/assets.py": _render("dagster/assets.py", values),
        f"{package}/analyses/{project.name}.yaml": analysis,
    }


def dbt_files(project: NewProject) -> dict[str, str]:
    """Return the texts of a dbt project's files by path."""
    if project.table is None:
        relation = READERS[Path(project.path).suffix.lower()].format(path=file_literal(project.path))
    else:
        relation = project.source
    settings = {"name": f"{project.name}_mlm", "source": project.path if project.table is not None else None}
    files = {
        "dbt_project.yml": _render("dbt/dbt_project.yml", settings),
        "profiles.yml": _render("dbt/profiles.yml", settings),
        ".gitignore": _render("dbt/gitignore", settings),
        f"models/{project.name}.sql": _render("dbt/rows.sql", {"relation": relation}),
    }
    for model, formula in formulas(project.guess).items():
        unused = left_out(project.guess) if model == PREDICTORS else ""
        texts = {
            "table": project.name,
            "formula": literal(formula),
            "remark": comment(unused, "-- ") if unused else "",
        }
        files[f"models/{project.name}_{model}.sql"] = _render("dbt/effects.sql", texts)
    return files


def _render(template: str, values: Mapping[str, str | bool | None]) -> str:
    """Render one file. Text from the data is a value, never part of a template."""
    return _templates().get_template(f"{template}.jinja").render(values)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML: Python, SQL and YAML, each quoted by its own filter
    )
    templates.filters |= {"python": repr, "yaml": lambda text: text.replace("'", "''"), "as_is": _as_is}
    return templates


def _as_is(text: str) -> str:
    """Escape a text so that dbt's Jinja writes it as it is."""
    # brace by brace, because a text in a raw block could end the block
    return text.replace("{", '{{ "{" }}') if any(mark in text for mark in ("{{", "{%", "{#")) else text
