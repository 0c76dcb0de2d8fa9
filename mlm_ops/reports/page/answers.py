"""Summarise the findings in at most eight sentences: for one model's effects, those with the strongest evidence.

Each is of one row of a result table or of two compared, and names the model that it is of.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlm_ops.reports.page.words import group_counts, outcome, plural, rows_of
from mlm_ops.reports.pictures.facts import INTERCEPT, models_in_order, moderated_terms, outcome_of
from mlm_ops.reports.pictures.rows import Tables
from mlm_ops.reports.pictures.words import (
    chance,
    factors,
    figure,
    interval,
    listing,
    model_text,
    percent,
    term_text,
    unit,
    units,
)
from mlm_ops.results.words import count, counts

MOST = 8
#: Effects with a sentence of their own, where more are to be told than there is room for; and names in the last one.
MOST_EFFECTS, MOST_NAMES = 3, 5
#: An effect is clear where its p value is below.
ALPHA = 0.05
Row = dict[str, Any]


@dataclass(frozen=True)
class _Effect:
    """Something that a model says, with its evidence.

    Attributes
    ----------
    terms
        The coefficients that the sentence is of.
    p_value, size
        The least p value of them; the greatest distance from zero in standard errors.
    is_clear
        Whether one of them differs from zero; None where the tables do not tell.
    sentence
        What is said of it.
    """

    terms: tuple[str, ...]
    p_value: float
    size: float
    is_clear: bool | None
    sentence: str


def answers(tables: Tables, model: str | None) -> list[str]:
    """The sentences: clustering, what one model explains and says, structural models, slopes that vary.

    Parameters
    ----------
    tables
        Of one analysis.
    model
        The model whose coefficients the sentences are of.
    """
    effects = _effects(tables, model)
    clear = sorted((one for one in effects if one.is_clear), key=lambda one: (one.p_value, -one.size, one.terms))
    lead = [*_clustering(tables, model), *_explained(tables, model)]
    latent, steps = _by_evidence(_latent(tables)), _by_evidence(_steps(tables))
    reserved = len(lead) + len(latent[:1]) + len(steps[:1])
    # a sentence for those that are not told one by one
    room = MOST - reserved - (len(clear) > MOST - reserved or any(one.is_clear is False for one in effects))
    told = clear[: max(MOST_EFFECTS, room)]
    sentences = [*lead, *(one.sentence for one in told), *_others(model, effects, told)]
    for further in (latent, steps):
        sentences += further[:1]
    spare = max(MOST - len(sentences), 0)
    return [*sentences, *[*latent[1:2], *steps[1:2]][:spare]]


def _clustering(tables: Tables, model: str | None) -> Iterator[str]:
    """The intraclass correlations of the first model without predictors, else the outcome's by analysis of variance."""
    order = models_in_order(tables)
    rows = [row for row in rows_of(tables, "icc") if row["icc"] is not None and not row["conditional"]]
    if not rows:
        yield from _decomposed(tables, model)
        return
    sizes = list(group_counts(tables))
    # the model of most grouping factors, as a share of one alone takes in those of others
    factors_of = Counter(row["model"] for row in rows)
    rows.sort(key=lambda row: (-factors_of[row["model"]], _place(order, row["model"]), _place(sizes, row["group"])))
    first = rows[0]["model"]
    rows = [row for row in rows if row["model"] == first]
    estimator = next((row["estimator"] for row in rows_of(tables, "fit_statistics", model=first)), None)
    shares = [
        f"{percent(row['icc'])} of the variance of {outcome(tables, first)} lies between {units(row['group'])}"
        if place == 0
        else f"{percent(row['icc'])} between {units(row['group'])}"
        for place, row in enumerate(rows)
    ]
    intervals = [_estimated(estimator if place == 0 else None, row) for place, row in enumerate(rows)]
    worth = ""
    if len(rows) == 1 and rows[0]["n_effective"] is not None:
        worth = f"; for a mean, the rows are worth about {count(round(rows[0]['n_effective']))} independent ones"
    parts = listing(f"{share}{ends}" for share, ends in zip(shares, intervals, strict=True))
    yield f"In {model_text(first)}, {parts}{worth}."


def _estimated(estimator: str | None, row: Row) -> str:
    """How a share was estimated, and its interval, in brackets."""
    low, high = row["conf_low"], row["conf_high"]
    ends = "" if low is None or high is None else f"95% interval {percent(low)} to {percent(high)}"
    parts = [part for part in ((estimator or "").upper(), ends) if part]
    return f" ({', '.join(parts)})" if parts else ""


