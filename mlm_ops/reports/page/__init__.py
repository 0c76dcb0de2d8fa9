"""Lay result tables and pictures out as a page: one HTML file an analysis, that needs nothing beside it."""
