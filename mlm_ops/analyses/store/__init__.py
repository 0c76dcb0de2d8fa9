"""Keep results in DuckDB: schema ``mlm``, one transaction a run, history, the published copy."""
