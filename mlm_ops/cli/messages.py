"""Commands and paths as a message shows them: to be copied and pasted."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path


def command(*words: str, **options: object) -> str:
    """A command to copy and paste; options that are None or False are left out, True is the bare option."""
    parts = [program(), *words]
    for name, value in options.items():
        if value is not None and value is not False:
            shown = short_path(value) if isinstance(value, Path) else str(value)
            parts += [f"--{name}"] if value is True else [f"--{name}", shlex.quote(shown)]
    return " ".join(parts)


def program(folder: Path | None = None) -> str:
    """How ``mlm`` is called in a folder, by default the current one: through uv where it was called so.

    uv sets ``UV`` for whatever it runs. Its environment is on the path of that process alone, and ``uv run`` finds it
    by the nearest project, which elsewhere has to be named.
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
    """Whether there is an ``mlm`` on the path beside the environment's own."""
    places = os.environ.get("PATH", "").split(os.pathsep)
    other_places = [place for place in places if not Path(place).is_relative_to(environment)]
    return shutil.which("mlm", path=os.pathsep.join(other_places)) is not None


def short_path(path: Path) -> str:
    """Write a path below the current folder from there."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
