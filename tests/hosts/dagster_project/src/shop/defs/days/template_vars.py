"""What the YAML of this folder may name."""

import dagster as dg


@dg.template_var
def whichever_day() -> dg.AutomationCondition:
    """Refresh after every day that comes or is corrected; moments that accumulate need no day in particular."""
    eager = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())
    return eager.without(dg.AutomationCondition.in_latest_time_window())
