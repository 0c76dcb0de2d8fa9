"""Write a model's equations as text, Unicode, LaTeX, Markdown or MathML."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from mlm_ops.errors import MlmError
from mlm_ops.language.symbols import EquationStructure
from mlm_ops.results.equations.forms import FORMS, Page
from mlm_ops.results.equations.mathml import MathmlWriter
from mlm_ops.results.equations.writers import LatexWriter, MarkdownWriter, TextWriter, UnicodeWriter, Writer

EquationForm = Literal["levels", "reduced", "matrix"]
EquationFormat = Literal["text", "unicode", "latex", "markdown", "mathml"]

#: Alphabets by the name that a user gives them.
WRITERS: dict[str, Writer] = {
    "text": TextWriter(),
    "unicode": UnicodeWriter(),
    "latex": LatexWriter(),
    "markdown": MarkdownWriter(),
    "mathml": MathmlWriter(),
}


def write_equations(structure: EquationStructure, form: str, alphabet: str, estimates: Mapping[str, float]) -> str:
    """Equations of a model.

    Parameters
    ----------
    estimates
        Numbers to stand for parameters, by symbol.
    """
    for name, value, known in (("form", form, FORMS), ("format", alphabet, WRITERS)):
        if value not in known:
            raise MlmError(f"Unknown {name} of equations. Got {value!r}; expected one of {', '.join(known)}.")
    return _write(structure, form, alphabet, estimates) if estimates else _symbols(structure, form, alphabet)


def _write(structure: EquationStructure, form: str, alphabet: str, estimates: Mapping[str, float]) -> str:
    return WRITERS[alphabet].page(FORMS[form](Page(structure, estimates)))


@lru_cache(maxsize=1024)
def _symbols(structure: EquationStructure, form: str, alphabet: str) -> str:
    """Without numbers the equations of a model are those of every day and partition that it is fitted to."""
    return _write(structure, form, alphabet, {})
