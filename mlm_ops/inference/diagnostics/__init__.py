"""Find influential units, outliers and residuals that are not as assumed."""
