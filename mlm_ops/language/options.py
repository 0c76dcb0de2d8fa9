"""Check every option that a user can give, in Python, YAML, SQL, Dagster and the command line.

Each value goes through the method `of` of its option, which returns it in the one form that the rest of the package
uses, or refuses it in one sentence. Whether values go together is checked later, with the model (`language.request`).
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any, Literal, get_args

from mlm_ops.errors import AnalysisError, FormulaError
from mlm_ops.language.option_values import (
    Option,
    UnsuitableValueError,
    an_instance,
    as_list,
    choice,
    flag,
    take_any_text,
    take_by_name,
    take_flag,
    take_instance_of,
    take_names,
    take_nonblank_text,
    take_one_of,
    take_path,
    take_share,
    take_text,
    take_yaml_value,
    text,
    whole_number,
)

Estimator = Literal["reml", "ml"]
DfMethod = Literal["satterthwaite", "kenward-roger", "none"]
#: Errors robust to clusters; to unequal variances of independent rows, which need the rows again.
ClusterKind = Literal["CR0", "CR1", "CR1S", "CR2"]
RowKind = Literal["HC0", "HC1", "HC2", "HC3"]
Robust = Literal[ClusterKind, RowKind]
Steps = Literal["sql", "polars", "both"]
Form = Literal["rows", "moments"]
SlopeCentering = Literal["latent", "observed"]
Missing = Literal["listwise", "ml"]
IntervalMethod = Literal["wald", "profile", "bootstrap", "bootstrap-basic"]
PredictionKind = Literal["conditional", "marginal"]
#: What ``group_equal`` holds equal, in lavaan's words; each also of one level, as ``between(intercepts)``.
GroupEqual = Literal[
    "loadings",
    "intercepts",
    "means",
    "regressions",
    "residuals",
    "residual.covariances",
    "lv.variances",
    "lv.covariances",
]
EquationForm = Literal["levels", "reduced", "matrix"]
EquationFormat = Literal["text", "unicode", "latex", "markdown", "mathml"]
#: Of structural models.
SemEquationFormat = Literal[EquationFormat, "mplus"]
DiagramFormat = Literal["svg", "mermaid"]
#: How the models of an analysis are built, and what decides whether a term is kept.
StrategyKind = Literal["a_priori", "build_up", "tear_down"]
RuleCriterion = Literal["p", "aic", "bic", "r_squared"]
#: What the failure of a check does in Dagster: it stops what comes after, or is shown.
Severity = Literal["error", "warn"]
TableFormat = Literal["text", "markdown"]
TableFile = Literal["latex", "csv", "parquet", "word"]

#: Samples of a bootstrap and draws of a Monte Carlo interval: more take hours, or more memory than there is.
MOST_SAMPLES = 100_000
MOST_DRAWS = 1_000_000


#: Python's encodings of names on the network and of its own source, which no file is written in.
_NOT_OF_FILES = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "charmap"})


def _colon_names(value: Any) -> str:
    """Return names joined by colons, none of them blank."""
    if not all(map(str.strip, take_text(value).split(":"))):
        raise UnsuitableValueError
    return str(value)


def _formula(value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return take_text(value)
    if not isinstance(value, Mapping) or not value:
        raise UnsuitableValueError
    equations: dict[str, Any] = take_yaml_value(value)
    return equations


def _structures(value: Any) -> dict[str, Any]:
    """Return structures of T by name; whether a number can be a variance is checked with the model."""

    def structure(content: Any) -> Any:
        if content is None or isinstance(content, bool):
            raise UnsuitableValueError
        return take_yaml_value(content)

    return take_by_name(structure)(value)


def _coefficients(value: Any) -> Any:
    """Return names, or a matrix of numbers by rows."""
    if isinstance(value, str):
        return take_nonblank_text(value)
    if type(value).__name__ == "ndarray" and value.dtype.kind in "iuf" and value.ndim:
        return value  # its shape and values are checked where the coefficients are at hand
    rows = take_yaml_value(value)
    if not isinstance(rows, list) or not rows:
        raise UnsuitableValueError
    return rows


def _moderators(value: Any) -> Any:
    """Return a name, a list of names, or a mapping of names to values."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str) and take_nonblank_text(value) else list(take_names(value))

    def take_values(content: Any) -> Any:
        if isinstance(content, bool):
            raise UnsuitableValueError
        values = take_yaml_value(content)
        if isinstance(values, dict) or any(isinstance(item, list | dict) for item in as_list(values)):
            raise UnsuitableValueError
        return values

    return take_by_name(take_values)(value)


