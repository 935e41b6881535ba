"""`PeerRoster`: all WebRTC sessions of a server, by id; how many there may be, and whose."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from onlooker.core.clock import Clock
from onlooker.core.errors import InvalidRequest, NotFound, OnlookerError, Overloaded
from onlooker.core.ids import StreamId, new_id, split_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.config import StreamsSection
from onlooker.streams.lease import SourceChange
from onlooker.streams.stream import Stream
from onlooker.streams.webrtc.offer import Fragment, Offer, parse_fragment, parse_offer
from onlooker.streams.webrtc.peer import Peer

MAX_PAST = 256
"""Sessions that are over and still known to have been."""


class PeerRoster:
    """All sessions of a server. Made once; all on the event loop.

    Args:
        listen: addresses of ours at which media comes in; empty: all of this machine's.
    """

    def __init__(
        self, settings: StreamsSection, *, listen: Sequence[str], clock: Clock, metrics: Metrics
    ) -> None:
        self._settings, self._listen = settings, listen
        self._clock, self._metrics = clock, metrics
        self._peers: dict[str, Peer] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._past: deque[tuple[StreamId, str]] = deque(maxlen=MAX_PAST)
        """Sessions that are over, newest last: the stream and the id of each."""

    def parse_offer(self, text: str) -> Offer:
        """Read an offer within the bounds of the settings. Raises: as `offer.parse_offer`."""
        return parse_offer(text, max_bytes=self._settings.webrtc.max_offer_bytes)

    def parse_fragment(self, text: str) -> Fragment:
        """The same for a fragment. Raises: as `offer.parse_fragment`."""
        return parse_fragment(text, max_bytes=self._settings.webrtc.max_offer_bytes)

    def check_room(self, tenant: str) -> None:
        """Refuse a session for which there is no room.

        Raises:
            Overloaded: there are as many sessions as there may be, in all or of this tenant.
        """
        section = self._settings.webrtc
        if len(self._peers) >= section.max_sessions:
            self._refuse(
                f"{section.max_sessions} WebRTC sessions are open, which is this server's limit "
                "(setting streams.webrtc.max_sessions)"
            )
        mine = sum(split_stream_id(peer.stream.id)[0] == tenant for peer in self._peers.values())
        if mine >= section.max_tenant_sessions:
            self._refuse(
                f"you have {mine} WebRTC sessions open, which is the limit for each tenant "
                "(setting streams.webrtc.max_tenant_sessions)"
            )

    async def join(
        self,
        stream: Stream,
        offer: Offer,
        *,
        until: Callable[[], Awaitable[OnlookerError]] | None = None,
        owner: str,
        on_end: Callable[[Peer], None] = lambda peer: None,
    ) -> tuple[Peer, str]:
        """Begin a session that feeds `stream`; returns it with the answer to `offer`.

        Args:
            owner: how the stream names who feeds it; followed by the session's id.
            until: returns why the session may not go on, once that is so.
            on_end: is called when the session is over and everything of it is closed.

        Raises:
            Conflict: another source feeds the stream.
            NotFound: the stream is closed.
            InvalidRequest: the stream is on the virtual clock.
            Overloaded: there is no room, or no free port.
        """
        if not stream.is_live:
            raise InvalidRequest(
                f"stream '{stream.name}' runs on the virtual clock, where the sender waits; "
                "WebRTC cannot. Send it to a live stream",
                param="stream",
            )
        self.check_room(split_stream_id(stream.id)[0])
        session_id = new_id("whip")
        lease = stream.claim_source(owner + session_id, is_opening=True)
        peer = None
        try:
            peer = Peer(
                session_id,
                stream,
                offer,
                lease=lease,
                settings=self._settings,
                listen=self._listen,
                clock=self._clock,
                metrics=self._metrics,
                until=until,
            )
            self._peers[session_id] = peer
            answer = await peer.answer()
        except BaseException:
            self._peers.pop(session_id, None)
            if peer is not None:
                await asyncio.shield(peer.close("it could not begin", outcome="failed"))
            lease.release("it could not begin", change=SourceChange.FAILED)
            self._metrics.webrtc_sessions_total.labels(outcome="refused").inc()
            raise
        running = self._run(peer, on_end)
        self._runs[session_id] = asyncio.create_task(running, name=f"webrtc {session_id}")
        return peer, answer

    def get(self, stream: Stream, session_id: str) -> Peer:
        """The session of this id that feeds `stream`.

        Raises:
            NotFound: there is none, or it is over.
        """
        peer = self._peers.get(session_id)
        if peer is None or peer.stream is not stream:
            raise _no_session()
        return peer

    async def end(self, stream_id: StreamId, session_id: str, reason: str) -> None:
        """End a session and return when all of it is closed, so that another can begin. Returns at
        once where it is over already: many clients hang up first.

        Raises:
            NotFound: the stream had no such session, lately.
        """
        peer = self._peers.get(session_id)
        if peer is None or peer.stream.id != stream_id:
            if (stream_id, session_id) in self._past:
                return
            raise _no_session()
        peer.end(reason, outcome="closed")
        run = self._runs.get(peer.session_id)
        if run is not None:
            await asyncio.wait([run])

    async def _run(self, peer: Peer, on_end: Callable[[Peer], None]) -> None:
        try:
            await peer.run()
        finally:
            self._peers.pop(peer.session_id, None)
            self._past.append((peer.stream.id, peer.session_id))
            self._runs.pop(peer.session_id, None)
            on_end(peer)

    def _refuse(self, message: str) -> None:
        self._metrics.webrtc_sessions_total.labels(outcome="refused").inc()
        raise Overloaded(f"{message}; end one or try again later", retry_after_s=5.0)


def _no_session() -> NotFound:
    return NotFound(
        "there is no such WebRTC session: it has ended, or never began", param="session"
    )
