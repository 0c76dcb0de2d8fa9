"""Summarise the checks: numbers of what is flagged, and what was checked if nothing is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlm_ops.analyses.drift_words import COMPARED_RUNS
from mlm_ops.inference.diagnostics.findings import ALPHA, MATERIAL
from mlm_ops.reports.page.words import plural, rows_of
from mlm_ops.reports.pictures.rows import Tables
from mlm_ops.reports.pictures.words import (
    chance,
    figure,
    listing,
    model_text,
    of,
    percent,
    term_label,
    term_text,
    units,
)
from mlm_ops.results.text.side_by_side import footnotes
from mlm_ops.results.words import count, counts, rows_left_out

#: A p value that many readers would call significant: from 0.01, as large data find small departures, it is no flag.
_NOTICED = 0.05
#: Names of models in one sentence.
_NAMES = 5


@dataclass(frozen=True)
class Check:
    """One line of the list.

    Attributes
    ----------
    flagged
        Whether a reader should look.
    text
        What was found.
    passed
        Whether it deserves a tick: what is beyond a bound, and not flagged for a reason that the text has, does not.
    """

    flagged: bool
    text: str
    passed: bool = True


def checks(tables: Tables, model: str | None) -> list[Check]:
    """The checks of an analysis and of one of its models: those that are flagged first, then those without a tick."""
    lines = [line for check in _CHECKS for line in check(tables, model)]
    return sorted(lines, key=lambda line: (not line.flagged, line.passed))


def first_notes(tables: Tables, run: dict[str, Any]) -> list[str]:
    """What a reader must know before the pictures: how models were chosen, rows left out, groups withheld."""
    notes = []
    if run["n_obs"] is not None and run["n_rows"] is not None and run["n_obs"] < run["n_rows"]:
        notes.append(term_text(rows_left_out(run["n_obs"], run["n_rows"], counts(run["n_dropped"]))) + ".")
    for name in ("models", "sem_fit"):
        if name in tables and not tables[name].is_empty():
            notes += map(term_text, footnotes(name, tables[name], _quoted))
    return notes


def last_notes(tables: Tables) -> list[str]:
    """What a reader of single tables must know."""
    names = ("comparisons", "contextual_effects", "fit_statistics")
    notes = [note for name in names if name in tables for note in footnotes(name, tables[name], _quoted)]
    return list(dict.fromkeys(map(term_text, notes)))


def _quoted(name: str) -> str:
    """A model's or a predictor's name at the head of a note, where it would be read as a word of it."""
    return model_text(term_label(name))


def _optimum(tables: Tables, model: str | None) -> Iterator[Check]:
    """Of mixed and structural models: whether the search ended, and whether T is singular."""
    rows = [*rows_of(tables, "fit_statistics"), *rows_of(tables, "sem_fit")]
    fitted = [row for row in rows if row["converged"] is not None]
    if not fitted:
        return
    models = plural(len(fitted), "model", "models")
    failed = [row["model"] for row in fitted if not row["converged"]]
    some = f"{of(len(fitted) - len(failed), len(fitted), models)} converged"
    yield Check(bool(failed), f"{some}{f'; not {_names(failed)}' if failed else ''}")
    singular = [row["model"] for row in fitted if row["singular"]]
    if singular:
        yield Check(True, f"singular, a variance is zero or a correlation is 1: {_names(singular)}")
    else:
        yield Check(
            False, f"{count(len(fitted))} {models} looked at for a variance of zero or a correlation of 1: none"
        )


def _names(models: list[str]) -> str:
    more = len(models) - _NAMES
    return listing([*map(model_text, models[:_NAMES]), *([f"{count(more)} more"] if more > 0 else [])])


def _of_rows(tables: Tables, model: str | None) -> Iterator[Check]:
    """Each kind of finding about a model."""
    findings = [row for row in rows_of(tables, "diagnostics") if model is None or row["model"] == model]
    for kind, say in _FINDINGS.items():
        of_kind = [row for row in findings if row["diagnostic"] == kind]
        if of_kind:
            yield from say(of_kind)


def _influence(rows: list[dict[str, Any]]) -> Iterator[Check]:
    for group, findings in _by_group(rows):
        flagged = {row["unit"] for row in findings if row["flagged"]}
        everyone = f"the {count(len({row['unit'] for row in findings}))} most influential {units(group)}"
        beyond = "moves a coefficient by more than its standard error"
        if flagged:
            yield Check(True, f"leaving out {beyond} for {count(len(flagged))} of {everyone}")
        else:
            yield Check(False, f"none of {everyone} {beyond}")


def _outlier(rows: list[dict[str, Any]]) -> Iterator[Check]:
    for group, findings in _by_group(rows):
        flagged = [row for row in findings if row["flagged"]]
        everyone = f"the {count(len(findings))} {units(group)} whose effects lie farthest out"
        normal = "of a normal distribution (p adjusted by Holm)"
        if flagged:
            yield Check(True, f"{count(len(flagged))} of {everyone} would be outliers {normal}")
        else:
            yield Check(False, f"none of {everyone} is an outlier {normal}")


def _by_group(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for group in dict.fromkeys(row["group"] for row in rows):
        yield group, [row for row in rows if row["group"] == group]


def _normality(rows: list[dict[str, Any]]) -> Iterator[Check]:
    for row in rows:
        what = (
            "residuals" if row["group"] == "residual" else f"effects of {units(row['group'])}, {term_text(row['term'])}"
        )
        skew = row.get("skewness")
        numbers = f"kurtosis {figure(row['estimate'])} (normal: 3)" if row["estimate"] is not None else ""
        if skew is not None and numbers:
            numbers = f"skewness {figure(skew)}, kurtosis {figure(row['estimate'])} (normal: 0 and 3)"
        state = "depart from a normal distribution" if row["flagged"] else "looked at for normality"
        bounds = f"below p = {ALPHA}{f' and more than {MATERIAL} off' if row['group'] == 'residual' else ''}"
        yield _verdict(row, f"{what} {state}: {numbers}{chance(row['p_value'])}", bounds)


def _verdict(row: dict[str, Any], text: str, bounds: str) -> Check:
    """A test's line: one that many readers would call significant, and that is not flagged, says from where it is."""
    if row["flagged"] or row["p_value"] is None or row["p_value"] >= _NOTICED:
        return Check(bool(row["flagged"]), text)
    return Check(False, f"{text}; flagged {bounds}", passed=False)


