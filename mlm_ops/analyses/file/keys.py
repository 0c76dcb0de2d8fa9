"""The keys of an analysis file: models, structural equation models, comparisons, history and the like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from mlm_ops.analyses.file.strategy import PHASES
from mlm_ops.errors import FormulaError, MlmError
from mlm_ops.language import options
from mlm_ops.language.level_equations import is_level, level_text
from mlm_ops.language.option_values import Option
from mlm_ops.language.options import DfMethod, Estimator, Missing, Robust, SlopeCentering
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.files.reading import FileOptions

if TYPE_CHECKING:
    from mlm_ops.structural.mplus.model import MplusModel

#: Keys of a model that may stand instead of its formula; more levels go on like this.
LEVEL_KEYS = ("level 1", "level 2", "level 3")
#: Key of a structural model that may stand instead of its text.
MPLUS_KEY = "mplus"
#: What stands under a key of the file that no option of `language.options` is.
EXPECTED = {
    "analysis": "a name",
    "data": "a table name or one SELECT",
    "options": options.FILE_OPTIONS.expected,
    "formula": "a formula such as y ~ x + (1 | school)",
    "partition": "a column",
    "where": "one SQL condition",
    "description": "text",
    "diagnostics": "the name of a model, or a list of them",
    "centering": "the name of a model, or a list of them",
    "start": "the name of a model",
    "candidates": "a list of terms",
    "history": "keep_runs and keep_days (whole numbers), baseline (first, or a run's id) and alpha",
    "min_publish_n": "a number of rows, 1 or more",
    "keep": "p < 0.05, aic, bic or r_squared > 0.01",
    "compare": "a list of model names, or of pairs [reference, model]",
    "predictions": "true or false",
    "robust": "true or false",
    "score_tests": "true or false",
    "sem": "a mapping of names to texts of structural equation models",
    "model": options.SEM_TEXT.expected,
}
#: The kind of a fault that an option itself has put in a sentence.
BY_OPTION = "by_option"


class Record(BaseModel):
    """A part of an analysis file; keys that it does not have are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def taken_by(option: Option) -> BeforeValidator:
    """A field that takes what an option takes, and refuses the rest in the option's sentence."""

    def take(value: Any) -> Any:
        try:
            return option.of(value)
        except MlmError as error:
            raise PydanticCustomError(BY_OPTION, "{sentence}", {"sentence": str(error)}) from error

    return BeforeValidator(take)


def file_options(value: Any) -> FileOptions | None:
    """The options of a data file, which `language.options` has checked, as the reader takes them."""
    try:
        keys = options.FILE_OPTIONS.of(value)
    except MlmError as error:
        raise PydanticCustomError(BY_OPTION, "{sentence}", {"sentence": str(error)}) from error
    return None if keys is None else FileOptions(**keys)


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more)]


class ModelSpec(Record):
    """One model of an analysis, as the file states it; what it leaves out, the analysis states.

    ``formula`` is a formula, or the text of level equations, to which keys ``level 1``, ``level 2`` … are put together.
    """

    formula: str = Field(min_length=1)
    estimator: Annotated[Estimator | None, taken_by(options.ESTIMATOR)] = None
    df: Annotated[DfMethod | None, taken_by(options.DF)] = None
    residual: Annotated[str | None, taken_by(options.RESIDUAL)] = None
    covariance: Annotated[dict[str, Any] | None, taken_by(options.COVARIANCE)] = None
    levels: Annotated[tuple[str, ...] | None, taken_by(options.LEVELS)] = None
    robust: Annotated[Robust | None, taken_by(options.ROBUST)] = None


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
    cluster: Annotated[str | None, taken_by(options.SEM_CLUSTER)] = None
    robust: bool = False
    slopes: Annotated[SlopeCentering, taken_by(options.SLOPES)] = "latent"
    missing: Annotated[Missing, taken_by(options.MISSING)] = "listwise"
    group: Annotated[str | None, taken_by(options.SEM_GROUP)] = None
    group_equal: Annotated[tuple[str, ...], taken_by(options.GROUP_EQUAL)] = ()
    group_partial: Annotated[tuple[str, ...], taken_by(options.GROUP_PARTIAL)] = ()
    score_tests: bool = False


class TextInFile(str):
    """A text whose lines are lines of its file, with the number of lines above it."""

    lines_above: int

    def __new__(cls, text: str, lines_above: int) -> TextInFile:
        """Take the text, and the number of lines of the file above its first."""
        self = super().__new__(cls, text)
        self.lines_above = lines_above
        return self


def _read_mplus(text: str) -> MplusModel:
    """Read an Mplus input; its errors count the lines of the analysis file if the input is written as a block there.

    Raises
    ------
    ValueError
        It is not read.
    """
    from mlm_ops.structural.mplus.reader import read_input

    above = text.lines_above if isinstance(text, TextInFile) else 0
    try:
        return read_input("\n" * above + text)
    except MlmError as error:
        sentence = str(error).rstrip(".")
        where = "" if above or "Line " not in sentence else ". Lines are those of the text under mplus"
        raise ValueError(f"{sentence}{where}") from error


