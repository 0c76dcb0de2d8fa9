"""Leave groups below ``min_publish_n`` out of everything that is published, by one rule per table.

An estimate of a group of few people tells of those people, and so does whatever it can be worked out from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.language.columns import expand
from mlm_ops.language.model import INTERCEPT, Column, Term, columns_of, group_name, label
from mlm_ops.moments.small_groups import HiddenUnits, few_in_units, few_variables, hidden_units, why_withheld
from mlm_ops.results.tables.columns import REAL
from mlm_ops.results.tables.whole_models import T_COLUMNS

if TYPE_CHECKING:
    from mlm_ops.language.model import GroupingFactor, Model
    from mlm_ops.moments.record import Moments

#: Random effects of a factor with units that are left out are published in steps of this share of their errors: sums
#: over all the others are then too coarse to tell the equations of two models apart.
STEP = 0.1
#: Why a model without groups is not published.
WHY_WITHOUT_GROUPS = "beside a model with groups it would reveal the mean of the small ones"
#: Findings about all random effects of a factor, which tell sums of powers of each.
_OF_ALL_EFFECTS = ("normality",)
_OF_ONE_UNIT = ("influence", "outlier")


@dataclass(frozen=True)
class PrivacyFacts:
    """What the rules need to know.

    Attributes
    ----------
    least
        Rows that whatever is published needs.
    has_few_rows
        Whether there are fewer altogether.
    withheld
        Models that are not published, and why.
    hidden
        Units that are in no table, by the name of their grouping factor.
    groups
        Names of all grouping factors whose small units are known.
    few_variables
        Numbers that are not told of, as few rows have one of their two values.
    few_in_units
        By grouping factor, columns of which that holds in single units.
    few_in_slopes
        By model, columns of which that holds in a unit over which their slopes vary: with the group's mean the unit's
        effects are then equations that tell the outcome of these rows.
    columns
        Columns that a term is made of, by its name.
    """

    least: int
    has_few_rows: bool
    withheld: Mapping[str, str]
    hidden: Mapping[str, HiddenUnits]
    groups: frozenset[str]
    few_variables: frozenset[str]
    few_in_units: Mapping[str, frozenset[str]]
    few_in_slopes: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, frozenset[str]]

    def slopes_note(self, model: str) -> str | None:
        """The note on a model whose slopes depend on few rows in some unit."""
        if model not in self.few_in_slopes:
            return None
        return (
            "min_publish_n: effects and lines of single groups are in no table, because slopes of "
            f"{', '.join(self.few_in_slopes[model])} rest on fewer than {self.least} rows in some of them"
        )

    def reader_note(self, group: str) -> str:
        """The note on a grouping factor."""
        hidden = self.hidden[group]
        more = len(hidden.units) - hidden.small
        beside = (
            f"; with them {more} more are in no table, so that none can be worked out from the rest" if more else ""
        )
        return (
            f"min_publish_n: {hidden.small} of {hidden.total} groups of {group} have fewer than {self.least} rows and "
            f"are not named in any published table{beside}"
        )


def publishable(
    tables: Mapping[str, pl.DataFrame],
    least: int,
    models: Mapping[str, Model],
    moments: Moments,
    group_sizes: Collection[float] = (),
) -> dict[str, pl.DataFrame]:
    """The tables without what they tell of groups of fewer rows than the least, ``min_publish_n``.

    Parameters
    ----------
    tables
        Result tables of an analysis, by name, each with the column ``model``, null where a row is of no model alone.
    models
        Every mixed model of the analysis, those of its ladder too, by name.
    group_sizes
        Rows of each group that has parameters of its own, which tell of them.
    """
    if least <= 1:
        return dict(tables)
    if any(size < least for size in group_sizes):
        return {name: frame.clear() for name, frame in tables.items()}
    facts = privacy_facts(least, models, moments)
    return {name: RULES[name](frame, facts) if frame.height else frame for name, frame in tables.items()}


def privacy_facts(least: int, models: Mapping[str, Model], moments: Moments) -> PrivacyFacts:
    """What must not be published about an analysis."""
    reasons = {name: why_withheld(model, moments, least) for name, model in models.items()}
    groups: list[GroupingFactor] = [group for model in models.values() for group in model.groups]
    hidden = hidden_units(moments, groups, least)
    if hidden:
        # a mean of all rows beside one that weights groups otherwise tells the sum of the groups that are small
        reasons |= {name: reasons[name] or WHY_WITHOUT_GROUPS for name, model in models.items() if not model.groups}
    none: frozenset[str] = frozenset()
    few = {
        group_name(group): few_in_units(moments, group, least, hidden[group].units if group in hidden else none)
        for group in dict.fromkeys(groups)
    }
    return PrivacyFacts(
        least=least,
        has_few_rows=moments.n_obs < least,
        withheld={name: reason for name, reason in reasons.items() if reason is not None},
        hidden={group_name(group): units for group, units in hidden.items()},
        groups=frozenset(map(group_name, groups)),
        few_variables=few_variables(models.values(), moments, least),
        few_in_units=few,
        few_in_slopes={name: columns for name, model in models.items() if (columns := _few_in_slopes(model, few))},
        columns=_columns_of_terms(models.values(), moments),
    )


def _few_in_slopes(model: Model, few: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The columns of a model's random slopes that have few rows of one of two values in a unit of their factor."""
    slopes = ((v, group_name(block.group)) for block in model.random for term in block.terms for v in term.variables)
    return tuple(dict.fromkeys(column for v, group in slopes for column in columns_of(v) if column in few[group]))