def _one_character(value: Any) -> str:
    if len(take_text(value)) != 1 or value in "\r\n":
        raise UnsuitableValueError
    return str(value)


def _yes_or_no(value: Any) -> bool:
    """Return what an analysis file has as true or false, which are texts there."""
    words = {"true": True, "false": False}
    return words[value.lower()] if isinstance(value, str) and value.lower() in words else take_flag(value)


def _encoding(value: Any) -> str:
    """Return the name of an encoding of text that Python has, and that files are written in."""
    try:
        "".encode(take_nonblank_text(value))
        if codecs.lookup(str(value)).name in _NOT_OF_FILES:
            raise UnsuitableValueError
    except (LookupError, UnicodeError, ValueError):
        raise UnsuitableValueError from None
    return str(value)


def _words(value: Any) -> tuple[str, ...]:
    """Return words for missing values; YAML may have read them as numbers."""
    values = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(word, bool) or not isinstance(word, str | int | float) for word in values):
        raise UnsuitableValueError
    return tuple(take_text(str(word)) for word in values)


def _file_options(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        raise UnsuitableValueError
    if unknown := [key for key in value if key not in FILE_KEYS]:
        raise AnalysisError(f"Unknown key of options. Got {unknown[0]!r}; expected one of {', '.join(FILE_KEYS)}.")
    return {name: FILE_KEYS[name].of(content) for name, content in value.items()}


def _restrictions(value: Any) -> tuple[str, ...]:
    """Return words of `GroupEqual`, perhaps of one level."""
    words = take_names(value)
    for word in words:
        inner = word.removesuffix(")").removeprefix("within(").removeprefix("between(")
        if inner not in get_args(GroupEqual) or word not in (inner, f"within({inner})", f"between({inner})"):
            raise UnsuitableValueError
    return words


def _fits(value: Any) -> dict[str, Any]:
    """Fits by name, one at least."""
    fits = take_by_name(take_instance_of("Fit"))(value)
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


FORMULA = Option("formula", "a formula such as y ~ x + (1 | school), or level equations", _formula, FormulaError)
LEVELS = Option("levels", "a column, or a list of columns, lowest level first", take_names, default=())
ESTIMATOR = choice("estimator", get_args(Estimator), default="reml")
DF = choice("df", get_args(DfMethod), default="satterthwaite")
WEIGHTS = text("weights", "a column").or_none()
RESIDUAL = text("residual", "a sum of by(column), ar1(column) and fixed(column)").or_none()
COVARIANCE = Option(
    "covariance", "for each grouping factor a structure's name, a variance, or a matrix", _structures, FormulaError
).or_none()
ROBUST = choice("robust", get_args(Robust)).or_none()
STEPS = choice("steps", get_args(Steps), default="sql")
FORM = choice("form", get_args(Form), default="rows")
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
GROUP = Option("group", "a column, or a list of columns", take_names)
LEVEL = Option("level", "a number between 0 and 1, such as 0.95", take_share)
SEED = whole_number("seed", 0).or_none()
#: The seed of every random number that results rest on: draws of intervals, further starts of structural models, and
#: points in general position, at which ranks are found; where several are drawn, the seeds are counted on from it.
#: `runs.seed` holds it.
RANDOM_SEED = 0
SAMPLES = whole_number("samples", 2, MOST_SAMPLES)
DRAWS = whole_number("draws", 2, MOST_DRAWS)
COEFFICIENTS = Option("contrasts", "names of terms, or a matrix with a number for each coefficient", _coefficients)
CONTRAST_WEIGHTS = Option(
    "contrasts",
    'weights by the name of a contrast, as in {"contextual": {"between(ses)": 1, "within(ses)": -1}}',
    take_by_name(take_yaml_value),
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
PATH = Option("path", "the path of a file", take_path, AnalysisError)
SHOWN = Option("shown", "the path of a file", take_path, AnalysisError).or_none()
FOLDER = Option("folder", "the path of a folder", take_path, AnalysisError)
ALLOW_FILES = flag("allow_files")
YAML = Option("text", "the YAML text of an analysis file", take_any_text, AnalysisError)
#: How a data file is read; each key is checked by the option of its name.
FILE_KEYS = {
    option.name: option
    for option in (
        Option("delimiter", 'one character, such as ";" or "\\t"', _one_character, AnalysisError),
        Option("quote", "one character", _one_character, AnalysisError),
        Option("decimal", '"." or ","', take_one_of((".", ",")), AnalysisError, what="Unknown decimal."),
        Option("thousands", 'one character, such as "." or ","', _one_character, AnalysisError),
        Option("encoding", "an encoding, such as utf-8, latin-1 or utf-16", _encoding, AnalysisError),
        Option("header", "true, if the first line names the columns, or false", _yes_or_no, AnalysisError),
        Option("null", 'a word or a list of words, such as ["-999"]', _words, AnalysisError),
        Option("sheet", "the name of an Excel sheet", take_nonblank_text, AnalysisError),
    )
}
FILE_OPTIONS = Option(
    "options", f"a mapping of {', '.join(FILE_KEYS)} to how the data file has them", _file_options, AnalysisError
).or_none()
FITS = Option("models", 'fits of mlm.fit by name, such as {"null": null, "slopes": slopes}', _fits)
TABLE = Option("table", "a polars DataFrame, such as fit.fixed_effects, or what mlm.side_by_side returns", _table)
EMPTY = flag("empty")
ALL_CURSORS = flag("all_cursors")
READ = Option("read", "a function that is called without arguments and returns a table", _function)
ON_NOTE = Option("on_note", "a function that takes a text", _function).or_none()
#: Options of structural equation models.
SEM_TEXT = text("text", "the text of a structural equation model, as in f =~ a + b + c")
MPLUS = Option("text", "the text or the path of an Mplus input file", take_path)
CONSTRAINTS = text("constraints", "the text of constraints, as in a == 2*b")
SEM_ROBUST = Option("robust", "True, for the errors and chi-square of Mplus' MLR, or False", take_flag)
SEM_GROUP = Option("group", SEM_CLUSTER.expected, _colon_names).or_none()
POPULATION = text("population", "the value of a group of rows").or_none()
GROUP_EQUAL = Option(
    "group_equal",
    f"one or a list of {', '.join(get_args(GroupEqual))}, each also of one level, as in between(intercepts)",
    _restrictions,
    default=(),
)
GROUP_PARTIAL = Option(
    "group_partial", 'a name or a list of names of parameters, such as "f=~y2" or "y2~1.l2"', take_names, default=()
)
MISSING = choice("missing", get_args(Missing), default="listwise")
SLOPES = choice("slopes", get_args(SlopeCentering), default="latent")
#: Of reports.
DATABASE = Option("database", "the path of a database file", take_path)
OUTPUT = Option("output", "the path of a file", take_path).or_none()
ANALYSIS = text("analysis", "the name of an analysis").or_none()
MODEL_NAME = text("model", "the name of a model").or_none()
UNIT_NAMES = flag("unit_names")
RUNS = whole_number("runs", 1)