def sem_spec(spec: Any) -> Any:
    """A bare text is the model's; an Mplus input is a model's text and its options, which keys beside it overrule.

    Raises
    ------
    ValueError
        An Mplus input beside a model, with columns that its rows would have to get, or one that is not read.
    """
    if isinstance(spec, str):
        return {"model": spec}
    if not isinstance(spec, Mapping) or MPLUS_KEY not in spec:
        return spec
    others = {key: value for key, value in spec.items() if key != MPLUS_KEY}
    if "model" in others or not isinstance(spec[MPLUS_KEY], str):
        raise ValueError("sem takes either model, or mplus with the text of an Mplus input; write one of them")
    model = _read_mplus(spec[MPLUS_KEY])
    if model.has_new_columns:
        raise ValueError(
            "DEFINE and MISSING codes of an Mplus input make columns, and an analysis takes those of its data; make "
            f"them in a view: {model.select('…')}"
        )
    return {"model": model.text, **model.options, **others}


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


#: Keys of an analysis, and of its models, that ask something of rows.
OF_ROWS = ("where", "partition", "weights", "residual", "steps")


def without_rows(content: Any) -> Any:
    """The content of an analysis file; one of moments has no view of predictions beside its rows.

    Raises
    ------
    ValueError
        Keys that need rows beside ``form: moments``.
    """
    if not isinstance(content, Mapping) or content.get("form") != "moments":
        return content
    wrong = [key for key in OF_ROWS if content.get(key) is not None]
    if str(content.get("predictions", "false")).lower() != "false":
        wrong.append("predictions")
    sem = content.get("sem")
    for name, spec in sem.items() if isinstance(sem, Mapping) else ():
        if isinstance(spec, Mapping) and sem_spec(spec).get("missing") == "ml":
            wrong.append(f"sem.{name}.missing")
    models = content.get("models")
    for name, spec in models.items() if isinstance(models, Mapping) else ():
        if isinstance(spec, Mapping) and spec.get("residual") is not None:
            wrong.append(f"models.{name}.residual")
    if wrong:
        many = len(wrong) > 1
        raise ValueError(
            f"form: moments goes without {', '.join(wrong)}, which need{'' if many else 's'} rows; leave "
            f"{'these' if many else 'it'} out, or give the rows"
        )
    return {**content, "predictions": False}


#: Runs or days: with a run a day this is more than a human life, twice.
MOST = 100_000


@dataclass(frozen=True)
class History:
    """Retention and drift of one analysis.

    Attributes
    ----------
    keep_runs, keep_days
        How many runs are kept, and for how long; None for ever. The latest finished run and the baseline stay.
    baseline
        The run that each is compared with beside the one before: ``"first"``, the earliest that is kept, or a run's id.
    alpha
        A difference is drift when its p value, adjusted by Holm within one comparison of a model, is below this.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    keep_runs: int | None = None
    keep_days: int | None = None
    baseline: str = "first"
    alpha: float = 0.001

    def __post_init__(self) -> None:
        for name in ("keep_runs", "keep_days"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise ValueError(f"history.{name}: got {value}; expected 1 to {MOST:,}; leave it out to keep all")
        if not self.baseline:
            raise ValueError("history.baseline: got nothing; expected first, or a run's id")
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"history.alpha: got {self.alpha}; expected a probability between 0 and 1")

    @property
    def keeps_all(self) -> bool:
        """Whether no run is removed."""
        return self.keep_runs is None and self.keep_days is None


#: Keys that may ask something of the model that a ladder selects.
OF_SELECTED = ("diagnostics", "simple_slopes")


def check_names(
    models: Sequence[str],
    compare: Sequence[tuple[str, str]],
    named: Mapping[str, Sequence[str]],
    selected: str | None = None,
) -> None:
    """Refuse names that are there twice, and names of no model.

    Parameters
    ----------
    models
        Names of the models.
    compare
        Pairs of models.
    named
        Models that other keys name, by key.
    selected
        What the keys of `OF_SELECTED` may also name: the model that a ladder selects.

    Raises
    ------
    ValueError
        With the first fault.
    """
    alike = {name.lower(): name for name in models}
    for name in models:
        # DuckDB does not tell letter case apart, and views are named for models
        if (other := alike[name.lower()]) != name:
            raise ValueError(f"models {name!r} and {other!r} differ in letter case alone; rename one")
    known = set(models)
    for key, names in {"compare": [name for pair in compare for name in pair], **named}.items():
        also = [selected] if selected is not None and key in OF_SELECTED else []
        unknown = dict.fromkeys(repr(name) for name in names if name not in known and name not in also)
        if unknown:
            raise ValueError(
                f"{key} names no model of this file: {list_names(unknown)}; models are {list_names([*models, *also])}"
            )
    itself = [model for model, reference in compare if model == reference]
    if itself:
        raise ValueError(f"compare sets {itself[0]!r} against itself; name two different models")
