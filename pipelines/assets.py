"""The tables that the analyses start from."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlm_ops import DataError
from mlm_ops.plugins.dagster import Warehouse, file_pattern

HSB = Path(__file__).parent / "data" / "hsb.csv"

#: Column, type and meaning.
STUDENTS = (
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
    ("meanses", "DOUBLE", "School mean SES as distributed with HLM, not exactly the mean of ses over the rows"),
)

# In the order of the groups: the scan for moments is then several times faster.
LOAD_STUDENTS = """
    create or replace table main.students as
    select * from read_csv($path, header = true, columns = $columns, hive_partitioning = false)
    order by school
"""


@dg.asset(
    group_name="sources",
    kinds={"duckdb", "csv"},
    code_version="1",
    description="High School & Beyond 1982: 7,185 students in 160 schools, stored in the order of their schools.",
    metadata={
        "dagster/table_name": "main.students",
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(name, kind.lower(), description=meaning) for name, kind, meaning in STUDENTS]
        ),
    },
)
def students(warehouse: Warehouse) -> dg.MaterializeResult[None]:
    """Load the survey into the warehouse."""
    if not HSB.is_file():
        raise DataError(f"There is no file {HSB.relative_to(HSB.parents[2])} (asset students).")
    columns = {name: kind for name, kind, _ in STUDENTS}
    with warehouse.connection() as connection:
        connection.execute(LOAD_STUDENTS, {"path": file_pattern(HSB), "columns": columns})
        (rows,) = connection.execute("select count(*) from main.students").fetchall()[0]
    return dg.MaterializeResult(metadata={"dagster/row_count": rows, "summary": f"{rows:,} rows"})
