"""Every line of docs/language.md: formulas are fitted and give the names shown, files are fitted, keys are complete."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.language.formula import parse_formula
from mlm_ops.warehouse.arrow import ArrowStream

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
_CODE = re.compile(r"`` (.+?) ``|``(.+?) ?``|`([^`]+)`")


def _codes(cell: str) -> list[str]:
    return ["".join(found).replace("\\|", "|") for found in _CODE.findall(cell)]


def _table(head: str) -> list[list[str]]:
    """Cells of the rows of every table with this head."""
    found = []
    for table in re.findall(rf"^\| {re.escape(head)} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE):
        found += [re.split(r"(?<!\\) \| ", row.strip("|\n ")) for row in table.splitlines()]
    return found


FORMULAS = [(_codes(formula)[0], _codes(terms)) for formula, terms in _table("predictors | coefficients")]
RANDOM = [(_codes(part)[0], effects) for part, effects in _table("random part | random effects")]
OPTIONS = [(_codes(option)[0], _codes(value)[0]) for option, value in _table("option | value")]
KEYS = [_codes(row[0])[0] for row in _table("key | value")]
FILES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@cache
def _rows() -> pl.DataFrame:
    """Eight schools of three classes of eight rows; g and h cross."""
    rng = np.random.default_rng(11)
    row = np.arange(192)
    s, g, h = row // 24, row // 8, row % 8
    x, w = rng.normal(size=192) + rng.normal(size=24)[g], rng.normal(size=24)
    u, b = rng.normal(size=(2, 24)), rng.normal(size=8)
    return pl.DataFrame(
        {
            "y": 1 + x + w[g] + u[0][g] + u[1][g] * x + b[s] + rng.normal(size=8)[h] + rng.normal(size=192),
            "x": x,
            "z": rng.normal(size=192),
            "t": row % 4,
            "w": w[g],
            "v": 1 + rng.random(24)[g],
            "k": np.array(["a", "b", "c"])[rng.integers(0, 3, 192)],
            "odd name": rng.normal(size=192),
            "g": g,
            "h": h,
            "s": s,
            "c": row // 8 % 3,
        }
    )


def test_the_page_was_read() -> None:
    assert (len(FORMULAS), len(RANDOM), len(OPTIONS), len(FILES)) == (33, 10, 15, 3)


@pytest.mark.parametrize(("formula", "terms"), FORMULAS)
def test_formulas(formula: str, terms: list[str]) -> None:
    assert mlm.fit(formula, _rows()).fixed_effects["term"].to_list() == terms


@pytest.mark.parametrize(("part", "effects"), RANDOM)
def test_random_parts(part: str, effects: str) -> None:
    formula = f"y ~ x + {part}"
    blocks = parse_formula(formula).random
    shown = "; ".join(f"`{':'.join(b.group)}`: {', '.join(f'`{term.name}`' for term in b.terms)}" for b in blocks)
    assert shown == effects
    assert mlm.fit(formula, _rows()).converged


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_options(option: str, value: str) -> None:
    content: Any = yaml.safe_load(value) if value.startswith("{") else value
    more: dict[str, Any] = {"robust": "CR2"} if option == "cluster" else {}
    rows = _rows().with_columns(t=pl.int_range(192) % 8)
    assert mlm.fit("y ~ x + (x | g)", rows, **{option: content}, **more).fixed_effects.height == 2
    text = yaml.safe_dump({"analysis": "a", "data": "t", "models": {"m": "y ~ x + (x | g)"}, option: content} | more)
    assert parse_analysis(re.sub(r"'([\d.]+)'", r"\1", text)).compiled_models["m"]


@pytest.mark.parametrize("text", FILES)
def test_files(text: str) -> None:
    with duckdb.connect() as connection:
        connection.register("frame", ArrowStream(_rows()))
        connection.execute("create table rows as from frame")
        analysis = parse_analysis(text)
        result = fit_analysis(analysis, connection)
    assert set(analysis.models) <= set(result.tables["fixed_effects"]["model"])


def test_the_keys_are_those_of_the_file() -> None:
    assert list(Analysis.model_fields) == KEYS
