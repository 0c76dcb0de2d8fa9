"""Show result tables and progress on a terminal, or as plain lines if the output is not a terminal."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import polars as pl
from rich.console import Console
from rich.text import Text

from mlm_ops.analyses.file.strategy import WARNING
from mlm_ops.cli.printed_tables import print_table, printed_table
from mlm_ops.results.criteria import CRITERIA, comparable
from mlm_ops.results.text.centering import remarks, versions_table
from mlm_ops.results.text.side_by_side import NOTE_SUBJECTS, footnotes
from mlm_ops.results.words import CONTROL_CHARACTERS, REPLACEMENT, message, one_line, visible
from mlm_ops.structural.results.largest_indices import MOST_SHOWN, by_size, remarks_on_indices
from mlm_ops.structural.results.random_paths import without_random_paths

#: Why `icc` here and in the tables of models differ a little.
DECOMPOSITION_NOTE = "by analysis of variance of each variable alone; the icc of a model is by its estimator"
#: What `mlm show` prints of each table, in this order; a table asked for by name is printed whole.
OVERVIEW: dict[str, tuple[str, ...]] = {
    "models": ("formula", "notes"),
    "fit_statistics": ("n_obs", "n_groups", "n_parameters", "deviance", "aic", "bic", "icc", "converged", "singular"),
    "fixed_effects": ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high"),
    "variance_components": ("group", "term", "other", "symbol", "estimate", "std_error", "correlation"),
    "comparisons": (
        "reference_model",
        "statistic",
        "df",
        "p_value",
        "p_value_mixture",
        "delta_aic",
        "delta_bic",
        "note",
    ),
    "decomposition": (
        "variable",
        "group",
        "total_variance",
        "within_variance",
        "between_variance",
        "icc",
        "reliability",
    ),
    "icc": ("group", "icc", "conf_low", "conf_high", "design_effect", "n_effective", "reliability"),
    "contextual_effects": (
        *("predictor", "group", "within", "between", "estimate", "std_error", "df", "p_value"),
        *("reliability", "corrected", "bias_matters", "note"),
    ),
    "simple_slopes": (
        *("kind", "predictor", "setting", "estimate", "std_error", "df", "p_value", "conf_low", "conf_high"),
        *("range_low", "range_high"),
    ),
    "johnson_neyman": ("predictor", "moderator", "low", "high", "significant", "direction", "share", "note"),
    "contrasts": (
        *("contrast", "combination", "estimate", "std_error", "df", "statistic", "p_value", "p_adjusted"),
        *("conf_low", "conf_high"),
    ),
    "centering": ("version", "quantity", "group", "predictor", "other", "estimate", "std_error", "equal_to"),
    "ladder_steps": (
        *("term", "group", "taken", "reason", "reference_model", "estimate", "std_error", "statistic", "df"),
        *("p_value", "p_value_mixture", "delta_aic", "delta_bic", "gain_fv", "singular"),
    ),
    "diagnostics": (
        *("diagnostic", "group", "unit", "term", "value", "n", "estimate", "expected", "std_error", "statistic", "df"),
        *("p_value", "flagged"),
    ),
    "sem_fit": (
        *(
            "log_likelihood",
            "chi_square",
            "df",
            "p_value",
            "chi_square_scaled",
            "p_value_scaled",
            "cfi",
            "tli",
            "rmsea",
        ),
        *("srmr_within", "srmr_between"),
        *("aic", "bic", "n_obs", "n_clusters", "converged", "singular", "bounded", "notes"),
    ),
    "sem_parameters": (
        *("population", "level", "lhs", "op", "rhs", "label", "estimate", "std_error", "statistic", "p_value"),
        *("conf_low", "conf_high", "monte_carlo_low", "monte_carlo_high", "std_all"),
    ),
    "sem_invariance": (
        *("across", "invariance", "chi_square", "chi_square_df", "cfi", "rmsea", "aic", "statistic", "df", "p_value"),
        *("statistic_scaled", "p_value_scaled"),
    ),
    "sem_scores": (
        "population",
        "group",
        "unit",
        "term",
        "estimate",
        "std_error",
        "conf_low",
        "conf_high",
        "reliability",
    ),
    "sem_score_tests": (
        *("population", "level", "lhs", "op", "rhs", "restriction", "statistic", "df", "p_value", "statistic_scaled"),
        *("p_value_scaled", "epc", "epc_std_all", "at_bound"),
    ),
    "sem_variables": ("population", "level", "variable", "kind", "icc", "r_squared", "omega", "omega_std_error"),
    "drift": (
        *("against", "kind", "group", "term", "other", "before", "now", "difference", "std_error", "statistic"),
        *("p_adjusted", "flagged", "note"),
    ),
    "random_effects": ("group", "unit", "term", "estimate", "std_error", "conf_low", "conf_high"),
}
#: Rows of a long table that are printed unless all are asked for.
LONG_TABLES = {
    "random_effects": 10,
    "sem_scores": 10,
    "sem_score_tests": MOST_SHOWN,
    "groups": 10,
    "unit_lines": 10,
    "curves": 10,
    "influence": 10,
    "diagnostics": 10,
    "drift": 20,
    "runs": 20,
}
#: What a narrow terminal goes without, in this order; the two ends of an interval go together.
DROPPED_WHEN_NARROW: tuple[tuple[str, ...], ...] = (
    ("symbol",),
    ("level",),
    ("reduced_equation",),
    ("gradient",),
    ("evaluations",),
    ("seconds",),
    ("n_parameters",),
    ("bic",),
    ("bic_ml",),
    ("engine_version",),
    ("moments_checksum",),
    ("started_at",),
    ("n_dropped",),
    ("conf_low", "conf_high"),
    ("range_low", "range_high"),
    ("n_groups",),
    ("delta_bic",),
    ("delta_aic",),
)
PLAIN_WIDTH = 200
#: Sentences are broken into lines of at most so many characters.
SENTENCE_WIDTH = 100


class ResultConsole(Console):
    """A console whose closed pipe ends the command with the status that it has for that."""

    def on_broken_pipe(self) -> None:
        """Hand the error on."""
        raise BrokenPipeError


def console() -> Console:
    """Write to standard output: as wide as the terminal, or wide enough for every table in a pipe."""
    return ResultConsole(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


def show_tables(target: Console, tables: Mapping[str, pl.DataFrame], all_rows: Callable[[str], str]) -> None:
    """Print the results of one analysis, table by table, without those that have no rows; name the other tables.

    Parameters
    ----------
    all_rows
        The command that prints every row of a table.
    """
    for name, columns in OVERVIEW.items():
        frame = tables.get(name)
        if frame is None or frame.is_empty():
            continue
        if name == "centering":
            show_centering(target, frame, all_rows(name))
            continue
        note = None
        if name == "fit_statistics":
            criteria = comparable(frame, tables.get("fixed_effects"))
            columns, note = with_criteria(columns, criteria.columns), criteria.note
        if name == "sem_score_tests":
            show_largest_indices(target, frame, all_rows(name), columns)
            continue
        if name == "decomposition":
            note = DECOMPOSITION_NOTE
        show_table(target, name, frame.select("model", *columns), all_rows(name), LONG_TABLES.get(name), note)
    others = [name for name, frame in tables.items() if name not in OVERVIEW and not frame.is_empty()]
    if others:
        line = f"further tables: {', '.join(others)}; each by {visible(all_rows('NAME'))}"
        target.print(Text(line), style="dim", soft_wrap=True)
        target.print()


def show_largest_indices(
    target: Console, frame: pl.DataFrame, all_rows: str, columns: Sequence[str] | None = None
) -> None:
    """Print the largest modification indices of each model, with what is to be known of them.

    Parameters
    ----------
    all_rows
        The command that prints every row of the table.
    columns
        What is printed beside the model; every column by default.
    """
    for _, rows in frame.group_by("model", maintain_order=True):
        body = by_size(rows) if columns is None else by_size(rows).select("model", *columns)
        show_table(target, "sem_score_tests", body, all_rows, MOST_SHOWN, "; ".join(remarks_on_indices(rows)))


def show_centering(target: Console, frame: pl.DataFrame, all_rows: str, sentences: bool = False) -> None:
    """Print the versions of each model's centering beside each other, instead of a row for each number.

    Parameters
    ----------
    all_rows
        The command that prints every row of the table.
    sentences
        Whether to print the sentences about the versions, too.
    """
    for (model,), rows in frame.group_by("model", maintain_order=True):
        target.print(Text(one_line(f"centering of {model}")), style="bold", soft_wrap=True)
        show_versions(target, rows, sentences=sentences)
        target.print()
    target.print(Text(f"  the error and explanation of each number: {visible(all_rows)}"), style="dim", soft_wrap=True)
    target.print()


def show_versions(target: Console, rows: pl.DataFrame, *, sentences: bool) -> None:
    """Print the versions of one model beside each other, and the sentences about them."""
    table = versions_table(rows)
    lines = list(map(visible, table.lines_within(target.width) if target.is_terminal else table.lines()))
    if sentences:
        lines.append("")
        for sentence in map(one_line, remarks(rows)):
            lines += textwrap.wrap(
                sentence,
                min(target.width, SENTENCE_WIDTH),
                subsequent_indent="  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
    for line in lines:
        target.print(Text(line), soft_wrap=True)


def with_criteria(columns: tuple[str, ...], chosen: tuple[str, ...]) -> tuple[str, ...]:
    """The columns with other criteria of fit in the place of the usual ones."""
    at = columns.index(CRITERIA[0])
    return (*columns[:at], *chosen, *(column for column in columns[at:] if column not in CRITERIA))


#: Columns whose cells are names that come from the data.
NAMES = ("model", "population", "term", "other", "group", "unit", "predictor", "moderator", "contrast", "combination")


def show_table(
    target: Console,
    name: str,
    frame: pl.DataFrame,
    all_rows: str,
    limit: int | None = None,
    note: str | None = None,
) -> None:
    """Print one result table, its numbers rounded for reading, and say which rows and columns are left out."""
    frame = without_random_paths(frame) if name == "sem_parameters" else frame
    # what is cut short shows first what a reader should look at
    first = frame.sort("flagged", descending=True, maintain_order=True) if "flagged" in frame.columns else frame
    body = readable(first.head(limit) if limit is not None else frame)
    # tables with notes are not cut short
    notes = notes_of(name, body, note)
    body = body.drop("note", "notes", strict=False) if name in NOTE_SUBJECTS else body
    hidden: list[str] = []
    table = printed_table(name, body, headings=False)
    for going in ((), *DROPPED_WHEN_NARROW):
        if table.least_width <= target.width:
            break
        # a heading for each model comes before any column goes
        present = [c for c in going if c in body.columns]
        hidden += [c for c in present if body[c].null_count() < body.height]
        body = body.drop(present)
        table = printed_table(name, body, headings=True)
    print_table(target, table)
    below = [f"hidden at this width: {', '.join(hidden)}"] if hidden else []
    if limit is not None and frame.height > limit:
        below.append(f"and {frame.height - limit:,} more rows: {visible(all_rows)}")
    for line in (*notes, *below):
        target.print(Text(f"  {line}"), style="dim", soft_wrap=True)
    if notes or below:
        target.print()


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace what a terminal would obey, and line feeds in names, which would begin what looks like another row."""
    return frame.with_columns(pl.col(pl.String).str.replace_all(CONTROL_CHARACTERS, REPLACEMENT)).with_columns(
        pl.col([c for c in NAMES if frame.schema.get(c) == pl.String]).str.replace_all(r"\s*\n\s*", " "),
    )


def notes_of(name: str, frame: pl.DataFrame, note: str | None = None) -> list[str]:
    """The notes below a result table."""
    return [WARNING] if name == "ladder_steps" else [*filter(None, (note,)), *footnotes(name, frame)]


@contextmanager
def progress(doing: str) -> Iterator[Callable[[str], None]]:
    """Give a function that takes one line at a time; on a terminal a spinner turns below the lines.

    Lines go to standard error, so that standard output keeps to results.
    """
    target = Console(stderr=True, highlight=False, soft_wrap=True)
    if not target.is_terminal:
        yield lambda line: target.print(message(line), markup=False)
        return
    with target.status(doing):
        yield lambda line: target.print(message(line), markup=False)
