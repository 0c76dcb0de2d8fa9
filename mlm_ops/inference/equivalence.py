"""Find the numbers that two versions of a model share whatever the data, from the spaces that their columns span.

Two models whose fixed columns span the same space, and whose random columns do so block by block, give the outcome the
same distributions: X = W R gives the coefficients R gamma of W, and an unstructured T becomes R T R'. Likelihoods and
residual variances are then equal, and a coefficient or variance where its row of R has a single one. Raw and
grand-mean centered predictors are of this kind; raw and group-mean centered ones are not where slopes vary (Kreft, de
Leeuw and Aiken 1995, Multivariate Behavioral Research 30, 1-21; Enders and Tofighi 2007, Psychological Methods 12,
121-138).

A second kind: where all random effects are the same in all rows of a unit, columns that sum to zero in every unit are
orthogonal to all else, by the identity and by V, so that their coefficients are those of least squares within units,
whatever stands between these (Mundlak 1978, Econometrica 46, 69-85).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mlm_ops.estimation.design.record import Design
from mlm_ops.inference.recentering_targets import UnitFacts
from mlm_ops.inference.symbolic_columns import LetterSum, Residues, SymbolicColumns, combinations
from mlm_ops.language.columns import Levels
from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.model import PLAIN, GroupingFactor, Indicator, Matrix, Model, walk
from mlm_ops.moments.record import Moments

#: ``("fixed", i)``, ``("tau", block, i, j)`` with i <= j, ``("residual",)`` or ``("log_likelihood",)``.
ModelNumber = tuple[str | int, ...]
#: The name of a version and one of its quantities.
Place = tuple[str, ModelNumber]


@dataclass(frozen=True)
class Spaces:
    """The columns of one version of a model.

    Attributes
    ----------
    fixed
        The estimated fixed columns.
    blocks
        Of each random block its grouping factor, columns and covariance structure.
    within
        Places of the fixed columns that sum to zero in every unit of the lowest grouping factor, where every other
        fixed column and every random one is the same in all of its rows; none where that does not hold.
    """

    fixed: tuple[LetterSum, ...]
    blocks: tuple[tuple[GroupingFactor, tuple[LetterSum, ...], str | Matrix], ...]
    within: tuple[int, ...]

    @property
    def quantities(self) -> Iterator[ModelNumber]:
        """Every quantity that may be equal in another version."""
        yield from (("fixed", i) for i in range(len(self.fixed)))
        for b, (_, columns, _) in enumerate(self.blocks):
            yield from (("tau", b, i, j) for i in range(len(columns)) for j in range(i, len(columns)))
        yield from (("residual",), ("log_likelihood",))


class Equivalence:
    """The versions of a model and which of their numbers are equal.

    Parameters
    ----------
    model
        One of the versions, with the groups that any of them names.
    designs
        The design of every version, by its name.
    """

    def __init__(self, model: Model, moments: Moments, designs: Mapping[str, Design]) -> None:
        facts = UnitFacts(model, moments)
        self._columns = SymbolicColumns(
            model.default_group,
            facts.meaning,
            _complete_indicators(designs.values(), moments.schema.levels),
            facts.is_constant,
            facts.is_balanced,
            facts.is_nested,
        )
        self._default_group = model.default_group
        self._plain = model.residual == PLAIN
        self.spaces = {name: self._spaces(design) for name, design in designs.items()}

    @cached_property
    def equal(self) -> dict[Place, frozenset[str]]:
        """For each number of each version the other versions in which it is equal."""
        classes: dict[Place, set[Place]] = {
            (name, q): {(name, q)} for name, spaces in self.spaces.items() for q in spaces.quantities
        }
        names = list(self.spaces)
        for k, first in enumerate(names):
            for second in names[k + 1 :]:
                for a, b in self._equal_pairs(first, second):
                    joined = classes[first, a] | classes[second, b]
                    for place in joined:
                        classes[place] = joined
        return {place: frozenset(name for name, _ in joined) - {place[0]} for place, joined in classes.items()}

    @cached_property
    def same_model(self) -> dict[str, frozenset[str]]:
        """For each version the others that are the same model with other zeros."""
        return {name: self.equal[name, ("log_likelihood",)] for name in self.spaces}

    @cached_property
    def same_fixed_part(self) -> dict[str, frozenset[str]]:
        """For each version the others whose fixed columns span the same space."""
        return {
            name: frozenset(
                other for other in self.spaces if other != name and self._fixed_rows(name, other) is not None
            )
            for name in self.spaces
        }

    def _equal_pairs(self, first: str, second: str) -> Iterator[tuple[ModelNumber, ModelNumber]]:
        """Pairs of a number of the first version and one of the second that are equal."""
        one, other = self.spaces[first], self.spaces[second]
        fixed, blocks = self._fixed_rows(first, second), _block_rows(one, other)
        if fixed is not None and blocks is not None:
            yield from ((("fixed", i), ("fixed", j)) for i, j in _unit_rows(fixed))
            for b, rows in enumerate(blocks):
                pairs = dict(_unit_rows(rows))
                for i, j in pairs.items():
                    for k, m in pairs.items():
                        if i <= k:
                            yield ("tau", b, i, k), ("tau", b, min(j, m), max(j, m))
            yield ("residual",), ("residual",)
            yield ("log_likelihood",), ("log_likelihood",)
        elif one.within and other.within:
            rows_within = _both_ways([one.fixed[i] for i in one.within], [other.fixed[i] for i in other.within])
            for i, j in _unit_rows(rows_within) if rows_within is not None else ():
                yield ("fixed", one.within[i]), ("fixed", other.within[j])

    def _fixed_rows(self, first: str, second: str) -> Residues | None:
        return _both_ways(self.spaces[first].fixed, self.spaces[second].fixed)

    def _spaces(self, design: Design) -> Spaces:
        fixed = tuple(map(self._columns.column, design.fixed.columns))
        blocks = tuple(
            (level.group, tuple(map(self._columns.column, block.columns)), block.covariance)
            for level in design.levels
            for block in level.blocks
        )
        within: tuple[int, ...] = ()
        # without random effects V is the identity, whatever the units
        lowest = self._default_group if not design.levels else design.levels[0].group if design.nested else None
        if lowest is not None and self._plain:
            means = [self._columns.group_mean(column, lowest) for column in fixed]
            random = [column for _, columns, _ in blocks for column in columns]
            separate = all(not mean or mean == column for mean, column in zip(means, fixed, strict=True))
            if separate and all(self._columns.group_mean(column, lowest) == column for column in random):
                within = tuple(i for i, mean in enumerate(means) if not mean)
        return Spaces(fixed, blocks, within)


def _complete_indicators(designs: Iterable[Design], levels: Levels) -> dict[str, tuple[Indicator, ...]]:
    """The indicators of categorical columns of which some version has one for every level."""
    complete: dict[str, tuple[Indicator, ...]] = {}
    for design in designs:
        present = {node for column in design.fixed.columns for v in column.variables for node in walk(v)}
        for column, names in levels.items():
            indicators = tuple(Indicator(column, name) for name in names)
            if present.issuperset(indicators):
                complete[column] = indicators
    return complete


def _block_rows(one: Spaces, other: Spaces) -> list[Residues] | None:
    """How each random block of the second version follows from that of the first; None where one does not."""
    if len(one.blocks) != len(other.blocks):
        return None
    all_rows: list[Residues] = []
    for (group, columns, covariance), (group_, columns_, covariance_) in zip(one.blocks, other.blocks, strict=True):
        rows = _both_ways(columns, columns_) if group == group_ and covariance == covariance_ else None
        # another basis changes independent or equal effects to others
        keeps_structure = covariance == DEFAULT or columns == columns_
        if rows is None or not keeps_structure:
            return None
        all_rows.append(rows)
    return all_rows


def _both_ways(first: Sequence[LetterSum], second: Sequence[LetterSum]) -> Residues | None:
    """R with first = second @ R where both span the same space; else None."""
    if len(first) != len(second) or combinations(second, first) is None:
        return None
    return combinations(first, second)


def _unit_rows(rows: Residues) -> Iterator[tuple[int, int]]:
    """Pairs of a column of the first and one of the second whose coefficients are equal: rows with a single one."""
    for j, row in enumerate(rows):
        nonzero = [(i, value) for i, value in enumerate(row) if value]
        if len(nonzero) == 1 and nonzero[0][1] == 1:
            yield nonzero[0][0], j
