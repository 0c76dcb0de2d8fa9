"""Check every option that a user can give, in Python, YAML, SQL, Dagster and the command line.

Each value goes through the method `of` of its option, which returns it in the one form that the rest of the package
uses, or refuses it in one sentence. Whether values go together is checked later, with the model (`language.request`).
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
#: Errors robust to clusters; to unequal variances of independent rows, which need the rows again.
ClusterKind = Literal["CR0", "CR1", "CR1S", "CR2"]
RowKind = Literal["HC0", "HC1", "HC2", "HC3"]
Robust = Literal[ClusterKind, RowKind]
Steps = Literal["sql", "polars", "both"]
SlopeCentering = Literal["latent", "observed"]
Missing = Literal["listwise", "ml"]
TableFormat = Literal["text", "markdown"]
TableFile = Literal["latex", "csv", "parquet", "word"]

#: The most characters of a value in a message.
_MOST_CHARACTERS = 80
#: Samples of a bootstrap and draws of a Monte Carlo interval: more take hours, or more memory than there is.
MOST_SAMPLES = 100_000
MOST_DRAWS = 1_000_000
#: Lists and mappings of an argument may be nested so deep; no option needs more.
_DEEPEST = 10


class UnsuitableValueError(Exception):
    """Raised by an option's `take` for a value that the option does not allow."""


@dataclass(frozen=True)
class Option:
    """One option: its name, the values that it takes, and the sentence that refuses others.

    Attributes
    ----------
    name
        The name that users write.
    expected
        The values that it takes, as the end of a sentence.
    take
        Returns a value in its one form, or raises `UnsuitableValueError`.
    error
        The class of the refusal.
    what
        The first sentence of the refusal.
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
        """Return the value in its one form.

        Raises
        ------
        MlmError
            The option does not take this value.
        """
        try:
            return self.take(value)
        except UnsuitableValueError:
            what = self.what or f"{self.name} is not understood."
            raise self.error(f"{what} Got {value_text(value)}; expected {self.expected}.") from None

    def or_none(self) -> Option:
        """Return the same option, which also takes None."""
        take = self.take
        return replace(self, take=lambda value: None if value is None else take(value))


def value_text(value: object) -> str:
    """Return a value as a message shows it: on one line, cut if it is long.

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
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
    kind = type(value).__name__
    phrase = f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"
    if isinstance(value, list | tuple | set | frozenset | dict):
        try:
            text = repr(value) if len(value) <= _MOST_CHARACTERS else ""
        except Exception:  # an object of a user may raise anything when it is printed
            text = ""
        return text if text and len(text) <= _MOST_CHARACTERS and "\n" not in text else f"{phrase} of {len(value)}"
    return f"{fspath(value)!r}" if isinstance(value, PathLike) and isinstance(fspath(value), str) else phrase


def is_text(value: object) -> bool:
    """Tell whether a value is text that every program can read: without NUL and without lone surrogates."""
    return (
        isinstance(value, str)
        and "\0" not in value
        and not any("\ud800" <= character <= "\udfff" for character in value)
    )


def _text(value: Any) -> str:
    if not is_text(value):
        raise UnsuitableValueError
    return str(value)


def _any_text(value: Any) -> str:
    """Return any text: a parser checks it more closely."""
    if not isinstance(value, str):
        raise UnsuitableValueError
    return str(value)


def _nonblank_text(value: Any) -> str:
    if not _text(value).strip():
        raise UnsuitableValueError
    return str(value)


def _colon_names(value: Any) -> str:
    """Return names joined by colons, none of them blank."""
    if not all(map(str.strip, _text(value).split(":"))):
        raise UnsuitableValueError
    return str(value)


