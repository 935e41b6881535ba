"""`HopPool`: connections to other servers, kept for the next call."""

import asyncio
import ssl

from onlooker.server.fleet.hop import Hop
from onlooker.server.fleet.reach import Reach, Site


class HopPool:
    """As many connections as there are calls, which are bounded; those that nobody uses are bounded
    here, the oldest closed first.

    Args:
        trust: whose certificates are believed.
        silence_s: as of `Hop`.
        max_idle: connections that are kept while nobody uses them.
        idle_s: for how long.
    """

    def __init__(
        self,
        reach: Reach,
        *,
        trust: ssl.SSLContext,
        silence_s: float,
        max_idle: int,
        idle_s: float,
    ) -> None:
        self._reach, self._trust = reach, trust
        self._silence_s, self._max_idle, self._idle_s = silence_s, max_idle, idle_s
        self._idle: dict[Hop, Site] = {}
        """The oldest first."""
        self._is_closed = False

    async def take(self, site: Site) -> Hop:
        """A connection that is free.

        Raises:
            ConnectionRefusedError: the server's port refuses connections.
            Unreached: no connection could be made in time.
        """
        for hop in reversed([hop for hop, to in self._idle.items() if to == site]):
            self._forget(hop)
            if hop.is_free:
                return hop
        with self._reach.attempt(site):
            async with asyncio.timeout(self._reach.limit_s):
                _, made = await asyncio.get_running_loop().create_connection(
                    lambda: Hop(silence_s=self._silence_s),
                    site.host,
                    site.port,
                    ssl=self._trust if site.is_secure else None,
                    server_hostname=site.host if site.is_secure else None,
                )
        return made

    def give_back(self, hop: Hop, site: Site) -> None:
        """The call on a connection has ended, in whatever way."""
        if not hop.end():
            return
        if self._is_closed:
            hop.abort()
            return
        self._idle[hop] = site
        hop.expiry = asyncio.get_running_loop().call_later(self._idle_s, self._close, hop)
        if len(self._idle) > self._max_idle:
            self._close(next(iter(self._idle)))

    def close(self) -> None:
        """Close what nobody uses, now and from now on."""
        self._is_closed = True
        for hop in list(self._idle):
            self._close(hop)

    def _close(self, hop: Hop) -> None:
        self._forget(hop)
        hop.abort()

    def _forget(self, hop: Hop) -> None:
        self._idle.pop(hop, None)
        if hop.expiry is not None:
            hop.expiry.cancel()
            hop.expiry = None
