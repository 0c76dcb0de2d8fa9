"""Render the templates of a new project: the files of a Dagster project for `mlm run`, or of a dbt project."""

from __future__ import annotations

from dataclasses import dataclass

from mlm_ops.analyses.starter.analysis_file import comment, formulas, left_out
from mlm_ops.analyses.starter.guess import Guess
from mlm_ops.analyses.starter.templates import fill
from mlm_ops.warehouse.sql import identifier, literal


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
    rows
        The text after FROM of a data file, as the project's folder sees it; None where DuckDB cannot read it by itself.
    guess
        The roles of the columns.
    """

    name: str
    path: str
    table: str | None
    rows: str | None
    guess: Guess

    @property
    def source(self) -> str:
        """The table in the attached DuckDB file, with its schema."""
        assert self.table is not None
        return f"source.{self.table}" if '"."' in self.table else f"source.main.{self.table}"


def dagster_files(project: NewProject, analysis: str) -> dict[str, str]:
    """Return the texts of a Dagster project's files by path; `analysis` is the text of the analysis file."""
    package, table = f"{project.name}_pipelines", f"main.{project.name}"
    groups = list(reversed(project.guess.levels))
    values: dict[str, str | bool | list[str] | None] = {
        "package": package,
        "name": project.name,
        "path": project.path,
        "table": table,
        "from_database": project.table is not None,
        "order": groups,
    }
    if project.table is not None:
        rows, order = project.source, ", ".join(map(identifier, groups))
        values["load"] = f"create or replace table {table} as select * from {rows} order by {order}"
    return {
        "pyproject.toml": fill("dagster/pyproject.toml", values),
        ".gitignore": fill("dagster/gitignore", values),
        "dagster_home/dagster.yaml": fill("dagster/dagster.yaml", values),
        f"{package}/__init__.py": "",
        f"{package}/definitions.py": fill("dagster/definitions.py", values),
        f"{package}/assets.py": fill("dagster/assets.py", values),
        f"{package}/analyses/{project.name}.yaml": analysis,
    }


def dbt_files(project: NewProject) -> dict[str, str]:
    """Return the texts of a dbt project's files by path."""
    if project.table is None:
        assert project.rows is not None, "a file that DuckDB cannot read was refused"
        relation = project.rows
    else:
        relation = project.source
    settings = {"name": f"{project.name}_mlm", "source": project.path if project.table is not None else None}
    files = {
        "dbt_project.yml": fill("dbt/dbt_project.yml", settings),
        "profiles.yml": fill("dbt/profiles.yml", settings),
        ".gitignore": fill("dbt/gitignore", settings),
    }
    models = formulas(project.guess)
    complete = " and ".join(f"{identifier(name)} is not null" for name in project.guess.columns)
    rows: dict[str, str | bool | list[str] | None] = {
        "relation": relation,
        "complete": complete if len(models) > 1 else None,
    }
    files[f"models/{project.name}.sql"] = fill("dbt/rows.sql", rows)
    for model, formula in models.items():
        remarks = [] if model == "empty" else left_out(project.guess)
        texts = {
            "table": project.name,
            "formula": literal(formula),
            "remark": "\n".join(comment(line, "-- ") for line in remarks),
        }
        files[f"models/{project.name}_{model}.sql"] = fill("dbt/effects.sql", texts)
    return files
