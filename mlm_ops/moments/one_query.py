"""Moments by one SQL statement, for hosts that run no other: the query is written before anything is known of the rows.

A column that stands alone in a formula may hold numbers or text. So the query makes both of it: a number, zero where
the column is text, and a key to group by, empty where it holds numbers. Within a unit a factor is then constant, and
its indicators need no sums. What the answer says of types and of what is constant picks the moments that the model
needs from those that were taken.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from mlm_ops.language.columns import atoms
from mlm_ops.language.model import PLAIN, Column, Factor, Model, columns_of, walk
from mlm_ops.moments.collect import make_schema
from mlm_ops.moments.moments import Schema
from mlm_ops.moments.render import category, expression, render
from mlm_ops.moments.source import TEXT, Source, named_relation
from mlm_ops.moments.survey import Needs, Survey, find_needs
from mlm_ops.sql_text import identifier, literal


class Described(Source):
    """Rows of which only the columns' types are known, and that cannot be asked again."""

    def stray_cells(self, column: str) -> str:
        """Nothing: that would take another query."""
        return ""


class OneQuery:
    """The statement for one model and relation; `one_answer` reads what it returns.

    Parameters
    ----------
    model
        Its formula's columns may turn out to be text.
    relation
        A table name or one SELECT.
    levels, keys
        As `collect` takes them.

    Raises
    ------
    DataError
        The relation is neither.
    """

    def __init__(self, model: Model, relation: str, levels: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> None:
        self.model = model
        self.levels = levels
        self.keys = (*levels, *keys)
        self.relation, self.description = named_relation(relation)

    @cached_property
    def sql(self) -> str:
        """The statement."""
        needs, schema = self.needs, self.schema
        # the moments tell the ranges of the numbers of the design
        numbers = [
            {"alias": f"x{i}", "expression": expression(n), "ranged": n not in needs.numbers}
            for i, n in enumerate(needs.all_numbers)
        ]
        center = {n: f"(select mean_x{i} from mlm_survey)" for i, n in enumerate(needs.all_numbers)}
        alias = {atom: f"a{i}" for i, atom in enumerate(schema.centers)}
        units = [identifier(name) for name in self.units.values()]
        strata = {c: identifier(name) for c, name in self._strata.items()}
        residual = self.model.residual
        others = [*units, *strata.values()]
        return render(
            "one_query",
            relation=self.relation,
            columns=self._made_of_rows(),
            expected=list(self._mentioned),
            repeatable=self.description.startswith("table"),
            complete=render("is_complete", numbers=[expression(n) for n in needs.all_numbers], others=others),
            survey_of={
                "numbers": numbers,
                "inside": [
                    {"alias": f"x{i}", "expression": expression(Column(c))} for i, c in needs.inside_functions.items()
                ],
                "categories": [{"alias": f"c{i}", "expression": name} for i, name in enumerate(others)],
                "units": units,
            },
            moments_of={
                "units": units,
                "variables": [
                    {"alias": alias[a], "expression": expression(a), "center": center[a]} for a in schema.centers
                ],
                "monomials": [[alias[atom] for atom in factors] for factors in schema.monomials],
                "constants": [{"alias": f"v{i}", "expression": expression(n)} for i, n in enumerate(needs.numbers)],
            },
            residual_of=None
            if residual == PLAIN
            else {
                "precision": expression(residual.precision) if residual.precision else None,
                "stratum": strata[residual.strata] if residual.strata else None,
                "time": expression(Column(residual.time)) if residual.time else None,
            },
        )

    @cached_property
    def _mentioned(self) -> tuple[str, ...]:
        """Every column of the model, once: DuckDB does not tell letter case apart."""
        needs = self.needs
        names = [c for n in needs.all_numbers for c in columns_of(n)]
        names += [*needs.keys, *needs.all_categories]
        return tuple({name.lower(): name for name in names}.values())

    @cached_property
    def needs(self) -> Needs:
        """What the model needs if every column that stands alone holds numbers."""
        model = self.model
        residual = model.residual
        variables = (*model.variables, *([residual.precision] if residual.precision else []))
        names = [c for v in variables for c in columns_of(v)]
        names += [*self.keys, *(c for group in model.all_groups for c in group)]
        names += [name for name in (residual.strata, residual.time) if name]
        source = Described(self.relation, refuse, self.description, dict.fromkeys(names, "DOUBLE"), "")
        return find_needs(source, [model], self.keys)

    @cached_property
    def schema(self) -> Schema:
        """All the moments that the model may need: every number varies, and factors are constant within units."""
        needs = self.needs
        references: dict[str, list[str]] = {c: [] for c in needs.categories}
        for node in (node for v in self.model.variables for node in walk(v)):
            if isinstance(node, Factor) and node.reference is not None:
                references[node.column].append(node.reference)
        # indicators fall away, so that any two levels stand for all
        levels = {c: (*dict.fromkeys(found), "first", "second") for c, found in references.items()}
        survey = Survey(0, 0, {}, {}, {}, levels, frozenset())
        return make_schema([self.model], needs, survey, varying=frozenset(needs.numbers))

    @cached_property
    def _perhaps_text(self) -> frozenset[str]:
        """Columns that are factors if they hold text."""
        found = (a for v in self.model.predictors for a in atoms(v))
        return frozenset(a.name for a in found if isinstance(a, Column))

    @cached_property
    def units(self) -> dict[str, str]:
        """The columns to group by, and what they are called among the rows that the query makes."""
        names = (*self.needs.keys, *self.needs.categories, *sorted(self._perhaps_text))
        return {name: f"{self._ours}unit_{i}" for i, name in enumerate(dict.fromkeys(names))}

    @cached_property
    def _ours(self) -> str:
        """How names begin that no column of the model has."""
        prefix = "mlm_"
        while any(name.startswith(prefix) for name in map(str.lower, self._mentioned)):
            prefix += "_"
        return prefix

    @cached_property
    def _strata(self) -> dict[str, str]:
        """The column of the residual's strata, and what it is called among the rows that the query makes."""
        return dict.fromkeys(self.needs.strata, f"{self._ours}stratum")

    def _made_of_rows(self) -> list[dict[str, str]]:
        """Numbers under their own names, what is grouped by and strata as text."""
        needs = self.needs
        numbers = dict.fromkeys(c for n in needs.all_numbers for c in columns_of(n))
        always_text = {*needs.keys, *needs.categories}
        made = []
        for name in numbers:
            number = f"try_cast({identifier(name)} as double)"
            if name in self._perhaps_text:
                number = f"case when {_is_text(name)} then 0.0 else {number} end"
            made.append({"expression": number, "name": name})
        for name, unit in self.units.items():
            called = category(name)
            if name not in always_text:
                called = f"case when {_is_text(name)} then {called} else '' end"
            made.append({"expression": called, "name": unit})
        for name, stratum in self._strata.items():
            made.append({"expression": category(name), "name": stratum})
        return made


def _is_text(name: str) -> str:
    """SQL that DuckDB folds to true or false: whether a column is categorical wherever it stands."""
    return f"regexp_full_match(typeof({identifier(name)}), {literal(TEXT.pattern)}, 'i')"


def refuse(sql: str) -> Any:
    """Stand for the query of rows that cannot be asked again."""
    raise AssertionError(f"one query was to be enough, and this is a second: {sql}")
