"""Collect the moments of each group of rows in SQL; store, merge and read them back."""
