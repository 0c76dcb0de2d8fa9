"""The eight queries of docs/dashboards.md answer their questions, on an empty store too, and its connections work."""

from __future__ import annotations

import re

import duckdb
import pytest
import yaml

from mlm_ops.analyses.store.layout import create_results
from mlm_ops.analyses.store.runs import publish
from mlm_ops.warehouse.connection import connect
from tests.reports.stores import CASES, write_store
from tests.specification.examples import blocks, page

QUERIES = [text for _, text in blocks("dashboards", "sql")]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The columns and rows that each query gives of the shipped analysis' published copy."""
    folder = tmp_path_factory.mktemp("dashboards")
    store = write_store(folder, *CASES["hsb"])
    with connect(store.path) as connection:
        publish(connection, folder / "copy.duckdb")
    with duckdb.connect(str(folder / "copy.duckdb"), read_only=True) as copy:
        return [copy.sql(query).pl() for query in QUERIES]


def test_each_has_its_question():
    questions = re.findall(r"^\*\*([^*]+\?)\*\*[^`]*^```sql$", page("dashboards"), re.MULTILINE)
    assert len(questions) == len(QUERIES) == 8


def test_they_answer(answers):
    fresh, icc, effects, contextual, units, comparisons, history, drift = answers
    assert fresh.drop("finished_at").rows() == [("hsb", 7185, 7185, 7, 0, 0)]
    assert [round(value, 4) for value in icc["icc"]] == [0.1804]
    assert icc["group"].to_list() == ["school"]
    assert effects.filter(model="regression")["term"].to_list() == ["ses", "sector[Public]"]
    assert contextual.filter(model="within_between")["contextual"].round(2).to_list() == [3.68]
    assert 20 < units.filter(model="anova").height < 160
    assert comparisons["p_value"].null_count() == 0
    assert round(comparisons.filter(model="random_slope")["p_value"][0], 6) == 0.004686
    assert history.height == effects.height + 7
    assert drift.is_empty()


def test_on_an_empty_store_they_give_no_rows(tmp_path):
    with connect(tmp_path / "store.duckdb") as connection:
        create_results(connection)
        assert [connection.sql(query).pl().height for query in QUERIES] == [0] * 8


def test_the_connection_is_as_evidence_reads_it():
    (text,) = [text for _, text in blocks("dashboards", "yaml")]
    assert yaml.safe_load(text) == {"name": "mlm", "type": "duckdb", "options": {"filename": "results.duckdb"}}
