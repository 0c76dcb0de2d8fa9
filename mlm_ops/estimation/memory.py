"""Say whether there is memory for the dense squares of crossed random effects, before they are made."""

from __future__ import annotations

import os
from pathlib import Path

from mlm_ops.errors import IdentificationError

#: Squares of R by R numbers at once: of the last theta and of the next one, or of one and its second derivatives.
SQUARES = 2
#: What needs fewer bytes is not checked: as much as the program itself takes.
_LITTLE = 100_000_000
#: Limit and use of a container, and what of the use is files that give way: control groups of version 2, then 1.
_CONTAINERS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory() -> int | None:
    """Bytes that a process may still take, by the system and its container; None where neither tells."""
    amounts = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = [line.split() for line in meminfo.read_text().splitlines()]
        amounts += [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for folder, limit, usage, cache in _CONTAINERS:
        try:
            pages = dict(line.split() for line in Path(folder, "memory.stat").read_text().splitlines())
            used = int(Path(folder, usage).read_text()) - int(pages[cache])
            amounts.append(int(Path(folder, limit).read_text()) - used)
        except (OSError, ValueError, KeyError):  # not there, or no limit
            continue
    return max(min(amounts), 0) if amounts else None


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
    found = available_memory()
    if found is not None and needed > found:
        raise IdentificationError(
            f"Crossed grouping factors leave {effects:,} random effects beside the largest factor, which need "
            f"{needed / 1e9:.1f} GB of memory; {found / 1e9:.1f} GB are free. Use fewer random terms, grouping factors "
            "with fewer units, or a machine with more memory."
        )
