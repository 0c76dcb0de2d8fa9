"""Plugins for hosts, one module each: thin, and the only place that imports its host."""
