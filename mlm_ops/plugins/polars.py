"""Center columns in polars, in the words of the formulas; ``import mlm_ops.plugins.polars`` registers ``.mlm``.

    pl.col("ses").mlm.within("school")

docs/centering.md defines the means. They are lazy, run in the streaming engine, and may be nested:
``pl.col("x").mlm.between("class").mlm.within("school")``.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import polars.selectors as cs

from mlm_ops.errors import DataError

Columns = str | Sequence[str]


@pl.api.register_expr_namespace("mlm")
class CenteringNamespace:
    """Center a numeric expression.

    In all of them NaN is missing, as null is; a row without a group has no group mean; and `complete` names the columns
    whose values a row must have to count in the means, by default those of the expression alone.
    """

    def __init__(self, expression: pl.Expr) -> None:
        self._values = expression.cast(pl.Float64).fill_nan(None)

    def within(self, group: Columns, *, over: Columns | None = None, complete: Columns | None = None) -> pl.Expr:
        """Subtract the group mean.

        Parameters
        ----------
        group
            A column, or several that name a group together: ``["school", "class"]``.
        over
            Columns that name units of a lower level, whose means the group mean is then the mean of.
        complete
            Columns whose values a row must have to count in the mean.
        """
        return self._values - self.between(group, over=over, complete=complete)

    def between(self, group: Columns, *, over: Columns | None = None, complete: Columns | None = None) -> pl.Expr:
        """Replace by the group mean; parameters as in `within`."""
        keys = _names(group)
        if not keys:
            raise DataError("A group is named by one column or more. Got none.")
        values = self._values_in_means(complete)
        if over is None:
            mean = values.mean().over(_columns(keys))
        else:
            mean = _unit_means(values, [*keys, *_names(over)]).mean().over(_columns(keys))
        return pl.when(_in_group(keys)).then(mean)

    def mean(self, *, complete: Columns | None = None) -> pl.Expr:
        """The mean over rows, of the frame or of a group in ``group_by(...).agg(...)``."""
        return self._values_in_means(complete).mean()

    def center(
        self, *, at: float | pl.Expr | None = None, over: Columns | None = None, complete: Columns | None = None
    ) -> pl.Expr:
        """Subtract the grand mean over rows, the mean over the units of `over`, or the reference value `at`.

        A column of means as `at`, joined to the rows, gives what `within` does with a frame that is larger than memory.
        """
        if at is not None and over is not None:
            raise DataError("center() takes at= or over=, not both.")
        if at is not None:
            return self._values - at
        values = self._values_in_means(complete)
        return self._values - (values if over is None else _unit_means(values, _names(over))).mean()

    def _values_in_means(self, complete: Columns | None) -> pl.Expr:
        """The values in rows that count in the means, null in others."""
        names = _names(complete or ())
        if not names:
            return self._values
        columns = cs.by_name(*names)
        complete_row = pl.all_horizontal(columns.is_not_null(), (columns & cs.float()).is_not_nan())
        return pl.when(complete_row).then(self._values)


def _unit_means(values: pl.Expr, units: Sequence[str]) -> pl.Expr:
    """The mean of each unit on one of its rows, null on the others, so that each unit counts once."""
    columns = _columns(units)
    first = pl.int_range(pl.len()).over(columns) == 0
    return pl.when(first & _in_group(units)).then(values.mean().over(columns))


def _in_group(keys: Sequence[str]) -> pl.Expr:
    columns = cs.by_name(*keys)
    return pl.all_horizontal(columns.is_not_null(), (columns & cs.float()).is_not_nan())


def _names(columns: Columns) -> list[str]:
    return [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))


def _columns(names: Sequence[str]) -> list[cs.Selector]:
    """Columns by name alone: ``pl.col`` takes some names for patterns."""
    return [cs.by_name(name) for name in dict.fromkeys(names)]
