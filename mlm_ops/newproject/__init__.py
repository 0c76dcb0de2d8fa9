"""``mlm init``: a working project around a table that someone has."""

from mlm_ops.newproject.create import create_project

__all__ = ["create_project"]
