"""Check that there is enough memory for the dense matrices of crossed random effects before they are made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlm_ops.errors import IdentificationError

#: Squares of R by R numbers at once: of the last theta and of the next one, or of one and its second derivatives.
SQUARES = 2
#: What needs fewer bytes is not checked: as much as the program itself takes.
_LITTLE = 100_000_000
#: By controller, root, limit and use of control groups of version 2 and 1, and what of the use is files that give way.
_CONTAINERS = {
    "": ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "memory": ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
_OWN_GROUPS, _MEMINFO = Path("/proc/self/cgroup"), Path("/proc/meminfo")


@dataclass(frozen=True)
class Memory:
    """Bytes of memory, and whether they are free ones or, if the system does not say, all of the machine."""

    size: int
    is_free: bool = True

    @property
    def text(self) -> str:
        """The half sentence of a message."""
        size = f"{self.size / 1e9:.1f} GB"
        return f"{size} are free" if self.is_free else f"the machine has {size} in all"


def available_memory() -> Memory | None:
    """Bytes that a process may still take, by the system and its control groups; None if neither says."""
    sizes = [room for own in _own_folders() if (room := _room(*own)) is not None]
    if _MEMINFO.exists():
        lines = [line.split() for line in _MEMINFO.read_text().splitlines()]
        sizes += [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]
    if sizes:
        return Memory(max(min(sizes), 0))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), is_free=False)
    return None


def _own_folders() -> Iterator[tuple[Path, str, str, str]]:
    """The process' own control groups and those above, whose limits hold for it too, with the names of their files.

    Each line of the system's list is a number, controllers and a path. In a container the path may be that outside of
    it, which is not there: the container's root, which is the process' own, is among those above.
    """
    try:
        lines = [line.split(":", 2) for line in _OWN_GROUPS.read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in (line for line in lines if len(line) == 3):
        for controller in controllers.split(","):
            if controller in _CONTAINERS:
                root, limit, usage, cache = _CONTAINERS[controller]
                own = Path(root, path.lstrip("/"))
                for folder in (own, *own.parents):
                    if folder.is_relative_to(root):
                        yield folder, limit, usage, cache


def _room(folder: Path, limit: str, usage: str, cache: str) -> int | None:
    """Bytes that a control group leaves; None where it is not there, or has no limit."""
    try:
        pages = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / usage).read_text()) - int(pages[cache])
        return int((folder / limit).read_text()) - used
    except (OSError, ValueError, KeyError):
        return None


def check_memory(effects: int) -> None:
    """Refuse a model whose dense squares do not fit.

    Raises
    ------
    IdentificationError
        They need more than there is.
    """
    needed = SQUARES * 8 * effects**2
    if needed < _LITTLE:
        return
    memory = available_memory()
    if memory is not None and needed > memory.size:
        raise IdentificationError(
            f"Crossed grouping factors leave {effects:,} random effects beside the largest factor, which need "
            f"{needed / 1e9:.1f} GB of memory; {memory.text}. Use fewer random terms, grouping factors with fewer "
            "units, or a machine with more memory."
        )