def _variances(rows: list[dict[str, Any]]) -> Iterator[Check]:
    for row in (row for row in rows if row["term"] is None):
        test = f"χ² = {figure(row['statistic'])}, {figure(row['df'])} df{chance(row['p_value'])}"
        if row["estimate"] is not None:  # an earlier version has no size of the differences
            test = f"standard deviations by {percent(row['estimate'])} beyond chance, {test}"
        what = f"residual variances of {units(row['group'])}"
        size = "" if row.get("bound") is None else f" and beyond {percent(row['bound'])}"
        text = f"{what} {'differ' if row['flagged'] else 'looked at for a difference'}: {test}"
        yield _verdict(row, text, f"below p = {ALPHA}{size}")
    along = [row for row in rows if row["term"] is not None]
    what = "residual variances along predictors and fitted values"
    for row in (row for row in along if row["flagged"]):
        yield Check(True, f"residual variances change along {term_text(row['term'])}: {_ratio(row)}")
    if along and not any(row["flagged"] for row in along):
        most = max(along, key=lambda row: abs(math.log(row["estimate"] or math.inf)))
        size = "" if most.get("bound") is None else f" and beyond a ratio of {most['bound']:g}"
        text = f"{count(len(along))} {what} looked at: most along {term_text(most['term'])}, {_ratio(most)}"
        yield _verdict(most, text, f"below p = {ALPHA}{size}")


def _ratio(row: dict[str, Any]) -> str:
    """How much the residuals spread above a predictor's mean, against below it."""
    ratio = "none above or below" if row["estimate"] is None else f"ratio {figure(row['estimate'])}"
    return f"standard deviations above its mean against below, {ratio}{chance(row['p_value'])}"


