"""Read the covariance structures of random effects, and the structure of the residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mlm_ops.errors import FormulaError
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.model import (
    INTERCEPT,
    Column,
    Constant,
    Function,
    GroupingFactor,
    Matrix,
    Model,
    RandomBlock,
    Residual,
    Variable,
    group_name,
)
from mlm_ops.language.other_programs import value_here
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import Call, Group, Name, Operation, Syntax, parse_expression

Structure = str | float | Sequence[Sequence[float | str]]
"""A structure's name, the variance of one effect, or T in the order of the block's terms; numbers may be text."""

#: A matrix whose least eigenvalue, the diagonal scaled to one, is below minus this is no covariance matrix.
_TOLERANCE = 1e-10


def with_covariance(model: Model, structures: Mapping[str, Structure]) -> Model:
    """Return the model with covariance structures.

    Parameters
    ----------
    structures
        By a grouping factor's name, for all its blocks, or by one block as the formula writes it, ``"0 + x | school"``,
        which takes precedence over the factor's.

    Raises
    ------
    FormulaError
        A key that is no factor or block of the model, a value that is no covariance matrix, or one matrix for several
        blocks.
    """
    blocks = list(model.random)
    for key in sorted(structures, key=lambda name: "|" in name):
        places = named_blocks(model, key)
        if not places:
            raise unknown_factor(key, [model])
        structure = _name_or_matrix(key, structures[key])
        if not isinstance(structure, str) and len(places) > 1:
            texts = dict.fromkeys(_block_text(model.random[i]) for i in places)
            raise FormulaError(
                f"covariance gives one value for the {len(places)} random blocks of {key}. Name them one by one: "
                f"{', '.join(map(repr, texts))}."
            )
        for i in places:
            blocks[i] = replace(blocks[i], covariance=structure)
    return replace(model, random=tuple(blocks))


def unknown_factor(key: str, models: Sequence[Model]) -> FormulaError:
    """Return the error of a key that names no grouping factor or block of these models."""
    names = dict.fromkeys(name for model in models for group in model.groups for name in _names(model, group))
    return FormulaError(
        f"covariance names a grouping factor that is not there. Got {key!r}; expected one of "
        f"{', '.join(names) or 'none'}."
    )


def check_structures(model: Model) -> None:
    """Refuse covariance structures that do not exist."""
    for block in model.random:
        if isinstance(block.covariance, str) and block.covariance not in STRUCTURES:
            raise _unknown_structure(block.covariance, group_name(block.group))


def _unknown_structure(name: str, of: str) -> FormulaError:
    hint = value_here(name, STRUCTURES) or did_you_mean(name, STRUCTURES)
    return FormulaError(
        f"Unknown covariance structure.{hint} Got {name!r} for {of}; expected one of {', '.join(STRUCTURES)}, a "
        "variance, or a matrix."
    )


def named_blocks(model: Model, key: str) -> list[int]:
    """Return the indices of the random blocks that a key names; none if it names no block."""
    by_group = [i for i, block in enumerate(model.random) if group_name(block.group) == key]
    return by_group or [i for i, block in enumerate(model.random) if "|" in key and _same_block(key, block)]


def _names(model: Model, group: GroupingFactor) -> list[str]:
    """Return the factor's name, and those of its blocks where it has several."""
    blocks = [_block_text(block) for block in model.random if block.group == group]
    return [group_name(group), *(blocks if len(blocks) > 1 else ())]


def _same_block(key: str, block: RandomBlock) -> bool:
    terms_text, _, group = key.strip().removeprefix("(").removesuffix(")").rpartition("|")
    words = {"".join(part.split()) for part in terms_text.split("+")}
    terms = {"".join(term.name.split()) for term in block.terms if term != INTERCEPT}
    intercept = not words & {"0", "-1"}
    return (
        "".join(group.split()) == group_name(block.group)
        and intercept == (INTERCEPT in block.terms)
        and words - {"0", "1", "-1"} == terms
    )