def _decomposed(tables: Tables, model: str | None) -> Iterator[str]:
    name = None if model is None else outcome_of(tables, model)
    shares = {row["group"]: row["icc"] for row in rows_of(tables, "decomposition") if row["variable"] == name}
    between = [(percent(icc), units(group)) for group, icc in sorted(shares.items()) if icc is not None]
    if between:
        (share, first), others = between[0], [f"{share} between {units_}" for share, units_ in between[1:]]
        parts = [f"{share} of the variance of {term_text(name)} lies between {first}", *others]
        yield f"By analysis of variance, {listing(parts)}."


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _explained(tables: Tables, model: str | None) -> Iterator[str]:
    """The share of the variance that the model's predictors account for, as the table of papers names it."""
    terms = [row["term"] for row in rows_of(tables, "fixed_effects", model=model) if row["term"] != INTERCEPT]
    if model is None or not terms:
        return
    shares = {row["measure"]: row["estimate"] for row in rows_of(tables, "r_squared", model=model)}
    alike = "; each of its effects holds the other predictors constant" if len(terms) > 1 else ""
    total = shares.get("rights_sterba_total_f", shares.get("nakagawa_marginal"))
    if total is not None:
        parts = [
            f"{percent(shares[f'rights_sterba_total_f{level}'])} {where}"
            for level, where in ((1, "within groups"), (2, "between groups"), (3, "at level 3"))
            if f"rights_sterba_total_f{level}" in shares
        ]
        split = f" ({', '.join(parts)})" if parts else ""
        yield (
            f"In the model {model_text(model)}, predictors account for {percent(total)} of the model's total variance "
            f"of {outcome(tables, model)}{split}{alike}."
        )
    elif shares.get("ordinary") is not None:
        yield (
            f"In the model {model_text(model)}, predictors account for {percent(shares['ordinary'])} of the variance "
            f"of {outcome(tables, model)}{alike}."
        )


def _effects(tables: Tables, model: str | None) -> list[_Effect]:
    """What a model says: both slopes of a predictor in one sentence, its other coefficients one by one."""
    if model is None:
        return []
    rows = [
        row
        for row in rows_of(tables, "fixed_effects", model=model)
        if row["term"] != INTERCEPT and row["estimate"] is not None
    ]
    moderated = {term for name, term in moderated_terms(tables) if name == model}
    effects: list[_Effect] = []
    for effect in rows_of(tables, "contextual_effects", model=model):
        if None not in (effect["within"], effect["between"], effect["estimate"]):
            sides = {
                side: next((row for row in rows if row["estimate"] == effect[side]), None)
                for side in ("within", "between", "estimate")
            }
            effects.append(_contextual(tables, effect, sides, moderated))
    told = {term for effect in effects for term in effect.terms}
    for row in rows:
        if row["term"] not in told:
            say = _product if len(factors(row["term"])) > 1 else _coefficient
            effects.append(_effect((row["term"],), [row], f"In {model_text(model)}, {say(tables, row, moderated)}."))
    return effects


def _effect(terms: Iterable[str], rows: Sequence[Row], sentence: str) -> _Effect:
    clear = [verdict for row in rows if (verdict := _is_clear(row)) is not None]
    p_values = [row["p_value"] for row in rows if row["p_value"] is not None]
    sizes = [abs(row["estimate"]) / row["std_error"] for row in rows if row["std_error"]]
    is_clear = any(clear) if clear else None
    return _Effect(tuple(terms), min(p_values, default=1.0), max(sizes, default=0.0), is_clear, sentence)


def _is_clear(row: Row) -> bool | None:
    """Whether an estimate differs from zero; None without a p value and an interval."""
    if row["p_value"] is not None:
        return bool(row["p_value"] < ALPHA)
    if row["conf_low"] is None or row["conf_high"] is None:
        return None
    return bool(row["conf_low"] > 0 or row["conf_high"] < 0)


def _tail(row: Row | None) -> str:
    """The interval and the p value of an estimate."""
    return "" if row is None else f"{interval(row['conf_low'], row['conf_high'])}{chance(row['p_value'])}"


def _where(terms: Iterable[str], moderated: Iterable[str]) -> str:
    return ", where its moderators are zero or at their reference" if set(terms) & set(moderated) else ""


def _contextual(tables: Tables, effect: Row, sides: dict[str, Row | None], moderated: set[str]) -> _Effect:
    """The two slopes of a predictor and their difference."""
    group, y = effect["group"], outcome(tables, effect["model"])
    rows = {row["term"]: row for row in sides.values() if row is not None}
    corrected = ""
    if effect["corrected"] is not None and _is_clear(effect):
        corrected = (
            f"; {figure(effect['corrected'])} without the sampling error of the means, if these represent a property "
            f"of the {units(group)}"
        )
    sentence = (
        f"In {model_text(effect['model'])}, rows of one {unit(group)} that differ by 1 in "
        f"{term_text(effect['predictor'])} differ by {figure(effect['within'])} in {y}{_tail(sides['within'])}, and "
        f"means of {units(group)} by {figure(effect['between'])}{_tail(sides['between'])}{_where(rows, moderated)}: "
        f"the contextual effect is {figure(effect['estimate'])}{_tail(effect)}{corrected}."
    )
    return _effect(rows, [*rows.values(), effect], sentence)


