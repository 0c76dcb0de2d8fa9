"""Judge a structural fit: measures of fit, tests of restrictions, comparisons, and the clusters' scores."""
