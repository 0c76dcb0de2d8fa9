"""A Dagster project that is not ours."""
