"""Two-level structural equation models from the moments of the mixed models: lavaan's syntax in, a record out."""
