"""Read an Mplus input file of a two-level model: the model as text of `mlm_ops.sem`, and the options that go with it.

What Mplus estimates without a word and lavaan does not, or the other way round, is written out: slopes and intercepts
are uncorrelated unless WITH says otherwise, a factor's only indicator has a residual variance, and a column that stands
neither in WITHIN nor in BETWEEN has a part at each level (Mplus User's Guide, ch. 9 and 17). By maximum likelihood
Mplus takes the predictor of a random slope as it is observed (Asparouhov and Muthen 2018).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import DataError, FormulaError
from mlm_ops.language.options import CONNECTION, MPLUS, Missing, SlopeCentering
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.request import sem_request
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.mplus.commands import (
    NamesOfInput,
    Refusals,
    StatementOfInput,
    content_of,
    new_names,
    option_named,
    statements_of,
)
from mlm_ops.structural.mplus.constraints import constraint_lines
from mlm_ops.structural.mplus.define import (
    DefineStep,
    centering_step,
    define_step,
    defined_columns,
    missing_codes,
    select_of,
)
from mlm_ops.structural.mplus.groups import group_items, grouping_labels
from mlm_ops.structural.mplus.paths import Paths
from mlm_ops.structural.mplus.text import model_lines
from mlm_ops.structural.results.fit import SemFit
from mlm_ops.structural.results.fitting import collect_sem, fit_rows
from mlm_ops.warehouse.boundary import checked
from mlm_ops.warehouse.source import Source, open_source

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.moments.record import Moments

#: Commands that say nothing on the model.
_LEFT_OUT = ("DATA", "OUTPUT", "SAVEDATA", "PLOT")
_LISTS = (
    "NAMES",
    "USEVARIABLES",
    "CLUSTER",
    "WITHIN",
    "BETWEEN",
    "MISSING",
    "IDVARIABLE",
    "AUXILIARY",
    "CENTERING",
    "GROUPING",
)
#: Options of ANALYSIS on how Mplus searches, which is done in another way here.
_OF_SEARCH = (
    *("ALGORITHM", "INTEGRATION", "ADAPTIVE", "PROCESSORS", "STARTS", "STITERATIONS", "INFORMATION"),
    *("ITERATIONS", "MITERATIONS", "H1ITERATIONS", "SDITERATIONS", "CONVERGENCE", "MCONVERGENCE", "H1CONVERGENCE"),
)
_WHY_NOT = {
    "CATEGORICAL": "categorical outcomes are not offered",
    "COUNT": "count outcomes are not offered",
    "NOMINAL": "categorical outcomes are not offered",
    "CENSORED": "censored outcomes are not offered",
    "CLASSES": "mixtures are not offered",
    "KNOWNCLASS": "mixtures are not offered",
    "WEIGHT": "sampling weights are not offered",
    "BWEIGHT": "sampling weights are not offered",
    "STRATIFICATION": "strata are not offered",
    "USEOBSERVATIONS": "choose rows by a SELECT or a view",
    "SUBPOPULATION": "choose rows by a SELECT or a view",
    "LAGGED": "lagged variables are not offered; make them in a view",
    "MODEL TEST": "test the fit, as in fit.wald('a == b')",
    "MODEL INDIRECT": "label the paths and define their product in MODEL CONSTRAINT",
    "MODEL PRIORS": "Bayesian estimation is not offered",
    "MONTECARLO": "simulations are not offered",
}


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
    """

    text: str
    cluster: str
    robust: bool
    slopes: SlopeCentering
    missing: Missing
    remarks: tuple[str, ...] = ()
    group: str | None = None
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
    def fit(self, data: Any, *, connection: duckdb.DuckDBPyConnection | None = None) -> SemFit:
        """Fit the model to rows that have the columns by their names in Mplus.

        Parameters
        ----------
        data, connection
            As `mlm_ops.sem` takes them, rows alone.

        Raises
        ------
        FormulaError, DataError, IdentificationError
            As `mlm_ops.sem`.
        """
        request = sem_request(self.text, **self.options)
        return fit_rows(request, self._prepared(open_source(data, connection)))

    def collect(self, data: Any, *, connection: duckdb.DuckDBPyConnection | None = None) -> Moments:
        """Collect the moments that the model is fitted to, as `fit` does before it."""
        return collect_sem(sem_request(self.text, **self.options), self._prepared(open_source(data, connection)))

    def _prepared(self, source: Source) -> Source:
        if not self._steps:
            return source
        new = {name for step in self._steps if step.is_new for name in step.columns}
        needs = [name for step in self._steps for name in step.needs if name not in new]
        source.require(needs)
        texts = [repr(n) for n in dict.fromkeys(needs) if n != self.cluster and not source.is_numeric(n)]
        if texts:
            raise DataError(
                f"DEFINE and MISSING of an Mplus input are of columns of numbers. Got {', '.join(texts)} of another "
                "kind; give them as numbers."
            )
        relation = f'({self.select(source.relation)}) as "mlm_rows"'
        rows = source.query(f"describe select * from {relation}").fetchall()
        return replace(source, relation=relation, types={row[0]: row[1] for row in rows})

    def __str__(self) -> str:
        return "\n".join([*(f"# {remark}" for remark in self.remarks), self.text])


