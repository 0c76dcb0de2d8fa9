"""``mlm init``: write a project that runs around a data file."""
