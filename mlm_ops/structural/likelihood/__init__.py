"""The likelihoods of two-level structural models: deviance, derivatives, and the scores of clusters."""
