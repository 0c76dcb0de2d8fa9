"""Multilevel models in the warehouse: scanned once in SQL, fitted from moments, written back as tidy tables."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, cast
from warnings import warn

from mlm_ops.errors import AnalysisError, DataError, FormulaError, IdentificationError, MlmError, StoreError
from mlm_ops.lazy import names_on_use

if TYPE_CHECKING:
    from importlib.abc import Loader

    from mlm_ops.moments.from_macros import read_moments
    from mlm_ops.reports.page.report import report
    from mlm_ops.results.comparing import compare
    from mlm_ops.results.export.table_files import side_by_side, write_table
    from mlm_ops.results.fit import Fit
    from mlm_ops.results.fitting import fit
    from mlm_ops.structural.mplus.reader import from_mplus
    from mlm_ops.structural.results.fit import SemFit
    from mlm_ops.structural.results.fitting import sem

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
    "compare",
    "fit",
    "from_mplus",
    "read_moments",
    "report",
    "sem",
    "side_by_side",
    "write_table",
]
if PathFinder.find_spec("dagster") is None:
    __all__.remove("MultilevelAnalysis")
#: Where the names are that would make every `mlm --help` wait for numpy and DuckDB; imported when first used.
_LAZY = {
    "Fit": "mlm_ops.results.fit",
    "MultilevelAnalysis": "mlm_ops.plugins.dagster.component",
    "SemFit": "mlm_ops.structural.results.fit",
    "compare": "mlm_ops.results.comparing",
    "fit": "mlm_ops.results.fitting",
    "from_mplus": "mlm_ops.structural.mplus.reader",
    "read_moments": "mlm_ops.moments.from_macros",
    "report": "mlm_ops.reports.page.report",
    "sem": "mlm_ops.structural.results.fitting",
    "side_by_side": "mlm_ops.results.export.table_files",
    "write_table": "mlm_ops.results.export.table_files",
}
__getattr__ = names_on_use(__name__, _LAZY)


#: Modules that projects of `mlm init` have imported and that have moved; until 0.2 they work, with a warning.
_MOVED = {
    "mlm_ops.language.analysis": "mlm_ops.analyses.file.analysis",
    "mlm_ops.sql_text": "mlm_ops.warehouse.sql",
}


class _MovedModules:
    """Finds a module of `_MOVED` by its old name; no subclass of importlib's, whose import would double ours."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(name, cast("Loader", self)) if name in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        warn(
            f"{spec.name} has moved, and its old name goes with mlm-ops 0.2. Import read_analyses, literal and "
            "file_literal from mlm_ops.plugins.dagster.",
            DeprecationWarning,
            stacklevel=2,
        )
        module = ModuleType(spec.name)
        module.__dict__.update(vars(import_module(_MOVED[spec.name])))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run: the module of the new name has run."""


sys.meta_path.append(_MovedModules())


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
