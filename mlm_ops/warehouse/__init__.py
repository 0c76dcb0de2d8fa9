"""Open databases and files, and quote what goes into SQL."""
