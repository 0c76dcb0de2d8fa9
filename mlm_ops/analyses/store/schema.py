"""List every stored table and its columns."""

from __future__ import annotations

import polars as pl

from mlm_ops.analyses.drift import DRIFT
from mlm_ops.analyses.ladder import LADDER_STEPS
from mlm_ops.analyses.store.version import VIEWS_OF_LISTS
from mlm_ops.results.tables.centered_versions import CENTERING
from mlm_ops.results.tables.columns import COUNT, KEYS, TEXT, ColumnTypes
from mlm_ops.results.tables.effects import (
    FIXED_EFFECTS,
    INFLUENCE,
    INFLUENCE_LISTS,
    RANDOM_EFFECTS,
    VARIANCE_COMPONENTS,
)
from mlm_ops.results.tables.explained import (
    CONTEXTUAL_EFFECTS,
    ICC,
    R_SQUARED,
    STANDARD_ERRORS,
)
from mlm_ops.results.tables.findings import DIAGNOSTICS
from mlm_ops.results.tables.questions import (
    CONTRASTS,
    CURVES,
    JOHNSON_NEYMAN,
    SIMPLE_SLOPES,
)
from mlm_ops.results.tables.units import DECOMPOSITION, GROUPS, UNIT_LINES
from mlm_ops.results.tables.whole_models import COMPARISONS, FIT_STATISTICS, MODELS
from mlm_ops.structural.table_columns import (
    SEM_FIT,
    SEM_INVARIANCE,
    SEM_PARAMETERS,
    SEM_SCORE_TESTS,
    SEM_SCORES,
    SEM_VARIABLES,
)

#: All stored tables except ``runs``.
TABLES: dict[str, ColumnTypes] = {
    "fixed_effects": FIXED_EFFECTS,
    "variance_components": VARIANCE_COMPONENTS,
    "random_effects": RANDOM_EFFECTS,
    "unit_lines": UNIT_LINES,
    "fit_statistics": FIT_STATISTICS,
    "comparisons": COMPARISONS,
    "r_squared": R_SQUARED,
    "groups": GROUPS,
    "decomposition": DECOMPOSITION,
    "icc": ICC,
    "standard_errors": STANDARD_ERRORS,
    "contextual_effects": CONTEXTUAL_EFFECTS,
    "simple_slopes": SIMPLE_SLOPES,
    "johnson_neyman": JOHNSON_NEYMAN,
    "curves": CURVES,
    "contrasts": CONTRASTS,
    "centering": CENTERING,
    "ladder_steps": LADDER_STEPS,
    "diagnostics": DIAGNOSTICS,
    "sem_parameters": SEM_PARAMETERS,
    "sem_variables": SEM_VARIABLES,
    "sem_fit": SEM_FIT,
    "sem_invariance": SEM_INVARIANCE,
    "sem_scores": SEM_SCORES,
    "sem_score_tests": SEM_SCORE_TESTS,
    "drift": DRIFT,
    "influence_lists": INFLUENCE_LISTS,
    "models": MODELS,
}

#: Columns by their new names, and what an earlier mlm-ops called them. Both are written for one version more, so that
#: a query of the old name goes on; `at` is a reserved word of DuckDB 2.0.
RENAMED: dict[str, dict[str, str]] = {"simple_slopes": {"setting": "at"}, "diagnostics": {"value": "at"}}

#: Columns by which the rows of a run are put in order before they are stored: what several models have alike, such as
#: the own line of a unit, then stands together, and DuckDB keeps it once.
ORDER: dict[str, tuple[str, ...]] = {"unit_lines": ("group", "unit", "term")}

#: The columns of table ``runs``, which has one row per run and analysis.
RUNS: ColumnTypes = {
    "run_id": TEXT,
    "analysis": TEXT,
    "started_at": pl.Datetime("us", "UTC"),
    "finished_at": pl.Datetime("us", "UTC"),
    "data": TEXT,
    "n_rows": COUNT,
    "n_obs": COUNT,
    "n_dropped": TEXT,
    "moments_checksum": TEXT,
    "engine_version": TEXT,
    "status": TEXT,
    "analysis_text": TEXT,
    "analysis_hash": TEXT,
    "versions": TEXT,
    "seed": COUNT,
    "host_time": TEXT,
    "sequence": COUNT,
}

#: All stored tables with all their columns.
RESULT_TABLES: dict[str, ColumnTypes] = {"runs": RUNS} | {name: KEYS | columns for name, columns in TABLES.items()}

#: The stored tables and the views of lists.
TABLES_AND_VIEWS: dict[str, ColumnTypes] = RESULT_TABLES | {"influence": KEYS | INFLUENCE}

#: What people read: tables, and the views of lists in the place of the lists.
READABLE: dict[str, ColumnTypes] = {
    name: TABLES_AND_VIEWS[name] for name in (VIEWS_OF_LISTS.get(table, table) for table in RESULT_TABLES)
}
