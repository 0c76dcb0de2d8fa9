"""What is asked for: formulas, level equations and analysis files become a `Model`. Knows no data."""