@checked(text=MPLUS)
def from_mplus(text: str | Path) -> MplusModel:
    """Read the input file of a two-level model in Mplus.

    Parameters
    ----------
    text
        The input, or the path of a file that holds it.

    Raises
    ------
    FormulaError
        Whatever is not read, all of it at once, by line.

    Examples
    --------
    >>> import mlm_ops as mlm
    >>> model = mlm.from_mplus('''
    ... VARIABLE: NAMES = school x y;  CLUSTER = school;  WITHIN = x;
    ... ANALYSIS: TYPE = TWOLEVEL RANDOM;
    ... MODEL: %WITHIN% s | y ON x;  %BETWEEN% y WITH s;
    ... ''')
    >>> print(model.text)
    level: 1
      y ~ rv("s")*x
    level: 2
      y ~~ s
    >>> model.cluster, model.robust
    ('school', True)
    """
    content = str(text)
    if isinstance(text, PathLike) or ("\n" not in content and ";" not in content):
        content = content_of(Path(text))
    return read_input(content)


def read_input(content: str) -> MplusModel:
    """Read the text of an input: what an analysis file holds is never a path.

    Raises
    ------
    FormulaError
        Whatever is not read, all of it at once, by line.
    """
    return _Reader(statements_of(content.removeprefix("\ufeff"))).model()


