"""Measure sizes: explained variance, clustering, contextual effects, simple slopes."""
