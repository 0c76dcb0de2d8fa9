"""Read the random slopes of a model's text, and refuse those that have no likelihood in closed form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mlm_ops.errors import FormulaError
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, SemModel

#: A grid of nodes over three slopes has hundreds a cluster.
MOST_LATENT_SLOPES = 2


@dataclass(frozen=True)
class RandomSlope:
    """A regression of level 1 whose slope varies between clusters: ``y ~ rv("s")*x``.

    Attributes
    ----------
    name
        The variable of level 2 that the slope is.
    outcome, predictor
        Variables of level 1.
    latent
        Whether it is the slope of the predictor's part within clusters, around its latent mean.
    """

    name: str
    outcome: str
    predictor: str
    latent: bool = False

    @property
    def text(self) -> str:
        """As the model's text has it."""
        return f'{self.outcome} ~ rv("{self.name}")*{self.predictor}'


def random_slopes(model: SemModel) -> tuple[RandomSlope, ...]:
    """The random slopes in the order of the text.

    Raises
    ------
    FormulaError
        A name that stands for two slopes, at level 1, as a factor or nowhere at level 2; a predictor that is a latent
        variable of level 1, or one that its own outcome acts upon.
    """
    slopes = tuple(RandomSlope(i.slope, i.lhs, i.rhs) for i in model.at(WITHIN) if i.slope is not None)
    within, between = model.at(WITHIN), model.at(BETWEEN)
    latent = {item.lhs for item in within if item.op == "=~"}
    for number, slope in enumerate(slopes):
        twin = next((other for other in slopes[:number] if other.name == slope.name), None)
        if twin is not None:
            raise FormulaError(
                f"A random slope belongs to one regression. Got {slope.name!r} for {twin.outcome} ~ {twin.predictor} "
                f"and {slope.outcome} ~ {slope.predictor}; give each its own name, and equal labels at level 2."
            )
        if slope.predictor in latent:
            raise FormulaError(
                f"A random slope needs an observed variable. Got {slope.text}, and {slope.predictor!r} is a latent "
                "variable of level 1, whose product with a slope has no likelihood in closed form; give it a fixed "
                "slope."
            )
        if slope.name in _names(within):
            raise FormulaError(
                f"A random slope is a variable of level 2. Got {slope.name!r} in {slope.text} and as a variable of "
                "level 1; give the slope another name."
            )
        if any(item.op == "=~" and item.lhs == slope.name for item in between):
            raise FormulaError(
                f"A random slope has no indicators. Got {slope.name} =~ at level 2; write its effects as regressions, "
                f"as in z ~ {slope.name}."
            )
        if slope.name not in _names(between):
            raise FormulaError(
                f"The random slope {slope.name!r} of {slope.outcome} on {slope.predictor} is named at level 1 and "
                f"does not appear at level 2. Write {slope.name} ~~ {slope.name} there, or what predicts it, or drop "
                "rv()."
            )
    _check_no_loop(slopes, within)
    return slopes


def center_slopes(
    slopes: Sequence[RandomSlope], both: Sequence[str], within: Sequence[Item], option: str
) -> tuple[RandomSlope, ...]:
    """Tell of which slopes the predictor is taken around its latent mean: where it has a part at level 2 too.

    Parameters
    ----------
    both
        Variables of both levels.
    within
        The items of level 1.
    option
        ``latent``, or ``observed`` for predictors as they are.

    Raises
    ------
    FormulaError
        More than two such slopes, each of which is a dimension of the integral, or a predictor with a mean at level 1.
    """
    if option == "observed":
        return tuple(slopes)
    latent = [slope for slope in slopes if slope.predictor in both]
    if len(latent) > MOST_LATENT_SLOPES:
        texts = ", ".join(f"{slope.name!r} of {slope.predictor}" for slope in latent)
        raise FormulaError(
            "Two random slopes of parts within clusters are offered at most, as the likelihood integrates over each of "
            f'them. Got {texts}; take the predictors as they are observed by slopes="observed", name some of them at '
            "level 1 only, or fix a slope."
        )
    for slope in latent:
        if any(item.op == "~1" and item.lhs == slope.predictor and (item.freed or item.fixed) for item in within):
            raise FormulaError(
                f"{slope.predictor!r} has a mean at level 1, and its random slope {slope.name!r} belongs to its part "
                "within clusters, which has none. Leave the mean at level 2."
            )
    return tuple(replace(slope, latent=slope in latent) for slope in slopes)


def _names(items: Iterable[Item]) -> set[str]:
    return {name for item in items for name in (item.lhs, item.rhs) if name}


def arrows(paths: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """What acts upon what, by left side, operator and right side: factors on indicators, predictors on outcomes."""
    return [(lhs, rhs) if op == "=~" else (rhs, lhs) for lhs, op, rhs in paths if op in {"=~", "~"}]


def acts_upon(source: str, target: str, drawn: Collection[tuple[str, str]]) -> bool:
    """Whether arrows lead from one variable to another, or the two are one."""
    reached = {source}
    while more := {end for start, end in drawn if start in reached} - reached:
        reached |= more
    return target in reached


def _check_no_loop(slopes: Sequence[RandomSlope], within: Sequence[Item]) -> None:
    """Refuse a predictor that its own outcome acts upon: rows would have no density in closed form."""
    for slope in slopes:
        if acts_upon(slope.outcome, slope.predictor, arrows((i.lhs, i.op, i.rhs) for i in within)):
            raise FormulaError(
                f"A random slope is part of no loop. Got {slope.text}, and {slope.outcome!r} acts on "
                f"{slope.predictor!r} in turn; leave one of the regressions out."
            )
