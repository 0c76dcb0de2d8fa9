"""Partitions are stored as analyses of their own, and have one page together."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.reports.page.content import page_of
from mlm_ops.reports.page.partitions import by_page
from mlm_ops.reports.page.places import existing_report, file_names
from tests.reports.stores import Store


def tables_of(hsb: Store, name: str, day: int) -> dict[str, pl.DataFrame]:
    tables = {one: frame.with_columns(analysis=pl.lit(name)) for one, frame in read_latest_results(hsb.path).items()}
    finished = pl.lit(datetime(2026, 1, day, tzinfo=UTC)).cast(tables["runs"].schema["finished_at"])
    return tables | {"runs": tables["runs"].with_columns(finished_at=finished)}


def test_rows_of_all_partitions_are_together(hsb: Store) -> None:
    parts = {name: tables_of(hsb, name, day) for day, name in enumerate(("w[1]", "w[10]", "w[2]"), start=1)}
    pages = by_page({**parts, "other": tables_of(hsb, "other", 9)})
    assert list(pages) == ["w", "other"]
    tables = pages["w"]
    assert set(tables["key_fixed_effects"]["analysis"]) == set(parts)
    assert tables["key_fixed_effects"].height == 3 * hsb.tables["fixed_effects"].height
    (run,) = tables["runs"].to_dicts()
    assert (run["analysis"], run["n_obs"]) == ("w", 3 * 7185)
    assert run["finished_at"] == datetime(2026, 1, 3, tzinfo=UTC)
    assert "slopes_as_outcomes[10]" in set(tables["fit_statistics"]["model"])
    page = page_of(tables)
    assert "21 of 21 models converged" in page.html
    assert ("21,555", "rows") in page.facts


def test_one_partition_alone_is_as_an_analysis(hsb: Store) -> None:
    tables = tables_of(hsb, "w[1]", 1)
    assert by_page({"w[1]": tables}) == {"w": tables}


def test_an_analysis_beside_its_partitions_keeps_its_own_tables(hsb: Store) -> None:
    parts = {name: tables_of(hsb, name, day) for day, name in enumerate(("w", "w[1]", "w[2]"), start=1)}
    (page,) = by_page(parts).values()
    assert page["fixed_effects"] is parts["w"]["fixed_effects"]
    assert set(page["key_fixed_effects"]["analysis"]) == {"w[1]", "w[2]"}


def test_files_are_named_for_pages_and_partitions(tmp_path) -> None:
    assert file_names(["w[1]", "w[2]", "x"]) == {"w": "w.html", "x": "x.html", "w[1]": "w-1.html", "w[2]": "w-2.html"}
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "w.html").touch()
    assert (
        existing_report(tmp_path / "r.duckdb", ["w[1]", "w[2]", "x"], ["w[1]", "w[2]"])
        == tmp_path / "report" / "w.html"
    )
    assert existing_report(tmp_path / "r.duckdb", ["w[1]", "w[2]", "x"], ["x"]) is None
