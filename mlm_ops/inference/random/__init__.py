"""Standard errors of variances, and empirical Bayes estimates of random effects."""