def _columns_of_terms(models: Iterable[Model], moments: Moments) -> dict[str, frozenset[str]]:
    """The columns behind the name of each term that units may have a line along, in every coding of a factor."""
    schema, columns = moments.schema, dict[str, frozenset[str]]()
    for variable in {v for model in models for v in model.predictors}:
        term = Term((variable,))
        for terms in ((term,), (INTERCEPT, term)):
            for column in expand(terms, schema.levels, schema.text_columns):
                columns[column.name] = frozenset(c for v in column.variables for c in columns_of(v))
    return columns


SuppressionRule = Callable[[pl.DataFrame, PrivacyFacts], pl.DataFrame]


def _whole_models(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Numbers about all rows together, of models that are published; beside another model, of both."""
    whole = ~pl.col("model").is_in(list(facts.withheld))
    if "reference_model" in frame.columns:
        whole &= ~pl.col("reference_model").is_in(list(facts.withheld)).fill_null(value=False)
    return frame.filter(whole)


def _of_all_rows(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Numbers of variables, of no model in particular: none where a variable counts few rows, or there are few."""
    return frame.clear() if facts.has_few_rows else frame.filter(~pl.col("variable").is_in(list(facts.few_variables)))


def _decomposition(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """No mean of all rows where units are left out, for the reason that models without groups are withheld."""
    rows = _of_all_rows(frame, facts)
    return rows.with_columns(mean=pl.lit(None, REAL)) if facts.hidden else rows


def _groups(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Means of units that are published; coarse where there are others, as `_random_effects` are.

    A variable with two values is left out for a factor where it counts few rows of any unit.
    """
    rows = _without(_of_all_rows(frame, facts), facts).filter(pl.col("group").is_in(list(facts.groups)))
    rows = _without_pairs(
        rows, "variable", [(group, label(Column(c))) for group, columns in facts.few_in_units.items() for c in columns]
    )
    error, is_coarse = pl.col("std_dev") / pl.col("n").sqrt(), pl.col("group").is_in(list(facts.hidden))
    return rows.with_columns(
        mean=_in_steps("mean", error, is_coarse),
        std_dev=_in_steps("std_dev", pl.col("std_dev") / (2 * (pl.col("n") - 1)).sqrt(), is_coarse),
    )


def _unit_lines(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Lines of units that are published; coarse where there are others.

    The steps are a share of how much units' own lines differ, which is more than the errors of either line. Where a
    term with two values has few rows of one in some unit, least squares and the term's spread would tell of these.
    """
    rows = _without(_whole_models(frame, facts), facts)
    is_of_few_rows = pl.lit(value=False)
    for group, columns in facts.few_in_units.items():
        terms = [term for term, of_term in facts.columns.items() if of_term & columns]
        is_of_few_rows |= (pl.col("group") == group) & pl.col("term").is_in(terms)
    is_coarse = pl.col("group").is_in(list(facts.hidden))
    half, middle = (pl.col("x_high") - pl.col("x_low")) / 2, (pl.col("x_high") + pl.col("x_low")) / 2
    rows = rows.with_columns(half=half, middle=middle)
    error = pl.col("half") / pl.col("n").sqrt()
    rows = rows.with_columns(middle=_in_steps("middle", error, is_coarse), half=_in_steps("half", error, is_coarse))
    lines: dict[str, pl.Expr] = {}
    for name in ("intercept", "slope"):
        spread = pl.coalesce(pl.col(column).std().over("model", "term") for column in (f"own_{name}", name))
        lines |= {column: _in_steps(column, spread, is_coarse) for column in (name, f"own_{name}")}
    rows = rows.with_columns(x_low=pl.col("middle") - pl.col("half"), x_high=pl.col("middle") + pl.col("half"), **lines)
    names = ("x_low", "x_high", "own_intercept", "own_slope")
    return rows.drop("half", "middle").with_columns(
        pl.when(~is_of_few_rows).then(pl.col(name)).alias(name) for name in names
    )


def _in_steps(name: str, error: pl.Expr, is_coarse: pl.Expr) -> pl.Expr:
    """A column where `is_coarse` in steps of a share of its error; as it is where there is no error."""
    step = STEP * error
    return pl.when(is_coarse & (step > 0)).then((pl.col(name) / step).round() * step).otherwise(pl.col(name))


def _random_effects(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    rows = _without(_whole_models(frame, facts), facts)
    estimate = _in_steps("estimate", pl.col("std_error"), pl.col("group").is_in(list(facts.hidden)))
    margin = NORMAL_975 * pl.col("std_error")
    return rows.with_columns(estimate.alias("estimate")).with_columns(
        conf_low=pl.col("estimate") - margin, conf_high=pl.col("estimate") + margin
    )


def _diagnostics(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    rows = _without(_whole_models(frame, facts), facts)
    kind, least = pl.col("diagnostic"), facts.least
    # what is worked out from the distribution's end is a number of few rows
    # rounded, as 1 - 0.9 is less than 0.1
    beyond = (pl.min_horizontal(pl.col("value"), 1 - pl.col("value")) * pl.col("n")).round(6)
    rows = rows.filter((kind != "largest_residual") & ((kind != "residual_quantile") | (beyond >= least)))
    # bins of a predictor add up to all rows, so that of one too small the others tell
    size = pl.col("n").min().over("model", "diagnostic", "term")
    rows = rows.filter((kind != "binned_residual") | (size >= least))
    is_coarse = pl.col("group").is_in(list(facts.hidden))
    numbers = [name for name, type_ in frame.schema.items() if type_ == REAL]
    of_all = is_coarse & kind.is_in(_OF_ALL_EFFECTS)
    of_one = is_coarse & kind.is_in(_OF_ONE_UNIT)
    movement = pl.format("the coefficient moves by {} standard errors", pl.col("statistic").round_sig_figs(2))
    notes = (
        pl.when(of_all)
        .then(pl.lit("numbers of all groups are left out, as small ones are among them"))
        .when(of_one & (kind == "influence") & pl.col("statistic").is_not_null())
        .then(movement)
    )
    coarse = [
        pl.when(of_all).then(None).when(of_one).then(pl.col(c).round_sig_figs(2)).otherwise(pl.col(c)).alias(c)
        for c in numbers
    ]
    return rows.with_columns(notes.otherwise(pl.col("note")).alias("note"), *coarse)


def _without(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """The rows of units that are published, and those of no unit; no units of models whose slopes are of few rows."""
    is_of_few = pl.col("model").is_in(list(facts.few_in_slopes)).fill_null(value=False)
    rows = frame.filter(pl.col("unit").is_null() | ~is_of_few)
    pairs = [(group, unit) for group, hidden in facts.hidden.items() for unit in hidden.units]
    return _without_pairs(rows, "unit", pairs)


def _without_pairs(frame: pl.DataFrame, name: str, pairs: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """The rows without those of these groups and values of a column."""
    table = pl.DataFrame(pairs, schema={"group": pl.String(), name: pl.String()}, orient="row")
    return frame.join(table, on=["group", name], how="anti", maintain_order="left")


def _standard_errors(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """No least squares beside a model of groups, for the reason that models without groups are withheld."""
    rows = _whole_models(frame, facts)
    if not facts.hidden:
        return rows
    least_squares = ["naive_estimate", "naive_std_error", "robust_std_error", "std_error_ratio"]
    return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in least_squares)


def _fit_statistics(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """That a model was fitted, to how many rows and groups and whether the search ended, is no number of few rows."""
    numbers = [name for name, kind in frame.schema.items() if kind == REAL]
    return _blank(frame, facts.withheld, [*numbers, *T_COLUMNS])


def _structural(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Structural models are of all rows; one may be named as a mixed model is."""
    return frame.clear() if facts.has_few_rows else frame


def _nothing(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Scores of many variables of one cluster together tell more than the rules of one random effect allow for."""
    return frame.clear()


def _ladder_steps(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Which term was tried and whether it was taken; no numbers of a step to or from a model that is withheld."""
    numbers = [*(name for name, kind in frame.schema.items() if kind == REAL), *T_COLUMNS]
    is_to = pl.col("model").is_in(list(facts.withheld))
    either = is_to | pl.col("reference_model").is_in(list(facts.withheld)).fill_null(value=False)
    return frame.with_columns(pl.when(either).then(None).otherwise(pl.col(n)).alias(n) for n in numbers)


def _models(frame: pl.DataFrame, facts: PrivacyFacts) -> pl.DataFrame:
    """Every model as the file states it, and what was left out of the tables; nothing that comes from its data."""
    derived = [name for name in frame.columns if name not in {"model", "position", "formula", "estimator", "notes"}]
    blank = _blank(frame, facts.withheld, [*derived, "notes"])
    remarks = [facts.reader_note(group) for group in facts.hidden]
    notes = [
        f"min_publish_n: the results of this model are not published, because {facts.withheld[name]}"
        if name in facts.withheld
        else "; ".join(filter(None, (*remarks, facts.slopes_note(name)))) or None
        for name in frame["model"]
    ]
    notes_of_fit, notes_of_rules = pl.col("notes").replace("", None), pl.Series("notes_of_rules", notes, pl.String())
    return blank.with_columns(
        pl.concat_str(notes_of_fit, notes_of_rules, separator="\n", ignore_nulls=True).replace("", None)
    )


def _blank(frame: pl.DataFrame, models: Collection[str], columns: Collection[str]) -> pl.DataFrame:
    is_withheld = pl.col("model").is_in(list(models))
    return frame.with_columns(pl.when(is_withheld).then(None).otherwise(pl.col(name)).alias(name) for name in columns)


#: What is published of each table; a table without a rule is not published.
RULES: dict[str, SuppressionRule] = {
    "fixed_effects": _whole_models,
    "variance_components": _whole_models,
    "random_effects": _random_effects,
    "unit_lines": _unit_lines,
    "fit_statistics": _fit_statistics,
    "comparisons": _whole_models,
    "r_squared": _whole_models,
    "groups": _groups,
    "decomposition": _decomposition,
    "icc": _whole_models,
    "standard_errors": _standard_errors,
    "contextual_effects": _whole_models,
    "simple_slopes": _whole_models,
    "johnson_neyman": _whole_models,
    "curves": _whole_models,
    "contrasts": _whole_models,
    "centering": _whole_models,
    "ladder_steps": _ladder_steps,
    "diagnostics": _diagnostics,
    "sem_parameters": _structural,
    "sem_variables": _structural,
    "sem_fit": _structural,
    "sem_invariance": _structural,
    "sem_scores": _nothing,
    "sem_score_tests": _structural,
    "drift": _whole_models,
    # stays in the warehouse: of single groups, for the comparison of runs alone
    "influence_lists": _whole_models,
    "models": _models,
}
