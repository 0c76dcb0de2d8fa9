"""Read data files of every kind into DuckDB, and say what was assumed about them."""
