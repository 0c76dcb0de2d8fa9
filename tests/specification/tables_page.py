"""Write docs/tables.md and the doc blocks of the dbt package from the descriptions of tables.

``python -m tests.specification.tables_page`` writes both.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlm_ops.analyses.store.schema import RENAMED, TABLES_AND_VIEWS
from mlm_ops.results.tables.columns import KEYS, SQL_TYPES, ColumnTypes
from mlm_ops.results.tables.descriptions import COLUMNS, PREDICTIONS, ROWS, VERSION_OF_STORE
from mlm_ops.warehouse.sql import identifier

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
BLOCKS = Path(__file__).parents[2] / "sql" / "docs" / "results.md"
COMMAND = ".venv/bin/python -m tests.specification.tables_page"

HEAD = """\
# The result tables

<!-- Made from mlm_ops/results/tables/descriptions.py by: {command} -->

The result tables are in schema `mlm` of `warehouse/results.duckdb`, of the warehouse, and of every database that
`mlm fit` writes to. Each table has the rows of all runs that are kept. Its view `mlm.latest_…` has the same columns and
only the rows of the latest run of each analysis; dashboards read the views ([dashboards.md](dashboards.md)). The
database has the descriptions below as comments on its tables, views and columns:

```sql
select column_name, data_type, comment from duckdb_columns()
where schema_name = 'mlm' and table_name = 'latest_fixed_effects' order by column_index;
```

The comment of a table begins with `mlm-ops:` and a mark by which mlm-ops recognises its own tables
([operations.md](operations.md)). Names and roles of columns follow broom.mixed. `group` is a reserved word in SQL, so
quote it; quote `at` as well, the earlier name of two columns:

```sql
select model, "group", unit, term, estimate from mlm.latest_random_effects where analysis = 'hsb';
```

Every table begins with these columns:

| column | type | |
|---|---|---|
{keys}

`runs` and `store_version` have no column `model`.
"""

TABLE = """
## {name}

{rows}.

| column | type | |
|---|---|---|
{columns}
"""

TAIL = """
## store_version

{rows}. Its column `version`: {version}.

## Views of predictions

Only the warehouse has the views `mlm.predicted_<analysis>__<model>`: the rows of the data with these columns added
([sql.md](sql.md)):

| column | |
|---|---|
{predictions}
"""


def tables_page() -> str:
    """The text of the page."""
    parts = [HEAD.format(command=COMMAND, keys=_lines(KEYS))]
    for name, columns in TABLES_AND_VIEWS.items():
        own = {column: kind for column, kind in columns.items() if name == "runs" or column not in KEYS}
        rows = ROWS[name]
        parts.append(TABLE.format(name=name, rows=rows, columns=_lines(own, RENAMED.get(name, {}).values())))
    predictions = "\n".join(f"| `{column}` | {text} |" for column, text in PREDICTIONS.items())
    parts.append(TAIL.format(rows=ROWS["store_version"], version=VERSION_OF_STORE, predictions=predictions))
    return "".join(parts)


def doc_blocks() -> str:
    """The texts for `dbt docs`: one block per table, ``mlm_table_<name>``, and per column, ``mlm_<name>``."""
    texts = {f"mlm_table_{name}": text for name, text in ROWS.items()}
    texts |= {f"mlm_{name}": text for name, text in (COLUMNS | PREDICTIONS).items()}
    blocks = (f"{{% docs {name} %}}\n{text}.\n{{% enddocs %}}\n" for name, text in sorted(texts.items()))
    return f"<!-- Made from mlm_ops/results/tables/descriptions.py by: {COMMAND} -->\n\n" + "\n".join(blocks)


def _lines(columns: ColumnTypes, earlier: Iterable[str] = ()) -> str:
    return "\n".join(
        f"| `{identifier(name) if name in ('group', *earlier) else name}` | {SQL_TYPES[kind]} | {COLUMNS[name]} |"
        for name, kind in columns.items()
    )


if __name__ == "__main__":
    PAGE.write_text(tables_page(), encoding="utf-8")
    BLOCKS.write_text(doc_blocks(), encoding="utf-8")
