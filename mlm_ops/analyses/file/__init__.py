"""Read an analysis file, and say in plain sentences what is wrong with it."""
