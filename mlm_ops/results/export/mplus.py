"""Write a model as Mplus input: TYPE = TWOLEVEL or THREELEVEL [RANDOM], maximum likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from mlm_ops.errors import MlmError
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.model import (
    Centering,
    Column,
    Constant,
    Function,
    GrandMean,
    GroupMean,
    Term,
    Variable,
    columns_of,
    group_name,
    is_group_mean,
    label,
    number_text,
)
from mlm_ops.language.symbols import Index, LevelPart
from mlm_ops.results.export.facts import ExportFacts
from mlm_ops.results.export.mplus_input import NAME_LENGTH, MplusInput, MplusNames


class MplusColumns(MplusNames):
    """Give the variables names in Mplus.

    DEFINE holds what Mplus can compute: functions, products of them, cluster means, and centering at them.
    Everything else is a column of the data file, which `columns` describes.

    Attributes
    ----------
    define
        Statements of DEFINE: transformations, then centering.
    made
        Names that DEFINE makes, in order.
    """

    def __init__(self, facts: ExportFacts) -> None:
        super().__init__()
        self.facts = facts
        self.define_names: list[str] = []
        self._names: dict[LevelPart, str] = {}
        self._transformations: list[str] = []
        self._centering: list[str] = []
        columns = (*facts.structure.fixed, *(c for blocks in facts.structure.random for b in blocks for c in b))
        variables = {v for column in columns for v in column.variables if not is_group_mean(v)}
        #: In how many forms the model has a variable: as it is, or centered in one way or another.
        self._forms = Counter(map(_core, variables))

    @property
    def define(self) -> list[str]:
        """Statements in the order in which they are carried out."""
        return [*self._transformations, *self._centering]

    def part(self, part: LevelPart) -> str:
        """The name of a product of variables of one level."""
        if len(part) == 1:
            return self.variable(part[0])
        if part not in self._names:
            if any(not _computable(v) for v in part):
                self._names[part] = self.column(Term(part).name, "_".join(map(_stem, part)))
            else:
                self._names[part] = self.make("_".join(map(_stem, part)), " * ".join(map(self.variable, part)))
        return self._names[part]

    def variable(self, variable: Variable) -> str:
        """One variable's name."""
        if (variable,) not in self._names:
            self._names[(variable,)] = self._new(variable)
        return self._names[(variable,)]

    def _new(self, variable: Variable) -> str:
        match variable:
            case Column(name):
                return self.column(name, name)
            case Centering(Column() as of) if (name_in_mplus := self._centered(variable, of)) is not None:
                return name_in_mplus
            case Function():
                return self.make(_stem(variable), self.expression(variable))
        return self.column(label(variable), _stem(variable))

    def _centered(self, variable: Centering, of: Column) -> str | None:
        """The name of a column that Mplus centers; None where it cannot."""
        match variable.mean:
            case GroupMean(group, None) if self._is_cluster(group) and not variable.keeps_value:
                return self.make(_stem(variable), f"CLUSTER_MEAN({self.variable(of)})")
            case GroupMean(group, None) if self._is_cluster(group) and self._forms[of] == 1:
                return self._center(of, "GROUPMEAN")
            case GrandMean(None) if self.facts.structure.variable_levels.get(variable) == 1 and self._forms[of] == 1:
                return self._center(of, "GRANDMEAN")
            case float(value):
                return self.make(_stem(variable), f"{self.variable(of)} - ({number_text(value)})")
        return None

    def _center(self, of: Column, at: str) -> str:
        self._centering.append(f"CENTER {self.variable(of)} ({at})")
        return self.variable(of)

    def _is_cluster(self, group: tuple[str, ...] | None) -> bool:
        clusters = [self.facts.units(own) for own in self.facts.groups]
        return len(clusters) == 1 and self.facts.units(group) == clusters[0]

    def make(self, stem: str, expression: str) -> str:
        """A variable that DEFINE makes."""
        name = self.free(stem)
        self._transformations.append(f"{name} = {expression}")
        self.define_names.append(name)
        return name

    def expression(self, variable: Variable) -> str:
        """Arithmetic of columns, as DEFINE takes it."""
        match variable:
            case Constant(value):
                return number_text(value)
            case Function("I", (inner,)):
                return self.expression(inner)
            case Function(name, arguments) if name.isidentifier():
                return f"{name.upper()}({', '.join(map(self.expression, arguments))})"
            case Function(name, arguments):
                texts = [self.expression(a) for a in arguments]
                return f"({name}{texts[0]})" if len(texts) == 1 else f"({f' {name} '.join(texts)})"
        return self.variable(variable)


