"""Say in short what was found: at most six sentences, each of one row of a result table or of two compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from mlm_ops.reports.page.words import group_counts, outcome, rows_of
from mlm_ops.reports.pictures.facts import INTERCEPT, is_moderated, models_in_order
from mlm_ops.reports.pictures.rows import Tables
from mlm_ops.reports.pictures.words import chance, factors, figure, interval, percent, shown, units
from mlm_ops.results.words import count

MOST = 6
#: Sentences of one kind, so that many interactions leave room for the rest.
MOST_OF_A_KIND = 2


def answers(tables: Tables, model: str | None) -> list[str]:
    """The sentences, those of clustering first; none of what the tables do not have.

    Parameters
    ----------
    tables
        Of one analysis.
    model
        The model whose coefficients the sentences are of.
    """
    kinds = [list(sentences(tables, model))[:MOST_OF_A_KIND] for sentences in _KINDS]
    first = [of_kind[0] for of_kind in kinds if of_kind]
    more = [sentence for of_kind in kinds for sentence in of_kind[1:]]
    chosen = {*first, *more[: MOST - len(first)]}
    return [sentence for of_kind in kinds for sentence in of_kind if sentence in chosen][:MOST]


def _clustering(tables: Tables, model: str | None) -> Iterator[str]:
    """The intraclass correlation of the first model without predictors, else the share of a variable by itself."""
    order = models_in_order(tables)
    rows = [row for row in rows_of(tables, "icc") if row["icc"] is not None and not row["conditional"]]
    sizes = list(group_counts(tables))
    # the model of most grouping factors, as a share of one alone takes in those of others
    factors_of = Counter(row["model"] for row in rows)
    rows.sort(key=lambda row: (-factors_of[row["model"]], _place(order, row["model"]), _place(sizes, row["group"])))
    for row in [row for row in rows if row["model"] == rows[0]["model"]]:
        worth = ""
        if row["n_effective"] is not None:
            worth = f"; for a mean, the rows are worth about {count(round(row['n_effective']))} independent ones"
        yield (
            f"{percent(row['icc'])} of the variance of {outcome(tables, row['model'])} lies between "
            f"{units(row['group'])}{_percents(row['conf_low'], row['conf_high'])}{worth}."
        )


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _percents(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95% interval {percent(low)} to {percent(high)})"


def _contexts(tables: Tables, model: str | None) -> Iterator[str]:
    """The two slopes of a predictor and their difference, of the model without interactions where there is one."""
    order = models_in_order(tables)
    effects = [row for row in rows_of(tables, "contextual_effects") if None not in (row["within"], row["between"])]
    pairs = sorted({(row["group"], row["predictor"]) for row in effects})
    for group, predictor in pairs:
        of_pair = [row for row in effects if (row["group"], row["predictor"]) == (group, predictor)]
        row = max(of_pair, key=lambda row: (not _moderated(tables, row), _place(order, row["model"])))
        x, where = shown(predictor), ", where its moderators are zero or at their reference" * _moderated(tables, row)
        corrected = ""
        if row["corrected"] is not None:
            corrected = (
                f"; {figure(row['corrected'])} without the sampling error of the means, if these stand for a "
                f"property of the {units(group)}"
            )
        yield (
            f"Within {units(group)}, rows that differ by 1 in {x} differ by {figure(row['within'])} in "
            f"{outcome(tables, row['model'])}, and means by {figure(row['between'])}{where}: the contextual effect is "
            f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])}{corrected}."
        )


def _moderated(tables: Tables, row: dict[str, Any]) -> bool:
    terms = {
        effect["term"]
        for effect in rows_of(tables, "fixed_effects", model=row["model"])
        if effect["estimate"] in (row["within"], row["between"])
    }
    return any(is_moderated(tables, row["model"], term) for term in terms)


def _explained(tables: Tables, model: str | None) -> Iterator[str]:
    """The share of the variance that the model's predictors account for, as the table of papers names it."""
    if all(row["term"] == INTERCEPT for row in rows_of(tables, "fixed_effects", model=model)):
        return
    shares = {row["measure"]: row["estimate"] for row in rows_of(tables, "r_squared", model=model)}
    total = shares.get("rights_sterba_total_f", shares.get("nakagawa_marginal"))
    if model is not None and total is not None:
        parts = [
            f"{percent(shares[f'rights_sterba_total_f{level}'])} {where}"
            for level, where in ((1, "within groups"), (2, "between groups"), (3, "at level 3"))
            if f"rights_sterba_total_f{level}" in shares
        ]
        split = f": {', '.join(parts)}" if parts else ""
        yield (
            f"In {shown(model)} predictors account for {percent(total)} of the model's total variance of "
            f"{outcome(tables, model)}{split}."
        )
    elif model is not None and shares.get("ordinary") is not None:
        yield (
            f"In {shown(model)} predictors account for {percent(shares['ordinary'])} of the variance of "
            f"{outcome(tables, model)}."
        )


