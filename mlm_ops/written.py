"""What writing a fit takes, as equations or as the input of other programs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlm_ops.errors import MlmError
from mlm_ops.language.columns import uncoded
from mlm_ops.language.equations import coefficient_symbol
from mlm_ops.language.model import Variable
from mlm_ops.language.notation.facts import Facts
from mlm_ops.language.notation.level_text import LevelEquations, level_equations_of
from mlm_ops.moments.grouping import meanings

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit


def estimates_by_symbol(fitted: Fit) -> dict[str, float]:
    """Estimates by the symbols of the tables; variances of several strata with the stratum in brackets."""
    structure = fitted.structure
    index, strata = structure.indices, structure.strata
    fixed = zip((coefficient_symbol(index[c]) for c in structure.fixed), fitted.result.gamma, strict=True)
    variances = {
        f"{c.symbol}[{c.term}]" if c.symbol == "sigma2" and strata else c.symbol: c.estimate for c in fitted.components
    }
    return {symbol: float(value) for symbol, value in (*fixed, *variances.items())}


def facts_of(fitted: Fit) -> Facts:
    """What other programs need to be told of the model."""
    schema, model, nested = fitted.moments.schema, fitted.model, fitted.moments.nested_in
    named = {group: group for group in model.all_groups} | meanings(model, fitted.moments)
    meaning = {g: nested.get(units[0], units) if len(units) == 1 else units for g, units in named.items()}
    split = fitted.result.design.split
    facts = Facts(
        model=model,
        structure=fitted.structure,
        groups=tuple(level.group for level in fitted.result.design.levels),
        meaning=meaning,
        reml=fitted.estimator == "reml",
        levels=schema.levels,
        # of a grouping factor too, whose unit 01 is not unit 1
        text_columns=schema.text_columns.union(
            key for key, labels in zip(schema.keys, fitted.moments.labels, strict=True) if labels.dtype.kind in "OUT"
        ),
        complete=(),
        part=(split.part, split.group) if split is not None else None,
        file=str(fitted.file) if fitted.file is not None else None,
    )
    siblings = (name for name, count in fitted.n_dropped.items() if count and "(" not in name)
    return replace(facts, complete=tuple(dict.fromkeys((*facts.columns, *siblings))))


def level_equations(fitted: Fit) -> LevelEquations:
    """The model as level equations that compile to it.

    Raises
    ------
    MlmError
        Its grouping factors cross.
    """
    design, levels = fitted.result.design, dict[Variable, int]()
    if not design.nested:
        raise MlmError(
            f"Level equations are for nested levels, and the units of {' and '.join(fitted.structure.groups)} cross. "
            f"The formula says it: {fitted.model.text}"
        )
    for variable, level in design.variable_levels.items():
        whole = uncoded(variable)
        levels[whole] = min(level, levels.get(whole, level))
    groups = tuple(level.group for level in design.levels)
    return level_equations_of(fitted.model, groups, lambda variable: levels.get(uncoded(variable), 1))
