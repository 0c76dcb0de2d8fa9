"""Summarise in words which numbers of a run have drifted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mlm_ops.results.words import after_p, cell, count

#: What makes a number of a run one and the same in two comparisons.
_NUMBER = ("analysis", "model", "kind", "group", "term", "other")
#: What the runs are called that a run is compared with.
COMPARED_RUNS = {"previous": "the run before", "baseline": "the baseline"}


def one_row_a_number(drift: pl.DataFrame) -> pl.DataFrame:
    """The rows of one run without those that compare it with the same run under another name.

    The run before is the baseline, too, as long as there are two runs; ``against`` then says both.
    """
    if drift["reference_run"].n_unique() != 1 or drift["against"].n_unique() == 1:
        return drift
    both = pl.lit(" and ".join(drift["against"].unique().sort(descending=True)))
    return drift.filter(against="previous").with_columns(against=both)


def drift_sentence(drift: pl.DataFrame) -> str | None:
    """How many numbers of a run have drifted, and which most clearly; None where none has.

    Parameters
    ----------
    drift
        The rows of table ``drift`` of one run.
    """
    rows = one_row_a_number(drift)
    flagged = rows.filter("flagged")
    if flagged.is_empty():
        return None
    n_flagged, n = (frame.unique(_NUMBER).height for frame in (flagged, rows))
    # the run before may be the baseline, too
    is_against = [rows["against"].str.starts_with(against).any() for against in COMPARED_RUNS]
    runs = " or ".join(words for words, is_one in zip(COMPARED_RUNS.values(), is_against, strict=True) if is_one)
    clearest = flagged.with_columns(size=pl.col("statistic").abs()).sort(
        ["p_adjusted", "size"], descending=[False, True], nulls_last=True, maintain_order=True
    )
    differ = "differ" if n_flagged > 1 else "differs"
    which = f"{count(n_flagged)} of {count(n)} numbers {differ} from {runs} by more than chance"
    return f"{which}, most clearly {change_in_words(clearest.row(0, named=True))}"


def change_in_words(row: Mapping[str, Any]) -> str:
    """What a number was before and is now, a row of table ``drift``: its name, its model, and p if there is one."""
    p = "" if row["p_adjusted"] is None else f" (adjusted p {after_p(row['p_adjusted'])})"
    before, now = (cell(name, row[name]) for name in ("before", "now"))
    return f"{_name(row)} of model {row['model']}: {before} before, {now} now{p}"


def _name(row: Mapping[str, Any]) -> str:
    """What a number is called in a sentence."""
    group, term, other = row["group"], row["term"], row["other"]
    match row["kind"]:
        case "icc":
            return "the ICC"
        case "sample":
            return f"the number of {term}" if group is None else f"the number of {term} of {group}"
        case "variance" if group == "residual":
            return "the residual variance" if term is None else f"{term} of the residual"
        case "variance" if other is None:
            return f"the variance of {term} over {group}"
        case "variance":
            return f"the covariance of {term} and {other} over {group}"
    return str(term) if group is None else f"{term} ({group})"
