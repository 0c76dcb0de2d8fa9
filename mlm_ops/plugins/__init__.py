"""Connect to hosts (DuckDB's SQL, dbt, polars, Dagster), one module each: the only place that imports its host."""