def _interactions(tables: Tables, model: str | None) -> Iterator[str]:
    """How a slope differs along another variable."""
    for row in rows_of(tables, "fixed_effects", model=model):
        parts = factors(row["term"])
        if len(parts) != 2 or row["estimate"] is None:
            continue
        first, second = sorted(parts, key=lambda part: not part.startswith("within("))
        side = "higher" if row["estimate"] > 0 else "lower"
        along = f"in {shown(second)}" if second.endswith("]") else f"for each 1 of {shown(second)}"
        ends = sorted(abs(end) for end in (row["conf_low"], row["conf_high"]) if end is not None)
        same_side = len(ends) == 2 and row["conf_low"] * row["conf_high"] > 0
        size = f"{side} by {figure(abs(row['estimate']))}{interval(*ends)}"
        if not same_side:
            size = f"not distinguishable from the same: it differs by {figure(row['estimate'])}"
            size += interval(row["conf_low"], row["conf_high"])
        yield f"The slope of {shown(first)} is {size} {along}{chance(row['p_value'])}."


def _coefficients(tables: Tables, model: str | None) -> Iterator[str]:
    """The model's own coefficients, where none of them is a product or a side of a contextual effect."""
    rows = rows_of(tables, "fixed_effects", model=model)
    slopes = {effect[side] for effect in rows_of(tables, "contextual_effects") for side in ("within", "between")}
    if model is None or any(len(factors(row["term"])) > 1 for row in rows):
        return
    for row in sorted(rows, key=lambda row: row["p_value"] if row["p_value"] is not None else 1.0):
        if row["term"] == INTERCEPT or row["estimate"] is None or row["estimate"] in slopes:
            continue
        term, y = shown(row["term"]), outcome(tables, model)
        who = f"{term} and its reference differ" if term.endswith("]") else f"rows that differ by 1 in {term} differ"
        beside = ", all else in the model alike" if len(rows) > 2 else ""
        tail = f"{interval(row['conf_low'], row['conf_high'])}{chance(row['p_value'])}"
        yield f"In {shown(model)}, {who} by {figure(row['estimate'])} in {y}{tail}{beside}."


def _steps(tables: Tables, model: str | None) -> Iterator[str]:
    """Whether slopes that vary fit better than one for all."""
    for row in rows_of(tables, "comparisons"):
        if row["p_value_mixture"] is None or row["statistic"] is None:
            continue
        model_, reference = shown(row["model"]), shown(row["reference_model"])
        differs = row["p_value_mixture"] < 0.05
        fits = f"fits better than {reference}" if differs else f"is not distinguishable from {reference}"
        ratio = f"likelihood ratio {figure(row['statistic'])}{chance(row['p_value_mixture'])} (mixture)"
        yield f"{model_}, in which more varies over units, {fits}: {ratio}."


def _latent(tables: Tables, model: str | None) -> Iterator[str]:
    """What structural models define, such as a contextual effect of latent means."""
    rows = rows_of(tables, "sem_parameters")
    within = {(row["model"], name) for row in rows if row["level"] == 1 for name in (row["lhs"], row["rhs"])}
    between = {(row["model"], row["rhs"]) for row in rows if row["level"] == 2 and row["op"] == "~"}
    # of a model whose predictors between clusters are clusters' own means
    latent = {model for model, _ in within & between}
    for row in rows:
        if row["op"] == ":=" and row["estimate"] is not None:
            tail = f"{interval(row['conf_low'], row['conf_high'])}{chance(row['p_value'])}"
            value = f"{shown(row['lhs'])} is {figure(row['estimate'])}{tail}"
            yield f"In {shown(row['model'])},{' with latent means,' if row['model'] in latent else ''} {value}."


_KINDS: tuple[Callable[[Tables, str | None], Iterator[str]], ...] = (
    _clustering,
    _contexts,
    _explained,
    _interactions,
    _coefficients,
    _steps,
    _latent,
)
