"""Import the names of a package when they are first used, so that importing the package itself is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def names_on_use(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's ``__getattr__`` (PEP 562).

    Parameters
    ----------
    package
        The package's ``__name__``.
    modules
        The module of each name.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get
