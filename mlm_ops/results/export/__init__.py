"""Write a model for other programs: lme4, Mplus, level equations."""
