"""The names of everything that is built from one analysis, and the analyses that cannot be built."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from mlm_ops.analyze import moments_table
from mlm_ops.errors import AnalysisError
from mlm_ops.language.analysis import Analysis
from mlm_ops.plugins.dagster import steps


@dataclass(frozen=True)
class Plan:
    """The names of everything that is built from one analysis."""

    analysis: Analysis
    upstream: dg.AssetKey
    group: str

    def key(self, *parts: str) -> dg.AssetKey:
        """Key of one of the analysis' assets."""
        return dg.AssetKey([self.analysis.analysis, *parts])

    @property
    def centered(self) -> dg.AssetKey:
        """Key of the table with the within/between split."""
        return self.key("centered")

    @property
    def moments(self) -> dg.AssetKey:
        """Key of the moments."""
        return self.key("moments")

    def model(self, name: str) -> dg.AssetKey:
        """Key of one model."""
        return self.key("models", name)

    @property
    def models(self) -> list[dg.AssetKey]:
        """Keys of all models, in the order of the file."""
        return [self.model(name) for name in self.analysis.models]

    def sem(self, name: str) -> dg.AssetKey:
        """Key of one structural equation model."""
        return self.key("sem", name)

    @property
    def compared(self) -> list[str]:
        """Models that a comparison names, in the order of the file."""
        named = {name for pair in self.analysis.compare for name in pair}
        return [name for name in self.analysis.models if name in named]

    def code_version(self, *texts: object) -> str:
        """Change with what the asset is computed from, so that the UI marks it as out of date."""
        return hashlib.sha256(repr((self.analysis.data, self.analysis.where, *texts)).encode()).hexdigest()[:12]


def make_plan(analysis: Analysis, upstream: dg.AssetKey | Sequence[str] | str | None, group: str | None) -> Plan:
    """Name everything.

    Raises
    ------
    AnalysisError
        A name that Dagster cannot take, or data that the analysis itself would overwrite.
    """
    _require_plain([analysis.analysis, *analysis.models, *analysis.sem])
    _require_other_data(analysis)
    source = analysis.data.rpartition(".")[2].strip('"') if upstream is None else upstream
    return Plan(analysis, dg.AssetKey.from_coercible(source), group or analysis.analysis)


def _require_plain(names: Sequence[str]) -> None:
    odd = [repr(name) for name in names if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is None]
    if odd:
        raise AnalysisError(
            f"Dagster cannot name assets so. Got {', '.join(odd)}; expected letters, digits and underscores, a letter "
            "first. Rename them in the analysis file."
        )


def _require_other_data(analysis: Analysis) -> None:
    name = analysis.data.rpartition(".")[2].strip('"').lower()
    made = {steps.centered_table(analysis), moments_table(analysis)}
    if name in {table.rpartition(".")[2].lower() for table in made}:
        raise AnalysisError(
            f"The data of the analysis {analysis.analysis} would be overwritten: {analysis.data} is the name of a "
            "table that it makes. Rename the analysis."
        )
