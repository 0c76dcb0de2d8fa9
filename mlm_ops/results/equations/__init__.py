"""Write a model's equations as text, Unicode, LaTeX, Markdown or MathML."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from mlm_ops.language.options import EquationForm, EquationFormat
from mlm_ops.language.symbols import EquationStructure, coefficient_symbol
from mlm_ops.results.equations.forms import FORMS, Page
from mlm_ops.results.equations.mathml import MathmlWriter
from mlm_ops.results.equations.writers import LatexWriter, MarkdownWriter, TextWriter, UnicodeWriter, Writer

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord

#: A writer for each format.
WRITERS: dict[EquationFormat, Writer] = {
    "text": TextWriter(),
    "unicode": UnicodeWriter(),
    "latex": LatexWriter(),
    "markdown": MarkdownWriter(),
    "mathml": MathmlWriter(),
}


def write_equations(
    structure: EquationStructure, form: EquationForm, format: EquationFormat, estimates: Mapping[str, float]
) -> str:
    """Write the equations of a model.

    Parameters
    ----------
    estimates
        Numbers to stand for parameters, by symbol; none for the symbols themselves.
    """
    return _write(structure, form, format, estimates) if estimates else _write_symbols(structure, form, format)


def _write(
    structure: EquationStructure, form: EquationForm, format: EquationFormat, estimates: Mapping[str, float]
) -> str:
    return WRITERS[format].page(FORMS[form](Page(structure, estimates)))


@lru_cache(maxsize=1024)
def _write_symbols(structure: EquationStructure, form: EquationForm, format: EquationFormat) -> str:
    """Without numbers the equations are the same for every day and partition that the model is fitted to."""
    return _write(structure, form, format, {})


def estimates_by_symbol(record: FitRecord) -> dict[str, float]:
    """Collect a fit's estimates by the symbols of the tables; variances of strata with the stratum in brackets."""
    structure = record.equation_structure
    index, strata = structure.indices, structure.strata
    fixed = zip((coefficient_symbol(index[c]) for c in structure.fixed), record.estimate.gamma, strict=True)
    variances = {
        f"{c.symbol}[{c.term}]" if c.symbol == "sigma2" and strata else c.symbol: c.estimate for c in record.components
    }
    return {symbol: float(value) for symbol, value in (*fixed, *variances.items())}
