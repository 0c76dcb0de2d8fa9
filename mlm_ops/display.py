"""Result tables and progress on a terminal, or as plain lines where there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mlm_ops.report import number, p_value

#: What `mlm show` prints of each table, in this order; a table asked for by name is printed whole.
OVERVIEW: dict[str, tuple[str, ...]] = {
    "models": ("formula",),
    "fit_statistics": ("n_obs", "n_groups", "n_parameters", "deviance", "aic", "bic", "icc", "converged", "singular"),
    "fixed_effects": ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high"),
    "variance_components": ("group", "term", "other", "symbol", "estimate", "std_error", "correlation"),
    "comparisons": ("reference_model", "statistic", "df", "p_value", "p_value_mixture", "delta_aic", "delta_bic"),
    "random_effects": ("group", "unit", "term", "estimate", "std_error", "conf_low", "conf_high"),
}
#: The keys stand above the table; LaTeX is for copying, by SQL.
UNPRINTED = frozenset({"run_id", "analysis", "latex"})
#: Rows of a long table that are printed unless all are asked for.
LONG_TABLES = {"random_effects": 10}
#: What a narrow terminal goes without, in this order.
DROPPED_WHEN_NARROW = (
    *("symbol", "level", "reduced_equation", "gradient", "evaluations", "seconds", "n_parameters", "bic"),
    *("engine_version", "moments_checksum", "started_at", "n_dropped", "conf_low", "conf_high"),
)
PLAIN_WIDTH = 200


def console() -> Console:
    """Write to standard output: as wide as the terminal, or wide enough for every table in a pipe."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def show_tables(target: Console, tables: Mapping[str, pl.DataFrame]) -> None:
    """Print the results of one analysis, table by table, without those that have no rows."""
    for name, columns in OVERVIEW.items():
        frame = tables.get(name)
        if frame is not None and not frame.is_empty():
            show_table(target, name, frame.select("model", *columns), LONG_TABLES.get(name))


def show_table(target: Console, name: str, frame: pl.DataFrame, limit: int | None = None) -> None:
    """Print one result table, its numbers rounded for reading, and say how many rows are left out."""
    shown = frame.head(limit) if limit is not None else frame
    table = _rich_table(name, shown)
    unbounded = target.options.update(max_width=10_000)
    for column in DROPPED_WHEN_NARROW:
        if target.measure(table, options=unbounded).maximum <= target.width:
            break
        table = _rich_table(name, shown := shown.drop(column, strict=False))
    target.print(table)
    if limit is not None and frame.height > limit:
        target.print(f"  and {frame.height - limit:,} more rows: mlm show --table {name} --all\n", style="dim")


def cell(column: str, value: Any) -> str:
    """Write one value the way a paper's table has it.

    >>> cell("p_value", 0.00004), cell("df", 158.7), cell("estimate", 12.636972), cell("converged", True)
    ('<0.001', '158.7', '12.64', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if column == "n_groups":
        return ", ".join(f"{count:,} {group}" for group, count in json.loads(value).items())
    if not isinstance(value, float):
        return str(value)
    if column.startswith("p_value"):
        return p_value(value)
    return _FORMATS.get(column, number)(value)


def _decimals(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{digits}f}"


_FORMATS: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(("df", "log_likelihood", "deviance", "aic", "bic", "delta_aic", "delta_bic"), _decimals(1)),
    **dict.fromkeys(("statistic", "correlation", "seconds"), _decimals(2)),
    **dict.fromkeys(("icc", "reliability"), _decimals(3)),
    "gradient": lambda value: f"{value:.1e}",
}


def _rich_table(name: str, frame: pl.DataFrame) -> Table:
    """Lay out a table; columns without any value are left out, a repeated model is named once."""
    filled = [c for c in frame.columns if c not in UNPRINTED and frame[c].null_count() < frame.height]
    models = frame["model"] if "model" in filled else pl.Series(["only"])
    if models.n_unique() == 1:
        filled = [column for column in filled if column != "model"]
        name = f"{name} of {models[0]}" if "model" in frame.columns else name
    table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in filled:
        numeric = frame.schema[column].is_numeric()
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    apart, previous = models.n_unique() < models.len(), None
    for row in frame.select(filled).iter_rows(named=True):
        model = row.get("model")
        if apart and previous is not None and model != previous:
            table.add_section()
        # Text, so that the brackets of sex[Male] are not taken for markup.
        table.add_row(*(Text("" if c == "model" and v == previous else cell(c, v)) for c, v in row.items()))
        previous = model
    return table


@contextmanager
def progress(doing: str) -> Iterator[Callable[[str], None]]:
    """Give a function that takes one line at a time; on a terminal a spinner turns below the lines.

    Lines go to standard error, so that standard output keeps to results.
    """
    target = Console(stderr=True, highlight=False, soft_wrap=True)
    if not target.is_terminal:
        yield lambda line: target.print(line, markup=False)
        return
    with target.status(doing):
        yield lambda line: target.print(line, markup=False)
