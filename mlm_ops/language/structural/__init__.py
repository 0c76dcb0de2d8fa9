"""Two-level structural equation models as asked for: lavaan's syntax, the parameter table, ready models."""
