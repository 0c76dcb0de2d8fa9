"""The tables that the analyses start from, each described once and loaded from its file in data/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb

from mlm_ops import DataError
from mlm_ops.plugins.dagster import Warehouse, file_pattern, identifier

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Table:
    """Describe a table: its file, the columns by which its rows are ordered, and each column's type and meaning."""

    name: str
    file: str
    about: str
    order: tuple[str, ...]
    columns: tuple[tuple[str, str, str], ...]

    @property
    def path(self) -> Path:
        """Where the file is."""
        return DATA / self.file


TABLES = (
    Table(
        "students",
        "hsb.csv",
        "High School & Beyond 1982: 7,185 students in 160 schools, stored in the order of their schools.",
        ("school",),
        (
            ("school", "INTEGER", "School identifier"),
            ("minority", "TINYINT", "1 = member of a racial or ethnic minority"),
            ("sex", "VARCHAR", "Female or Male"),
            ("female", "TINYINT", "1 = female"),
            ("ses", "DOUBLE", "Socio-economic status, a standardised composite"),
            ("mathach", "DOUBLE", "Mathematics achievement"),
            ("size", "INTEGER", "Enrolment of the school"),
            ("sector", "VARCHAR", "Public or Catholic"),
            ("catholic", "TINYINT", "1 = Catholic school"),
            ("pracad", "DOUBLE", "Share of the school's students in the academic track"),
            ("disclim", "DOUBLE", "Disciplinary climate of the school, a standardised scale"),
            ("himinty", "TINYINT", "1 = more than 40% minority enrolment"),
            (
                "meanses",
                "DOUBLE",
                "School mean SES as distributed with HLM, not exactly the mean of ses over the rows",
            ),
        ),
    ),
    Table(
        "growth_of_t",
        "growth_of_t.csv",
        "Generated: 2,977 rows in 100 schools, whose intercepts and six slopes vary by a T of full rank.",
        ("school",),
        (
            ("school", "INTEGER", "School identifier"),
            *((f"x{number}", "DOUBLE", "A standard normal predictor") for number in range(1, 7)),
            ("y", "DOUBLE", "The outcome"),
        ),
    ),
    Table(
        "growth",
        "growth.csv",
        "Body weights of 16 rats on three diets, weighed 11 times over nine weeks.",
        ("Rat", "Time"),
        (
            ("weight", "DOUBLE", "Body weight in grams"),
            ("Time", "INTEGER", "Day of the study: 1, 8, ..., 64, and 44"),
            ("Rat", "INTEGER", "Rat identifier"),
            ("Diet", "VARCHAR", "D1, D2 or D3"),
        ),
    ),
    Table(
        "three_levels",
        "three_levels.csv",
        "Sustaining Effects Study: 7,230 tests of 1,721 children in 60 US primary schools over six years.",
        ("schoolid", "childid", "year"),
        (
            ("schoolid", "INTEGER", "School identifier"),
            ("childid", "INTEGER", "Child identifier, no two schools share one"),
            ("year", "DOUBLE", "Year of the study minus 3.5: -2.5 to 2.5"),
            ("grade", "INTEGER", "Grade that the child is in"),
            ("math", "DOUBLE", "Mathematics achievement, on one scale for all grades"),
            ("retained", "TINYINT", "1 = the child repeats the grade"),
            ("gender", "VARCHAR", "Female or Male"),
            ("black", "TINYINT", "1 = African American"),
            ("hispanic", "TINYINT", "1 = Hispanic"),
            ("size", "INTEGER", "Students of the school"),
            ("lowinc", "DOUBLE", "Percentage of the school's students from low-income families"),
            ("mobility", "DOUBLE", "Percentage of the school's students who move during a year"),
        ),
    ),
    Table(
        "crossed",
        "crossed.csv",
        "Penicillin: 6 samples, each tested on all of 24 plates.",
        ("plate", "sample"),
        (
            ("diameter", "DOUBLE", "Diameter in mm of the zone that the sample kept free of bacteria"),
            ("plate", "VARCHAR", "Plate of the assay, a to x"),
            ("sample", "VARCHAR", "Sample of penicillin, A to F"),
        ),
    ),
    Table(
        "contextual",
        "contextual.csv",
        "Generated: 500 groups of 5, in which the contextual effect is 0.7.",
        ("g",),
        (
            ("g", "INTEGER", "Group identifier"),
            ("x", "DOUBLE", "Predictor of both levels, 10% of its variance between groups"),
            ("y", "DOUBLE", "The outcome: slope 0.3 within groups, 1.0 between them"),
        ),
    ),
    Table(
        "mediation_111",
        "mediation_111.csv",
        "Generated: 1,811 rows in 150 groups, in which x acts on y through m at both levels.",
        ("g",),
        (
            ("g", "INTEGER", "Group identifier"),
            ("x", "DOUBLE", "Cause, varies within and between groups"),
            ("m", "DOUBLE", "Mediator, varies within and between groups"),
            ("y", "DOUBLE", "The outcome"),
        ),
    ),
    Table(
        "mediation_211",
        "mediation_211.csv",
        "Generated: 1,855 rows in 120 groups, in which x, a property of groups, acts on y through m.",
        ("g",),
        (
            ("g", "INTEGER", "Group identifier"),
            ("x", "DOUBLE", "Cause, the same for all rows of a group"),
            ("m", "DOUBLE", "Mediator, varies within and between groups"),
            ("y", "DOUBLE", "The outcome"),
        ),
    ),
    Table(
        "measurement",
        "measurement.csv",
        "Four indicators of lavaan's Demo.twolevel: 2,500 rows in 200 clusters.",
        ("cluster",),
        (
            *((f"y{number}", "DOUBLE", f"Indicator {number}") for number in range(1, 5)),
            ("cluster", "INTEGER", "Cluster identifier"),
        ),
    ),
)


def loading_asset(table: Table) -> dg.AssetsDefinition:
    """Make the asset that loads a table's file into the warehouse."""

    @dg.asset(
        name=table.name,
        group_name="sources",
        kinds={"duckdb", "csv"},
        code_version="1",
        description=table.about,
        metadata={
            "dagster/table_name": f"main.{table.name}",
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, kind.lower(), description=meaning) for name, kind, meaning in table.columns]
            ),
        },
    )
    def load(warehouse: Warehouse) -> dg.MaterializeResult[None]:
        with warehouse.connection() as connection:
            rows = load_table(table, connection)
        return dg.MaterializeResult(metadata={"dagster/row_count": rows, "summary": f"{rows:,} rows"})

    return load


def load_table(table: Table, connection: duckdb.DuckDBPyConnection) -> int:
    """Load a table's file, and return the number of rows.

    Raises
    ------
    DataError
        There is no such file.
    """
    if not table.path.is_file():
        raise DataError(f"There is no file {table.path.relative_to(DATA.parents[1])} (asset {table.name}).")
    # in the order of the groups: the scan for moments is then several times faster
    connection.execute(
        f"""
        create or replace table {identifier(table.name)} as
        select * from read_csv($path, header = true, columns = $columns, hive_partitioning = false)
        order by {", ".join(map(identifier, table.order))}
        """,
        {"path": file_pattern(table.path), "columns": {name: kind for name, kind, _ in table.columns}},
    )
    (rows,) = connection.execute(f"select count(*) from {identifier(table.name)}").fetchall()[0]
    return int(rows)


SOURCES = [loading_asset(table) for table in TABLES]
