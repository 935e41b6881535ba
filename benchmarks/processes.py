"""What a process and its children hold, as the system tells it."""

import os
from dataclasses import dataclass
from pathlib import Path

from onlooker.benchmarks.cpu import process_rss_bytes


@dataclass(frozen=True, slots=True)
class Holdings:
    """Of all processes together."""

    processes: int
    rss_bytes: int
    descriptors: int
    threads: int


def holdings_of(pid: int) -> Holdings:
    """What `pid` and all processes under it hold now; what has ended meanwhile counts nothing."""
    pids = family_of(pid)
    return Holdings(
        processes=len(pids),
        rss_bytes=sum(process_rss_bytes(one) for one in pids),
        descriptors=sum(_num_entries(one, "fd") for one in pids),
        threads=sum(_num_entries(one, "task") for one in pids),
    )


def family_of(pid: int) -> list[int]:
    """`pid` and all processes under it."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in path.read_text().split()]
            except OSError:
                continue
    return found


def _num_entries(pid: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{folder}"))
    except OSError:
        return 0
