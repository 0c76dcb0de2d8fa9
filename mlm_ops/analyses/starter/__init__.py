"""Guess a first analysis from a data file, for ``mlm init`` and ``dg scaffold defs``."""
