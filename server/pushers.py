"""The source lease of streams that are fed by HTTP calls, which have no connection to hold it."""

from onlooker.core.clock import Clock
from onlooker.core.ids import StreamId
from onlooker.core.media import EncodedFrame
from onlooker.server.views import HTTP_OWNER
from onlooker.streams.events import FrameAck
from onlooker.streams.lease import SourceLease
from onlooker.streams.stream import Stream

LEASE_IDLE_S = 10.0
"""Seconds without a call after which another source may feed the stream."""


class HttpPushers:
    """One lease per stream, taken by the first call and given back when the calls stop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leases: dict[StreamId, tuple[Stream, SourceLease, float]] = {}

    async def push(self, stream: Stream, frame: EncodedFrame) -> FrameAck:
        """Push a frame and wait for what becomes of it.

        Raises:
            Conflict: another source feeds the stream.
        """
        held = self._leases.get(stream.id)
        lease = (
            held[1] if held is not None and held[0] is stream else stream.claim_source(HTTP_OWNER)
        )
        self._leases[stream.id] = (stream, lease, self._clock.now_s())
        return await stream.push_wait(frame)

    def release_idle(self) -> None:
        """Give back leases that were not used lately, and forget closed streams."""
        now_s = self._clock.now_s()
        for stream_id, (stream, lease, used_at_s) in list(self._leases.items()):
            if stream.closed_reason is not None or now_s - used_at_s > LEASE_IDLE_S:
                lease.release()
                del self._leases[stream_id]

    async def run(self) -> None:
        """Release idle leases now and then, until cancelled."""
        while True:
            await self._clock.sleep(LEASE_IDLE_S / 4)
            self.release_idle()