def _core(variable: Variable) -> Variable:
    return variable.of if isinstance(variable, Centering) else variable


def _computable(variable: Variable) -> bool:
    return isinstance(variable, Column | Function) or is_group_mean(variable)


def _stem(variable: Variable) -> str:
    names = columns_of(variable)
    level = getattr(_core(variable), "level", "")
    ending = f"_{variable.stem[0]}" if isinstance(variable, Centering) else ""
    stem = names[0][: NAME_LENGTH - 4] + str(level)[:4] if level else names[0] if names else "x"
    return stem[: NAME_LENGTH - len(ending)] + ending


_TYPES = {1: "GENERAL", 2: "TWOLEVEL", 3: "THREELEVEL"}


def mplus_input(facts: ExportFacts) -> str:
    """Write a model as Mplus input.

    Raises
    ------
    MlmError
        Mplus' maximum likelihood does not have the model.
    """
    _refuse(facts)
    return _Sections(facts).file().text()


def _refuse(facts: ExportFacts) -> None:
    structure, residual = facts.structure, facts.model.residual
    if facts.part is not None:
        raise MlmError(
            "Mplus input is not written for a part of an outcome. Fit it on a table that has it as a column."
        )
    if structure.crossed:
        raise MlmError(
            "Mplus has crossed grouping factors by Bayes alone (TYPE = CROSSCLASSIFIED), not by maximum likelihood. "
            f"Got {', '.join(structure.groups)}."
        )
    if structure.n_levels > 3:
        raise MlmError(f"Mplus has at most three levels. Got {structure.n_levels}.")
    top = structure.n_levels
    for height, (group, blocks) in enumerate(zip(structure.groups, structure.random, strict=True)):
        own = structure.level_of_factor(height)
        if fixed := [c.name for block in blocks for c in block if any(structure.parts(c)[own - 1 : top])]:
            raise MlmError(
                f"Mplus has no random slopes of variables over the units in which they do not vary. Got "
                f"{', '.join(fixed)} over {group}."
            )
    if not all(isinstance(block.covariance, str) for block in facts.model.random):
        raise MlmError("Mplus input is not written for variances of random effects at given values, as this model has.")
    for block in facts.model.random:
        kind = STRUCTURES[str(block.covariance)]
        if kind.mplus is None:
            raise MlmError(
                f"Mplus input is not written for random effects of {kind.meaning}. Got the covariance structure "
                f"{kind.name} for {group_name(block.group)}."
            )
    if residual.strata or residual.time or residual.precision is not None:
        raise MlmError(
            "Mplus' multilevel models by maximum likelihood have one residual variance: no variances by stratum, no "
            "AR(1), no precision weights."
        )


