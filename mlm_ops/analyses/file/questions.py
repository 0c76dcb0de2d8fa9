"""Read the keys ``simple_slopes`` and ``contrasts`` of an analysis file, and check them against the models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlm_ops.errors import MlmError
from mlm_ops.inference.effect_sizes.interactions import no_product, unknown_predictor
from mlm_ops.language.model import Model, Term, label
from mlm_ops.language.option_values import as_list

_EXAMPLE = "as in simple_slopes: {slopes: [{slope: within(ses), at: sector}]}"
_WEIGHTS = "as in contrasts: {slopes: {contextual: {between(ses): 1, within(ses): -1}}}"


@dataclass(frozen=True)
class SlopeQuestion:
    """A simple slope: of a predictor at values of its moderators; None for the default values."""

    slope: str
    at: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)


def slope_questions(value: Any) -> dict[str, tuple[SlopeQuestion, ...]]:
    """Read the key ``simple_slopes``: for each model one slope or a list of them."""
    if not isinstance(value, dict):
        raise ValueError(f"simple_slopes is a mapping of models to slopes, {_EXAMPLE}")
    return {
        str(model): tuple(_question(str(model), question) for question in as_list(entry))
        for model, entry in value.items()
    }


def contrast_questions(value: Any) -> dict[str, dict[str, dict[str, float]]]:
    """Read the key ``contrasts``: for each model and name the weight of each coefficient."""
    if not isinstance(value, dict) or not all(
        isinstance(contrasts, dict) and contrasts for contrasts in value.values()
    ):
        raise ValueError(f"contrasts is a mapping of models to named contrasts, {_WEIGHTS}")
    questions: dict[str, dict[str, dict[str, float]]] = {}
    for model, contrasts in value.items():
        for name, weights in contrasts.items():
            if not isinstance(weights, dict) or not weights:
                raise ValueError(f"contrasts.{model}.{name} is a mapping of coefficients to weights, {_WEIGHTS}")
            try:
                numbers = {str(term): float(weight) for term, weight in weights.items()}
                if not all(map(math.isfinite, numbers.values())):
                    raise ValueError
            except (TypeError, ValueError):
                raise ValueError(
                    f"contrasts.{model}.{name}: got {list(weights.values())}; expected numbers, {_WEIGHTS}"
                ) from None
            questions.setdefault(str(model), {})[str(name)] = numbers
    return questions


def check_slopes(model: Model, questions: Iterable[SlopeQuestion]) -> None:
    """Refuse a slope or moderator that is not in the model, and a pair whose product is not; no query is run.

    Raises
    ------
    MlmError
        With the predictors of the model.
    """
    for question in questions:
        _require(model.fixed, question.slope, "slope")
        for moderator in question.at:
            _require(model.fixed, moderator, "moderator")
            pair = {_base(question.slope), _base(moderator)}
            if len(pair) < 2 or not any(pair <= _labels(term) for term in model.fixed):
                raise MlmError(no_product(question.slope, moderator))


def _question(model: str, entry: Any) -> SlopeQuestion:
    if not isinstance(entry, dict) or set(entry) != {"slope", "at"} or not isinstance(entry["slope"], str):
        raise ValueError(f"simple_slopes.{model}: got {entry!r}; expected the keys slope and at, {_EXAMPLE}")
    at = entry["at"]
    if isinstance(at, dict):
        moderators = {
            str(name): None if values in ("", None) else tuple(map(str, as_list(values))) for name, values in at.items()
        }
    else:
        moderators = {str(name): None for name in as_list(at)}
    if not moderators or "" in moderators:
        raise ValueError(f"simple_slopes.{model}: got no moderator; expected one or more under at, {_EXAMPLE}")
    return SlopeQuestion(entry["slope"], moderators)


def _require(terms: Iterable[Term], name: str, what: str) -> None:
    predictors = [label(v) for term in terms for v in term.variables]
    if _base(name) not in predictors:
        raise MlmError(unknown_predictor(name, predictors, what))


def _labels(term: Term) -> set[str]:
    return {label(v) for v in term.variables}


def _base(name: str) -> str:
    """Return the factor of ``sector[Public]``; its levels are known only from the data."""
    return name.partition("[")[0] if name.endswith("]") else name
