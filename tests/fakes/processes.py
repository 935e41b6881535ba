"""Processes of this machine, as Linux tells of them in /proc."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.waiting import until


def children(pid: int) -> dict[int, str]:
    """The processes that `pid` has started and that still run, and their command lines; the oldest
    comes first, whatever its number: the machine gives small numbers again at some time."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended meanwhile
        if int(parent) == pid and state != "Z":
            found[int(rest[17]), int(folder.name)] = words  # the tick at which it began
    return {number: words for (_, number), words in sorted(found.items())}


def descendants(pid: int) -> dict[int, str]:
    """The processes below `pid`, however deep."""
    found = children(pid)
    for child in list(found):
        found.update(descendants(child))
    return found


def listener(pid: int, port: int) -> int:
    """The process that `pid` has started and that listens on a port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = {
        f"socket:[{words[9]}]"
        for words in map(str.split, lines)
        if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port
    }
    for child in children(pid):
        for handle in Path(f"/proc/{child}/fd").iterdir():
            try:
                if os.readlink(handle) in sockets:
                    return child
            except OSError:
                continue
    raise LookupError(f"no child of {pid} listens on port {port}")


async def ended(pids: Iterable[int]) -> None:
    """Return when none of these processes runs any more."""
    await until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def kill(pid: int) -> None:
    """End a process without warning."""
    os.kill(pid, signal.SIGKILL)
