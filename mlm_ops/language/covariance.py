"""What is said of the random effects' covariance: structures by name, or given values, for each factor or block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import INTERCEPT, GroupingFactor, Matrix, Model, RandomBlock, group_name
from mlm_ops.language.nearest import did_you_mean

Structure = str | float | Sequence[Sequence[float | str]]
"""A structure's name, the variance of one effect, or T in the order of the block's terms; numbers may be text."""

#: Structures that have a name.
STRUCTURES = ("unstructured", "diagonal", "compound", "identity")
#: A matrix whose least eigenvalue, the diagonal scaled to one, is below minus this is no covariance matrix.
_TOLERANCE = 1e-10


def with_covariance(model: Model, structures: Mapping[str, Structure]) -> Model:
    """The same model with covariance structures.

    Parameters
    ----------
    structures
        By a grouping factor's name, for all its blocks, or by one block as the formula writes it, ``"0 + x | school"``,
        which goes before the factor's.

    Raises
    ------
    FormulaError
        A key that is no factor or block of the model, a value that is no covariance matrix, or one matrix for several
        blocks.
    """
    blocks = list(model.random)
    for key in sorted(structures, key=lambda name: "|" in name):
        found = named_blocks(model, key)
        if not found:
            names = [name for group in model.groups for name in _names(model, group)]
            raise FormulaError(
                f"covariance names no grouping factor of the model. Got {key!r}; expected one of "
                f"{', '.join(names) or 'none'}."
            )
        structure = _read(key, structures[key])
        if not isinstance(structure, str) and len(found) > 1:
            texts = dict.fromkeys(_text(model.random[i]) for i in found)
            raise FormulaError(
                f"covariance gives one value for the {len(found)} random blocks of {key}. Name them one by one: "
                f"{', '.join(map(repr, texts))}."
            )
        for i in found:
            blocks[i] = replace(blocks[i], covariance=structure)
    return replace(model, random=tuple(blocks))


def unknown_structure(name: str, of: str) -> FormulaError:
    """What is said of a structure's name that is none."""
    return FormulaError(
        f"Unknown covariance structure.{did_you_mean(name, STRUCTURES)} Got {name!r} for {of}; expected one of "
        f"{', '.join(STRUCTURES)}, a variance, or a matrix."
    )


def named_blocks(model: Model, key: str) -> list[int]:
    """Places of the random blocks that a key names; none if it names nothing."""
    by_group = [i for i, block in enumerate(model.random) if group_name(block.group) == key]
    return by_group or [i for i, block in enumerate(model.random) if "|" in key and _same_block(key, block)]


def _names(model: Model, group: GroupingFactor) -> list[str]:
    """The factor's name, and those of its blocks where it has several."""
    blocks = [_text(block) for block in model.random if block.group == group]
    return [group_name(group), *(blocks if len(blocks) > 1 else ())]


def _same_block(key: str, block: RandomBlock) -> bool:
    left, _, group = key.strip().removeprefix("(").removesuffix(")").rpartition("|")
    said = {"".join(part.split()) for part in left.split("+")}
    terms = {"".join(term.name.split()) for term in block.terms if term != INTERCEPT}
    intercept = not said & {"0", "-1"}
    return (
        "".join(group.split()) == group_name(block.group)
        and intercept == (INTERCEPT in block.terms)
        and said - {"0", "1", "-1"} == terms
    )


def _text(block: RandomBlock) -> str:
    """The block as a formula writes it."""
    names = [term.name for term in block.terms if term != INTERCEPT]
    return f"{' + '.join(['1' if INTERCEPT in block.terms else '0', *names])} | {group_name(block.group)}"


def _read(key: str, value: Structure) -> str | Matrix:
    """A structure's name as it is; a number or a matrix as rows of T."""
    try:
        matrix = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        if value in STRUCTURES:
            return str(value)
        if isinstance(value, str):
            raise unknown_structure(value, key) from None
        matrix = np.zeros(0)
    if matrix.ndim == 0:
        matrix = matrix.reshape(1, 1)
    if not _is_covariance(matrix):
        raise FormulaError(
            f"covariance of {key} is a structure's name, one variance, or a symmetric matrix of variances and "
            f"covariances without a negative variance in any direction. Got {value!r}."
        )
    return tuple(tuple(float(element) for element in row) for row in matrix)


def _is_covariance(matrix: np.ndarray) -> bool:
    """Whether a matrix is symmetric and positive semi-definite."""
    if matrix.ndim != 2 or not len(matrix) or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        return False
    variances = np.diag(matrix)
    if (variances < 0).any():
        return False
    scale = np.where(variances > 0, np.sqrt(variances), 1.0)
    scaled = matrix / np.outer(scale, scale)
    return bool(np.allclose(scaled, scaled.T, atol=_TOLERANCE) and np.linalg.eigvalsh(scaled)[0] >= -_TOLERANCE)
