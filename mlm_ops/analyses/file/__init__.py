"""Read an analysis file and check it; each fault is a plain sentence."""
