"""Check every option that a user can give, in Python, YAML, SQL, Dagster and the command line.

A door gives each value that it was given to the option's `of`, which returns it in the one form that the rest of the
package knows, or refuses it in one sentence. Whether values go together is asked later, where the model is known.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any, Literal, get_args

from mlm_ops.errors import AnalysisError, FormulaError, MlmError

Estimator = Literal["reml", "ml"]
DfMethod = Literal["satterthwaite", "kenward-roger", "none"]
Robust = Literal["CR0", "CR1", "CR1S", "CR2"]
TableFormat = Literal["text", "markdown"]
TableFile = Literal["latex", "csv", "parquet", "word"]

#: A value in a message takes at most so many characters.
_MOST_SHOWN = 80
#: Samples of a bootstrap and draws of a Monte Carlo interval: more take hours, or more memory than there is.
MOST_SAMPLES = 100_000
MOST_DRAWS = 1_000_000
#: Nested texts and lists of an argument are no deeper than this in anything that has a meaning.
_DEEPEST = 10


class NotTakenError(Exception):
    """Raised by what an option takes values with: the value is none of them."""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes
    ----------
    name
        As a user writes it.
    expected
        What it takes, as the end of a sentence.
    take
        The value in its one form; raises `NotTakenError` for what it is not.
    error
        The class of the refusal.
    what
        The beginning of the sentence that refuses.
    default
        The value where a user gives none.
    """

    name: str
    expected: str
    take: Callable[[Any], Any]
    error: type[MlmError] = MlmError
    what: str = ""
    default: Any = None

    def of(self, value: Any) -> Any:
        """The value as the package knows it.

        Raises
        ------
        MlmError
            It is not one of the option's.
        """
        try:
            return self.take(value)
        except NotTakenError:
            what = self.what or f"{self.name} is not understood."
            raise self.error(f"{what} Got {shown(value)}; expected {self.expected}.") from None

    def or_none(self) -> Option:
        """The same option where None stands for none."""
        taken = self.take
        return replace(self, take=lambda value: None if value is None else taken(value))


def shown(value: object) -> str:
    """A value as a message shows it: on one line, and cut.

    >>> shown("y"), shown([1] * 100), shown(object()).partition(" at ")[0]
    ("'y'", 'a list of 100', 'an object')
    """
    if isinstance(value, str) and not value:
        return "nothing"
    if value is None or isinstance(value, str | bytes | bool | numbers.Number):
        try:
            text = repr(value)
        except ValueError:  # an integer of more digits than Python prints
            text = "a number of too many digits"
        return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    kind = type(value).__name__
    named = f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
    if isinstance(value, list | tuple | set | frozenset | dict):
        try:
            text = repr(value) if len(value) <= _MOST_SHOWN else ""
        except Exception:  # whatever a stranger's object does when it is printed
            text = ""
        return text if text and len(text) <= _MOST_SHOWN and "\n" not in text else f"{named} of {len(value)}"
    return f"{fspath(value)!r}" if isinstance(value, PathLike) and isinstance(fspath(value), str) else named


def is_text(value: object) -> bool:
    """Whether a value is text that every program can take: without NUL and halves of characters."""
    return (
        isinstance(value, str)
        and "\0" not in value
        and not any("\ud800" <= character <= "\udfff" for character in value)
    )


def _text(value: Any) -> str:
    if not is_text(value):
        raise NotTakenError
    return str(value)


def _some_str(value: Any) -> str:
    """Text of any kind: a parser looks at it more closely."""
    if not isinstance(value, str):
        raise NotTakenError
    return str(value)


def _some_text(value: Any) -> str:
    if not _text(value).strip():
        raise NotTakenError
    return str(value)


def _joined(value: Any) -> str:
    """Names that colons join, none of them blank."""
    if not all(map(str.strip, _text(value).split(":"))):
        raise NotTakenError
    return str(value)


