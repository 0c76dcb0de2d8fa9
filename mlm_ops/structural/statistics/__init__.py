"""Compute the statistics that the likelihoods need, from the moments of the mixed models, without another scan."""
