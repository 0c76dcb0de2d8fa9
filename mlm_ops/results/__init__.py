"""The `Fit` that a user gets, and what is written from it: tables, equations, scripts, text."""