def names(value: Any) -> tuple[str, ...]:
    """One text or a sequence of them; a set has no order, and a generator ends after one look."""
    if isinstance(value, str):
        return (_some_text(value),)
    if type(value).__name__ == "ndarray" and getattr(value, "ndim", 0) == 1:
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview | range):
        raise NotTakenError
    return tuple(_some_text(name) for name in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in {"bool_", "bool"}:
        raise NotTakenError
    return bool(value)


def real(value: Any) -> float:
    """A finite number as a float; text, truth values and what Python would only make a number of are none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or type(value).__name__ == "bool_":
        raise NotTakenError
    try:
        number = float(value)
    except OverflowError:
        raise NotTakenError from None
    if not math.isfinite(number):
        raise NotTakenError
    return number


def _share(value: Any) -> float:
    number = real(value)
    if not 0 < number < 1:
        raise NotTakenError
    return number


def _whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    def take(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise NotTakenError
        if value < least or (most is not None and value > most):
            raise NotTakenError
        return int(value)

    return take


def _one_of(known: Sequence[str]) -> Callable[[Any], str]:
    def take(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise NotTakenError
        return str(value)

    return take


def _by_name(take: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A mapping of names to values that `take` takes."""

    def taken(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise NotTakenError
        return {_text(name): take(content) for name, content in value.items()}

    return taken


def _nested(value: Any, depth: int = 0) -> Any:
    """Texts, numbers and None, in lists and mappings of texts: what an analysis file could say as well."""
    if depth > _DEEPEST:
        raise NotTakenError
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if type(value).__name__ == "ndarray":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_text(name): _nested(content, depth + 1) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_nested(content, depth + 1) for content in value]
    number = real(value)
    # a whole number may be the label of a level, which has no decimal point
    return int(value) if isinstance(value, numbers.Integral) else number


def _formula(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, Mapping) or not value:
        raise NotTakenError
    equations: dict[str, Any] = _nested(value)
    return equations


def _structures(value: Any) -> dict[str, Any]:
    """Structures of T by name; a variance may be any number, which is looked at with the model."""

    def structure(content: Any) -> Any:
        if content is None or isinstance(content, bool):
            raise NotTakenError
        return _nested(content)

    return _by_name(structure)(value)


def _coefficients(value: Any) -> Any:
    """Names, or a matrix of numbers by rows."""
    if isinstance(value, str):
        return _some_text(value)
    if type(value).__name__ == "ndarray" and value.dtype.kind in "iuf" and value.ndim:
        return value  # whose shape and values are judged beside the coefficients
    taken = _nested(value)
    if not isinstance(taken, list) or not taken:
        raise NotTakenError
    return taken


def _moderators(value: Any) -> Any:
    """A name, a list of names, or values by name."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) and _some_text(value) else list(names(value))

    def values(content: Any) -> Any:
        if isinstance(content, bool):
            raise NotTakenError
        taken = _nested(content)
        if isinstance(taken, dict) or any(isinstance(item, list | dict) for item in _listed(taken)):
            raise NotTakenError
        return taken

    return _by_name(values)(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _path(value: Any) -> Any:
    if isinstance(value, str):
        return _some_text(value)
    if not isinstance(value, PathLike) or not is_text(fspath(value)):
        raise NotTakenError
    return value


def _instance_of(name: str) -> Callable[[Any], Any]:
    # by the class's name: nothing here knows a database, or a fit
    def take(value: Any) -> Any:
        if not any(kind.__name__ == name for kind in type(value).__mro__):
            raise NotTakenError
        return value

    return take


def _fits(value: Any) -> dict[str, Any]:
    """Fits by name, one at least."""
    taken = _by_name(_instance_of("Fit"))(value)
    if not taken:
        raise NotTakenError
    return taken


def _table(value: Any) -> Any:
    if not any(kind.__name__ in ("DataFrame", "SideBySide") for kind in type(value).__mro__):
        raise NotTakenError
    if type(value).__module__.partition(".")[0] not in ("polars", "mlm_ops"):
        raise NotTakenError
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise NotTakenError
    return value


def an_instance(name: str, of: str, expected: str) -> Option:
    """An argument that is an object of a class, or of one that derives from it."""
    return Option(name, expected, _instance_of(of))


def choice(name: str, known: Sequence[str], what: str = "", default: str | None = None) -> Option:
    """One of several words."""
    return Option(name, f"one of {', '.join(known)}", _one_of(known), what=what or f"Unknown {name}.", default=default)


def flag(name: str) -> Option:
    """True or False."""
    return Option(name, "True or False", _flag)


def number(name: str, expected: str) -> Option:
    """A finite number; between which limits is said where it is used."""
    return Option(name, expected, real)


def whole_number(name: str, least: int, most: int | None = None) -> Option:
    """A whole number."""
    limits = f"from {least:,} to {most:,}" if most is not None else f"of {least:,} or more"
    return Option(name, f"a whole number {limits}", _whole(least, most))


def text(name: str, expected: str) -> Option:
    """Text that says something."""
    return Option(name, expected, _some_text)


def texts_by_name(name: str, expected: str) -> Option:
    """A mapping of texts to texts."""
    return Option(name, expected, _by_name(_text))


FORMULA = Option("formula", "a formula such as y ~ x + (1 | school), or level equations", _formula, FormulaError)
LEVELS = Option("levels", "a column, or a list of columns, lowest level first", names, default=())
ESTIMATOR = choice("estimator", get_args(Estimator), default="reml")
DF = choice("df", get_args(DfMethod), default="satterthwaite")
WEIGHTS = text("weights", "a column").or_none()
RESIDUAL = text("residual", "a sum of by(column), ar1(column) and fixed(column)").or_none()
COVARIANCE = Option(
    "covariance", "for each grouping factor a structure's name, a variance, or a matrix", _structures, FormulaError
).or_none()
ROBUST = choice("robust", get_args(Robust)).or_none()
SEM_CLUSTER = Option("cluster", "a column, or several joined by a colon", _joined)
CLUSTER = SEM_CLUSTER.or_none()
#: What is said of a model beside its formula, by name, in the order in which it is looked at.
OF_A_MODEL = {option.name: option for option in (LEVELS, ESTIMATOR, DF, WEIGHTS, RESIDUAL, COVARIANCE, ROBUST, CLUSTER)}
DUCKDB = an_instance("connection", "DuckDBPyConnection", "a DuckDB connection")
CONNECTION = DUCKDB.or_none()
REFERENCE = an_instance("reference", "Fit", "a fit to compare with").or_none()
LARGER = an_instance("larger", "SemFit", "a fitted structural equation model")
GROUP = Option("group", "a column, or a list of columns", names)
LEVEL = Option("level", "a number between 0 and 1, such as 0.95", _share)
SEED = whole_number("seed", 0).or_none()
SAMPLES = whole_number("samples", 2, MOST_SAMPLES)
DRAWS = whole_number("draws", 2, MOST_DRAWS)
COEFFICIENTS = Option("contrasts", "names of terms, or a matrix with a number for each coefficient", _coefficients)
WEIGHTED = Option(
    "contrasts",
    'weights by the name of a contrast, as in {"contextual": {"between(ses)": 1, "within(ses)": -1}}',
    _by_name(_nested),
)
SLOPE = text("slope", "the name of a predictor")
MODERATOR = text("moderator", "the name of a predictor")
AT = Option("at", "a moderator, a list of them, or a mapping of moderators to values", _moderators)
RELATION = text("relation", "a table name or one SELECT")
ESTIMATES = flag("estimates")
PATH = Option("path", "the path of a file", _path, AnalysisError)
SHOWN = Option("shown", "the path of a file", _path, AnalysisError).or_none()
FOLDER = Option("folder", "the path of a folder", _path, AnalysisError)
ALLOW_FILES = flag("allow_files")
YAML = Option("text", "the YAML text of an analysis file", _some_str, AnalysisError)
FITS = Option("models", 'fits of mlm.fit by name, such as {"null": null, "slopes": slopes}', _fits)
TABLE = Option("table", "a polars DataFrame, such as fit.fixed_effects, or what mlm.side_by_side returns", _table)
ON_NOTE = Option("on_note", "a function that takes a text", _function).or_none()
#: Of structural equation models.
SEM_TEXT = text("text", "the text of a structural equation model, as in f =~ a + b + c")
SEM_ROBUST = flag("robust")
#: Of reports.
DATABASE = Option("database", "the path of a database file", _path)
OUTPUT = Option("output", "the path of a file", _path).or_none()
ANALYSIS = text("analysis", "the name of an analysis").or_none()
MODEL_NAME = text("model", "the name of a model").or_none()
UNIT_NAMES = flag("unit_names")
RUNS = whole_number("runs", 1)
