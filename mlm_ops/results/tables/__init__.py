"""Draw up the result tables of a mixed model's fit.

The store and the assets take all columns from `mlm_ops.analyses.store.schema.TABLES`. A new table is its columns and a
function in a file here, a line below and one in that `TABLES`, and one in `FIT_TABLES` of `all_tables` if every fit has
it, or in `ANALYSIS_TABLES`. The functions are imported when first used: a fit that is printed needs none of them, nor
polars, whose import takes as long as the fit of a small file.
"""

from typing import TYPE_CHECKING

from mlm_ops.lazy import names_on_use

if TYPE_CHECKING:
    from mlm_ops.results.tables.all_tables import (
        ANALYSIS_TABLES,
        FIT_TABLES,
        analysis_tables,
        fit_tables,
        table_functions,
    )
    from mlm_ops.results.tables.centered_versions import centering
    from mlm_ops.results.tables.columns import with_model
    from mlm_ops.results.tables.effects import fixed_effects, influence_lists, random_effects, variance_components
    from mlm_ops.results.tables.explained import contextual_effects, icc, r_squared, r_squared_changes, standard_errors
    from mlm_ops.results.tables.findings import diagnostics
    from mlm_ops.results.tables.questions import (
        contrast_test,
        contrasts,
        curves,
        intervals,
        johnson_neyman,
        simple_slopes,
        slopes_in_products,
    )
    from mlm_ops.results.tables.units import decomposition, groups, unit_lines
    from mlm_ops.results.tables.whole_models import comparisons, fit_statistics, models

__all__ = [
    "ANALYSIS_TABLES",
    "FIT_TABLES",
    "analysis_tables",
    "centering",
    "comparisons",
    "contextual_effects",
    "contrast_test",
    "contrasts",
    "curves",
    "decomposition",
    "diagnostics",
    "fit_statistics",
    "fit_tables",
    "fixed_effects",
    "groups",
    "icc",
    "influence_lists",
    "intervals",
    "johnson_neyman",
    "models",
    "r_squared",
    "r_squared_changes",
    "random_effects",
    "simple_slopes",
    "slopes_in_products",
    "standard_errors",
    "table_functions",
    "unit_lines",
    "variance_components",
    "with_model",
]

#: The file here of each name; none is the name of a file.
_LAZY = {
    "ANALYSIS_TABLES": "all_tables",
    "FIT_TABLES": "all_tables",
    "analysis_tables": "all_tables",
    "centering": "centered_versions",
    "comparisons": "whole_models",
    "contextual_effects": "explained",
    "contrast_test": "questions",
    "contrasts": "questions",
    "curves": "questions",
    "decomposition": "units",
    "diagnostics": "findings",
    "fit_statistics": "whole_models",
    "fit_tables": "all_tables",
    "fixed_effects": "effects",
    "groups": "units",
    "icc": "explained",
    "influence_lists": "effects",
    "intervals": "questions",
    "johnson_neyman": "questions",
    "models": "whole_models",
    "r_squared": "explained",
    "r_squared_changes": "explained",
    "random_effects": "effects",
    "simple_slopes": "questions",
    "slopes_in_products": "questions",
    "standard_errors": "explained",
    "table_functions": "all_tables",
    "unit_lines": "units",
    "variance_components": "effects",
    "with_model": "columns",
}
__getattr__ = names_on_use(__name__, {name: f"{__name__}.{file}" for name, file in _LAZY.items()})
