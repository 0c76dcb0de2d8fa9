"""Give a package names that are imported when first used, so that importing the package waits for none of them."""

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
