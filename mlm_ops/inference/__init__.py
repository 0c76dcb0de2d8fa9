"""Tests, intervals and predictions of random effects, from an Estimate."""
