"""How much memory this process may use: the machine's, or what its control groups allow."""

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def machine_memory_bytes(*, groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """The machine's memory, or the lowest limit of the control groups that this process is in, as
    containers and services have one.

    Args:
        groups: where the control groups of Linux are mounted.
        own: the file that says in which of them this process is.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits(groups, own)])


def _limits(groups: Path, own: Path) -> list[int]:
    """The limits of all groups from this process' own upwards, in bytes."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / path.strip("/")
        while True:
            # A container sees its own group as the root, and may not see the path at all.
            found += _number(folder / name)
            if folder == root or root not in folder.parents:
                break
            folder = folder.parent
    return found


def _number(path: Path) -> list[int]:
    """The number in a file; none where there is no file, or no number in it."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return []
    return [int(text)] if text.isdecimal() else []
