"""Express the columns of a model in moments: the design that the engine takes."""
