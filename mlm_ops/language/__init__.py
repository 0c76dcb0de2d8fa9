"""Read formulas, level equations and options into a `Request`, without looking at any data."""
