"""The reference cases of two-level models and our fits of them, each made once a session."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from mlm_ops import SemFit, sem

REFERENCE = Path(__file__).parents[1] / "specification" / "reference"
NAMES = sorted(path.stem for path in (REFERENCE / "sem").glob("*.json"))


@cache
def case(name: str) -> dict[str, Any]:
    """One case: the model, and the other program's numbers."""
    content: dict[str, Any] = json.loads((REFERENCE / "sem" / f"{name}.json").read_text())
    return content


@cache
def data(name: str) -> pl.DataFrame:
    """A data set of the cases."""
    packed = REFERENCE / "data" / f"{name}.csv.gz"
    return pl.read_csv(packed if packed.exists() else REFERENCE / "data" / f"{name}.csv")


@cache
def fitted(name: str) -> SemFit:
    """Our fit of a case."""
    found = case(name)
    return sem(found["syntax"], data(found["data"]), cluster=found["cluster"])


@cache
def slope_case(name: str) -> dict[str, Any]:
    """One case with random slopes or missing cells."""
    content: dict[str, Any] = json.loads((REFERENCE / "sem_slopes_missing" / f"{name}.json").read_text())
    return content
