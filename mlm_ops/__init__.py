"""Multilevel models in the warehouse: scanned once in SQL, fitted from moments, written back as tidy tables."""

from typing import TYPE_CHECKING

from mlm_ops.errors import AnalysisError, DataError, FormulaError, IdentificationError, MlmError, StoreError

if TYPE_CHECKING:
    from mlm_ops.moments.from_macros import read_moments
    from mlm_ops.results.fit import Fit
    from mlm_ops.results.fitting import fit
    from mlm_ops.structural.fit import SemFit
    from mlm_ops.structural.fitting import sem

__all__ = [
    "AnalysisError",
    "DataError",
    "Fit",
    "FormulaError",
    "IdentificationError",
    "MlmError",
    "MultilevelAnalysis",
    "SemFit",
    "StoreError",
    "fit",
    "read_moments",
    "sem",
]
#: Where the names are that would make every `mlm --help` wait for numpy and DuckDB; imported when first used.
_LAZY = {
    "Fit": "mlm_ops.results.fit",
    "MultilevelAnalysis": "mlm_ops.plugins.dagster.component",
    "SemFit": "mlm_ops.structural.fit",
    "fit": "mlm_ops.results.fitting",
    "read_moments": "mlm_ops.moments.from_macros",
    "sem": "mlm_ops.structural.fitting",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = found = getattr(import_module(_LAZY[name]), name)
    return found


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
