"""Multilevel models in the warehouse: scanned once in SQL, fitted from moments, written back as tidy tables."""

from mlm_ops.errors import AnalysisError, DataError, FormulaError, IdentificationError, MlmError, StoreError
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
