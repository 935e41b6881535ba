"""`KeptWatch`: the part of a watch that outlives the server, so that the next one goes on looking.

What was asked for is kept, how often it spoke lately, and whether what it waits for was there; not
the pictures that it compares the next one with. Watches that have ended are not kept.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from onlooker.watches.options import WatchOptions
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.watches")


@dataclass(frozen=True, slots=True)
class KeptWatch:
    """See the fields of `Watch`."""

    watch_id: str
    options: WatchOptions
    created_wall_s: float
    created_s: float
    """Stream time at which it was created. A stream that is found again goes on with its time."""
    alerts_s: tuple[float, ...] = ()
    """Stream times of its last alerts, for cooldown and rate."""
    num_alerts: int = 0
    is_on: bool = False
    """Whether what it looks for was there, and was spoken of."""
    changed_wall_s: float | None = None
    """None in documents of servers that did not note it."""


_KEPT = TypeAdapter(list[KeptWatch])


def watches_document(watches: Sequence[Watch]) -> bytes:
    """The document of a stream's watches; empty where there are none."""
    kept = [
        KeptWatch(
            watch.watch_id,
            watch.options,
            watch.created_wall_s,
            watch.created_s,
            alerts_s=watch.alerts_s,
            num_alerts=watch.counts.alerts - watch.num_speaking,
            is_on=watch.is_told,
            changed_wall_s=watch.changed_wall_s,
        )
        for watch in watches
        if watch.state != "ended" or watch.num_speaking  # the next server looks again, and speaks
    ]
    return _KEPT.dump_json(kept) if kept else b""


def read_watches(content: bytes) -> list[KeptWatch]:
    """The watches of a document. One that cannot be read holds none."""
    try:
        return _KEPT.validate_json(content) if content else []
    except ValidationError as error:
        _log.warning("kept watches cannot be read", extra={"detail": str(error)})
        return []