class _Reader:
    """Statement by statement, command by command."""

    def __init__(self, statements: Sequence[StatementOfInput]) -> None:
        self.statements, self.refusals, self.remarks = statements, Refusals(), list[str]()
        self.names = NamesOfInput(())
        self.variables: dict[str, list[str]] = {}
        self.groups: list[str] = []
        self.steps: list[DefineStep] = []
        self.codes: dict[str, str] = {}
        self.missing_rows = self.listwise = False
        self.robust = True

    def of(self, command: str) -> list[StatementOfInput]:
        return [statement for statement in self.statements if statement.command == command]

    def model(self) -> MplusModel:
        self.read_variables()
        self.read_analysis()
        for statement in self.statements:
            if statement.command in _LEFT_OUT or statement.command.startswith("DATA "):
                self.read_data(statement)
            elif statement.command not in {
                *("VARIABLE", "DEFINE", "ANALYSIS", "MODEL", "MODEL CONSTRAINT"),
                *(f"MODEL {group}" for group in self.groups),
            }:
                why = _WHY_NOT.get(statement.command, f"{statement.command} is not offered")
                self.refusals.add(statement, why)
        paths = self.paths_of("MODEL")
        of_groups = [self.paths_of(f"MODEL {group}", of_group=True) for group in self.groups]
        if not self.of("MODEL"):
            self.refusals.faults.append((0, "The input has no MODEL."))
        for part in (paths, *of_groups):
            self.check_levels(part)
        stated = group_items(paths, of_groups) if of_groups else list(paths.items.values())
        self.refusals.check()
        each = [own for item in stated for own in (item.by_group or (item,))]
        labels = {item.label for item in each if item.label is not None}
        definitions = constraint_lines(self.of("MODEL CONSTRAINT"), labels, self.names, self.refusals)
        self.refusals.check()
        items = self.with_parts(stated, paths.slopes)
        slopes: SlopeCentering = "observed" if paths.slopes else "latent"
        items = _with_mplus_defaults(items, slopes)
        left_out = [n for n in self.variables["USEVARIABLES"] if n not in self.in_model(items)]
        if left_out:
            self.remarks.append(f"Not in the model, and left out: {', '.join(left_out)}.")
        return MplusModel(
            "\n".join([*model_lines(items), *definitions]),
            self.variables["CLUSTER"][0],
            self.robust,
            slopes,
            "ml" if self.missing_rows and not self.listwise else "listwise",
            tuple(dict.fromkeys(self.remarks)),
            next(iter(self.variables["GROUPING"]), None),
            (*self.missing_step(items), *self.steps),
        )

    def paths_of(self, command: str, *, of_group: bool = False) -> Paths:
        """What the statements of one MODEL command say."""
        paths = Paths(self.names, self.refusals, of_group=of_group, within_only=self.variables["WITHIN"])
        for statement in self.of(command):
            paths.read(statement)
        return paths

    @property
    def key_columns(self) -> list[str]:
        """Columns that name clusters and groups."""
        return [*self.variables["CLUSTER"], *self.variables["GROUPING"]]

    def missing_step(self, items: Iterable[Item]) -> list[DefineStep]:
        """The codes of missing cells of columns that the model or DEFINE names."""
        words = {word.lower() for statement in self.of("DEFINE") for word in re.findall(r"\w+", statement.text)}
        words |= {name.lower() for name in self.in_model(items)}
        words -= {name.lower() for name in self.key_columns}
        columns = {name: expression for name, expression in self.codes.items() if name.lower() in words}
        return [DefineStep(columns, tuple(columns))] if columns else []

    def in_model(self, items: Iterable[Item]) -> set[str]:
        return {name for item in items for name in (item.lhs, item.rhs)} | {*self.key_columns}

    def read_data(self, statement: StatementOfInput) -> None:
        option, value = statement.option
        if statement.command == "DATA" and option_named(option, ("LISTWISE",)):
            self.listwise = value.upper() == "ON"
            return
        if statement.command == "DATA" and option == "TYPE" and value.upper() != "INDIVIDUAL":
            self.refusals.add(statement, "a model is fitted to the rows of individuals")
            return
        self.remarks.append(f"{statement.command} plays no part here.")

    def read_variables(self) -> None:
        by_option: dict[str, list[tuple[StatementOfInput, str]]] = {}
        for statement in self.of("VARIABLE"):
            word, value = statement.option
            option = option_named(word, _LISTS)
            if option is None:
                known = option_named(word, _WHY_NOT)
                self.refusals.add(statement, _WHY_NOT[known] if known else f"{word} is not offered")
            else:
                by_option.setdefault(option, []).append((statement, value))
        names = [new_names(value) for _, value in by_option.get("NAMES", [])]
        if not names or any(part is None for part in names):
            raise FormulaError("The Mplus input has no names of columns. Write VARIABLE: NAMES = … with all of them.")
        columns = tuple(dict.fromkeys(name for part in names for name in part or ()))
        self.names = NamesOfInput(columns, {name.lower(): name for name in columns})
        for statement, value in by_option.get("MISSING", []):
            self.missing_rows = True
            self.codes |= missing_codes(statement, value, self.names, self.refusals)
        for statement in self.of("DATA"):
            self.listwise |= statement.option == ("LISTWISE", "ON")
        self.variables["CLUSTER"] = self.list_of(by_option.get("CLUSTER", []))
        if len(self.variables["CLUSTER"]) != 1:
            self.refusals.check()
            raise FormulaError(
                "A two-level model has one variable of clusters. Got "
                f"{', '.join(self.variables['CLUSTER']) or 'none'}; write VARIABLE: CLUSTER = … with its name."
            )
        (cluster,) = self.variables["CLUSTER"]
        self.read_grouping(by_option.get("GROUPING", []))
        for statement, _ in by_option.get("CENTERING", []):
            step = centering_step(statement, cluster, self.names)
            if step is None:
                self.refusals.add(statement, "expected CENTERING = GROUPMEAN (x) or GRANDMEAN (x)")
            self.steps += [] if step is None else [step]
        for statement in self.of("DEFINE"):
            step = define_step(statement, cluster, self.names)
            if step is None:
                why = "of DEFINE only CENTER, CLUSTER_MEAN and arithmetic of columns are; make it in a view"
                self.refusals.add(statement, why)
            else:
                self.steps.append(step)
            # what is not read makes a column all the same, which need not be told of again
            new = [name for name in defined_columns(statement) if not self.names.is_column(name)]
            self.names = NamesOfInput((*self.names.order, *map(self.names.of, new)), self.names.spelling)
        for option in ("USEVARIABLES", "WITHIN", "BETWEEN"):
            self.variables[option] = self.list_of(by_option.get(option, []))
        if "USEVARIABLES" in by_option:
            # columns of lists are counted in the order of those in use
            used = self.variables["USEVARIABLES"]
            self.names = NamesOfInput((*used, *(n for n in self.names.order if n not in used)), self.names.spelling)
        else:
            self.variables["USEVARIABLES"] = [n for n in self.names.order if n not in self.key_columns]
        self.remarks += [
            f"{option} plays no part here." for option in ("IDVARIABLE", "AUXILIARY") if option in by_option
        ]

    def read_grouping(self, parts: Sequence[tuple[StatementOfInput, str]]) -> None:
        self.variables["GROUPING"] = []
        for statement, value in parts:
            grouping = grouping_labels(value, self.names)
            if grouping is None or self.groups:
                self.refusals.add(statement, "expected GROUPING = column (1 = label 2 = label), once")
                continue
            column, self.groups = grouping
            self.variables["GROUPING"] = [column]

    def list_of(self, parts: Sequence[tuple[StatementOfInput, str]]) -> list[str]:
        result: list[str] = []
        for statement, value in parts:
            columns = self.names.listed(re.sub(r"\s*-\s*", "-", value))
            if columns is None:
                self.refusals.add(statement, "it lists what NAMES does not have")
            result += columns or []
        return list(dict.fromkeys(result))

    def read_analysis(self) -> None:
        kinds: list[str] = []
        for statement in self.of("ANALYSIS"):
            word, value = statement.option
            if option_named(word, ("TYPE",)):
                kinds = value.upper().split()
                if not {*kinds} <= {"TWOLEVEL", "RANDOM", "MISSING", "H1", "MEANSTRUCTURE"}:
                    self.refusals.add(statement, "TYPE is TWOLEVEL or TWOLEVEL RANDOM here")
            elif option_named(word, ("ESTIMATOR",)):
                self.robust = value.upper() == "MLR"
                if value.upper() not in {"ML", "MLR"}:
                    self.refusals.add(statement, "estimators are ML and MLR here")
            elif option_named(word, _OF_SEARCH):
                self.remarks.append(f"{word} plays no part here.")
            else:
                self.refusals.add(statement, f"{word} is not offered")
        if "TWOLEVEL" not in kinds and not self.refusals.faults:
            raise FormulaError("The Mplus input is of no two-level model. Write ANALYSIS: TYPE = TWOLEVEL.")

    def check_levels(self, paths: Paths) -> None:
        """Refuse a column of WITHIN at level 2, one of BETWEEN at level 1, and what stands for the cluster."""
        wrong = {WITHIN: self.variables["BETWEEN"], BETWEEN: self.variables["WITHIN"]}
        lists = {WITHIN: "BETWEEN", BETWEEN: "WITHIN"}
        for key, item in paths.items.items():
            for name in (item.lhs, item.rhs):
                if name in wrong[item.level]:
                    self.refusals.add(paths.lines[key], f"{name} is listed in {lists[item.level]}")
                elif self.names.is_column(name) and name not in self.variables["USEVARIABLES"]:
                    self.refusals.add(paths.lines[key], f"{name} is not among USEVARIABLES")

    def with_parts(self, stated: Sequence[Item], slopes: Sequence[str]) -> list[Item]:
        """The items, and a variance of each column and slope at the level where the text names it nowhere."""
        items = list(stated)
        used = self.in_model(items)
        for level, elsewhere in ((WITHIN, "BETWEEN"), (BETWEEN, "WITHIN")):
            there = {name for item in items if item.level == level for name in (item.lhs, item.rhs)}
            names = [n for n in self.variables["USEVARIABLES"] if n in used and n not in self.variables[elsewhere]]
            names = [name for name in names if name not in self.key_columns]
            names += slopes if level == BETWEEN else []
            items += [Item(level, name, "~~", name) for name in names if name not in there]
        return items


def _with_mplus_defaults(items: list[Item], slopes: SlopeCentering) -> list[Item]:
    """The items, and what Mplus has where our defaults have something else."""
    table = parameter_table(parse_sem("\n".join(model_lines(items))).of_group(0), slopes)
    random = {slope.name for slope in table.slopes}
    result = list(items)
    for row in table.rows:
        if not row.by_default or row.op != "~~":
            continue
        if row.lhs == row.rhs and row.index is None:
            # a single indicator has a residual variance there
            result.append(Item(row.level, row.lhs, "~~", row.rhs))
        elif row.lhs != row.rhs and {row.lhs, row.rhs} & random:
            result.append(Item(row.level, row.lhs, "~~", row.rhs, fixed=0.0))
    return result
