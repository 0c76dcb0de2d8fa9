"""Multilevel models in the warehouse: scanned once in SQL, fitted from moments, written back as tidy tables."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from mlm_ops.errors import AnalysisError, DataError, FormulaError, IdentificationError, MlmError, StoreError

if TYPE_CHECKING:
    from mlm_ops.fit import Fit, fit

__all__ = [
    "AnalysisError",
    "DataError",
    "Fit",
    "FormulaError",
    "IdentificationError",
    "MlmError",
    "StoreError",
    "fit",
]
#: Where the names are that would make every `mlm --help` wait for numpy and DuckDB; imported when first used.
_LAZY = {"Fit": "mlm_ops.fit", "fit": "mlm_ops.fit"}


class _Package(ModuleType):
    def __getattr__(self, name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from importlib import import_module

        setattr(self, name, found := getattr(import_module(_LAZY[name]), name))
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # Whoever imports the module mlm_ops.fit makes Python bind it here, over the function of that name.
        super().__setattr__(name, getattr(value, name) if name in _LAZY and isinstance(value, ModuleType) else value)

    def __dir__(self) -> list[str]:
        return [*__all__, *(name for name in vars(self) if name.startswith("__"))]


sys.modules[__name__].__class__ = _Package
