"""Model -> formula: the text that compiles to the model again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlm_ops.language.model import Column, GroupingFactor, Model, Term, Variable, label

Naming = Callable[[Variable], str]


def group_text(group: GroupingFactor) -> str:
    """``school:class``, unusual names in backticks."""
    return ":".join(label(Column(column)) for column in group)


def formula_text(model: Model, name: Naming = label, group: Callable[[GroupingFactor], str] = group_text) -> str:
    """Write a model as a formula, every intercept said.

    Parameters
    ----------
    name, group
        How variables and grouping factors are written; by default as the language names them.
    """
    random = [f"({sum_of_terms(block.terms, name)} | {group(block.group)})" for block in model.random]
    return f"{name(model.outcome)} ~ {' + '.join([sum_of_terms(model.fixed, name), *random])}"


def sum_of_terms(terms: Sequence[Term], name: Naming = label) -> str:
    """Terms with ``1`` or ``0`` for the intercept, in an order from which the variables of each product keep theirs."""
    if not _in_order(terms):
        # products first: the first mention of a variable decides where it stands in every product
        terms = sorted(terms, key=lambda term: -len(term.variables))
    products = [":".join(map(name, term.variables)) for term in terms if term.variables]
    return " + ".join(["1" if Term() in terms else "0", *products])


def _in_order(terms: Sequence[Term]) -> bool:
    appearance = {v: i for i, v in enumerate(dict.fromkeys(v for term in terms for v in term.variables))}
    places = [[appearance[v] for v in term.variables] for term in terms]
    return all(place == sorted(place) for place in places)