class _Sections:
    """Write the sections of one input file."""

    def __init__(self, facts: ExportFacts) -> None:
        self.facts = facts
        self.structure = facts.structure
        self.columns = MplusColumns(facts)
        self.outcome = self.columns.variable(facts.model.outcome)
        self.index = facts.structure.indices
        self.slopes: dict[Index, str] = {}
        self.by_level: dict[int, list[str]] = {level: [] for level in range(1, facts.structure.n_levels + 1)}
        self.model = list(self._model())

    def file(self) -> MplusInput:
        """The whole file."""
        clusters = [self.columns.column(group_name(self.facts.units(g)), g[-1]) for g in reversed(self.facts.groups)]
        remarks = [" ".join(self.facts.model.text.split())]
        if self.facts.reml and clusters:
            remarks.append("Mplus has no REML: the numbers are those of estimator ml.")
        predictors = dict.fromkeys(name for names in self.by_level.values() for name in names)
        return MplusInput(
            title=self.outcome,
            kind=f"{_TYPES[self.structure.n_levels]}{' RANDOM' if self.slopes else ''}",
            columns=self.columns.columns,
            # what DEFINE makes stands at the end of the list
            use_variables=sorted((self.outcome, *predictors), key=self.columns.define_names.count),
            model=self.model,
            clusters=clusters,
            # which variables vary at one level alone
            within=list(dict.fromkeys(self.by_level[1])) if clusters else (),
            between=self._between() if clusters else (),
            define=self.columns.define,
            remarks=remarks,
        )

    def _between(self) -> list[str]:
        """Variables that vary at the levels above 1 alone; of three levels each level's by its cluster."""
        between = {level: list(dict.fromkeys(self.by_level[level])) for level in range(2, self.structure.n_levels + 1)}
        if self.structure.n_levels == 2:
            return between[2]
        return [w for level, names in between.items() if names for w in (f"({self._cluster(level)})", *names)]

    def _cluster(self, level: int) -> str:
        group = self.facts.groups[level - 2]
        return self.columns.column(group_name(self.facts.units(group)), group[-1])

    def _model(self) -> Iterator[str]:
        top = self.structure.n_levels
        for level in range(1, top + 1):
            if top > 1:
                yield "%WITHIN%" if level == 1 else f"%BETWEEN{f' {self._cluster(level)}' if top > 2 else ''}%"
            for prefix in self._prefixes(level - 1):
                yield from self._equation(level, prefix)
            if level > 1:
                yield from self._random(level)
            if level == top:
                yield from self._means()

    def _prefixes(self, length: int) -> list[Index]:
        """Coefficients that equations of the next level explain: the intercept, and slopes that vary."""
        indices = dict.fromkeys(index[:length] for index in self.index.values())
        return sorted({p for p in indices if self._latent(p) is not None} | {(0,) * length})

    def _latent(self, prefix: Index) -> str | None:
        """What a coefficient is at the levels above: the outcome for the intercept, a slope that varies, or none."""
        index = prefix
        while index and index[-1] == 0:
            index = index[:-1]
        return self.outcome if not index else self.slopes.get(index)

    def _equation(self, level: int, prefix: Index) -> Iterator[str]:
        """``y ON x;`` for fixed coefficients, ``s | y ON x;`` for those that vary over units or with predictors."""
        left = self._latent(prefix)
        fixed = []
        children = dict.fromkeys(i[:level] for i in self.index.values() if i[: level - 1] == prefix and i[level - 1])
        for child in children:
            name = self.columns.part(self._part(level, child))
            self.by_level[level].append(name)
            if self._varies(child):
                self.slopes[child] = self.columns.free(f"s{len(self.slopes) + 1}")
                yield f"{self.slopes[child]} | {left} ON {name}"
            else:
                fixed.append(name)
        if fixed:
            yield f"{left} ON {' '.join(fixed)}"

    def _part(self, level: int, child: Index) -> LevelPart:
        column = next(c for c, index in self.index.items() if index[:level] == child)
        return self.structure.parts(column)[level - 1]

    def _varies(self, child: Index) -> bool:
        """Whether a coefficient is random at a higher level, or has predictors there."""
        length, above = len(child), range(len(child) + 1, self.structure.n_levels + 1)
        predictors = any(i[:length] == child and any(i[length:]) for i in self.index.values())
        return predictors or any(effect[:length] == child for level in above for effect in self._free(level))

    def _free(self, level: int) -> dict[Index, DesignColumn]:
        """Coefficients with a random effect of a level's units, and their columns."""
        height = level - 2
        blocks = self.structure.random[height]
        return {self.structure.effect_index(self.index[c], height): c for block in blocks for c in block}

    def _random(self, level: int) -> Iterator[str]:
        """Variances and covariances of a level's random effects; every coefficient that does not vary is fixed at 0."""
        free = self._free(level)
        blocks = list(zip(self.structure.random[level - 2], self.structure.covariances[level - 2], strict=True))

        def ending(word: int, effects: set[DesignColumn | None]) -> str:
            for i, (block, kind) in enumerate(blocks):
                if effects <= set(block):
                    words = STRUCTURES[kind].mplus
                    assert words is not None, "a structure without words was refused"
                    return words[word].format(block=f"{level}{i}")
            return "@0"

        prefixes = self._prefixes(level - 1)
        for prefix in prefixes:
            yield f"{self._latent(prefix)}{ending(0, {free.get(prefix)})}"
        for first, second in combinations(prefixes, 2):
            pair = {free.get(first), free.get(second)}
            yield f"{self._latent(first)} WITH {self._latent(second)}{ending(1, pair)}"

    def _means(self) -> Iterator[str]:
        """Coefficients without a mean."""
        top = self.structure.n_levels
        fixed = {self.index[column] for column in self.structure.fixed}
        for prefix in self._prefixes(top - 1):
            yield f"[{self._latent(prefix)}{'' if (*prefix, 0) in fixed else '@0'}]"
