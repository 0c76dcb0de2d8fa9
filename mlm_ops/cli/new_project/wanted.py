"""What ``mlm init`` was asked for and found out."""

from __future__ import annotations

from dataclasses import dataclass

from mlm_ops.analyses.starter.guess import Guess


@dataclass(frozen=True)
class Wanted:
    """What a project is made around.

    Attributes
    ----------
    name
        Of the analysis, the package and the table: a plain word.
    path
        The data file, from the project's folder.
    table
        Of a DuckDB file, quoted; None for other files.
    guess
        What its columns are for.
    """

    name: str
    path: str
    table: str | None
    guess: Guess
