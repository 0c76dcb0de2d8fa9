"""Tests, intervals, comparisons, effect sizes, diagnostics and predictions, from an `Estimate`."""
