"""Read Mplus input files of two-level models."""
