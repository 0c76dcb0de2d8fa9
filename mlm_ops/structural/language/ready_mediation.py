"""Write out ready models of mediation: fixed paths at each level, or random slopes, one mediator or several.

Preacher, Zyphur and Zhang (2010), Psychological Methods 15: a variable of level 2 acts and is acted upon between
clusters alone. The mean of a product of random slopes is that of their means plus their covariance (Kenny, Korchmaros
and Bolger 2003, Psychological Methods 8; Bauer, Preacher and Gil 2006, Psychological Methods 11).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.ready_line import Covariates, Moderator, ReadyLine, all_covariances, free_names

#: Values of a moderator beside its mean at which an indirect effect is defined: a standard deviation away.
_BESIDE = {"low": "-", "high": "+"}


@dataclass(frozen=True)
class _Path:
    """A regression: its letter and number, and what it leads from and to."""

    letter: str
    number: str
    source: str
    target: str

    def label(self, level: str) -> str:
        """Its label, as ``aw1``."""
        return f"{self.letter}{level}{self.number}"


@dataclass(frozen=True)
class _Mediation:
    """What a line says: stages from x to y, and the level of each variable."""

    stages: tuple[tuple[str, ...], ...]
    levels: dict[str, int]
    covariates: Covariates
    moderator: Moderator | None

    @property
    def x(self) -> str:
        return self.stages[0][0]

    @property
    def y(self) -> str:
        return self.stages[-1][0]

    @property
    def mediators(self) -> tuple[str, ...]:
        return tuple(name for stage in self.stages[1:-1] for name in stage)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.x, *self.mediators, self.y)

    @property
    def variables(self) -> tuple[str, ...]:
        """Every column of the line."""
        moderator = self.moderator
        columns = () if moderator is None else (moderator.name, *filter(None, moderator.products.values()))
        return (*self.names, *self.covariates.names, *columns)

    @property
    def is_within(self) -> bool:
        """Whether the whole path is at level 1."""
        return all(level == WITHIN for level in self.levels.values())

    def paths(self) -> list[_Path]:
        """Every regression: a from x, b from a mediator, d from the first mediator to the second, c the direct one."""
        several = len(self.mediators) > 1
        numbered = [(m, str(i) if several else "") for i, m in enumerate(self.mediators, start=1)]
        paths = [_Path("a", number, self.x, m) for m, number in numbered]
        if self.is_serial:
            paths.append(_Path("d", "", *self.mediators))
        paths += [_Path("b", number, m, self.y) for m, number in numbered]
        return [*paths, _Path("c", "", self.x, self.y)]

    @property
    def is_serial(self) -> bool:
        """Whether the second mediator follows from the first."""
        return len(self.stages) == 4

    def ways(self) -> list[tuple[tuple[str, ...], tuple[_Path, ...]]]:
        """The mediators that each indirect effect goes through, and its paths."""
        paths = {(path.source, path.target): path for path in self.paths()}
        through = [(m,) for m in self.mediators] + ([self.mediators] if self.is_serial else [])
        steps = [(self.x, *way, self.y) for way in through]
        return [(way, tuple(paths[pair] for pair in pairwise(step))) for way, step in zip(through, steps, strict=True)]


def mediation_text(line: ReadyLine, design: str) -> str:
    """The model text of ``mediation DESIGN: x -> m -> y by w | z``.

    Raises
    ------
    FormulaError
        Anything else behind the heading.
    """
    random = design.endswith("random")
    digits = design.removesuffix("random").split("-")
    stages = [line.names()]
    while line.at("-"):
        line.expect("-", ">")
        stages.append(line.names())
    moderator = line.moderator()
    covariates = line.covariates()
    if (
        not set(digits) <= {"1", "2"}
        or len(digits) != len(stages)
        or len(stages) not in (3, 4)
        or "1" not in digits
        or any(len(stage) > 1 for stage in (stages[0], stages[-1], *(stages[1:] if len(stages) == 4 else [])))
        or (random and (len(stages) == 4 or "2" in digits))
    ):
        line.index = 0
        raise line.fail()
    levels = {name: int(digit) for stage, digit in zip(stages, digits, strict=True) for name in stage}
    model = _Mediation(tuple(stages), levels, covariates, moderator)
    line.check_distinct(model.variables)
    if moderator is not None:
        _check_moderation(line, model, random)
    return _random_text(model) if random else _fixed_text(model)


def _check_moderation(line: ReadyLine, model: _Mediation, random: bool) -> None:
    moderator = model.moderator
    assert moderator is not None
    line.index = 0
    if len(model.mediators) > 1:
        raise line.fail("Moderation is offered with one mediator. Write the model of several as a text of your own.")
    if random and any(moderator.products.values()):
        raise line.fail(
            f"With random slopes {moderator.name!r} predicts the slopes and needs no product. Got a column of "
            f"products; write by {moderator.name}, by first({moderator.name}) or by second({moderator.name})."
        )
    for stage, product in moderator.products.items():
        source = model.x if stage == "first" else model.mediators[0]
        if random:
            continue
        if model.levels[source] == WITHIN:
            raise line.fail(
                f"A product of {moderator.name!r} with the part of {source!r} between clusters is of a latent "
                "variable, and has no likelihood in closed form. Moderate the slopes instead, by mediation 1-1-1 "
                "random."
            )
        if product is None:
            raise line.fail(
                f"The moderation of a path between clusters needs the column of its products. Make {source} times "
                f"{moderator.name} in a view, and write by {stage}({moderator.name}, its name)."
            )


def _fixed_text(model: _Mediation) -> str:
    blocks = []
    for level, letter in ((WITHIN, "w"), (BETWEEN, "b")):
        there = [name for name in model.names if level == BETWEEN or model.levels[name] == WITHIN]
        outcomes = [name for name in there if name != model.x]
        lines = "".join(_regression(model, target, there, letter) for target in outcomes)
        paths = [path for path in model.paths() if path.source in there and path.target in there]
        related = {name for path in paths for name in (path.source, path.target)}
        related |= set(outcomes) if model.covariates.line(outcomes, level) else set()
        lines += model.covariates.line(outcomes, level)
        if level == BETWEEN:
            lines += _moderator_between(model)
        if not model.is_serial:
            lines += all_covariances([name for name in model.mediators if name in there])
        lines += "".join(f"  {name} ~~ {name}\n" for name in there if name not in related)
        blocks.append(f"level: {level}\n{lines}")
    return "".join(blocks) + "\n".join(
        _effects(model) if model.moderator is None else _moderated(model.moderator, "ab", "bb")
    )


def _regression(model: _Mediation, target: str, there: Sequence[str], letter: str) -> str:
    """The line of one outcome at a level; empty where nothing acts upon it there."""
    paths = [path for path in model.paths() if path.target == target and path.source in there]
    terms = [f"{path.label(letter)}*{path.source}" for path in paths]
    if letter == "b" and model.moderator is not None:
        terms.append(model.moderator.name)
        stage, label = ("second", "moderation_b") if target == model.y else ("first", "moderation_a")
        product = model.moderator.products.get(stage)
        terms += [f"{label}*{product}"] if product is not None else []
    return f"  {target} ~ {' + '.join(terms)}\n" if terms else ""


def _moderator_between(model: _Mediation) -> str:
    """The moderator's mean and variance, which have labels, and the covariances of what is exogenous with it."""
    if model.moderator is None:
        return ""
    products = model.moderator.products
    exogenous = [model.moderator.name, *filter(None, products.values()), model.x, *model.covariates.between]
    lines = _moderator_lines(model.moderator) + all_covariances(exogenous)
    product = products.get("second")
    # what is left of the mediator goes with its own product
    return lines + (f"  {model.mediators[0]} ~~ {product}\n" if product is not None else "")


