"""Put the partitions of an analysis on one page: they are stored as analyses of their own, ``name[key]``."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from mlm_ops.reports.page.places import page_name
from mlm_ops.reports.pictures.rows import Tables, table

#: What the names of tables begin with that have the rows of all partitions, as pictures over partitions take them.
KEYS = "key_"
_FOLLOWED = ("runs", "fixed_effects", "variance_components", "fit_statistics", "models")


def by_page(by_analysis: Mapping[str, dict[str, pl.DataFrame]]) -> dict[str, dict[str, pl.DataFrame]]:
    """The tables of each page by its name: of an analysis, or of all partitions of one.

    Parameters
    ----------
    by_analysis
        The tables of each analysis or partition.
    """
    pages: dict[str, dict[str, dict[str, pl.DataFrame]]] = {}
    for name, tables in by_analysis.items():
        pages.setdefault(page_name(name), {})[name] = tables
    return {page: _together(page, parts) for page, parts in pages.items()}


def _together(page: str, parts: dict[str, dict[str, pl.DataFrame]]) -> dict[str, pl.DataFrame]:
    """The tables of the one analysis or partition; of several partitions their rows, which pictures over them take."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    rows = _rows([tables for name, tables in parts.items() if name != page])
    of_keys = {f"{KEYS}{name}": frame for name, frame in rows.items()}
    if page in parts:  # an analysis of all rows beside its partitions
        return parts[page] | of_keys
    return of_keys | {"runs": _run(page, rows["runs"]), "fit_statistics": _fits(page, rows["fit_statistics"])}


def _rows(parts: list[Tables]) -> dict[str, pl.DataFrame]:
    frames = {name: [table(tables, name) for tables in parts] for name in _FOLLOWED}
    return {
        name: pl.concat([frame for frame in own if not frame.is_empty()] or [pl.DataFrame()], how="diagonal")
        for name, own in frames.items()
    }


def _fits(page: str, statistics: pl.DataFrame) -> pl.DataFrame:
    """The fits as models of the page: a model of one partition is another than that of the next, with other groups."""
    if statistics.is_empty():
        return statistics
    key = pl.col("analysis").str.slice(len(page))
    return statistics.with_columns(
        pl.format("{}{}", "model", key).alias("model"), pl.lit(page).alias("analysis"), n_groups=pl.lit(None, pl.String)
    )


def _run(page: str, runs: pl.DataFrame) -> pl.DataFrame:
    """One row: the latest run, with the rows of all partitions."""
    unknown = ("n_rows", "n_dropped", "moments_checksum", "analysis_hash")
    whole = [pl.lit(runs["n_obs"].sum()).alias("n_obs"), pl.lit(runs["started_at"].min()).alias("started_at")]
    latest = runs.sort("finished_at", "analysis").tail(1)
    return latest.with_columns(*whole, *(pl.lit(None).alias(c) for c in unknown), pl.lit(page).alias("analysis"))
