"""The files of a Dagster project that ``mlm run`` runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.warehouse.files import READERS
from mlm_ops.warehouse.sql import identifier

if TYPE_CHECKING:
    from mlm_ops.cli.new_project.wanted import Wanted

_PROJECT = """\
# `mlm run` and `dagster dev` find the project by this file.
[tool.dagster]
module_name = "{package}.definitions"
"""
_DEFINITIONS = '''\
"""The code location: every analysis file of analyses/ on the table of assets.py."""

from pathlib import Path

import dagster as dg
from mlm_ops.analyses.file.analysis import read_analyses
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

from {package}.assets import rows

HERE = Path(__file__).parent

mlm_run = dg.define_asset_job("mlm_run", selection=dg.AssetSelection.all())
daily = dg.ScheduleDefinition(name="daily", job=mlm_run, cron_schedule="0 5 * * *")  # turn it on in `mlm ui`

defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[rows],
        jobs=[mlm_run],
        schedules=[daily],
        resources={{"warehouse": Warehouse(directory=str(HERE.parent / "warehouse"))}},
        executor=dg.in_process_executor,
    ),
    *(build_analysis_assets(analysis) for analysis in read_analyses(HERE / "analyses")),
)
'''
_ASSETS = '''\
"""The table that the analyses start from."""

from pathlib import Path

import dagster as dg
from mlm_ops.errors import DataError
from mlm_ops.plugins.dagster import Warehouse
from mlm_ops.warehouse.sql import {literal}

DATA = Path(__file__).parent.parent / {path!r}

# In the order of the groups: the scan for moments is then faster.
LOAD = {load!r}


@dg.asset(key={name!r}, group_name="sources", kinds={{"duckdb"}}, metadata={{"dagster/table_name": {table!r}}})
def rows(warehouse: Warehouse) -> dg.MaterializeResult:
    """Load the file into the warehouse."""
    if not DATA.is_file():
        raise DataError(f"There is no file {{DATA.resolve()}}. Its place is DATA in {{__file__}}.")
    with warehouse.connection() as connection:
{body}
        (count,) = connection.execute("select count(*) from {table}").fetchall()[0]
    return dg.MaterializeResult(metadata={{"dagster/row_count": count, "summary": f"{{count:,}} rows"}})
'''
_FROM_FILE = """\
        connection.execute(LOAD.replace("{path}", file_literal(DATA), 1))"""
_FROM_DATABASE = """\
        connection.execute(f"attach {literal(str(DATA))} as source (read_only)")
        try:
            connection.execute(LOAD)
        finally:
            connection.execute("detach source")"""
_IGNORE = "/warehouse/\n/dagster_home/*\n!/dagster_home/dagster.yaml\n__pycache__/\n"
_INSTANCE = """\
# The Dagster instance of this project: `mlm run`, `mlm ui` and the schedules share it.
telemetry:
  enabled: false

# What mlm_ops logs stands in the event log of the step, beside what Dagster logs there.
python_logs:
  managed_python_loggers: [mlm_ops]
  python_log_level: INFO
"""


def dagster_files(wanted: Wanted, analysis: str) -> dict[str, str]:
    """Texts by path."""
    package, table = f"{wanted.name}_pipelines", f"main.{wanted.name}"
    relation = (
        READERS[Path(wanted.path).suffix.lower()] if wanted.table is None else f"source.{_with_schema(wanted.table)}"
    )
    order = ", ".join(identifier(level) for level in reversed(wanted.guess.levels))
    load = f"create or replace table {table} as select * from {relation} order by {order}"
    assets = _ASSETS.format(
        path=wanted.path,
        literal="file_literal" if wanted.table is None else "literal",
        load=load,
        name=wanted.name,
        table=table,
        body=_FROM_FILE if wanted.table is None else _FROM_DATABASE,
    )
    return {
        "pyproject.toml": _PROJECT.format(package=package),
        ".gitignore": _IGNORE,
        "dagster_home/dagster.yaml": _INSTANCE,
        f"{package}/__init__.py": "",
        f"{package}/definitions.py": _DEFINITIONS.format(package=package),
        f"{package}/assets.py": assets,
        f"{package}/analyses/{wanted.name}.yaml": analysis,
    }


def _with_schema(table: str) -> str:
    return table if '"."' in table else f"main.{table}"
