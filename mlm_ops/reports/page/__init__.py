"""Lay result tables and pictures out as a page: one self-contained HTML file per analysis."""