def names(value: Any) -> tuple[str, ...]:
    """Return one text or a sequence of them as a tuple; a set has no order, and a generator can be read only once."""
    if isinstance(value, str):
        return (_nonblank_text(value),)
    if type(value).__name__ == "ndarray" and getattr(value, "ndim", 0) == 1:
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray | memoryview | range):
        raise UnsuitableValueError
    return tuple(_nonblank_text(name) for name in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in {"bool_", "bool"}:
        raise UnsuitableValueError
    return bool(value)


def real(value: Any) -> float:
    """Return a finite number as a float; text and truth values are refused, though Python would convert them."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or type(value).__name__ == "bool_":
        raise UnsuitableValueError
    try:
        number = float(value)
    except OverflowError:
        raise UnsuitableValueError from None
    if not math.isfinite(number):
        raise UnsuitableValueError
    return number


def _share(value: Any) -> float:
    number = real(value)
    if not 0 < number < 1:
        raise UnsuitableValueError
    return number


def _whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    def take(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise UnsuitableValueError
        if value < least or (most is not None and value > most):
            raise UnsuitableValueError
        return int(value)

    return take


def _one_of(words: Sequence[str]) -> Callable[[Any], str]:
    def take(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise UnsuitableValueError
        return str(value)

    return take


def _by_name(take: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Return what takes a mapping of names to values, each of which `take` takes."""

    def take_mapping(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise UnsuitableValueError
        return {_text(name): take(content) for name, content in value.items()}

    return take_mapping


def _yaml_value(value: Any, depth: int = 0) -> Any:
    """Return texts, numbers and None, in lists and mappings of texts: anything that an analysis file can hold."""
    if depth > _DEEPEST:
        raise UnsuitableValueError
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if type(value).__name__ == "ndarray":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_text(name): _yaml_value(content, depth + 1) for name, content in value.items()}
    if isinstance(value, list | tuple):
        return [_yaml_value(content, depth + 1) for content in value]
    number = real(value)
    # a whole number may be the label of a factor's level, which has no decimal point
    return int(value) if isinstance(value, numbers.Integral) else number


def _formula(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, Mapping) or not value:
        raise UnsuitableValueError
    equations: dict[str, Any] = _yaml_value(value)
    return equations


def _structures(value: Any) -> dict[str, Any]:
    """Return structures of T by name; whether a number can be a variance is checked with the model."""

    def structure(content: Any) -> Any:
        if content is None or isinstance(content, bool):
            raise UnsuitableValueError
        return _yaml_value(content)

    return _by_name(structure)(value)


def _coefficients(value: Any) -> Any:
    """Return names, or a matrix of numbers by rows."""
    if isinstance(value, str):
        return _nonblank_text(value)
    if type(value).__name__ == "ndarray" and value.dtype.kind in "iuf" and value.ndim:
        return value  # its shape and values are checked where the coefficients are at hand
    rows = _yaml_value(value)
    if not isinstance(rows, list) or not rows:
        raise UnsuitableValueError
    return rows


def _moderators(value: Any) -> Any:
    """Return a name, a list of names, or a mapping of names to values."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) and _nonblank_text(value) else list(names(value))

    def take_values(content: Any) -> Any:
        if isinstance(content, bool):
            raise UnsuitableValueError
        values = _yaml_value(content)
        if isinstance(values, dict) or any(isinstance(item, list | dict) for item in _as_list(values)):
            raise UnsuitableValueError
        return values

    return _by_name(take_values)(value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _path(value: Any) -> Any:
    if isinstance(value, str):
        return _nonblank_text(value)
    if not isinstance(value, PathLike) or not is_text(fspath(value)):
        raise UnsuitableValueError
    return value


def _instance_of(name: str) -> Callable[[Any], Any]:
    # by the class's name, as this room imports neither DuckDB nor the room of fits
    def take(value: Any) -> Any:
        if not any(kind.__name__ == name for kind in type(value).__mro__):
            raise UnsuitableValueError
        return value

    return take


def _one_character(value: Any) -> str:
    if len(_text(value)) != 1 or value in "\r\n":
        raise UnsuitableValueError
    return str(value)


def _encoding(value: Any) -> str:
    """Return the name of an encoding of text that Python has."""
    try:
        "".encode(_nonblank_text(value))
    except (LookupError, UnicodeError, ValueError):
        raise UnsuitableValueError from None
    return str(value)


def _words(value: Any) -> tuple[str, ...]:
    """Return words for missing values; YAML may have read them as numbers."""
    values = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(word, bool) or not isinstance(word, str | int | float) for word in values):
        raise UnsuitableValueError
    return tuple(_text(str(word)) for word in values)


def _file_options(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise UnsuitableValueError
    if unknown := [key for key in value if key not in FILE_KEYS]:
        raise AnalysisError(f"Unknown key of options. Got {unknown[0]!r}; expected one of {', '.join(FILE_KEYS)}.")
    return {name: FILE_KEYS[name].of(content) for name, content in value.items()}


def _fits(value: Any) -> dict[str, Any]:
    """Fits by name, one at least."""
    fits = _by_name(_instance_of("Fit"))(value)
    if not fits:
        raise UnsuitableValueError
    return fits


def _table(value: Any) -> Any:
    if not any(kind.__name__ in ("DataFrame", "SideBySide") for kind in type(value).__mro__):
        raise UnsuitableValueError
    if type(value).__module__.partition(".")[0] not in ("polars", "mlm_ops"):
        raise UnsuitableValueError
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise UnsuitableValueError
    return value


def an_instance(name: str, of: str, expected: str) -> Option:
    """Make an option that takes an object of a class, or of a subclass."""
    return Option(name, expected, _instance_of(of))


def choice(name: str, words: Sequence[str], what: str = "", default: str | None = None) -> Option:
    """Make an option that takes one of several words."""
    return Option(name, f"one of {', '.join(words)}", _one_of(words), what=what or f"Unknown {name}.", default=default)


def flag(name: str) -> Option:
    """Make an option that takes True or False."""
    return Option(name, "True or False", _flag)


def number(name: str, expected: str) -> Option:
    """Make an option that takes a finite number; its limits are checked where it is used."""
    return Option(name, expected, real)


def whole_number(name: str, least: int, most: int | None = None) -> Option:
    """Make an option that takes a whole number from `least` to `most`."""
    limits = f"from {least:,} to {most:,}" if most is not None else f"of {least:,} or more"
    return Option(name, f"a whole number {limits}", _whole(least, most))


def text(name: str, expected: str) -> Option:
    """Make an option that takes text that is not blank."""
    return Option(name, expected, _nonblank_text)


def texts_by_name(name: str, expected: str) -> Option:
    """Make an option that takes a mapping of texts to texts."""
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
STEPS = choice("steps", get_args(Steps), default="sql")
SEM_CLUSTER = Option("cluster", "a column, or several joined by a colon", _colon_names)
CLUSTER = SEM_CLUSTER.or_none()
#: The options of a model beside its formula, by name, in the order in which they are checked.
MODEL_OPTIONS = {
    option.name: option for option in (LEVELS, ESTIMATOR, DF, WEIGHTS, RESIDUAL, COVARIANCE, ROBUST, CLUSTER)
}
DUCKDB = an_instance("connection", "DuckDBPyConnection", "a DuckDB connection")
CONNECTION = DUCKDB.or_none()
REFERENCE = an_instance("reference", "Fit", "a fit to compare with").or_none()
LARGER_FIT = an_instance("larger", "Fit", "a fit of a larger model")
LARGER = an_instance("larger", "SemFit", "a fitted structural equation model")
GROUP = Option("group", "a column, or a list of columns", names)
LEVEL = Option("level", "a number between 0 and 1, such as 0.95", _share)
SEED = whole_number("seed", 0).or_none()
SAMPLES = whole_number("samples", 2, MOST_SAMPLES)
DRAWS = whole_number("draws", 2, MOST_DRAWS)
COEFFICIENTS = Option("contrasts", "names of terms, or a matrix with a number for each coefficient", _coefficients)
CONTRAST_WEIGHTS = Option(
    "contrasts",
    'weights by the name of a contrast, as in {"contextual": {"between(ses)": 1, "within(ses)": -1}}',
    _by_name(_yaml_value),
)
SLOPE = text("slope", "the name of a predictor")
MODERATOR = text("moderator", "the name of a predictor")
AT = Option("at", "a moderator, a list of them, or a mapping of moderators to values", _moderators)
PICTURE = text("key", "the key of a picture, such as caterpillar")
TERM = text("term", "the name of a term").or_none()
ONE_GROUP = text("group", "a grouping factor").or_none()
PAIRWISE = flag("pairwise")
RELATION = text("relation", "a table name or one SELECT")
ESTIMATES = flag("estimates")
PATH = Option("path", "the path of a file", _path, AnalysisError)
SHOWN = Option("shown", "the path of a file", _path, AnalysisError).or_none()
FOLDER = Option("folder", "the path of a folder", _path, AnalysisError)
ALLOW_FILES = flag("allow_files")
YAML = Option("text", "the YAML text of an analysis file", _any_text, AnalysisError)
#: How a data file is read; each key is checked by the option of its name.
FILE_KEYS = {
    option.name: option
    for option in (
        Option("delimiter", 'one character, such as ";" or "\\t"', _one_character, AnalysisError),
        Option("quote", "one character", _one_character, AnalysisError),
        Option("decimal", '"." or ","', _one_of((".", ",")), AnalysisError, what="Unknown decimal."),
        Option("thousands", 'one character, such as "." or ","', _one_character, AnalysisError),
        Option("encoding", "an encoding, such as utf-8, latin-1 or utf-16", _encoding, AnalysisError),
        Option("null", 'a word or a list of words, such as ["-999"]', _words, AnalysisError),
        Option("sheet", "the name of an Excel sheet", _nonblank_text, AnalysisError),
    )
}
FILE_OPTIONS = Option(
    "options", f"a mapping of {', '.join(FILE_KEYS)} to how the data file has them", _file_options, AnalysisError
).or_none()
FITS = Option("models", 'fits of mlm.fit by name, such as {"null": null, "slopes": slopes}', _fits)
TABLE = Option("table", "a polars DataFrame, such as fit.fixed_effects, or what mlm.side_by_side returns", _table)
ON_NOTE = Option("on_note", "a function that takes a text", _function).or_none()
#: Options of structural equation models.
SEM_TEXT = text("text", "the text of a structural equation model, as in f =~ a + b + c")
CONSTRAINTS = text("constraints", "the text of constraints, as in a == 2*b")
SEM_ROBUST = flag("robust")
MISSING = choice("missing", get_args(Missing), default="listwise")
SLOPES = choice("slopes", get_args(SlopeCentering), default="latent")
#: Of reports.
DATABASE = Option("database", "the path of a database file", _path)
OUTPUT = Option("output", "the path of a file", _path).or_none()
ANALYSIS = text("analysis", "the name of an analysis").or_none()
MODEL_NAME = text("model", "the name of a model").or_none()
UNIT_NAMES = flag("unit_names")
RUNS = whole_number("runs", 1)
