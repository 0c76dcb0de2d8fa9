"""Predict the outcome for rows, in Python and in SQL."""
