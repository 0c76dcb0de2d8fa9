"""Write commands and paths in messages so that they can be copied and pasted."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path


def command(*words: str, **options: object) -> str:
    """Write a command to copy and paste.

    An option that is None or False is left out, one that is True has no value, and one of several values is repeated.
    """
    parts = [program(), *words]
    for name, value in options.items():
        if value is True:
            parts.append(f"--{name}")
        elif value is not None and value is not False:
            for one in value if isinstance(value, list | tuple) else [value]:
                parts += [f"--{name}", shlex.quote(short_path(one) if isinstance(one, Path) else str(one))]
    return " ".join(parts)


def program(folder: Path | None = None) -> str:
    """Return how to call ``mlm`` in a folder, by default the current one: through uv if it was called through uv.

    uv sets ``UV`` for the programs that it runs, and puts its environment on the path of that process only. ``uv run``
    finds the environment by the nearest project; from another folder the project has to be named.
    """
    environment = Path(os.environ.get("VIRTUAL_ENV", ""))
    if "UV" not in os.environ or environment.name != ".venv" or _is_elsewhere_on_path(environment):
        return "mlm"
    project, start = environment.parent.resolve(), (folder or Path.cwd()).resolve()
    nearest = next((at for at in (start, *start.parents) if (at / "pyproject.toml").exists()), None)
    # a new project's folder gets a pyproject.toml of its own
    in_project = folder is None and nearest == project
    return "uv run mlm" if in_project else f"uv run --project {shlex.quote(str(project))} mlm"


def _is_elsewhere_on_path(environment: Path) -> bool:
    """Whether there is an ``mlm`` on the path outside of the environment."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    other_places = [place for place in places if not Path(place).is_relative_to(environment)]
    return shutil.which("mlm", path=os.pathsep.join(other_places)) is not None


def short_path(path: Path) -> str:
    """Write a path relative to the current folder if it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
