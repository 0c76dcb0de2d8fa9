"""What the likelihoods need of the data, computed from the moments of the mixed models without another scan."""
