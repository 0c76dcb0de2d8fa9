"""The ``mlm`` command."""