def _moderator_lines(moderator: Moderator) -> str:
    return f"  {moderator.name} ~ moderator_mean*1\n  {moderator.name} ~~ moderator_variance*{moderator.name}\n"


def _effects(model: _Mediation) -> list[str]:
    """Definitions of the indirect effects, with several mediators each and their sum, and of the total effect."""
    indirect, total = [], []
    for level, letter in (("within", "w"), ("between", "b")):
        if level == "within" and not model.is_within:
            continue
        products = {way: "*".join(path.label(letter) for path in paths) for way, paths in model.ways()}
        if len(products) > 1:
            names = {way: f"indirect_{level}_{'_'.join(way)}" for way in products}
            indirect += [f"{names[way]} := {product}" for way, product in products.items()]
            effect = " + ".join(names.values())
            indirect.append(f"indirect_{level} := {effect}")
            effect = f"indirect_{level}"
        else:
            effect = next(iter(products.values()))
            indirect.append(f"indirect_{level} := {effect}")
        total.append(f"total_{level} := {effect} + c{letter}")
    return [*indirect, *total]


def _random_text(model: _Mediation) -> str:
    """Every path of level 1 has a random slope; intercepts and slopes covary."""
    paths = model.paths()
    slopes = dict(zip(paths, free_names([path.label("") for path in paths], model.variables, "slope"), strict=True))
    outcomes = [*model.mediators, model.y]
    lines = ["level: 1\n"]
    for target in outcomes:
        terms = [f'rv("{slopes[path]}")*{path.source}' for path in slopes if path.target == target]
        lines.append(f"  {target} ~ {' + '.join(terms)}\n")
    lines += [model.covariates.line(outcomes, WITHIN), all_covariances(model.mediators), "level: 2\n"]
    moderator = model.moderator
    for path, name in slopes.items():
        lines.append(f"  {name} ~ {_mean_label(path, moderator)}*1{_moderation_term(path, moderator)}\n")
    lines.append(model.covariates.line(outcomes, BETWEEN))
    if moderator is not None:
        lines.append(f"  {' + '.join(outcomes)} ~ {moderator.name}\n{_moderator_lines(moderator)}")
        lines.append(all_covariances([moderator.name, *model.covariates.between]))
    pairs = {paths for _, paths in model.ways()}
    labels = {tuple(slopes[path] for path in (first, second)): f"cov_ab{first.number}" for first, second in pairs}
    effects = [*outcomes, *slopes.values()]
    for i, first in enumerate(effects[:-1]):
        others = (
            f"{labels[first, other]}*{other}" if (first, other) in labels else other for other in effects[i + 1 :]
        )
        lines.append(f"  {first} ~~ {' + '.join(others)}\n")
    first, second = (_mean_label(path, moderator) for path in model.ways()[0][1])
    effects_text = _mean_effects(model) if moderator is None else _moderated(moderator, first, second, " + cov_ab")
    return "".join(lines) + "\n".join(effects_text)


