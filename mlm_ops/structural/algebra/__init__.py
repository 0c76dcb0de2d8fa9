"""Compute what the parameters of a structural model imply: moments, definitions, equations, identification."""
