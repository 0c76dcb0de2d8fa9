"""Say in words what a model's intercept and the variance of its intercepts mean: where every predictor is zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlm_ops.language.columns import DesignColumn, Levels
from mlm_ops.language.model import (
    Centering,
    Function,
    GrandMean,
    GroupingFactor,
    GroupMean,
    Indicator,
    Poly,
    Variable,
    label,
    number_text,
)

#: A zero further than this many standard deviations from a variable's mean is said to be so.
FAR = 3.0


@dataclass(frozen=True)
class Wording:
    """What the sentences need to know beside the columns.

    Attributes
    ----------
    outcome
        The outcome.
    levels
        Levels of every categorical column.
    default_group
        The grouping factor whose means `within` and `between` take where they name none.
    spreads
        Mean and standard deviation of variables as they are measured, as far as they are known.
    """

    outcome: Variable
    levels: Levels = field(default_factory=dict)
    default_group: GroupingFactor | None = None
    spreads: Mapping[Variable, tuple[float, float]] = field(default_factory=dict)


def intercept_meaning(columns: Sequence[DesignColumn], wording: Wording) -> str | None:
    """Return what the fixed intercept is; None where the columns have none.

    >>> from mlm_ops.language.model import Column, Within
    >>> columns = [DesignColumn(()), DesignColumn((Within(Column("ses")),))]
    >>> intercept_meaning(columns, Wording(Column("mathach"), default_group=("school",)))
    'Predicted mathach where ses is at the mean of its school.'
    """
    if not any(not column.variables for column in columns):
        return None
    where = _where(columns, wording)
    return f"Predicted {_outcome(wording)}{where or ', the same in all rows'}."


def variance_meaning(blocks: Sequence[tuple[GroupingFactor, Sequence[DesignColumn]]], wording: Wording) -> str | None:
    """Return what the variance of the intercepts is, a sentence a grouping factor; None where none has any.

    Parameters
    ----------
    blocks
        The grouping factor and the columns of every random block.
    """
    sentences = []
    for group in dict.fromkeys(group for group, _ in blocks):
        columns = [column for of, block in blocks if of == group for column in block]
        if all(column.variables for column in columns):
            continue
        where = _where(columns, wording)
        suffix = where or ", the same at all values of the predictors"
        sentences.append(f"Variance over {group[-1]} of predicted {_outcome(wording)}{suffix}.")
    return " ".join(sentences) or None


def _where(columns: Sequence[DesignColumn], wording: Wording) -> str:
    """Where all columns but the constant are zero, or zero on average."""
    variables = dict.fromkeys(column.variables[0] for column in columns if len(column.variables) == 1)
    for column in columns:
        # a product is zero where one of its variables is
        if len(column.variables) > 1 and not any(v in variables and not _is_average(v) for v in column.variables):
            numbers = [v for v in column.variables if not isinstance(v, Indicator)]
            variables |= dict.fromkeys(numbers[:1] or column.variables)
    indicators = [v for v in variables if isinstance(v, Indicator)]
    zeros, averages = [], []
    for variable in variables:
        if isinstance(variable, Indicator):
            of_column = [v for v in indicators if v.column == variable.column]
            absent = [
                level for level in wording.levels.get(variable.column, ()) if level not in {v.level for v in of_column}
            ]
            if variable.against is not None:
                averages.append(f"the levels of {variable.column}, each counting alike")
            elif absent:
                zeros.append(f"{variable.column} is {' or '.join(absent)}")
        elif _is_average(variable) and isinstance(variable, Poly):
            averages.append(f"the {_noun(variable.of, wording)} of all rows")
        else:
            zeros.append(_zero(variable, wording))
    where = f" where {_listed(list(dict.fromkeys(zeros)))}" if zeros else ""
    return where + (
        f"{',' if zeros else ''} averaged over {_listed(list(dict.fromkeys(averages)))}" if averages else ""
    )


def _is_average(variable: Variable) -> bool:
    """Whether a variable's zero is the mean of its values: orthogonal polynomials, and factors in sum coding."""
    return (isinstance(variable, Poly) and not variable.raw) or (
        isinstance(variable, Indicator) and variable.against is not None
    )


def _zero(variable: Variable, wording: Wording) -> str:
    """Where a variable is zero: ``ses is at the mean of its school``."""
    match variable:
        case Poly(of):
            return _zero(of, wording)
        case Centering(of) if not variable.keeps_value:
            return f"{_noun(variable, wording)} is 0"
        case Centering(of):
            match variable.mean:
                case GroupMean(group, over):
                    group = group or wording.default_group or ("group",)
                    return f"{_noun(of, wording)} is at the mean of its {group[-1]}{_each(over)}"
                case GrandMean(over):
                    return (
                        f"{_noun(of, wording)} is at {f'its mean{_each(over)}' if over else 'its mean over all rows'}"
                    )
                case value:
                    return f"{_noun(of, wording)} is {number_text(value)}{_far(of, value, wording)}"
    return f"{_noun(variable, wording)} is 0{_far(variable, 0.0, wording)}"


def _noun(variable: Variable, wording: Wording) -> str:
    """A variable as the subject of a sentence: ``the mean of ses in school``."""
    match variable:
        case Centering(of):
            match variable.mean:
                case GroupMean(group, over):
                    name = (group or wording.default_group or ("group",))[-1]
                    if variable.keeps_value:
                        return f"{_noun(of, wording)} minus the mean of its {name}{_each(over)}"
                    return f"the mean of {_noun(of, wording)} in {name}{_each(over)}"
                case GrandMean(over):
                    return f"{_noun(of, wording)} minus its mean{_each(over)}"
                case value:
                    return f"{_noun(of, wording)} minus {number_text(value)}"
        case Indicator():
            return f"the indicator {label(variable)}"
        case Function("I", (inner,)):
            return label(inner)
    return label(variable)


def _outcome(wording: Wording) -> str:
    return _noun(wording.outcome, wording).removeprefix("the ")


def _each(over: GroupingFactor | None) -> str:
    return f" (each {over[-1]} counting once)" if over else ""


def _far(variable: Variable, zero: float, wording: Wording) -> str:
    """A remark on a zero that hardly any row comes near to."""
    mean, std_dev = wording.spreads.get(variable, (zero, 0.0))
    if not std_dev or abs(zero - mean) <= FAR * std_dev:
        return ""
    side = "below" if zero < mean else "above"
    # two digits, so that no mean can be worked out from it where small groups are not published
    distance = number_text(float(f"{abs(zero - mean) / std_dev:.2g}"))
    return f" (about {distance} standard deviations {side} its mean)"


def _listed(texts: Sequence[str]) -> str:
    """``a``; ``a and b``; ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
