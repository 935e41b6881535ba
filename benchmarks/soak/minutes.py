"""What a soak tells of each minute, and what is made of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from onlooker.benchmarks.cpu import process_rss_bytes
from onlooker.benchmarks.processes import Holdings, family_of, holdings_of
from onlooker.benchmarks.soak.faults import ENGINE, title_of

SHARE = 1.15
"""By how much the memory of the last minutes may be above that of the first."""
DECODERS, STARTING = b"nursery_main", b"spawn_main"
"""Parts of the titles of decoders, and of vLLM's process while it is being started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What is held at its end, and what happened in it; counts are totals since the start."""

    minute: int
    faults: tuple[str, ...]
    holdings: Holdings
    rss_bytes: Mapping[str, int]
    """By what a process does."""
    streams: float | None
    """That are open, those of the crowd and of the ledger; None where the server did not tell."""
    redis_keys: int
    worst_ms: Mapping[str, float]
    crowd: Mapping[str, int]
    """What became of frames and questions in this minute."""
    ledger: Mapping[str, int]


def rss_by_role(pid: int) -> dict[str, int]:
    """Resident memory of a server's processes: the server itself, its engine, its decoders, and
    the rest."""
    found = {"server": process_rss_bytes(pid), "engine": 0, "decoders": 0, "other": 0}
    for one in family_of(pid)[1:]:
        title = title_of(one)
        is_engine = ENGINE in title or STARTING in title
        role = "engine" if is_engine else "decoders" if DECODERS in title else "other"
        found[role] += process_rss_bytes(one)
    return found


def held_now(pid: int) -> tuple[Holdings, dict[str, int]]:
    """What a server's processes hold."""
    return holdings_of(pid), rss_by_role(pid)


def judged(minutes: Sequence[Minute]) -> dict[str, Any]:
    """What grew, by comparing the median of the first third with that of the last. The first minute
    does not count: what is used for the first time is loaded in it."""
    counted = minutes[1:]
    third = max(1, len(counted) // 3)
    first, last = counted[:third], counted[-third:]
    if not counted:
        return {}
    found: dict[str, Any] = {}
    for name in ("threads", "descriptors", "processes"):
        pair = [median(asdict(one.holdings)[name] for one in part) for part in (first, last)]
        found[name] = {"first": pair[0], "last": pair[1], "grows": pair[1] > SHARE * pair[0] + 2}
    for role in first[0].rss_bytes:
        pair = [median(one.rss_bytes[role] for one in part) for part in (first, last)]
        found[f"rss_{role}"] = {
            "first": pair[0], "last": pair[1], "grows": pair[1] > SHARE * pair[0] + (8 << 20),
        }  # fmt: skip
    return found
