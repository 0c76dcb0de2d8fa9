"""A Dagster project with a dbt project in it, both not ours."""
