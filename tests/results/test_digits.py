"""One number is one text, wherever it is read."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.cli.terminal import show_tables
from mlm_ops.plugins.dagster.metadata import model_metadata
from mlm_ops.results.tables import fit_tables
from mlm_ops.results.text.side_by_side import side_by_side
from mlm_ops.results.text.tables import CellTable, cell_table
from mlm_ops.results.words import cell, statistic

STUDENTS = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"

#: By column: a value, and how it is read.
CELLS = [
    ("estimate", 12.636972, "12.64"),
    ("estimate", -0.2345678, "-0.2346"),
    ("estimate", 0.0, "0.000"),
    ("estimate", 123456.7, "123457"),
    ("estimate", 0.0000123456, "1.235e-05"),
    ("std_error", 0.5, "0.5000"),
    ("df", 158.68, "158.7"),
    ("df", 3, "3"),
    ("statistic", -4.4912, "-4.49"),
    ("p_value", 0.00004, "<0.001"),
    ("p_value_mixture", 0.5, "0.500"),
    ("correlation", 0.1797, "0.18"),
    ("icc", 0.18035, "0.180"),
    ("reliability", 0.7, "0.700"),
    ("rmsea", -1e-14, "0.000"),
    ("deviance", 46543.336, "46,543.3"),
    ("delta_aic", -75.26, "-75.3"),
    ("gradient", 0.00000123, "1.2e-06"),
    ("n_obs", 7185, "7,185"),
    ("n_groups", '{"school": 1160, "class": 20}', "1,160 school, 20 class"),
    ("converged", True, "yes"),
    ("finished_at", datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
    ("term", "within(ses)", "within(ses)"),
    ("p_value", None, ""),
]


@pytest.mark.parametrize(("column", "value", "text"), CELLS)
def test_the_text_of_a_cell(column: str, value: object, text: str) -> None:
    assert cell(column, value) == text


class Views:
    """One fit with all its tables, as each place shows them: the words that stand in a line with a name."""

    def __init__(self) -> None:
        self.fit = mlm.fit("mathach ~ within(ses) + sector + (1 | school)", STUDENTS)
        self.tables = fit_tables("m", self.fit)
        target = Console(width=200, file=io.StringIO(), highlight=False)
        show_tables(target, self.tables, str)
        assert isinstance(target.file, io.StringIO)
        beside = side_by_side(self.tables)
        analysis = parse_analysis(f"analysis: a\ndata: t\nmodels:\n  m: {self.fit.model.text}\n")
        metadata = model_metadata(analysis.models["m"].formula, self.fit, self.tables)
        pages = (metadata[name].value for name in ("fixed_effects", "variance_components", "summary"))
        self.pages: dict[str, list[str]] = {
            "print(fit)": str(self.fit).splitlines(),
            "mlm show": target.file.getvalue().splitlines(),
            "side by side": beside.text().splitlines(),
            "side by side in Markdown": beside.markdown().replace("\\*", "").splitlines(),
            "Dagster": "\n".join(map(str, pages)).splitlines(),
        }

    def words(self, page: str, name: str) -> set[str]:
        """What stands in the lines that have a name, and in the next, where side by side has the standard errors."""
        lines = self.pages[page]
        lines_of_name = [
            line for i, line in enumerate(lines) if name in line or (i and name in lines[i - 1] and "(" in line)
        ]
        return {word.strip("*(),|") for line in lines_of_name for word in line.split()}


@pytest.fixture(scope="module")
def views() -> Views:
    return Views()


#: Table, the row's name, its column, and the places that show it, of all.
EVERYWHERE = ("print(fit)", "mlm show", "side by side", "side by side in Markdown", "Dagster")
PRINTED = ("print(fit)", "mlm show", "Dagster")
SHARED: list[tuple[str, dict[str, Any], str, str, tuple[str, ...]]] = [
    *(
        ("fixed_effects", {"term": term}, column, term, places)
        for term in ("(Intercept)", "within(ses)", "sector[Public]")
        for column, places in {
            "estimate": EVERYWHERE,
            "std_error": EVERYWHERE,
            "df": PRINTED,
            "statistic": PRINTED,
            "p_value": PRINTED,
        }.items()
    ),
    ("variance_components", {"symbol": "tau_00"}, "estimate", "school", EVERYWHERE),
    ("variance_components", {"symbol": "sigma2"}, "estimate", "residual", EVERYWHERE),
    ("variance_components", {"symbol": "sigma2"}, "std_error", "residual", ("mlm show", "Dagster")),
    ("variance_components", {"symbol": "sigma2"}, "std_dev", "residual", ("print(fit)", "Dagster")),
    ("fit_statistics", {}, "n_obs", "7,185", ("print(fit)", "mlm show", "side by side", "side by side in Markdown")),
    ("fit_statistics", {}, "icc", "", EVERYWHERE),
    ("fit_statistics", {}, "aic", "", ("print(fit)", "mlm show", "side by side", "side by side in Markdown")),
    ("fit_statistics", {}, "log_likelihood", "log-likelihood", ("print(fit)", "Dagster")),
]


@pytest.mark.parametrize(("table", "where", "column", "name", "places"), SHARED)
def test_a_number_is_the_same_text_everywhere(
    views: Views, table: str, where: dict[str, Any], column: str, name: str, places: tuple[str, ...]
) -> None:
    (value,) = views.tables[table].filter(**where)[column]
    text = cell(column, value)
    assert text
    assert {place: text in views.words(place, name) for place in places} == dict.fromkeys(places, True)


def test_plain_text_has_the_points_under_each_other() -> None:
    table = CellTable(
        ("term", "estimate"),
        (("a", "12.64"), ("b", "-0.2346"), ("c", "1,235"), ("d", "none"), ("e", "")),
        (False, True),
    )
    assert table.lines("  ") == [
        "  term    estimate",
        "  a        12.64",
        "  b        -0.2346",
        "  c     1,235",
        "  d      none",
        "  e",
    ]


def test_markdown_keeps_names_as_they_are_and_leaves_empty_columns_out() -> None:
    frame = pl.DataFrame({"term": ["a|b", "<br>"], "other": [None, None], "p_value": [0.5, 0.00001], "n": [1, 2000]})
    assert cell_table(frame, {"p_value": "p"}).markdown() == (
        "| term | p | n |\n|---|---:|---:|\n| a\\|b | 0.500 | 1 |\n| &lt;br> | <0.001 | 2,000 |"
    )


def test_a_statistic_has_one_name(views: Views) -> None:
    """The names of `LABELS` are those of the printed summary, of side by side and of Dagster."""
    row = views.tables["fit_statistics"].row(0, named=True)
    summary = "\n".join(views.pages["print(fit)"])
    for column in ("log_likelihood", "deviance", "aic", "bic", "icc"):
        assert statistic(column, row[column]) in summary
    foot = {line.split("  ")[0] for line in views.pages["side by side"]}
    assert {"observations", "parameters", "deviance", "AIC", "BIC", "ICC", "estimator"} <= foot
    assert f"{statistic('log_likelihood', row['log_likelihood'])}, {statistic('icc', row['icc'])}" in "\n".join(
        views.pages["Dagster"]
    )
