"""Commands and paths as a message shows them: to be copied and pasted."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*words: str, **options: object) -> str:
    """A command to copy and paste; options that are None or False are left out, True is the bare option."""
    parts = ["mlm", *words]
    for name, value in options.items():
        if value is not None and value is not False:
            shown = short_path(value) if isinstance(value, Path) else str(value)
            parts += [f"--{name}"] if value is True else [f"--{name}", shlex.quote(shown)]
    return " ".join(parts)


def short_path(path: Path) -> str:
    """Write a path below the current folder from there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
