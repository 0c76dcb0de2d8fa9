"""docs/tables.md and the comments in a store are the descriptions of the tables, and its queries run."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.analyses.store import copying, layout
from mlm_ops.analyses.store.layout import create_results
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, publish, write_runs
from mlm_ops.analyses.store.schema import RESULT_TABLES, TABLES_AND_VIEWS
from mlm_ops.results.tables.descriptions import COLUMNS, PREDICTIONS, ROWS, VERSION_OF_STORE
from mlm_ops.warehouse.connection import connect
from tests.specification.examples import ROOT, blocks, page
from tests.specification.tables_page import BLOCKS, COMMAND, doc_blocks, tables_page

COMMENTS = """
    select table_name, column_name, comment from duckdb_columns()
    where database_name = current_database() and schema_name = 'mlm'
"""
RELATIONS = """
    select table_name, comment from duckdb_tables() where database_name = current_database() and schema_name = 'mlm'
    union all select view_name, comment from duckdb_views()
    where database_name = current_database() and schema_name = 'mlm'
"""


@pytest.fixture
def store(tmp_path):
    with connect(tmp_path / "store.duckdb") as connection:
        create_results(connection)
        yield connection


def test_the_page_is_of_these_tables():
    assert page("tables") == tables_page(), f"docs/tables.md is out of date. Renew it: {COMMAND}"


def test_the_doc_blocks_of_the_dbt_package_are_of_these_columns():
    assert BLOCKS.read_text(encoding="utf-8") == doc_blocks(), f"{BLOCKS} is out of date. Renew it: {COMMAND}"
    assert set(COLUMNS).isdisjoint(PREDICTIONS)


def test_every_table_has_a_description_and_every_description_a_table():
    assert ROWS.keys() == {"store_version", *TABLES_AND_VIEWS}
    assert {column for columns in TABLES_AND_VIEWS.values() for column in columns} == COLUMNS.keys()
    assert [text for text in (*ROWS.values(), *COLUMNS.values(), *PREDICTIONS.values()) if text.endswith(".")] == []


def test_descriptions_are_noun_phrases_that_a_catalogue_can_show_alone():
    """Nobody can read "Of chi_square_within" without the columns beside it, nor "One row a unit" as English."""
    texts = {**ROWS, **COLUMNS, **PREDICTIONS, "version": VERSION_OF_STORE}
    texts["latest"] = layout._view_claim(duckdb.connect(), "latest_icc").description or ""
    assert {name: text for name, text in texts.items() if re.search(r"^(Of|By) |\brows? an? ", text)} == {}


def test_every_table_view_and_column_of_a_store_and_of_its_copy_is_described(store, tmp_path):
    publish(store, tmp_path / "copy.duckdb")
    with duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True) as copy:
        for connection, whose in ((store, "results store"), (copy, "published copy of a results store")):
            columns = connection.execute(COMMENTS).fetchall()
            assert len(columns) == 1 + 2 * sum(map(len, TABLES_AND_VIEWS.values()))
            assert [
                row for row in columns if row[2] != (VERSION_OF_STORE if row[0] == "store_version" else COLUMNS[row[1]])
            ] == []
            relations = dict(connection.execute(RELATIONS).fetchall())
            assert len(relations) == 1 + 2 * len(TABLES_AND_VIEWS)
            source = ' | of "store.duckdb"' if connection is copy else ""
            assert relations["store_version"] == f"mlm-ops: {whose} | {ROWS['store_version']}{source}"
            assert relations["icc"] == f"mlm-ops: results | {ROWS['icc']}"
            assert relations["latest_runs"] == "mlm-ops: results of the latest runs | The latest run of each analysis"
            assert relations["latest_icc"] == (
                f"mlm-ops: results of the latest runs | The latest run of each analysis: {ROWS['icc']}"
            )


def test_a_store_without_comments_gets_them_at_its_next_run(store):
    """As an earlier mlm-ops wrote it: marks alone, and views whose columns say nothing."""
    before = (sorted(store.execute(COMMENTS).fetchall()), sorted(store.execute(RELATIONS).fetchall()))
    for name in RESULT_TABLES:
        store.execute(f"create or replace view mlm.latest_{name} as {layout._VIEWS[f'latest_{name}']}")
        store.execute(f"comment on view mlm.latest_{name} is 'mlm-ops: results of the latest runs'")
        store.execute(f"comment on table mlm.{name} is 'mlm-ops: results'")
        for column in RESULT_TABLES[name]:
            store.execute(f'comment on column mlm.{name}."{column}" is null')
    create_results(store)
    assert (sorted(store.execute(COMMENTS).fetchall()), sorted(store.execute(RELATIONS).fetchall())) == before


def test_a_description_that_has_changed_replaces_the_one_before(store):
    store.execute("comment on table mlm.icc is 'mlm-ops: results | Another text'")
    store.execute("comment on column mlm.icc.icc is 'Another text'")
    create_results(store)
    assert ("icc", f"mlm-ops: results | {ROWS['icc']}") in store.execute(RELATIONS).fetchall()
    assert ("icc", "icc", COLUMNS["icc"]) in store.execute(COMMENTS).fetchall()


def test_views_that_are_as_they_would_be_made_are_left_alone(store, monkeypatch):
    """Describing their columns anew would take a tenth of a second at every run."""
    replaced = []
    monkeypatch.setattr(layout, "replace_view", lambda connection, claim, *rest: replaced.append(claim.table[1]))
    create_results(store)
    assert replaced == []
    store.execute("create or replace view mlm.latest_icc as select * from mlm.icc")
    store.execute(f"comment on view mlm.latest_icc is '{layout._view_claim(store, 'latest_icc').comment}'")
    create_results(store)
    assert replaced == ["latest_icc"]


def test_the_empty_copy_is_made_once(store, tmp_path, monkeypatch):
    publish(store, tmp_path / "first.duckdb")
    monkeypatch.setattr(copying, "create_results", None)
    publish(store, tmp_path / "second.duckdb")
    with duckdb.connect(str(tmp_path / "second.duckdb"), read_only=True) as copy:
        assert copy.execute("select count(*) from mlm.latest_fixed_effects").fetchall() == [(0,)]


def test_the_queries_run(store):
    """On the tables of an analysis, so that each of them has rows to show."""
    queries = [query for _, query in blocks("tables", "sql")]
    assert queries
    analysis = parse_analysis("{analysis: hsb, data: main.students, models: {m: mathach ~ ses + (1 | school)}}")
    store.execute(f"create table main.students as from '{ROOT / 'pipelines/data/hsb.csv'}'")
    result = fit_analysis(analysis, store)
    now = datetime.now(UTC)
    run = Run(run_id="r", analysis="hsb", started_at=now, finished_at=now, **run_facts(analysis, result.moments))
    write_runs(store, [(run, result.tables)], analysis.history)
    assert [query for query in queries if not store.execute(query).fetchall()] == []


def test_every_example_quotes_group():
    """Of docs/ and the README: SQL that names the column unquoted is a syntax error."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"^```sql\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            assert not re.search(r'(?<!["\w])group(?!\s+by\b|\w|")', block, re.IGNORECASE), (path.name, block)