def _inflation(rows: list[dict[str, Any]]) -> Iterator[Check]:
    flagged = [row for row in rows if row["flagged"]]
    for row in flagged:
        yield Check(
            True,
            f"{term_text(row['term'])} is nearly a combination of the other predictors of level {row['level']}: "
            f"variance inflation {figure(row['estimate'])}",
        )
    # a variable and its products go together by what they are
    exempt = [row for row in rows if row["note"] is not None and not row["flagged"]]
    plain = [row for row in rows if row["note"] is None]
    if plain and not flagged:
        predictors = plural(len(plain), "predictor", "predictors")
        yield Check(
            False,
            f"{count(len(plain))} {predictors} looked at for collinearity, level by level: the largest variance "
            f"inflation is {_most_inflated(plain)}",
        )
    if exempt:
        beyond = any(row.get("bound") is not None and row["estimate"] > row["bound"] for row in exempt)
        reason = "; of these it is not flagged, as centering their variables changes it" if beyond else ""
        terms = plural(len(exempt), "product or part of one", "products and their parts")
        yield Check(
            False,
            f"{count(len(exempt))} {terms} looked at for collinearity: the largest variance inflation is "
            f"{_most_inflated(exempt)}{reason}",
            passed=not beyond,
        )


def _most_inflated(rows: list[dict[str, Any]]) -> str:
    most = max(rows, key=lambda row: row["estimate"])
    return f"{figure(most['estimate'])}, of {term_text(most['term'])} at level {most['level']}"


def _condition(rows: list[dict[str, Any]]) -> Iterator[Check]:
    numbers = [
        f"{figure(row['estimate']) if row['estimate'] is not None else 'none'} at level {row['level']}" for row in rows
    ]
    beyond = [row for row in rows if row["estimate"] is None or row["estimate"] > (row.get("bound") or math.inf)]
    reason = ""
    if beyond:
        bound = f"{beyond[0]['bound']:g}"
        reason = f"; beyond {bound} they are worth a thought, and not flagged, as centering lowers them"
    yield Check(False, f"condition numbers of the predictors looked at: {listing(numbers)}{reason}", passed=not beyond)


def _bins(rows: list[dict[str, Any]]) -> Iterator[Check]:
    flagged = [row for row in rows if row["flagged"]]
    what = "mean residuals in bins of the predictors and fitted values"
    if flagged:
        terms = listing([term_text(term) for term in dict.fromkeys(row["term"] for row in flagged)])
        yield Check(True, f"{of(len(flagged), len(rows), what)} differ from zero, along {terms}")
    else:
        yield Check(False, f"none of {count(len(rows))} {what} differs from zero (p adjusted by Holm)")


def _largest(rows: list[dict[str, Any]]) -> Iterator[Check]:
    for row in rows:
        if row["estimate"] is not None:
            text = f"the residual farthest out is {figure(row['estimate'])} standard deviations{chance(row['p_value'])}"
            yield Check(bool(row["flagged"]), text)


_FINDINGS: dict[str, Callable[[list[dict[str, Any]]], Iterator[Check]]] = {
    "normality": _normality,
    "heteroscedasticity": _variances,
    "vif": _inflation,
    "condition_number": _condition,
    "influence": _influence,
    "outlier": _outlier,
    "binned_residual": _bins,
    "largest_residual": _largest,
}


def _drift(tables: Tables, model: str | None) -> Iterator[Check]:
    """Whether something has changed since an earlier run."""
    rows = rows_of(tables, "drift")
    runs = {row["against"]: row["reference_run"] for row in rows}
    comparisons = COMPARED_RUNS
    if len(runs) == 2 and len(set(runs.values())) == 1:
        comparisons = {"previous": f"{COMPARED_RUNS['previous']}, which is {COMPARED_RUNS['baseline']} too"}
    for against, words in comparisons.items():
        changes = [row for row in rows if row["against"] == against]
        if changes:
            flagged = [row for row in changes if row["flagged"]]
            some = of(len(flagged), len(changes), "numbers have" if len(changes) > 1 else "number has")
            yield Check(bool(flagged), f"{some} changed by more than chance since {words}")


_CHECKS: tuple[Callable[[Tables, str | None], Iterator[Check]], ...] = (_optimum, _of_rows, _drift)
