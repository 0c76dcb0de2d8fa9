"""Values that no argument expects, each kind once."""

from __future__ import annotations

import decimal
import fractions
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


class Unprintable:
    """An object whose every word is an error."""

    def __repr__(self) -> str:
        raise ValueError("no words")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no comparison")

    __hash__ = None  # type: ignore[assignment]


class Comparable:
    """Equal to everything, and hashable."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("reml")


def _generator() -> Iterator[str]:
    yield "g"


def zoo() -> dict[str, Any]:
    """Each animal by its name, made anew."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    circular: list[Any] = []
    circular.append(circular)
    return {
        "None": None,
        "zero": 0,
        "one": 1,
        "minus one": -1,
        "huge": 10**400,
        "too many digits": 10**5000,
        "float": 0.5,
        "nan": math.nan,
        "inf": math.inf,
        "-inf": -math.inf,
        "1e400": 1e400,
        "1e-320": 1e-320,
        "complex": 1j,
        "True": True,
        "False": False,
        "bytes": b"g",
        "bytearray": bytearray(b"g"),
        "memoryview": memoryview(b"g"),
        "empty text": "",
        "blank": "   ",
        "newline": "\n",
        "NUL": "g\0",
        "surrogate": "\ud800",
        "quotes": "'\"`",
        "long text": "g" * 100_000,
        "text": "zebra",
        "number text": "1e400",
        "nan text": "nan",
        "empty list": [],
        "list of None": [None],
        "list of numbers": [1, 2.5],
        "list of texts": ["a", "b"],
        "list of lists": [["a"], [1, 2]],
        "ragged": [[1.0], [1.0, 2.0]],
        "mixed": ["ses", 1.0, None],
        "deep list": deep,
        "circular": circular,
        "tuple": (1, "a"),
        "empty tuple": (),
        "dict": {"a": 1},
        "empty dict": {},
        "dict of numbers": {1: 2, None: 3},
        "dict of None": {"ses": None},
        "dict of dict": {"a": {"b": {"c": 1}}},
        "dict of object": {"ses": object()},
        "dict of nan": {"ses": math.nan},
        "dict of huge": {"ses": [10**400]},
        "dict of text": {"ses": "1e999"},
        "nested contrast": {"c": {"ses": "x"}},
        "contrast of nan": {"c": {"ses": math.nan}},
        "contrast of huge": {"c": {"ses": 10**400}},
        "contrast of None": {"c": {"ses": None, 3: 4}},
        "set": {"g"},
        "frozenset": frozenset({1}),
        "range": range(3),
        "object": object(),
        "class": int,
        "unprintable": Unprintable(),
        "comparable": Comparable(),
        "list of unprintable": [Unprintable()],
        "lambda": lambda: None,
        "generator": _generator(),
        "path": Path("nowhere.csv"),
        "folder": Path("."),
        "path of surrogate": Path("\udcff.csv"),
        "path of NUL": Path("a\0.csv"),
        "decimal": decimal.Decimal("1.5"),
        "decimal nan": decimal.Decimal("NaN"),
        "fraction": fractions.Fraction(1, 3),
        "numpy text": np.str_("g"),
        "numpy bool": np.bool_(True),
        "numpy int": np.int64(3),
        "numpy float": np.float32(0.5),
        "numpy nan": np.float64("nan"),
        "numpy array": np.array([1.0, 2.0]),
        "numpy matrix": np.ones((2, 3)),
        "numpy empty": np.array([]),
        "numpy texts": np.array(["a", "b"]),
        "numpy objects": np.array([None, object()], dtype=object),
        "numpy dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
        "numpy scalar array": np.array(1.0),
        "series": pl.Series("g", [1.0]),
        "frame": pl.DataFrame({"a": [1.0]}),
        "empty frame": pl.DataFrame(),
        "frame without rows": pl.DataFrame({"a": []}),
        "frame of objects": pl.DataFrame({"a": [object()]}),
        "lazy frame": pl.LazyFrame({"a": [1]}).select("nowhere"),
        "expression": pl.col("a"),
        "exception": ValueError("x"),
        "ellipsis": ...,
        "module": math,
    }
