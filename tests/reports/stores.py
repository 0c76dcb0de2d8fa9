"""Results stores of six kinds of analyses, as their pictures are drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, read_latest, write_run
from mlm_ops.analyses.store.schema import READABLE, TABLES
from mlm_ops.reports.pictures import PICTURES
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection
from mlm_ops.warehouse.connection import connect

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"
HSB = Path(__file__).with_name("hsb.yaml").read_text()
#: Analyses by name: their rows, and the file that says what is fitted.
CASES = {
    "hsb": (Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv", HSB),
    "three_level": (
        DATA / "sim_3lev.csv",
        """
analysis: three_level
data: main.students
levels: [class, school]
models:
  null: y ~ 1 + (1 | school/class)
  slopes: y ~ within(x, school:class) + z + (1 + within(x, school:class) | school/class)
compare: [null, slopes]
diagnostics: slopes
""",
    ),
    "crossed": (
        DATA / "penicillin.csv",
        """
analysis: crossed
data: main.students
models: {one: "diameter ~ 1 + (1 | plate)", both: "diameter ~ 1 + (1 | plate) + (1 | sample)"}
compare: [one, both]
""",
    ),
    "weighted": (
        DATA / "sim_w.csv",
        """
analysis: weighted
data: main.students
levels: g
weights: w
models: {line: "y ~ within(x) + between(x) + (1 | g)", slopes: "y ~ within(x) + between(x) + (1 + within(x) | g)"}
compare: [line, slopes]
""",
    ),
    "robust": (
        DATA / "sleepstudy.csv",
        """
analysis: robust
data: main.students
levels: Subject
robust: CR2
models: {growth: "Reaction ~ Days + (Days | Subject)"}
diagnostics: growth
""",
    ),
    "structural": (
        DATA / "hsb.csv",
        """
analysis: structural
data: main.students
levels: school
models: {regression: mathach ~ ses}
sem: {latent: "contextual: mathach ~ ses"}
""",
    ),
}


@dataclass(frozen=True)
class Store:
    """A store with one analysis, and what its pictures are made from."""

    path: Path
    tables: dict[str, pl.DataFrame]

    def query(self, sql: str) -> pl.DataFrame:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            return connection.sql(sql).pl()

    def pictures(self, *, of_every_model: bool = True) -> Iterator[Picture]:
        """Every picture, of every model or of the one that each takes by default."""
        seen = set()
        for key, draft in PICTURES.items():
            for model in (None, *(sorted(self.tables["models"]["model"]) if of_every_model else ())):
                for picture in draft(self.tables, Selection(model=model)):
                    if (key, picture.sql, picture.answer) not in seen:
                        seen.add((key, picture.sql, picture.answer))
                        yield picture

    def picture(self, key: str, **selection: Any) -> Picture:
        """The first picture of a kind."""
        return next(PICTURES[key](self.tables, Selection(**selection)))


def write_store(folder: Path, rows: Path, text: str) -> Store:
    """Fit an analysis to the rows of a file and store its tables, as ``mlm fit`` does."""
    analysis_file, database = folder / "analysis.yaml", folder / "results.duckdb"
    analysis_file.write_text(text)
    analysis = read_analysis(analysis_file)
    with connect(database) as connection:
        connection.execute(f"create table main.students as from read_csv('{rows}')")
        result = fit_analysis(analysis, connection)
        now = datetime.now(UTC)
        run = Run("run", analysis.analysis, now, now, **run_facts(analysis, result.moments))
        write_run(connection, run, result.tables)
        tables = {name: read_latest(connection, name) for name in READABLE if name in TABLES}
    return Store(database, tables)
