"""Find intervals of all parameters: Wald, profile likelihood, bootstrap."""
