"""List what models need of the rows: columns, groups, residual structures and products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from mlm_ops.errors import DataError
from mlm_ops.language.columns import DesignColumn, Levels, Monomial, as_factor, atoms, expand, row_monomials
from mlm_ops.language.model import (
    PLAIN,
    Center,
    Column,
    Factor,
    Function,
    Indicator,
    Model,
    Residual,
    Variable,
    columns_of,
    label,
    walk,
)
from mlm_ops.warehouse.connection import is_reserved
from mlm_ops.warehouse.files.kinds import FileKind
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, has_value, identifier, literal, render

T = TypeVar("T")


@dataclass(frozen=True)
class Needs:
    """What models need of the rows; only the columns' types are known, not their values.

    Attributes
    ----------
    models
        The models of one scan.
    levels
        Grouping columns, lowest first, each nested in the next.
    keys
        All columns to group by.
    text_columns
        Columns of text among the models' variables, categorical wherever they stand.
    """

    models: tuple[Model, ...]
    levels: tuple[str, ...]
    keys: tuple[str, ...]
    text_columns: frozenset[str] = frozenset()

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Outcomes and predictors, each once."""
        return tuple(dict.fromkeys(v for m in self.models for v in m.variables))

    @cached_property
    def atoms(self) -> tuple[Variable, ...]:
        """The columns and functions in the variables, each once, factors not yet coded as indicators."""
        return tuple(dict.fromkeys(a for v in self.variables for a in atoms(v)))

    @cached_property
    def outcomes(self) -> frozenset[Variable]:
        """The columns and functions in the outcomes."""
        return frozenset(a for m in self.models for a in atoms(m.outcome))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that hold the variables' values."""
        return tuple(dict.fromkeys(c for v in self.variables for c in columns_of(v)))

    @cached_property
    def numbers(self) -> tuple[Variable, ...]:
        """Numbers of the design."""
        return tuple(a for a in self.atoms if as_factor(a, self.text_columns) is None)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Categorical columns of the design."""
        factors = (as_factor(a, self.text_columns) for a in self.atoms)
        return tuple(dict.fromkeys(factor.column for factor in factors if factor is not None))

    @cached_property
    def residuals(self) -> tuple[Residual, ...]:
        """Residual structures other than one variance."""
        return tuple(dict.fromkeys(m.residual for m in self.models if m.residual != PLAIN))

    @cached_property
    def residual_numbers(self) -> tuple[Variable, ...]:
        """Numbers of the residual structures: precisions and times."""
        pairs = ((r.precision, Column(r.time) if r.time else None) for r in self.residuals)
        return tuple(dict.fromkeys(number for pair in pairs for number in pair if number is not None))

    @cached_property
    def strata(self) -> tuple[str, ...]:
        """Columns with a residual variance for each of their values."""
        return tuple(dict.fromkeys(r.strata for r in self.residuals if r.strata))

    @cached_property
    def referred(self) -> frozenset[Variable]:
        """Numbers that some model centers at a value of the user's, as ``center(x, at=50)`` does."""
        nodes = (node for variable in self.variables for node in walk(variable))
        return frozenset(n.of for n in nodes if isinstance(n, Center) and n.at is not None) & set(self.numbers)

    @cached_property
    def all_numbers(self) -> tuple[Variable, ...]:
        """Numbers of the design and of the residual."""
        return tuple(dict.fromkeys((*self.numbers, *self.residual_numbers)))

    @cached_property
    def all_categories(self) -> tuple[str, ...]:
        """Categories of the design and of the residual."""
        return tuple(dict.fromkeys((*self.categories, *self.strata)))

    @cached_property
    def inside_functions(self) -> tuple[str, ...]:
        """Columns that stand inside functions only."""
        columns = dict.fromkeys(c for n in self.all_numbers for c in columns_of(n))
        return tuple(c for c in columns if Column(c) not in self.all_numbers)

    @cached_property
    def complete(self) -> str:
        """The SQL condition that a row has every value."""
        numbers = render("is_complete", numbers=[expression(n) for n in self.all_numbers])
        return " and ".join([numbers, *(has_value(c) for c in dict.fromkeys((*self.all_categories, *self.keys)))])

    @cached_property
    def arguments(self) -> dict[str, list[dict[str, object]]]:
        """The arguments `numbers`, `inside` and `categories` of the macros that survey the rows."""
        numbers, ranged = len(self.all_numbers), self.referred | set(self.residual_numbers)
        inside = enumerate(self.inside_functions, start=numbers)
        return {
            "numbers": [
                {"alias": f"x{i}", "expression": expression(n), "ranged": n in ranged}
                for i, n in enumerate(self.all_numbers)
            ],
            "inside": [{"alias": f"x{i}", "expression": expression(Column(c))} for i, c in inside],
            "categories": [{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(self.all_categories)],
        }

    def gaps(self, *, inside: bool = True) -> dict[str, str]:
        """Return the names of the macros' counts of missing values, by the name of what may be missing.

        With `inside`, columns that stand inside functions only are counted too.
        """
        names = {key: f"missing_unit_{i}" for i, key in enumerate(self.keys)}
        numbers = (*map(label, self.all_numbers), *(self.inside_functions if inside else ()))
        names |= {name: f"missing_x{i}" for i, name in enumerate(numbers)}
        return names | {c: f"missing_c{i}" for i, c in enumerate(self.all_categories)}

    def of(self, models: Sequence[Model]) -> Needs:
        """Return what some of the models need of the same rows."""
        own, all_groups = _grouping(models), _grouping(self.models)
        keys = tuple(key for key in self.keys if key in own or key in self.levels or key not in all_groups)
        return replace(self, models=tuple(models), keys=keys)

    def monomials(self, levels: Levels, constants: Iterable[Variable]) -> tuple[Monomial, ...]:
        """Return the monomials that the models need, if these numbers and factors are constant within the units."""
        constant = frozenset(constants)
        products: dict[Monomial, None] = {}
        for model in self.models:
            columns = [DesignColumn((model.outcome,))]
            for terms in (model.fixed, *(block.terms for block in model.random)):
                columns += expand(terms, levels, self.text_columns)
            indicators = {a for c in columns for v in c.variables for a in atoms(v) if isinstance(a, Indicator)}
            own = constant | {a for a in indicators if Factor(a.column) in constant}
            products |= dict.fromkeys(row_monomials(tuple(columns), own))
        return tuple(products)


def needs_of(
    models: Iterable[Model],
    levels: Iterable[str] = (),
    keys: Iterable[str] = (),
    text_columns: frozenset[str] = frozenset(),
) -> Needs:
    """Return what models need, if all columns but `text_columns` hold numbers.

    Parameters
    ----------
    levels
        Grouping columns, lowest first, each nested in the next.
    keys
        Further columns to group by.
    """
    models, levels = tuple(models), tuple(levels)
    return Needs(models, levels, tuple(dict.fromkeys((*_grouping(models), *levels, *keys))), text_columns)


def named_columns(models: Iterable[Model], levels: Iterable[str], keys: Iterable[str]) -> frozenset[str]:
    """Return all columns of the rows that models need, arguments as `needs_of` takes them."""
    needs = needs_of(models, levels, keys)
    of_residuals = (c for number in needs.residual_numbers for c in columns_of(number))
    return frozenset((*needs.columns, *needs.keys, *of_residuals, *needs.strata))


def _grouping(models: Iterable[Model]) -> dict[str, None]:
    """Columns of the models' grouping factors, each once."""
    return dict.fromkeys(c for m in models for group in m.all_groups for c in group)


def find_needs(source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Needs:
    """Return what models need of these rows, and check the columns' types; arguments as `needs_of` takes them.

    Raises
    ------
    DataError
        Missing columns, text where numbers are needed, other types.
    """
    return check_models(models, lambda some: _find_needs(source, needs_of(some, levels, keys)))


def complete_rows(source: Source, models: Sequence[Model], levels: Sequence[str], keys: Sequence[str]) -> Source:
    """Return the rows that moments of these models are collected from: those with a value in every column."""
    complete = find_needs(source, models, levels, keys).complete
    return replace(source, relation=f"(select * from {source.relation} where {complete}) as mlm_rows")


def check_models(models: Sequence[Model], check: Callable[[Sequence[Model]], T]) -> T:
    """Check models together; the error of several also has, in `by_model`, the faults of each.

    Parameters
    ----------
    check
        Checks some of the models, without a query.
    """
    try:
        return check(models)
    except DataError as error:
        for place, model in enumerate(models if len(models) > 1 else ()):
            try:
                check([model])
            except DataError as own:
                error.by_model.setdefault(str(own), []).append(place)
        raise


def _find_needs(source: Source, model_needs: Needs) -> Needs:
    source.require([*model_needs.columns, *model_needs.keys])
    needs = replace(model_needs, text_columns=frozenset(c for c in model_needs.columns if source.is_text(c)))
    outcomes = {c for m in needs.models for c in columns_of(m.outcome)}
    for variable in needs.variables:
        for atom in atoms(variable):
            for name in (node.name for node in walk(atom) if isinstance(node, Column)):
                _check_type(source, name)
                if name in needs.text_columns and (isinstance(atom, Function) or name in outcomes):
                    role = "outcome" if name in outcomes else "column"
                    what = "a model" if isinstance(variable, Column) else label(variable)
                    if source.types[name] == "BOOLEAN":
                        raise DataError(
                            f"The {role} {name!r} is true or false (BOOLEAN), and {what} needs numbers. "
                            f"Make a number of it in {_select_of_number(source, name)}."
                        )
                    raise DataError(
                        f"The {role} {name!r} holds text ({source.types[name]}), and {what} needs numbers."
                        f"{source.not_numbers(name)} Cast or recode it in a view or SELECT."
                    )
    source.require([*(c for n in needs.residual_numbers for c in columns_of(n)), *needs.strata])
    for name in (c for n in needs.residual_numbers for c in columns_of(n)):
        if not source.is_numeric(name):
            raise DataError(f"The residual structure needs numbers in {name!r}. Got {source.types[name]}.")
    return needs


def _check_type(source: Source, name: str) -> None:
    if not (source.is_numeric(name) or source.is_text(name)):
        raise DataError(
            f"Column {name!r} is neither numeric nor text. Got {source.types[name]}; make a number of it in "
            f"{_select_of_number(source, name)}."
        )


#: SQL that makes a number of a column, and what its name ends in, by the beginning of its type.
_AS_NUMBER = {
    "BOOLEAN": ("cast({} as integer)", "01"),
    "DATE": ("{} - date '2000-01-01'", "days"),
    "TIMESTAMP": ("epoch({}) / 86400", "days"),
    "TIME": ("epoch({}) / 3600", "hours"),
    "INTERVAL": ("epoch({}) / 86400", "days"),
}


def _select_of_number(source: Source, name: str) -> str:
    """Where a number is made of a column, with an example where the type has an obvious one."""
    kind = next((kind for kind in _AS_NUMBER if source.types[name].startswith(kind)), None)
    if kind is None:
        return "a view or SELECT"
    sql, ending = _AS_NUMBER[kind]
    column, as_number = (_sql_name(one) for one in (name, f"{name}_{ending}"))
    rows, place = source.description.removeprefix("table "), "a view or SELECT"
    if source.reading is not None:
        rows, place = literal(str(source.reading.path)), "a SELECT instead of the file"
        if source.reading.kind is FileKind.DELIMITED:
            # DuckDB itself makes text of numbers beside NA
            words = dict.fromkeys((*source.reading.words, *(w for c in source.reading.changed for w in c.words)))
            rows = f"read_csv({rows}, nullstr = [{', '.join(map(literal, words))}])"
    elif rows == source.description:
        rows = "…"
    return f"{place}: select *, {sql.format(column)} as {as_number} from {rows}"


def _sql_name(name: str) -> str:
    """A column's name in SQL to read: quoted where it has to be, as a shell would ask for further quotes."""
    return name if name.isidentifier() and not is_reserved(name) else identifier(name)
