"""Open databases and data files, quote names and values in SQL, and check what an analysis file may read."""
