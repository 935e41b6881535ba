"""`FleetLink`: what servers of a fleet tell each other of tenants, and count together in Redis.

While Redis is away, each server keeps to its own part of every limit: as many parts as there were
servers when they were last heard of. So limits are never lifted, and nobody is refused everything.
"""

import logging
import math
from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter, ValidationError

from onlooker.cache_store.notices import NoticeBoard, NoticesUnreachable
from onlooker.cache_store.tenant_counts import CountsUnreachable, RedisTenantCounts, UsageBatch
from onlooker.core.metrics import Metrics
from onlooker.streams.tenancy.usage import NOTHING, TenantStanding

_log = logging.getLogger("onlooker.streams.tenancy")

Standings = dict[str, TenantStanding]
"""What tenants have on one server, by tenant."""

_STANDINGS: TypeAdapter[Standings] = TypeAdapter(Standings)


class FleetLink:
    """One server's side. All on the event loop.

    Args:
        name: this server's name.
        board: where each server says what its tenants have.
    """

    def __init__(
        self, counts: RedisTenantCounts, board: NoticeBoard, *, name: str, metrics: Metrics
    ) -> None:
        self.counts = counts
        self._board, self._name, self._metrics = board, name, metrics
        self._others: dict[str, Standings] = {}
        self.is_reached = True
        """Whether Redis answered when it was last asked."""

    @property
    def servers(self) -> list[str]:
        """The servers that were last heard of, this one among them, by name."""
        return sorted({self._name, *self._others})

    def part(self, limit: float) -> int:
        """This server's part of a limit, of which nothing is left over."""
        return math.ceil(limit / len(self.servers))

    def others(self, tenant: str) -> list[TenantStanding]:
        """What a tenant has on each of the other servers."""
        return [standings.get(tenant, NOTHING) for standings in self._others.values()]

    def tenants(self) -> set[str]:
        """The tenants that have something on one of the other servers."""
        return {tenant for standings in self._others.values() for tenant in standings}

    async def exchange(
        self,
        own: Mapping[str, TenantStanding],
        held: Mapping[tuple[str, str], Sequence[str]],
        batch: UsageBatch | None,
    ) -> bool:
        """Say what this server's tenants have, hear what those of the others have, and add to the
        totals. Returns whether Redis has done it all; else what others have stays as it was last
        heard."""
        try:
            await self.counts.hold(held)
            await self._board.put_up(_STANDINGS.dump_json(dict(own)).decode())
            notices = await self._board.read()
            if batch is not None:
                await self.counts.add(batch)
        except (CountsUnreachable, NoticesUnreachable) as error:
            self.lose(error)
            return False
        others: dict[str, Standings] = {}
        for notice in notices:
            if notice.server != self._name:
                try:
                    others[notice.server] = _STANDINGS.validate_json(notice.text)
                except ValidationError:  # of another version, which has other words
                    others[notice.server] = {}
        self._others = others
        if not self.is_reached:
            _log.warning("limits of tenants hold over all servers again")
        self.is_reached = True
        self._metrics.tenant_limits_alone.set(0)
        return True

    def lose(self, error: Exception) -> None:
        """Note that Redis does not answer. It is told once, until it answers again."""
        if self.is_reached:
            _log.warning(
                "limits of tenants hold for each server's own part, since Redis does not answer",
                extra={"error": str(error), "servers": len(self.servers)},
            )
        self.is_reached = False
        self._metrics.tenant_limits_alone.set(1)

    async def close(self) -> None:
        """Say nothing any more, and let go of connections."""
        try:
            await self._board.take_down()
        except NoticesUnreachable as error:
            self.lose(error)
        await self._board.close()
        await self.counts.close()