def _block_text(block: RandomBlock) -> str:
    """Write a block as a formula does."""
    names = [term.name for term in block.terms if term != INTERCEPT]
    return f"{' + '.join(['1' if INTERCEPT in block.terms else '0', *names])} | {group_name(block.group)}"


def _name_or_matrix(key: str, value: Structure) -> str | Matrix:
    """Return a structure's name as it is; a number or a matrix as rows of T."""
    try:
        matrix = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        if isinstance(value, str) and value in STRUCTURES:
            return value
        if isinstance(value, str):
            raise _unknown_structure(value, key) from None
        matrix, value_text = np.zeros(0), repr(value)
    else:
        value_text = _numbers(matrix)
    if matrix.ndim == 0:
        matrix = matrix.reshape(1, 1)
    if not _is_covariance(matrix):
        raise FormulaError(
            f"covariance of {key} is a structure's name, one variance, or a symmetric matrix of variances and "
            f"covariances without a negative variance in any direction. Got {value_text}."
        )
    return tuple(tuple(float(element) for element in row) for row in matrix)


def _numbers(matrix: np.ndarray) -> str:
    """Write a number or a matrix for a message."""
    return f"{matrix:g}" if matrix.ndim == 0 else f"[{', '.join(map(_numbers, matrix))}]"


def _is_covariance(matrix: np.ndarray) -> bool:
    """Tell whether a matrix is symmetric and positive semi-definite."""
    if matrix.ndim != 2 or not len(matrix) or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        return False
    variances = np.diag(matrix)
    if (variances < 0).any():
        return False
    scale = np.where(variances > 0, np.sqrt(variances), 1.0)
    correlations = matrix / np.outer(scale, scale)
    return bool(
        np.allclose(correlations, correlations.T, atol=_TOLERANCE)
        and np.linalg.eigvalsh(correlations)[0] >= -_TOLERANCE
    )


_PARTS = ("by", "ar1", "fixed")


def parse_residual(text: str | None, weights: str | None = None) -> Residual:
    """Compile the text of a residual structure, and weights, to a `Residual`.

    Parameters
    ----------
    text
        A sum of ``by(column)``: a variance for each of its values; ``ar1(column)``: autocorrelation within the lowest
        groups over an integer time; ``fixed(column)``: variance proportional to a known column.
    weights
        A column of precision weights: variance proportional to its reciprocal, as lme4 takes them.

    Raises
    ------
    FormulaError
        Unknown or doubled parts, or known variances given in two ways.
    """
    columns: dict[str, str] = {}
    for call in _calls(parse_expression(text), text) if text is not None else ():
        if call.function in columns:
            raise FormulaError(f"The residual structure has {call.function}(…) twice.", text, call.position)
        (column,) = call.arguments
        assert isinstance(column, Name)
        columns[call.function] = column.name
    if weights is not None and "fixed" in columns:
        raise FormulaError(
            f"Known variances are given twice: weights={weights} and fixed({columns['fixed']}); keep one of them.",
            text,
            0,
        )
    precision: Variable | None = Column(weights) if weights is not None else None
    if "fixed" in columns:
        precision = Function("/", (Constant(1.0), Column(columns["fixed"])))
    return Residual(columns.get("by"), columns.get("ar1"), precision)


def _calls(node: Syntax, text: str) -> list[Call]:
    """Return the calls of a sum, in order.

    A loop, not a recursion: the tree of a sum is as deep as the sum is long.
    """
    calls: list[Call] = []
    waiting = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Group):
            waiting.append(part.inner)
        elif isinstance(part, Operation) and part.operator == "+" and part.left is not None:
            waiting += [part.right, part.left]
        else:
            calls.append(_call(part, text))
    return calls


def _call(node: Syntax, text: str) -> Call:
    if isinstance(node, Call) and node.function in _PARTS:
        if len(node.arguments) == 1 and isinstance(node.arguments[0], Name) and not node.options:
            return node
        raise FormulaError(f"{node.function}() takes one column.", text, node.position)
    hint = value_here(node.function, _PARTS) if isinstance(node, Call) else ""
    raise FormulaError(
        f"The residual structure is a sum of by(column), ar1(column) and fixed(column).{hint}", text, node.position
    )
