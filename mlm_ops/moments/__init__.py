"""Collect per-group moments of the rows in SQL, keep them, merge them, read them back."""
