"""Estimate a model from its design: numbers only, arrays in and frozen records out."""
