"""The SemFit that `mlm_ops.sem` returns, its record, and what is drawn up from it."""
