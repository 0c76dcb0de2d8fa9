"""Run an analysis file: from its YAML to stored results."""
