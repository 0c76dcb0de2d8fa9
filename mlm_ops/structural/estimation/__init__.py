"""Search the maximum of a structural model's likelihood, from its starting values to the estimate."""
