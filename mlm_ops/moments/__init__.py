"""What was seen: per-unit moments of the rows, collected in SQL, and the design of a model in terms of them."""
