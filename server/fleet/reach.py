"""`Reach`: which other servers can be connected to, so that not every call waits to find out.

A process that has ended refuses connections at once, and whoever asks learns that it is gone. A
machine that has vanished says nothing: a connection to it is waited for. The first calls find that
out within a short limit; for a while after, calls to that server are refused at once, and one at a
time tries again. Its streams are free when its leases have run out.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics

_log = logging.getLogger("onlooker.server.fleet.reach")

MAX_KNOWN = 1000
"""Servers that are known to be out of reach; with more, all of them are tried again."""

ENOUGH_MISSES = 2
"""So many connections in a row are not made before a server counts as out of reach: one may be
late since this server was busy itself."""


class Unreached(Exception):
    """No connection to a server could be made in time, or just now by somebody else. Nothing of the
    call has reached it; whether it is gone is not known."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server takes connections."""

    host: str
    port: int
    is_secure: bool = False

    @classmethod
    def of(cls, url: str) -> Self:
        """The site of a server's URL."""
        parts = urlsplit(url)
        is_secure = parts.scheme in ("https", "wss")
        return cls(parts.hostname or "", parts.port or (443 if is_secure else 80), is_secure)


class Reach:
    """Of the servers of a fleet, as one of them finds it. All on the event loop.

    Args:
        limit_s: for making a connection.
        hold_s: for how long a server that could not be connected to is not tried again.
    """

    def __init__(self, *, limit_s: float, hold_s: float, clock: Clock, metrics: Metrics) -> None:
        self.limit_s, self._hold_s = limit_s, hold_s
        self._clock, self._metrics = clock, metrics
        self._missed: dict[Site, int] = {}
        """Connections in a row that were not made."""
        self._held: dict[Site, float] = {}
        """When each server that is out of reach is tried again."""

    @contextmanager
    def attempt(self, site: Site) -> Iterator[None]:
        """Connect to a server in the block, within `limit_s` seconds.

        Raises:
            Unreached: the block failed for want of an answer, or another one just did.
            ConnectionRefusedError: the block's.
        """
        if self._clock.now_s() < self._held.get(site, 0.0):
            self._metrics.unreached.labels("held").inc()
            raise Unreached(f"{site.host}:{site.port} could not be connected to just now")
        if site in self._held:  # it is this one's turn to find out; others need not wait for it
            self._hold(site)
        try:
            yield
        except ConnectionRefusedError:
            self._forget(site)
            raise
        except (OSError, TimeoutError) as error:
            self._note_miss(site, error)
            raise Unreached(f"{site.host}:{site.port} cannot be connected to: {error!r}") from error
        self._forget(site)

    async def is_gone(self, url: str) -> bool:
        """Whether the connection to a server's port is refused: its process has ended. A server
        that is slow, paused or cut off is not gone; its lease has to run out."""
        site = Site.of(url)
        try:
            with self.attempt(site):
                async with asyncio.timeout(self.limit_s):
                    _, writer = await asyncio.open_connection(site.host, site.port)
        except ConnectionRefusedError:
            return True
        except Unreached:
            return False
        writer.close()
        return False

    def _note_miss(self, site: Site, error: Exception) -> None:
        self._metrics.unreached.labels("tried").inc()
        if len(self._missed) >= MAX_KNOWN:
            self._missed.clear()
            self._held.clear()
        self._missed[site] = self._missed.get(site, 0) + 1
        if self._missed[site] == ENOUGH_MISSES:
            where = f"{site.host}:{site.port}"
            extra = {"server": where, "error": repr(error)}
            _log.warning("a server cannot be connected to", extra=extra)
        if self._missed[site] >= ENOUGH_MISSES:
            self._hold(site)

    def _hold(self, site: Site) -> None:
        self._held[site] = self._clock.now_s() + self._hold_s

    def _forget(self, site: Site) -> None:
        self._missed.pop(site, None)
        if self._held.pop(site, None) is not None:
            _log.info("a server can be connected to again", extra={"server": site.host})
