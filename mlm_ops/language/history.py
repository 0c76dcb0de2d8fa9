"""What an analysis file says under ``history``: which runs are kept, and when a change between runs is drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

#: Runs or days: with a run a day this is more than a human life, twice.
MOST = 100_000


@dataclass(frozen=True)
class History:
    """Retention and drift of one analysis.

    Attributes
    ----------
    keep_runs, keep_days
        How many runs are kept, and for how long; None for ever. The latest finished run and the baseline stay.
    baseline
        The run that each is compared with beside the one before: ``"first"``, the earliest that is kept, or a run's id.
    alpha
        A difference is drift when its p value, adjusted by Holm within one comparison of a model, is below this.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    keep_runs: int | None = None
    keep_days: int | None = None
    baseline: str = "first"
    alpha: float = 0.001

    def __post_init__(self) -> None:
        for name in ("keep_runs", "keep_days"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= MOST:
                raise ValueError(f"history.{name}: got {value}; expected 1 to {MOST:,}; leave it out to keep all")
        if not self.baseline:
            raise ValueError("history.baseline: got nothing; expected first, or a run's id")
        if not 0.0 < self.alpha < 1.0:
            raise ValueError(f"history.alpha: got {self.alpha}; expected a probability between 0 and 1")