def _product(tables: Tables, row: Row, moderated: set[str]) -> str:
    """How a slope differs along another variable; of more than two the coefficient of their product."""
    parts = factors(row["term"])
    where = _where([row["term"]], moderated)
    if len(parts) > 2:
        return f"the interaction of {listing(map(term_text, parts))} is {figure(row['estimate'])}{_tail(row)}{where}"
    first, second = sorted(parts, key=lambda part: (not part.startswith("within("), part.endswith("]")))
    side = "higher" if row["estimate"] > 0 else "lower"
    along = f"in {term_text(second)}" if second.endswith("]") else f"for each 1 of {term_text(second)}"
    ends = (row["conf_low"], row["conf_high"])
    if None not in ends:
        # of the difference as it is told, without its sign
        ends = ends if row["estimate"] > 0 else (-row["conf_high"], -row["conf_low"])
    what = f"difference of {term_text(first)} from its reference" if first.endswith("]") else "slope of "
    what += "" if first.endswith("]") else term_text(first)
    size = f"{figure(abs(row['estimate']))}{interval(*ends)}"
    return f"the {what} is {side} by {size} {along}{chance(row['p_value'])}{where}"


def _coefficient(tables: Tables, row: Row, moderated: set[str]) -> str:
    """A coefficient of one variable."""
    term, y = row["term"], outcome(tables, row["model"])
    groups = [
        group for fit in rows_of(tables, "fit_statistics", model=row["model"]) for group in counts(fit["n_groups"])
    ]
    group = groups[0] if len(groups) == 1 else None
    if term.endswith("]"):
        who = f"{term_text(term)} and its reference differ"
    elif group is not None and row["level"] == 2:
        inner = term.removeprefix("between(").removesuffix(")")
        what = term_text(term) if inner == term else f"their means of {term_text(inner)}"
        who = f"{units(group)} that differ by 1 in {what} differ"
    elif group is not None and term.startswith("within(") and term.endswith(")") and "," not in term:
        who = f"rows of one {unit(group)} that differ by 1 in {term_text(term[len('within(') : -1])} differ"
    else:
        who = f"rows that differ by 1 in {term_text(term)} differ"
    return f"{who} by {figure(row['estimate'])} in {y}{_tail(row)}{_where([term], moderated)}"


def _others(model: str | None, effects: Sequence[_Effect], told: Sequence[_Effect]) -> Iterator[str]:
    """One sentence of the coefficients that have none: those that differ from zero, and those that do not."""
    rest = {clear: [one for one in effects if one.is_clear is clear and one not in told] for clear in (True, False)}
    rest[True].sort(key=lambda one: (one.p_value, -one.size, one.terms))
    terms = {clear: [term_text(term) for one in those for term in one.terms] for clear, those in rest.items()}
    parts = []
    if further := terms[True]:
        differ = plural(len(further), "coefficient differs", "coefficients differ")
        parts.append(f"{count(len(further))} further {differ} from zero (p < {ALPHA}): {_names(further)}")
    if null := terms[False]:
        of_all = f"{count(len(null))} coefficients are" if told or further else "no coefficient is"
        verdict = "distinguishable from zero" if of_all.startswith("no") else "not distinguishable from zero"
        one = f"{null[0]} is not distinguishable from zero"
        parts.append(one if len(null) == 1 else f"{of_all} {verdict}: {_names(null)}")
    if parts:
        yield f"In {model_text(model)}, {'; '.join(parts)}."


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return listing([*names[:MOST_NAMES], *([f"{count(more)} more"] if more > 0 else [])])


def _by_evidence(effects: Iterable[_Effect]) -> list[str]:
    """The sentences, the one with the strongest evidence first."""
    return [one.sentence for one in sorted(effects, key=lambda one: (one.p_value, -one.size))]


def _steps(tables: Tables) -> Iterator[_Effect]:
    """Whether slopes that vary fit better than one for all."""
    for row in rows_of(tables, "comparisons"):
        p_value, ratio = row["p_value_mixture"], row["statistic"]
        if p_value is None or ratio is None:
            continue
        pair = model_text(row["model"]), model_text(row["reference_model"])
        fits = f"{pair[0]} fits better than {pair[1]}, which has fewer random effects"
        if p_value >= ALPHA:
            fits = f"{pair[0]} does not fit better than {pair[1]}, which has fewer random effects"
        sentence = f"{fits}: likelihood ratio {figure(ratio)}{chance(p_value)} (of a mixture of χ² distributions)."
        yield _Effect((), p_value, math.sqrt(max(ratio, 0.0)), p_value < ALPHA, sentence)


def _latent(tables: Tables) -> Iterator[_Effect]:
    """What structural models define, such as a contextual effect of latent means."""
    rows = rows_of(tables, "sem_parameters")
    within = {(row["model"], name) for row in rows if row["level"] == 1 for name in (row["lhs"], row["rhs"])}
    between = {(row["model"], row["rhs"]) for row in rows if row["level"] == 2 and row["op"] == "~"}
    # of a model whose predictors between clusters are clusters' own means
    latent = {model for model, _ in within & between}
    for row in rows:
        if row["op"] == ":=" and row["estimate"] is not None:
            means = ", with latent means," if row["model"] in latent else ","
            value = f"“{term_text(row['lhs'])}” is {figure(row['estimate'])}{_tail(row)}"
            yield _effect((row["lhs"],), [row], f"In {model_text(row['model'])}{means} {value}.")
