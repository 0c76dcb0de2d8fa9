"""What is asked for: formulas, level equations and options become a `Request`. Knows no data."""
