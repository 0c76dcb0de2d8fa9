"""Say what table ``runs`` has of a run beside its id and times: the analysis, its rows, and versions."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlm_ops.language.options import RANDOM_SEED

if TYPE_CHECKING:
    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.moments.record import Moments


def run_facts(analysis: Analysis, moments: Moments | None) -> dict[str, Any]:
    """Return the columns of ``runs`` other than the ids and times; without moments, those of a run that had no rows.

    The analysis is written as JSON with the keys of its file, so that comments and layout do not change its hash.
    """
    text = analysis.model_dump_json(exclude_defaults=True)
    versions = {"python": platform.python_version(), **{name: _version(name) for name in ("duckdb", "numpy", "scipy")}}
    return {
        "data": analysis.data,
        "engine_version": _version("mlm-ops"),
        "analysis_text": text,
        "analysis_hash": hashlib.sha256(text.encode()).hexdigest()[:16],
        "versions": json.dumps(versions),
        "seed": RANDOM_SEED,
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
    # a run may record a thousand fits, and each look-up reads a file
    return version(package)
