"""Queries of rows are logged at level DEBUG with their duration, and without values."""

from __future__ import annotations

import logging

import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.warehouse.queries import without_values

ROWS = pl.DataFrame(
    {"y": [1.0, 2, 4, 5, 7, 9], "g": ["secret", "secret", "b", "b", "c", "c"], "x": ["u", "hidden"] * 3}
)


def test_sql_without_values() -> None:
    sql = """select "it's" from t where x in ('a', 'it''s é') and "é" = 'ü' and y > 1.5e-3::double -- 'no'"""
    assert without_values(sql) == ("""select "it's" from t where x in (?, ?) and "é" = ? and y > ?::double -- 'no'""")
    assert without_values("") == ""


@pytest.mark.parametrize("as_relation", [False, True])
def test_a_fit_logs_its_queries(as_relation: bool, caplog: pytest.LogCaptureFixture) -> None:
    with duckdb.connect() as connection, caplog.at_level(logging.DEBUG, "mlm_ops.sql"):
        fit = mlm.fit("y ~ x + (1 | g)", connection.from_arrow(ROWS.to_arrow()) if as_relation else ROWS)
    assert {record.name for record in caplog.records} == {"mlm_ops.sql"}
    texts = [record.getMessage() for record in caplog.records]
    assert all(record.levelno == logging.DEBUG and record.seconds >= 0 for record in caplog.records)
    assert [text for text in texts if "with centered as" in text and "scatter_0_0" in text]
    assert len([text for text in texts if "present cross join totals" in text]) == 1
    for value in ("secret", "hidden"):
        assert not any(value in text for text in texts)
        assert value in ROWS["g"].to_list() + list(fit.moments.schema.levels["x"])


def test_nothing_is_logged_at_level_info(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mlm_ops"):
        mlm.fit("y ~ x + (1 | g)", ROWS)
    assert caplog.records == []
