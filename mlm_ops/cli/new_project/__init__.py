"""Write a new project around a data file, for ``mlm init``."""
