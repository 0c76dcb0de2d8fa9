"""Fill in the templates of a new project: the files that `mlm run` runs, or that `dbt build` builds."""

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
class Wanted:
    """What a project is made around.

    Attributes
    ----------
    name
        Of the analysis, the package and the table: a plain word.
    path
        The data file, from the project's folder.
    table
        Of a DuckDB file, quoted; None for other files.
    guess
        What its columns are for.
    """

    name: str
    path: str
    table: str | None
    guess: Guess

    @property
    def source(self) -> str:
        """The table of the attached DuckDB file, with its schema."""
        assert self.table is not None
        return f"source.{self.table}" if '"."' in self.table else f"source.main.{self.table}"


def dagster_files(wanted: Wanted, analysis: str) -> dict[str, str]:
    """Texts by path; the analysis file's is given."""
    package, table = f"{wanted.name}_pipelines", f"main.{wanted.name}"
    rows = READERS[Path(wanted.path).suffix.lower()] if wanted.table is None else wanted.source
    order = ", ".join(identifier(level) for level in reversed(wanted.guess.levels))
    values: dict[str, str | bool | None] = {
        "package": package,
        "name": wanted.name,
        "path": wanted.path,
        "table": table,
        "from_database": wanted.table is not None,
        "load": f"create or replace table {table} as select * from {rows} order by {order}",
    }
    return {
        "pyproject.toml": _filled("dagster/pyproject.toml", values),
        ".gitignore": _filled("dagster/gitignore", values),
        "dagster_home/dagster.yaml": _filled("dagster/dagster.yaml", values),
        f"{package}/__init__.py": "",
        f"{package}/definitions.py": _filled("dagster/definitions.py", values),
        f"{package}/assets.py": _filled("dagster/assets.py", values),
        f"{package}/analyses/{wanted.name}.yaml": analysis,
    }


def dbt_files(wanted: Wanted) -> dict[str, str]:
    """Texts by path."""
    if wanted.table is None:
        relation = READERS[Path(wanted.path).suffix.lower()].format(path=file_literal(wanted.path))
    else:
        relation = wanted.source
    project = {"name": f"{wanted.name}_mlm", "source": wanted.path if wanted.table is not None else None}
    files = {
        "dbt_project.yml": _filled("dbt/dbt_project.yml", project),
        "profiles.yml": _filled("dbt/profiles.yml", project),
        ".gitignore": _filled("dbt/gitignore", project),
        f"models/{wanted.name}.sql": _filled("dbt/rows.sql", {"relation": relation}),
    }
    for model, formula in formulas(wanted.guess).items():
        unused = left_out(wanted.guess) if model == PREDICTORS else ""
        texts = {
            "table": wanted.name,
            "formula": literal(formula),
            "remark": comment(unused, "-- ") if unused else "",
        }
        files[f"models/{wanted.name}_{model}.sql"] = _filled("dbt/effects.sql", texts)
    return files


def _filled(template: str, values: Mapping[str, str | bool | None]) -> str:
    """One file's text. What comes from the data is a value, never a template."""
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
    """Text that dbt's Jinja leaves as it is, where it could take it for its own."""
    # brace by brace, as text in a raw block could end the block
    return text.replace("{", '{{ "{" }}') if any(mark in text for mark in ("{{", "{%", "{#")) else text
