"""The parts of an analysis file, as it states them: models, structural equation models, comparisons, candidates."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mlm_ops.errors import FormulaError
from mlm_ops.language.levels import is_level, level_text
from mlm_ops.language.options import DfMethod, Estimator
from mlm_ops.language.strategy import PHASES

__all__ = ["DfMethod", "Estimator"]

#: Keys of a model that may stand instead of its formula; more levels go on like this.
LEVEL_KEYS = ("level 1", "level 2", "level 3")
Covariance = str | list[list[str]]


class Record(BaseModel):
    """A part of an analysis file; keys that it does not have are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more)]


class ModelSpec(Record):
    """One model of an analysis, as the file states it; what it leaves out, the analysis states.

    ``formula`` is a formula, or the text of level equations, to which keys ``level 1``, ``level 2`` … are put together.
    """

    formula: str = Field(min_length=1)
    estimator: Estimator | None = None
    df: DfMethod | None = None
    residual: Text | None = None
    covariance: dict[str, Covariance] | None = None
    levels: Names | None = None


def _one_text(name: str, spec: Any) -> Any:
    """The keys of a model, its level equations put together under ``formula``."""
    if isinstance(spec, str):
        return {"formula": spec}
    equations = {key: spec[key] for key in spec if is_level(key)} if isinstance(spec, dict) else {}
    if not equations:
        return spec
    if "formula" in spec:
        raise ValueError(f"models.{name} has a formula and level equations; keep one of them")
    try:
        text = level_text(equations)
    except FormulaError as error:
        raise ValueError(f"models.{name}: {str(error).removesuffix('.')}") from error
    return {"formula": text} | {key: content for key, content in spec.items() if key not in equations}


class SemSpec(Record):
    """A two-level structural equation model of an analysis: its text, or one line of a ready model."""

    model: str = Field(min_length=1)
    cluster: Text | None = None
    robust: bool = False


def sem_spec(spec: Any) -> Any:
    """A bare text is the model's."""
    return {"model": spec} if isinstance(spec, str) else spec


def model_specs(value: Any) -> Any:
    """A bare text is a model's formula; level equations become one text.

    Raises
    ------
    ValueError
        If it is no mapping, or models have no formula, or two, or level equations that cannot be put together.
    """
    if not isinstance(value, dict):
        raise ValueError("models is a mapping of names to formulas, as in models: {null: y ~ 1 + (1 | school)}")
    empty = [str(name) for name, spec in value.items() if spec in ("", None)]
    if empty:
        raise ValueError(
            f"models without a formula: {', '.join(empty)}; write {empty[0]}: outcome ~ predictors + (1 | group)"
        )
    return {str(name): _one_text(str(name), spec) for name, spec in value.items()}


def compared_pairs(value: Any) -> Any:
    """A list of names compares each with the one before; a list of pairs [reference, model] is taken as it is.

    Raises
    ------
    ValueError
        If it is neither, or one name alone.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        raise ValueError(f"compare needs two models or more. Got {value[0]!r} alone; add another, or drop the key")
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return [(model, reference) for reference, model in pairwise(value)]
    if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return [(model, reference) for reference, model in value]
    raise ValueError("compare is a list of model names, or of pairs [reference, model]")


def candidate_terms(value: Any) -> Any:
    """A bare text is the one candidate of its phase.

    Raises
    ------
    ValueError
        If it is no mapping, or names a phase that there is not.
    """
    if not isinstance(value, dict):
        raise ValueError(f"candidates is a mapping of {', '.join(PHASES)} to lists of terms")
    unknown = [str(phase) for phase in value if phase not in PHASES]
    if unknown:
        raise ValueError(f"unknown candidates: {', '.join(unknown)}; expected one of {', '.join(PHASES)}")
    return {phase: [terms] if isinstance(terms, str) else terms for phase, terms in value.items()}
