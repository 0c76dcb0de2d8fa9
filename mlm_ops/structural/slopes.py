"""Read the random slopes of a model's text, and refuse those that have no likelihood in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlm_ops.errors import FormulaError
from mlm_ops.structural.model import BETWEEN, WITHIN, Item, SemModel


@dataclass(frozen=True)
class RandomSlope:
    """A regression of level 1 whose slope varies between clusters: ``y ~ rv("s")*x``.

    Attributes
    ----------
    name
        The variable of level 2 that the slope is.
    outcome, predictor
        Variables of level 1.
    """

    name: str
    outcome: str
    predictor: str

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
                f"A random slope is of one regression. Got {slope.name!r} for {twin.outcome} ~ {twin.predictor} and "
                f"{slope.outcome} ~ {slope.predictor}; give each its own name, and equal labels at level 2."
            )
        if slope.predictor in latent:
            raise FormulaError(
                f"A random slope is of an observed variable. Got {slope.text}, and {slope.predictor!r} is a latent "
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
                f"stands nowhere at level 2. Write {slope.name} ~~ {slope.name} there, or what predicts it, or drop "
                "rv()."
            )
    _check_no_loop(slopes, within)
    return slopes


def check_centering(slopes: Sequence[RandomSlope], both: Sequence[str], option: str) -> None:
    """Refuse the slope of a variable's part within clusters, unless the variable shall be taken as it is observed.

    Raises
    ------
    FormulaError
        A predictor that has a part at level 2 too, with ``slopes="latent"``.
    """
    for slope in slopes if option == "latent" else ():
        if slope.predictor in both:
            raise FormulaError(
                f"{slope.predictor!r} stands at level 2 too, so that its random slope {slope.name!r} would be of its "
                "part within clusters, around a latent mean, which is not offered. Take it as observed by "
                f'slopes="observed", or name {slope.predictor!r} at level 1 only.'
            )


def _names(items: Iterable[Item]) -> set[str]:
    return {name for item in items for name in (item.lhs, item.rhs) if name}


def _check_no_loop(slopes: Sequence[RandomSlope], within: Sequence[Item]) -> None:
    """Refuse a predictor that its own outcome acts upon: rows would have no density in closed form."""
    arrows = [(i.lhs, i.rhs) if i.op == "=~" else (i.rhs, i.lhs) for i in within if i.op in {"=~", "~"}]
    for slope in slopes:
        reached = {slope.outcome}
        while more := {target for source, target in arrows if source in reached} - reached:
            reached |= more
        if slope.predictor in reached:
            raise FormulaError(
                f"A random slope is part of no loop. Got {slope.text}, and {slope.outcome!r} acts on "
                f"{slope.predictor!r} in turn; leave one of the regressions out."
            )
