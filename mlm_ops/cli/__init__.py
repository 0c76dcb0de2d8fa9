"""Run the ``mlm`` command."""
