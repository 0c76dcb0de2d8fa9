"""Hold the request for a structural equation model: text, columns and options, before any row is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mlm_ops.language.model import GroupingFactor, Model
from mlm_ops.language.options import Missing, SlopeCentering
from mlm_ops.language.request import cluster_columns
from mlm_ops.structural.language.grouping import Grouping, grouped_table, grouping_of
from mlm_ops.structural.language.model import SemModel
from mlm_ops.structural.language.parameters import ParameterTable, moments_model, parameter_table
from mlm_ops.structural.language.ready_models import read_model


@dataclass(frozen=True)
class SemRequest:
    """A model and what it is fitted to.

    Attributes
    ----------
    model
        As its text states it.
    cluster
        Columns that name the clusters.
    grouping
        Groups of rows; None without.
    robust
        Whether errors are cluster-robust: the sandwich of the clusters' scores, without a correction for few clusters.
    slopes
        Of what random slopes are where a predictor stands at both levels.
    missing
        Whether rows that miss a value are left out, or taken as they are.
    """

    model: SemModel
    cluster: GroupingFactor
    grouping: Grouping | None = None
    robust: bool = False
    slopes: SlopeCentering = "latent"
    missing: Missing = "listwise"

    @cached_property
    def columns_table(self) -> ParameterTable:
        """The table before the groups' values are known: its columns and slopes are those of any groups.

        Raises
        ------
        FormulaError
            As `parameter_table` and `grouped_table`.
        """
        if self.grouping is None:
            return parameter_table(self.model, self.slopes)
        values = [str(number + 1) for number in range(self.model.n_groups or 2)]
        return grouped_table(self.model, self.grouping, values, self.slopes)

    @property
    def group(self) -> GroupingFactor:
        """Columns of the groups of rows."""
        return () if self.grouping is None else self.grouping.columns

    @property
    def columns_model(self) -> Model:
        """A model whose moments are those that it is fitted to."""
        return moments_model(self.columns_table, self.cluster, self.group)


def sem_request(
    text: str,
    cluster: str | GroupingFactor,
    *,
    robust: bool = False,
    slopes: SlopeCentering = "latent",
    missing: Missing = "listwise",
    group: str | None = None,
    group_equal: Sequence[str] = (),
    group_partial: Sequence[str] = (),
) -> SemRequest:
    """Read a model's text and options, as `mlm_ops.sem` takes them.

    Raises
    ------
    FormulaError, MlmError
        A text that is no model; options that do not go together.
    """
    columns = cluster_columns(cluster) if isinstance(cluster, str) else cluster
    grouping = grouping_of(cluster_columns(group), tuple(group_equal), tuple(group_partial))
    return SemRequest(read_model(text), columns, grouping, robust, slopes, missing)
