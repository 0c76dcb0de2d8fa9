"""What a run came from: its data, its analysis, and the versions, seed and clock that it was fitted with."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlm_ops.language.analysis import Analysis
    from mlm_ops.moments.moments import Moments

#: Where a fit draws random numbers (starts of structural models, intervals of what they define), they begin here.
SEED = 0


def run_facts(analysis: Analysis, moments: Moments | None) -> dict[str, Any]:
    """What the store records of a run beside its times; without moments, of one that found no rows.

    The analysis is written as JSON with the keys that the file has, so that comments and layout do not change its hash.
    """
    text = analysis.model_dump_json(exclude_defaults=True)
    versions = {"python": platform.python_version(), **{name: _version(name) for name in ("duckdb", "numpy", "scipy")}}
    return {
        "data": analysis.data,
        "engine_version": _version("mlm-ops"),
        "analysis_text": text,
        "analysis_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "versions": json.dumps(versions),
        "seed": SEED,
        "host_time": datetime.now().astimezone().isoformat(timespec="seconds"),
        **_sample(moments),
    }


def _sample(moments: Moments | None) -> dict[str, Any]:
    if moments is None:
        return {"n_rows": 0, "n_obs": 0, "n_dropped": "{}", "moments_checksum": ""}
    return {
        "n_rows": moments.n_rows,
        "n_obs": moments.n_obs,
        "n_dropped": json.dumps({name: count for name, count in moments.n_dropped.items() if count}),
        "moments_checksum": moments.checksum,
    }


@cache
def _version(package: str) -> str:
    # a run may record a thousand fits, and metadata are read from a file
    return version(package)
