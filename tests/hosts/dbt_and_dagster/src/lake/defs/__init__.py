"""Where Dagster looks for definitions."""
