"""Write a defs.yaml and an analysis file for ``dg scaffold defs mlm_ops.MultilevelAnalysis NAME``."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import re
from pathlib import Path

import dagster as dg
from pydantic import BaseModel, Field

from mlm_ops.analyses.starter.analysis_file import analysis_text
from mlm_ops.analyses.starter.guess import guess
from mlm_ops.analyses.starter.templates import fill
from mlm_ops.errors import ProjectError
from mlm_ops.warehouse.connection import open_database
from mlm_ops.warehouse.source import open_source


class ScaffoldParams(BaseModel):
    """Options from which a first analysis is guessed; without a database it is an example to change."""

    database: str | None = Field(
        default=None, description="DuckDB file, from the project's root, whose columns are looked at."
    )
    table: str | None = Field(default=None, description="Table in it; needed where it has several.")
    outcome: str | None = Field(default=None, description="Column of the outcome; guessed otherwise.")
    group: str | None = Field(default=None, description="Column of the groups; guessed otherwise.")


class AnalysisScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Write defs.yaml and analysis.yaml."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Options of the command."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the files; none is overwritten.

        Raises
        ------
        ProjectError
            An analysis file is there already, or Python is asked for.
        DataError, StoreError
            The database cannot be read, or no column serves as group or outcome.
        """
        if request.scaffold_format != "yaml" or request.append:
            raise ProjectError(
                "A multilevel analysis is written as YAML, in a folder of its own. Leave out the option."
            )
        place = request.target_path / "analysis.yaml"
        if place.exists():
            raise ProjectError(f"{place} is there already; nothing is overwritten. Choose another name.")
        name = _plain(request.target_path.name)
        database = request.params.database
        text = fill("component/analysis.yaml", {"name": name}) if database is None else _guessed_text(name, request)
        defs = fill("component/defs.yaml", {"type": request.type_name, "database": database})
        place.write_text(text, encoding="utf-8")
        (request.target_path / "defs.yaml").write_text(defs, encoding="utf-8")


def _guessed_text(name: str, request: dg.ScaffoldRequest[ScaffoldParams]) -> str:
    params = request.params
    path = (request.project_root or Path()) / str(params.database)
    connection, table = open_database(path, params.table)
    with connection:
        columns = guess(open_source(table, connection), params.outcome, params.group)
    return analysis_text(name, table, columns)


def _plain(text: str) -> str:
    """A name that Dagster and SQL take."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII)
    return word if re.match("[A-Za-z_]", word) else f"_{word}"
