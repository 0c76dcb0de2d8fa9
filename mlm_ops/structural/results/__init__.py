"""The SemFit that `mlm_ops.sem` returns, its record, and the tables and texts made from it."""
