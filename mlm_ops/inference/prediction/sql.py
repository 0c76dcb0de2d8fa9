"""Predictions as SQL: the model written out over the columns of a table, so that no row leaves the database.

What the data taught stands in tables of units, one for each set of grouping columns: the fitted group means that
centering needs, and the empirical Bayes effects. Coefficients and grand means are literals.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.inference.random.variance import residual_components
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import (
    Centering,
    Factor,
    GrandMean,
    GroupingFactor,
    GroupMean,
    Indicator,
    Model,
    Poly,
    Variable,
    label,
    walk,
)
from mlm_ops.moments.arrays import texts
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.sql import category, expression, identifier, literal, render

#: How the columns begin that the query makes on its way.
PREFIX = "mlm_ops "
#: Of a row's residual.
STD_DEV = f"{PREFIX}std_dev"
#: A hash of what the model reads of a row.
ROW_HASH = f"{PREFIX}row_hash"


@dataclass(frozen=True)
class Units:
    """What is known of the units that some columns tell apart: a row a unit, keys as text, then numbers.

    ``n`` holds the rows in each, (J,).
    """

    columns: GroupingFactor
    frame: pl.DataFrame
    n: NDArray[np.float64]

    @property
    def values(self) -> str:
        """The rows in SQL's own words, for want of a table: a text a column, as a word a cell takes long to parse."""
        keys = len(self.columns)
        cells = [self.frame[name].to_list() for name in self.frame.columns]
        columns = [_split(texts) for texts in cells[:keys]]
        columns += [f"cast({_split(list(map(repr, numbers)))} as double[])" for numbers in cells[keys:]]
        names = map(identifier, self.frame.columns)
        lists = [f"unnest({values}) as {name}" for values, name in zip(columns, names, strict=True)]
        return f"(select {', '.join(lists)})"


def _split(texts: Sequence[str]) -> str:
    """SQL of a list of texts, cut from one at a character that is in none of them."""
    whole = "".join(texts)
    at = next(character for character in map(chr, range(ord(","), sys.maxunicode)) if character not in whole)
    return f"string_split({literal(at.join(texts))}, {literal(at)})"


@dataclass
class _Columns:
    """Columns that the query makes, by what they hold."""

    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    layers: list[dict[str, str]] = field(default_factory=list)
    numbers: dict[GroupingFactor, dict[str, Any]] = field(default_factory=dict)
    means: dict[tuple[Variable, GroupMean], tuple[str, int]] = field(default_factory=dict)

    def name(self, sql: str) -> str:
        """The quoted name of a column of what another's values are called: the text is long, and computed once."""
        return identifier(self.names.setdefault(sql, f"{PREFIX}name {len(self.names)}"))

    def value(self, sql: str) -> str:
        """The quoted name of a column computed row by row."""
        return identifier(self.values.setdefault(sql, f"{PREFIX}value {len(self.values)}"))


