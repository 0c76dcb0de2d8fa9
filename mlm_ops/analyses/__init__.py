"""Run an analysis file: from its YAML to the results in the store."""