def _is_moderated(path: _Path, moderator: Moderator | None) -> bool:
    """Whether the slope of a path has the moderator as predictor: the direct one where both stages have."""
    stages = {"a": ("first",), "b": ("second",), "c": ("first", "second")}[path.letter]
    return moderator is not None and all(stage in moderator.products for stage in stages)


def _mean_label(path: _Path, moderator: Moderator | None) -> str:
    return f"{'intercept' if _is_moderated(path, moderator) else 'mean'}_{path.label('')}"


def _moderation_term(path: _Path, moderator: Moderator | None) -> str:
    if moderator is None or not _is_moderated(path, moderator):
        return ""
    return f" + moderation_{path.label('')}*{moderator.name}"


def _mean_effects(model: _Mediation) -> list[str]:
    """Definitions of the means of the indirect effects, with several mediators each and their sum, and of the total."""
    effects = {way[0]: [path.label("") for path in paths] for way, paths in model.ways()}
    means = {m: f"mean_{a}*mean_{b} + cov_{a[0]}{b}" for m, (a, b) in effects.items()}
    if len(means) == 1:
        mean = next(iter(means.values()))
        return [f"indirect := {mean}", f"total := {mean} + mean_c"]
    each = [f"indirect_{m} := {mean}" for m, mean in means.items()]
    return [*each, f"indirect := {' + '.join(f'indirect_{m}' for m in means)}", "total := indirect + mean_c"]


def _moderated(moderator: Moderator, first: str, second: str, covariance: str = "") -> list[str]:
    """Definitions of the indirect effect at three values of the moderator, and of the index of moderated mediation.

    The index is the slope of the indirect effect in the moderator (Hayes 2015, Multivariate Behavioral Research 50), at
    the moderator's mean where it moderates both stages.

    Parameters
    ----------
    first, second
        Labels of the two paths, or of their intercepts.
    covariance
        What is added to their product.
    """
    stages = {"first": (first, "moderation_a"), "second": (second, "moderation_b")}

    def at(stage: str, value: str) -> str:
        label, moderation = stages[stage]
        return f"({label} + {moderation}*{value})" if stage in moderator.products else label

    lines = [f"moderator_{value} := moderator_mean {sign} sqrt(moderator_variance)" for value, sign in _BESIDE.items()]
    for value in ("low", "mean", "high"):
        product = f"{at('first', f'moderator_{value}')}*{at('second', f'moderator_{value}')}"
        lines.append(f"indirect_{value} := {product}{covariance}")
    others = {"first": "second", "second": "first"}
    slopes = [
        f"{stages[stage][1]}*{at(others[stage], 'moderator_mean')}" for stage in stages if stage in moderator.products
    ]
    return [*lines, f"index := {' + '.join(slopes)}"]
