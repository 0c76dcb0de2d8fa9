"""Store results in DuckDB: schema ``mlm``, one transaction per run, the history of runs, and the published copy."""
