"""Which streams are this server's, where several servers share one Redis.

A stream is opened only with its lease in hand. Leases are renewed together, well within their time.
Who cannot renew one, because another server has it or because Redis is away for longer than leases
last, closes the stream before another server may begin with it; whatever is still written is
refused by the epoch (`cache_store.leases`).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from onlooker.cache_store.leases import Claim, LeaseStore, LeasesUnreachable, OwnedBy, Renewal
from onlooker.core.clock import Clock
from onlooker.core.errors import Overloaded, OwnedElsewhere
from onlooker.core.ids import StreamId, full_name, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.tenure import LeaseTerms, Tenure

_log = logging.getLogger("onlooker.streams.ownership")

IsGone = Callable[[str], Awaitable[bool]]
"""Whether nothing answers any more where a server said that it is reached."""

OnLost = Callable[[StreamId, str], None]
"""Told of a stream that is not this server's any more, and why."""

OnRestored = Callable[[StreamId], None]
"""Told of a stream of this server of which Redis knows nothing any more."""


class Ownership:
    """The leases of one server. All on the event loop; `run` renews them."""

    def __init__(
        self,
        leases: LeaseStore,
        *,
        terms: LeaseTerms,
        clock: Clock,
        metrics: Metrics,
        is_gone: IsGone,
    ) -> None:
        self._leases, self._terms = leases, terms
        self._clock, self._metrics, self._is_gone = clock, metrics, is_gone
        self._tenures: dict[StreamId, Tenure] = {}
        self._was_reached = True
        self.on_lost: OnLost = lambda stream_id, why: None
        """Closes streams that are lost; set by the hub."""
        self.on_restored: OnRestored = lambda stream_id: None
        """Keeps again what belongs to a stream; set by the hub."""

    def claim_of(self, stream_id: StreamId) -> Claim | None:
        """This server's right to a stream; None where it has none."""
        tenure = self._tenures.get(stream_id)
        return None if tenure is None else tenure.claim

    def holds(self, stream_id: StreamId) -> bool:
        """Whether a stream is this server's for certain, at this moment."""
        tenure = self._tenures.get(stream_id)
        return tenure is not None and tenure.holds(self._clock.now_s(), self._terms)

    async def claim(self, stream_id: StreamId) -> None:
        """Become the owner of a stream. An owner that nothing is heard of any more need not be
        waited for.

        Raises:
            OwnedElsewhere: another server has the stream.
            Overloaded: Redis is away, so that nobody knows who has it.
        """
        name = full_name(stream_id)
        try:
            asked_s = self._clock.now_s()
            found = await self._leases.acquire(name)
            if isinstance(found, OwnedBy) and found.url and await self._is_gone(found.url):
                _log.warning("a stream is taken over", extra={"gone": found.server})
                self._metrics.leases.labels("taken_over").inc()
                asked_s = self._clock.now_s()
                found = await self._leases.acquire(name, instead_of=found.epoch)
        except LeasesUnreachable as error:
            raise self._nobody_knows() from error
        if isinstance(found, OwnedBy):
            raise _elsewhere(stream_id, found)
        self._tenures[stream_id] = Tenure(found, asked_s)
        self._note("granted")

    async def check_elsewhere(self, stream_id: StreamId) -> bool:
        """Return unless another server has a stream; True where nobody has it and any server is to
        go on with it: its owner let go of it, was silent for too long, or was this server before it
        was started again. Whether an owner is still there is not looked at.

        Raises:
            OwnedElsewhere: it names the server, and where it is reached.
            Overloaded: Redis is away, so that nobody knows who has the stream.
        """
        if stream_id in self._tenures:
            return False
        try:
            found = await self._leases.elsewhere(full_name(stream_id))
        except LeasesUnreachable as error:
            raise self._nobody_knows() from error
        if found is not None and not found.is_left:
            raise _elsewhere(stream_id, found)
        return found is not None

    async def is_gone(self, owner: OwnedElsewhere) -> bool:
        """Whether nothing answers any more where the owner of a stream was reached."""
        return bool(owner.url) and await self._is_gone(owner.url)

    async def release(self, stream_id: StreamId, *, is_left: bool = False) -> None:
        """Let a stream go, so that another server may have it at once. Call it once all that was
        written for the stream has arrived. `is_left`: the stream goes on at whichever server is
        asked about it."""
        tenure = self._tenures.pop(stream_id, None)
        if tenure is None:
            return
        self._note("released")
        with suppress(LeasesUnreachable):  # then the lease ends in its time
            await self._leases.release(full_name(stream_id), tenure.claim.epoch, is_left=is_left)

    async def run(self) -> None:
        """Renew for ever."""
        while True:
            await self._clock.sleep(self._terms.renew_s)
            await self.renew()

    async def renew(self) -> None:
        """Renew every lease, and give up those that cannot be counted on any more."""
        tenures = dict(self._tenures)
        if not tenures:
            return
        asked_s = self._clock.now_s()
        renewing = [(full_name(stream_id), one.claim.epoch) for stream_id, one in tenures.items()]
        try:
            renewed = await self._leases.renew(renewing)
        except LeasesUnreachable as error:
            if self._was_reached:
                _log.warning("leases cannot be renewed", extra={"error": str(error)})
            self._was_reached = False
            self._give_up_overdue(tenures)
            return
        if not self._was_reached:
            _log.info("leases are renewed again")
        self._was_reached = True
        for (stream_id, tenure), renewal in zip(tenures.items(), renewed, strict=True):
            if renewal is Renewal.LOST:
                self._lose(stream_id, tenure, "another server owns the stream now", "lost")
                continue
            tenure.asked_s = asked_s
            if renewal is Renewal.RESTORED:
                self._note("restored")
                self.on_restored(stream_id)
        # A lease is also overdue where this process stood still for longer than it lasts.
        self._give_up_overdue(tenures)

    async def close(self) -> None:
        """Let go of the store of leases."""
        await self._leases.close()

    def _nobody_knows(self) -> Overloaded:
        return Overloaded(
            "it cannot be told which server owns the stream, since Redis does not answer: try "
            "again later",
            retry_after_s=self._terms.lease_s,
        )

    def _give_up_overdue(self, tenures: Mapping[StreamId, Tenure]) -> None:
        now_s = self._clock.now_s()
        for stream_id, tenure in tenures.items():
            if not tenure.holds(now_s, self._terms):
                why = "Redis does not answer, so another server may own the stream"
                self._lose(stream_id, tenure, why, "overdue")

    def _lose(self, stream_id: StreamId, tenure: Tenure, why: str, event: str) -> None:
        if self._tenures.get(stream_id) is not tenure:  # released meanwhile
            return
        del self._tenures[stream_id]
        self._note(event)
        _log.warning("a stream is not this server's any more", extra={"reason": why})
        self.on_lost(stream_id, why)

    def _note(self, event: str) -> None:
        self._metrics.leases.labels(event).inc()
        self._metrics.streams_owned.set(len(self._tenures))


def _elsewhere(stream_id: StreamId, owner: OwnedBy) -> OwnedElsewhere:
    where = f" at {owner.url}" if owner.url else ""
    tenant, name = split_stream_id(stream_id)
    return OwnedElsewhere(
        f"stream '{name}' is owned by the server '{owner.server}'{where}: connect there",
        stream=(tenant, name),
        server=owner.server,
        url=owner.url,
        retry_after_s=max(1.0, owner.left_s),
    )
