"""The shipped code location: real analyses that run out of the box."""