class PredictionQuery:
    """A model's predictions as one SELECT.

    Parameters
    ----------
    model, estimate, moments
        Of the fit.
    effects
        Empirical Bayes estimates, a block each as in `Estimate.blocks`; None for the fixed part alone.
    observed
        Whether the rows have the outcome, and what the residual's variance depends on; else there are no residuals.
    renamed
        Columns that hold what units and levels are called, where that is not in the column itself.
    """

    def __init__(
        self,
        model: Model,
        estimate: Estimate,
        effects: Sequence[RandomEffects] | None,
        moments: Moments,
        *,
        observed: bool = True,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.estimate = estimate
        self.moments = moments
        self.evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
        self._columns = _Columns()
        self._renamed = renamed or {}
        self._fixed = self._estimable(self._sum(list(zip(estimate.gamma, estimate.design.fixed.columns, strict=True))))
        self._seen: list[str] = []
        self._levels = [] if effects is None else estimate.design.levels
        self._random = self._effects(effects or ())
        self._outcome = self._value(model.outcome)[0] if observed else "null"
        self._std_dev = self._standard_deviation() if observed else "null"

    @cached_property
    def units(self) -> list[Units]:
        """The tables that the query joins; empty for a model without groups."""
        return [Units(columns, *self._frame(columns)) for columns in self._columns.numbers]

    @property
    def predictors(self) -> dict[str, str]:
        """What the variables of the fixed part are called, each once, and the columns that hold them alone."""
        return {label(v): f"{PREFIX}predictor {i}" for i, v in enumerate(self._predictors)}

    @property
    def _predictors(self) -> list[Variable]:
        return list(dict.fromkeys(v for column in self.estimate.design.fixed.columns for v in column.variables))

    @property
    def variables(self) -> list[Variable]:
        """What the query computes of a row, the outcome aside."""
        columns = [c for level in self._levels for block in level.blocks for c in block.columns]
        return list(dict.fromkeys(v for c in (*self.estimate.design.fixed.asked, *columns) for v in c.variables))

    @property
    def named(self) -> list[str]:
        """Columns whose values name units or levels."""
        levels = [node.column for v in self.variables for node in walk(v) if isinstance(node, Indicator)]
        return list(dict.fromkeys([*(c for columns in self._columns.numbers for c in columns), *levels]))

    def names_in_fit(self, column: str) -> set[str]:
        """What the fit knows by a name of a column's values."""
        schema = self.moments.schema
        labels = texts(self.moments.labels[schema.keys.index(column)]).tolist() if column in schema.keys else ()
        return {*labels, *schema.levels.get(column, ())}

    def sql(
        self,
        relation: str,
        tables: Sequence[str] | None = None,
        *,
        kept: Sequence[str] | None = None,
        predictors: bool = False,
        std_dev: bool = False,
        row_hash: bool = False,
    ) -> str:
        """The SELECT.

        Parameters
        ----------
        relation
            Quoted, with the columns of the fit's data.
        tables
            Quoted names of tables that hold the `units`; without them these are written into the query.
        kept, predictors
            The relation's columns that stay, all where it is not said; and whether the `predictors` stand beside them.
        std_dev
            Whether the residual's standard deviation in the row stands beside them, as column `STD_DEV`.
        row_hash
            Whether a hash of the row's numbers does, as column `ROW_HASH`: of those that were read, as what is computed
            from estimates may differ in its last digit from fit to fit.
        """
        columns, units = self._columns, self.units
        sources = tables if tables is not None else [unit.values for unit in units]
        return render(
            "predictions",
            relation=relation,
            names=[{"expression": sql, "name": name} for sql, name in columns.names.items()],
            values=[{"expression": sql, "name": name} for sql, name in columns.values.items()],
            units=[
                {
                    "relation": source,
                    "matched": [
                        {"value": columns.names[self._category(column)], "column": f"unit_{i}"}
                        for i, column in enumerate(unit.columns)
                    ],
                    "numbers": unit.frame.columns[len(unit.columns) :],
                }
                for unit, source in zip(units, sources, strict=True)
            ],
            layers=[[{"expression": sql, "name": name} for name, sql in layer.items()] for layer in columns.layers],
            fixed=self._fixed,
            random=self._random,
            outcome=self._outcome,
            std_dev=self._std_dev,
            new_group=" or ".join(self._seen) or "false",
            made={"prefix": PREFIX, **{name: f"{PREFIX}{name}" for name in ("fixed", "random", "outcome")}},
            alone=None
            if kept is None
            else self._chosen(kept, self._predictors if predictors else [], std_dev, row_hash),
        )

    def _chosen(
        self, kept: Sequence[str], predictors: Sequence[Variable], std_dev: bool, row_hash: bool
    ) -> list[dict[str, str]]:
        chosen = [{"expression": identifier(column), "name": column} for column in kept]
        chosen += [{"expression": self._std_dev, "name": STD_DEV}] if std_dev else []
        numbers = ", ".join(map(identifier, self._columns.values.values()))
        chosen += [{"expression": f"hash({numbers})", "name": ROW_HASH}] if row_hash else []
        return chosen + [{"expression": self._value(v)[0], "name": self.predictors[label(v)]} for v in predictors]

    def _category(self, column: str) -> str:
        """SQL of what a column's values are called."""
        return category(self._renamed.get(column, column))

    def _key(self, column: str) -> str:
        """The quoted name of a column that holds what a column's values are called."""
        return self._columns.name(self._category(column))

    def _sum(self, weighted: Sequence[tuple[float | str, DesignColumn]]) -> str:
        """Columns times numbers, or times SQL expressions."""
        terms = []
        for weight, column in weighted:
            factors = [weight if isinstance(weight, str) else literal(float(weight))]
            terms.append(" * ".join([*factors, *(self._value(v)[0] for v in column.variables)]))
        return " + ".join(terms) or literal(0.0)

    def _estimable(self, total: str) -> str:
        """The fixed part, null where the fit's rows do not determine it: `ColumnSpan.estimable`, row by row."""
        fixed = self.estimate.design.fixed
        if fixed.centered or len(fixed.asked) == len(fixed.columns):
            return total
        undetermined = []
        for i, column in enumerate(fixed.asked):
            if i in fixed.span.independent:
                continue
            weighted = [
                (float(share), kept)
                for share, kept in zip(fixed.span.combination[:, i], fixed.columns, strict=True)
                if share
            ]
            own = self._sum([(1.0, column)])
            if not weighted:
                undetermined.append(f"{own} <> 0.0e0")
                continue
            sizes = " + ".join(f"abs({self._sum([one])})" for one in weighted)
            off = f"abs({self._sum(weighted)} - ({own}))"
            undetermined.append(f"{off} > {literal(fixed.span.slack)} * (abs({own}) + {sizes})")
        return f"case when {' or '.join(undetermined)} then null else {total} end"

    def _effects(self, effects: Sequence[RandomEffects]) -> str:
        remaining, weighted, present = iter(effects), [], []
        for level in self._levels:
            group = self.moments.columns_of(level.group)
            keys = [self._key(column) for column in group]
            has_all = " and ".join(f"{key} is not null" for key in keys)
            seen = self._number(group, "seen", np.ones(len(level.labels)))
            self._seen.append(f"({has_all} and {seen} is null)")
            present.append(has_all)
            for block in level.blocks:
                estimate = next(remaining).estimate
                for i, column in enumerate(block.columns):
                    own = self._number(group, f"effect {column.name}", estimate[i])
                    weighted.append((f"coalesce({own}, 0.0e0)", column))
        total = self._sum(weighted)
        return f"case when {' and '.join(present)} then {total} end" if present else total

    def _value(self, variable: Variable) -> tuple[str, int]:
        """SQL of a variable, and how many layers must stand below it."""
        match variable:
            case Centering(of):
                (value, depth), (mean, above) = self._value(of), self._mean(variable)
                return (f"({value} - {mean})", max(depth, above)) if variable.keeps_value else (mean, above)
            case Poly(of, _, raw, power):
                value, depth = self._value(of)
                if raw:
                    return f"power({value}, {power or 1})", depth
                center, coefficients = self.evaluator.powers(variable)
                return _horner(f"({value} - {literal(center)})", coefficients), depth
            case Indicator(column):
                known = ", ".join(map(literal, self.moments.schema.levels[column]))
                key = self._key(column)
                return self._columns.value(
                    f"case when {key} in ({known}) then {expression(variable, self._key)} end"
                ), 0
            case Factor():
                raise DataError(f"{label(variable)} is not computed row by row.")
        return self._columns.value(f"nullif({expression(variable)}, 'nan'::double)"), 0

    def _mean(self, variable: Centering) -> tuple[str, int]:
        """SQL of the mean that a centering takes, and how many layers must stand below it."""
        match variable.mean:
            case GroupMean() as mean:
                return self._group_mean(variable.of, mean)
            case GrandMean():
                own, of = self.evaluator.part(variable), self.evaluator.part(variable.of)
                return literal(of.constant - own.constant), 0
            case value:
                return literal(value), 0

    def _group_mean(self, variable: Variable, mean: GroupMean) -> tuple[str, int]:
        """The fitted mean of the row's group; of a group that the fit has not seen, the mean of its rows."""
        identity = variable, mean
        if identity not in self._columns.means:
            part, group = self.evaluator.part(variable), self.evaluator.group_of(mean)
            columns = self.moments.columns_of(group)
            means = part.constant + self.evaluator.group_means(part.polynomial, mean)
            first = np.unique(self.moments.units_of(group)[0], return_index=True)[1]
            fitted = self._number(columns, f"mean {len(self._columns.means)}", means[first])
            value, depth = self._value(variable)
            keys = [self._key(column) for column in columns]
            # a mean over units would take a window within a window: a new group has none
            own = "null" if mean.over else f"avg({value}) over (partition by {', '.join(keys)})"
            present = " and ".join(f"{key} is not null" for key in keys)
            name = f"{PREFIX}group mean {len(self._columns.means)}"
            while len(self._columns.layers) <= depth:
                self._columns.layers.append({})
            self._columns.layers[depth][name] = f"case when {present} then coalesce({fitted}, {own}) end"
            self._columns.means[identity] = identifier(name), depth + 1
        return self._columns.means[identity]

    def _number(self, columns: GroupingFactor, what: str, values: Any) -> str:
        """The quoted name of a number of the units that `columns` tell apart."""
        known = self._columns.numbers.setdefault(columns, {})
        place = list(self._columns.numbers).index(columns)
        known[f"{PREFIX}{place} {what} {len(known)}"] = values
        return identifier(list(known)[-1])

    def _frame(self, columns: GroupingFactor) -> tuple[pl.DataFrame, NDArray[np.float64]]:
        moments = self.moments

        def keys_and_sizes() -> tuple[pl.DataFrame, NDArray[np.float64]]:
            codes, _ = moments.units_of(columns)
            first = np.unique(codes, return_index=True)[1]
            keys = [moments.labels[moments.schema.keys.index(column)][first] for column in columns]
            names = {f"unit_{i}": texts(labels).tolist() for i, labels in enumerate(keys)}
            return pl.DataFrame(names), np.bincount(codes, moments.n).astype(float)

        frame, n = moments.derived("keys of units as text, and sizes", columns, keys_and_sizes)
        return frame.with_columns(pl.Series(name, values) for name, values in self._columns.numbers[columns].items()), n

    def _standard_deviation(self) -> str:
        """SQL of the residual's standard deviation in a row: by stratum and known precision, where there are any."""
        residual = self.model.residual
        variances = {name: value for name, symbol, value, _ in residual_components(self.estimate) if symbol == "sigma2"}
        if len(variances) == 1:
            std_dev = literal(float(np.sqrt(next(iter(variances.values())))))
        else:
            assert residual.strata is not None
            whens = [f"when {literal(name)} then {literal(float(np.sqrt(v)))}" for name, v in variances.items()]
            std_dev = f"case {self._key(residual.strata)} {' '.join(whens)} end"
        if residual.precision is None:
            return std_dev
        return f"({std_dev}) / sqrt({self._value(residual.precision)[0]})"


def _horner(value: str, coefficients: Any) -> str:
    """SQL of a polynomial; coefficients of the lowest power first."""
    sql = literal(float(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        sql = f"({literal(float(coefficient))} + {value} * {sql})"
    return sql
