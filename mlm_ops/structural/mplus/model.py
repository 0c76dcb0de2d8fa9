"""Hold a model that was read from Mplus input, and fit it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import DataError
from mlm_ops.language.options import CONNECTION, Missing, SlopeCentering
from mlm_ops.structural.language.request import sem_request
from mlm_ops.structural.mplus.data import DataFile, selected_rows
from mlm_ops.structural.mplus.define import DefineStep, select_of
from mlm_ops.structural.results.fit import SemFit
from mlm_ops.structural.results.fitting import collect_sem, fit_rows
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.source import Source

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.moments.record import Moments


@dataclass(frozen=True)
class MplusModel:
    """A model that was read from Mplus input.

    Attributes
    ----------
    text
        The model as `mlm_ops.sem` takes it.
    cluster, robust, slopes, missing, group
        Its options; no group is None.
    remarks
        What of the input plays no part here, a sentence each.
    data_file
        The file that DATA names, and the columns of a file without names.
    """

    text: str
    cluster: str
    robust: bool
    slopes: SlopeCentering
    missing: Missing
    remarks: tuple[str, ...] = ()
    group: str | None = None
    data_file: DataFile = field(default_factory=DataFile, compare=False)
    _steps: tuple[DefineStep, ...] = field(default=(), repr=False, compare=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options of `mlm_ops.sem` beside the text and the data."""
        own = {name: getattr(self, name) for name in ("cluster", "robust", "slopes", "missing")}
        return own if self.group is None else own | {"group": self.group}

    @property
    def has_new_columns(self) -> bool:
        """Whether DEFINE or MISSING make columns of those of the data."""
        return bool(self._steps)

    def select(self, relation: str) -> str:
        """The rows of a table with the columns that DEFINE and MISSING make, as SQL; the table itself without any."""
        return select_of(relation, self._steps)

    @checked(connection=CONNECTION)
    def fit(self, data: Any = None, *, connection: duckdb.DuckDBPyConnection | None = None) -> SemFit:
        """Fit the model to rows that have the columns by their names in Mplus.

        Parameters
        ----------
        data, connection
            As `mlm_ops.sem` takes them, rows alone; without any, the file that ``DATA: FILE`` names. The columns of a
            file of numbers alone have the names of ``NAMES``.

        Raises
        ------
        FormulaError, DataError, IdentificationError
            As `mlm_ops.sem`.
        """
        request = sem_request(self.text, **self.options)
        return fit_rows(request, self._source(data, connection))

    def collect(self, data: Any = None, *, connection: duckdb.DuckDBPyConnection | None = None) -> Moments:
        """Collect the moments that the model is fitted to, as `fit` does before it."""
        return collect_sem(sem_request(self.text, **self.options), self._source(data, connection))

    def _source(self, data: Any, connection: duckdb.DuckDBPyConnection | None) -> Source:
        return self._prepared(self.data_file.open() if data is None else self.data_file.named(data, connection))

    def _prepared(self, source: Source) -> Source:
        if not self._steps:
            return source
        new = {name for step in self._steps if step.is_new for name in step.columns}
        needs = [name for step in self._steps for name in step.needs if name not in new]
        source.require(needs)
        texts = [repr(n) for n in dict.fromkeys(needs) if n != self.cluster and not source.is_numeric(n)]
        if texts:
            raise DataError(
                f"DEFINE and MISSING of an Mplus input need columns of numbers. Got {', '.join(texts)} of another "
                "kind; give them as numbers."
            )
        return selected_rows(source, self.select(source.relation))

    def __str__(self) -> str:
        return "\n".join([*(f"# {remark}" for remark in self.remarks), self.text])
