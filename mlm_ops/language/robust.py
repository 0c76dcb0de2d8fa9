"""What is asked of robust errors: which correction, over which clusters."""

from __future__ import annotations

from typing import get_args

from mlm_ops.errors import MlmError
from mlm_ops.language.model import GroupingFactor
from mlm_ops.language.options import Robust

__all__ = ["Robust", "check_robust", "cluster_columns"]


def cluster_columns(cluster: str | None) -> GroupingFactor:
    """``school``, or ``district:school`` for clusters that two columns name together; none for None."""
    return tuple(name.strip() for name in cluster.split(":")) if cluster is not None else ()


def check_robust(robust: str | None, cluster: str | None, df: str, *, multilevel: bool) -> None:
    """Refuse what does not exist or does not go together.

    Parameters
    ----------
    multilevel
        Whether a grouping factor can stand in for a cluster that is not named.
    """
    if robust is None:
        if cluster is not None:
            raise MlmError(f"A cluster is for robust errors. Got cluster {cluster!r} without robust; add robust 'CR2'.")
        return
    if robust not in get_args(Robust):
        raise MlmError(f"Unknown robust. Got {robust!r}; expected one of {', '.join(get_args(Robust))}.")
    if df == "kenward-roger":
        raise MlmError(
            f"Kenward-Roger's errors and robust errors exclude each other. Got df {df!r} and robust {robust!r}; "
            "drop one of them."
        )
    if cluster is None and not multilevel:
        raise MlmError(
            f"Robust errors of single-level regression need clusters. Got robust {robust!r} and no cluster; name the "
            "column that holds them as cluster."
        )
    if not all(cluster_columns(cluster)):
        raise MlmError(f"A cluster is a column, or columns joined by a colon. Got {cluster!r}; name the column.")
