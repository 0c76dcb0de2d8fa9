"""Say what pictures of result tables show: ``PICTURES`` has each by its key.

A picture is a function of tables and a selection (`rows.Draft`) that yields the pictures which these tables have: none
where its tables are missing or empty, several where there are several terms or grouping factors. A new one is its file
here and its line below.
"""

from __future__ import annotations

from mlm_ops.reports.pictures.binned import binned
from mlm_ops.reports.pictures.by_partition import by_partition
from mlm_ops.reports.pictures.caterpillar import caterpillar
from mlm_ops.reports.pictures.centering import centering
from mlm_ops.reports.pictures.decomposition import decomposition
from mlm_ops.reports.pictures.forest import forest
from mlm_ops.reports.pictures.group_sizes import group_sizes
from mlm_ops.reports.pictures.history import history
from mlm_ops.reports.pictures.influence import influence
from mlm_ops.reports.pictures.johnson_neyman import johnson_neyman
from mlm_ops.reports.pictures.ladder_steps import ladder_steps
from mlm_ops.reports.pictures.model_comparison import model_comparison
from mlm_ops.reports.pictures.path_diagram import path
from mlm_ops.reports.pictures.quantiles import qq_rows, qq_units
from mlm_ops.reports.pictures.rows import Draft
from mlm_ops.reports.pictures.shrinkage import shrinkage
from mlm_ops.reports.pictures.simple_slopes import simple_slopes
from mlm_ops.reports.pictures.standard_errors import standard_errors
from mlm_ops.reports.pictures.t_matrix import t_matrix
from mlm_ops.reports.pictures.two_slopes import two_slopes
from mlm_ops.reports.pictures.unit_lines import unit_lines
from mlm_ops.reports.pictures.variance import variance

#: Every picture by its key, in the order of a report.
PICTURES: dict[str, Draft] = {
    "group_sizes": group_sizes,
    "decomposition": decomposition,
    "centering": centering,
    "standard_errors": standard_errors,
    "variance": variance,
    "steps": model_comparison,
    "ladder_steps": ladder_steps,
    "forest": forest,
    "two_slopes": two_slopes,
    "simple_slopes": simple_slopes,
    "johnson_neyman": johnson_neyman,
    "unit_lines": unit_lines,
    "shrinkage": shrinkage,
    "caterpillar": caterpillar,
    "t_matrix": t_matrix,
    "qq_rows": qq_rows,
    "qq_units": qq_units,
    "binned": binned,
    "influence": influence,
    "path": path,
    "history": history,
    "keys": by_partition,
}
