"""Formulas, SQL macros and polars expressions take the same means, on every reference data set."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops.plugins.polars  # noqa: F401  registers .mlm
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Between, Center, Column, Variable
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import identifier, render

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"
#: Rounding of a mean of a few thousand numbers, relative to the largest of them.
TOLERANCE = 1e-12
#: Numeric columns and grouping columns, lowest first, each nested in the next; those of crossed factors stand alone.
NATURAL = {
    "bodyweight": [("weight Time", "Rat"), ("weight Time", "Rat Diet")],
    "dyestuff": [("Yield", "Batch")],
    "dyestuff2": [("Yield", "Batch")],
    "egsingle": [("math year retained", "childid schoolid"), ("math lowinc", "schoolid")],
    "exam": [("normexam standlrt schavg", "school")],
    "gcsemv": [("written course", "school")],
    "hsb": [("mathach ses minority size", "school")],
    "insteval_small": [("y service", "s"), ("y service", "d"), ("y service", "dept")],
    "machines": [("score", "worker"), ("score", "machine worker")],
    "oats": [("yield nitro", "block"), ("yield nitro", "variety block")],
    "orthodont": [("distance age", "Subject Sex")],
    "pastes": [("strength", "cask batch"), ("strength", "sample batch")],
    "penicillin": [("diameter", "plate"), ("diameter", "sample")],
    "sim_3lev": [("y x z q", "class school"), ("y x z q", "class_id school")],
    "sim_ar1": [("y t", "id")],
    "sim_fewclusters": [("y x treat", "g")],
    "sim_luedtke": [("y x", "g")],
    "sim_slopes4s": [("y x1 x2 x3 x4 w", "g")],
    "sim_slopes5": [("y x1 x2 x3 x4 x5 w", "g")],
    "sim_w": [("y x w", "g")],
    "sleepstudy": [("Reaction Days", "Subject")],
    "soybean": [("log_weight day", "plot")],
}
CASES = [(name, columns.split(), levels.split()) for name, found in NATURAL.items() for columns, levels in found]


def test_every_data_set_is_here() -> None:
    assert set(NATURAL) == {path.stem for path in DATA.glob("*.csv")}


@pytest.mark.parametrize(("name", "columns", "levels"), CASES, ids=lambda value: str(value))
def test_all_three_agree(name: str, columns: list[str], levels: list[str]) -> None:
    rows = pl.read_csv(DATA / f"{name}.csv", infer_schema_length=None).with_row_index("row")
    complete = [*columns, *levels]
    units = [list(reversed(levels[i:])) for i in range(len(levels))]  # each level with those above it
    asked = {f"{column}|{i}": _requests(column, units, i) for column in columns for i in range(len(levels))}
    in_sql, in_polars = _sql(rows, asked, complete), _polars(rows, asked, complete)
    kept = rows.drop_nulls(complete)
    in_formulas = _formulas(kept, asked, columns, levels)
    assert in_formulas.keys() == set(in_sql.columns) - {"row"} == set(in_polars.columns) - {"row"}
    for request, expected in in_formulas.items():
        largest = np.abs(rows[request.split("|")[0]].drop_nulls().to_numpy()).max()
        for found in (in_sql, in_polars):
            values = found.filter(pl.col("row").is_in(kept["row"].implode()))[request].to_numpy()
            np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE * largest, err_msg=request)


Requests = dict[str, tuple[str, dict[str, object]]]


def _requests(column: str, units: list[list[str]], i: int) -> Requests:
    """Macros with their arguments, for one level of grouping and, where there is one, the level below."""
    asked: Requests = {
        "within": ("within", {"group": units[i]}),
        "between": ("between", {"group": units[i]}),
        "center": ("center", {}),
        "center_at": ("center", {"at": 0.1}),
        "center_over": ("center", {"over": units[i]}),
    }
    if i > 0:
        asked["within_over"] = ("within", {"group": units[i], "over": units[i - 1]})
        asked["between_over"] = ("between", {"group": units[i], "over": units[i - 1]})
    return asked


def _sql(rows: pl.DataFrame, asked: dict[str, Requests], complete: list[str]) -> pl.DataFrame:
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(rows))
    connection.execute("create table rows_of as select * from frame")
    selected = ["row"]
    for where, requests in asked.items():
        column = where.split("|")[0]
        for name, (macro, arguments) in requests.items():
            sql = render(macro, column=column, **arguments, complete=complete, relation="rows_of")
            selected.append(f"{sql} as {identifier(f'{where}|{name}')}")
    return connection.sql(f"select {', '.join(selected)} from rows_of order by row").pl()


def _polars(rows: pl.DataFrame, asked: dict[str, Requests], complete: list[str]) -> pl.DataFrame:
    selected = [pl.col("row")]
    for where, requests in asked.items():
        centering = pl.col(where.split("|")[0]).mlm  # type: ignore[attr-defined]
        for name, (method, arguments) in requests.items():
            expression = getattr(centering, method)(**arguments, complete=complete)
            selected.append(expression.alias(f"{where}|{name}"))
    return rows.lazy().select(selected).collect(engine="streaming").sort("row")


def _formulas(
    kept: pl.DataFrame, asked: dict[str, Requests], columns: list[str], levels: list[str]
) -> dict[str, np.ndarray]:
    """What the model language sees in each row: moments, put back to the rows."""
    first, *rest = columns
    model = parse_formula(f"{first} ~ {' + '.join(rest) or '1'}")
    moments = collect(open_source(kept), [model], levels, keys=levels)
    unit = _unit_of_rows(moments, kept)
    found = {}
    for where, requests in asked.items():
        column = where.split("|")[0]
        for name, (function, arguments) in requests.items():
            group, over = (tuple(arguments[key]) if key in arguments else None for key in ("group", "over"))
            if function == "center":
                node: Variable = Center(Column(column), arguments.get("at"), over)
            else:
                node = Between(Column(column), group, over)
            found[f"{where}|{name}"] = _values(moments, kept, unit, column, node, function)
    return found


def _values(
    moments: Moments, kept: pl.DataFrame, unit: np.ndarray, column: str, node: Variable, function: str
) -> np.ndarray:
    evaluator, values = Evaluator(moments, None), kept[column].to_numpy().astype(float)
    of = evaluator.part(Column(column))
    if isinstance(node, Between):
        means = (of.constant + evaluator.group_means(of.polynomial, node))[unit]
        return values - means if function == "within" else means
    return values - of.constant + evaluator.part(node).constant


def _unit_of_rows(moments: Moments, kept: pl.DataFrame) -> np.ndarray:
    labels = {unit: j for j, unit in enumerate(zip(*(key.tolist() for key in moments.labels), strict=True))}
    return np.array([labels[row] for row in kept.select(moments.schema.keys).iter_rows()])
