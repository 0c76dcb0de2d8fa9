"""The files of a dbt project that ``dbt build`` builds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.analyses.starter.analysis_file import PREDICTORS, comment, formulas, left_out
from mlm_ops.warehouse.files import READERS
from mlm_ops.warehouse.sql import file_literal, literal

if TYPE_CHECKING:
    from mlm_ops.cli.new_project.wanted import Wanted

_PROJECT = """\
name: {name}
version: 0.1.0
config-version: 2
profile: {name}
model-paths: [models]
flags:
  send_anonymous_usage_stats: false
models:
  {name}:
    +materialized: table
"""
_PROFILE = """\
{name}:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: warehouse.duckdb
      threads: 1
      plugins:
        - module: mlm_ops.plugins.dbt    # makes mlm(), mlm_variance_components() and their sisters known to SQL
"""
_EFFECTS = """\
-- Fixed effects of a first model, guessed from the columns of the table. Change whatever is wrong.
--   within(x, g)    x minus the mean of its group g        between(x, g)    the mean of the group
--   (1 | g)         groups differ in level                 (1 + x | g)      and in the slope of x
{remark}select * from mlm({formula}, '{{{{ ref("{table}") }}}}')
"""


def dbt_files(wanted: Wanted) -> dict[str, str]:
    """Texts by path."""
    name, table = f"{wanted.name}_mlm", wanted.name
    if wanted.table is None:
        reader = READERS[Path(wanted.path).suffix.lower()].format(path=file_literal(wanted.path))
        rows, attached = f"select * from {_raw(reader)}\n", ""
    else:
        qualified = wanted.table if '"."' in wanted.table else f"main.{wanted.table}"
        rows = f"select * from {_raw(f'source.{qualified}')}\n"
        place = _raw(wanted.path.replace("'", "''"))
        attached = f"      attach:\n        - {{path: '{place}', alias: source, read_only: true}}\n"
    files = {
        "dbt_project.yml": _PROJECT.format(name=name),
        "profiles.yml": _PROFILE.format(name=name) + attached,
        ".gitignore": "warehouse.duckdb*\ntarget/\nlogs/\ndbt_packages/\n",
        f"models/{table}.sql": rows,
    }
    for model, formula in formulas(wanted.guess).items():
        told = left_out(wanted.guess) if model == PREDICTORS else ""
        remark = f"{_raw(comment(told, '-- '))}\n" if told else ""
        files[f"models/{table}_{model}.sql"] = _EFFECTS.format(
            formula=_raw(literal(formula)), table=table, remark=remark
        )
    return files


def _raw(text: str) -> str:
    """Text that Jinja leaves as it is, where it could take it for its own."""
    # brace by brace, as text in a raw block could end the block
    return text.replace("{", '{{ "{" }}') if any(mark in text for mark in ("{{", "{%", "{#")) else text
