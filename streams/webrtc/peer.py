"""`Peer`: one WebRTC session, which feeds one stream, from its offer to its end."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from onlooker.core.clock import Clock
from onlooker.core.errors import NotFound, OnlookerError, Overloaded
from onlooker.core.log import stream_id_var
from onlooker.core.media import DropReason, EncodedFrame
from onlooker.core.metrics import Metrics
from onlooker.core.token_bucket import TokenBucket
from onlooker.core.waiting import within
from onlooker.streams.config import StreamsSection
from onlooker.streams.events import FrameAck, StreamEnded
from onlooker.streams.lease import SourceChange, SourceLease
from onlooker.streams.stream import Stream
from onlooker.streams.webrtc.answer import OwnSide, write_answer
from onlooker.streams.webrtc.candidates import PeerAddress, PeerPolicy
from onlooker.streams.webrtc.media_time import MediaTime
from onlooker.streams.webrtc.offer import Offer
from onlooker.streams.webrtc.reassembly import WholeFrame
from onlooker.streams.webrtc.receiver import VideoReceiver
from onlooker.streams.webrtc.seams import DtlsLink, IcePath, RTCCertificate

_log = logging.getLogger("onlooker.streams.webrtc")

FEEDBACK_S = 1.0
"""Seconds between two reports to a peer."""

BURST_S = 2.0
"""Seconds of the full bitrate that may come at once."""

LEAST_PACKET_BYTES = 400
"""What a packet counts for at least: the small ones cost as much work as the large."""

MAX_QUEUED_EVENTS = 256
"""Events of its stream that wait for a peer's task."""

MAX_PARTING_S = 2.0
"""Longest time that the sockets of a peer take to close."""

BROKEN = frozenset(
    {
        DropReason.NO_KEYFRAME,
        DropReason.UNDECODABLE,
        DropReason.MAILBOX_FULL,
        DropReason.RATE_LIMIT,
        DropReason.TENANT_FPS,
        DropReason.TOO_LARGE,
    }
)
"""Why frames are dropped so that those after them are of no use before the next key frame."""

FAULTY = frozenset({"unreachable", "idle", "failed"})
"""Outcomes of sessions that ended otherwise than somebody wanted."""


class Peer:
    """One session. `answer` once, then `run` to its end; `end` from anywhere, at any time.

    Args:
        listen: addresses of ours at which media comes in; empty: all of this machine's.
        until: returns why the session may not go on, once that is so; None lets it go on.
    """

    def __init__(
        self,
        session_id: str,
        stream: Stream,
        offer: Offer,
        *,
        lease: SourceLease,
        settings: StreamsSection,
        listen: Sequence[str],
        clock: Clock,
        metrics: Metrics,
        until: Callable[[], Awaitable[OnlookerError]] | None = None,
    ) -> None:
        self.session_id, self.stream = session_id, stream
        self._offer, self._lease, self._until = offer, lease, until
        self._settings, self._clock, self._metrics = settings.webrtc, clock, metrics
        self._receiver = VideoReceiver(
            offer,
            settings.webrtc,
            max_frame_bytes=settings.max_frame_bytes,
            clock=clock,
            metrics=metrics,
            send=self._send,
        )
        self._bytes = _Allowance(settings.webrtc.max_bits_per_s, clock)
        self._path = IcePath(
            settings.webrtc,
            listen=listen,
            policy=PeerPolicy(settings.webrtc.refused_peers),
            admit=self._admits,
            refuse=self._refuse,
        )
        self._path.remote_username = offer.ice_username
        self._path.remote_password = offer.ice_password
        self._certificate = RTCCertificate.generateCertificate()
        self._link = DtlsLink(
            self._path,
            self._certificate,
            on_rtp=self._take,
            on_rtcp=self._receiver.take_report,
            on_end=lambda: self.end("the connection to its peer is closed", outcome="closed"),
            is_client=offer.is_passive,
        )
        self._time = MediaTime()
        self._full_pace = stream.pace
        self._began_at_s = clock.now_s()
        self._began_s = max(0.0, clock.wall_s() - stream.created_wall_s)
        self._sequence = 0
        self._frame_at_s = clock.now_s()
        self._is_open = self._is_playing = False
        self._ended: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    @property
    def entity_tag(self) -> str:
        """Names the session's ICE, as HTTP's ``ETag``."""
        return f'"{self._path.local_username}"'

    @property
    def remote_username(self) -> str:
        """The peer's name in ICE; another one asks for a restart."""
        return self._offer.ice_username

    # ---- life

    async def answer(self) -> str:
        """Open our ports and return the answer.

        Raises:
            Overloaded: no port is free.
        """
        await self._path.gather_candidates()
        own = self._path.local_candidates
        if not own:
            raise Overloaded(
                "no UDP port is free for this session: widen streams.webrtc.min_port and max_port, "
                "or check streams.webrtc.addresses",
                retry_after_s=5.0,
            )
        await self.try_addresses(self._offer.candidates, self._offer.num_unusable)
        fingerprints = self._certificate.getFingerprints()
        return write_answer(
            self._offer,
            OwnSide(
                ice_username=self._path.local_username,
                ice_password=self._path.local_password,
                candidates=tuple(candidate.to_sdp() for candidate in own),
                fingerprints=tuple((f.algorithm, f.value) for f in fingerprints[:1]),
                max_bits_per_s=self._settings.max_bits_per_s,
                session_number=secrets.randbits(62),
            ),
        )

    async def try_addresses(self, addresses: Sequence[PeerAddress], num_unusable: int = 0) -> None:
        """Try to reach the peer at addresses that it named. `num_unusable`: others that it named,
        which cannot be tried."""
        self._metrics.webrtc_dropped.labels(what="candidate").inc(num_unusable)
        for address in addresses:
            await self._path.try_address(address)

    async def run(self) -> None:
        """Feed the stream until the session ends, whatever ends it; then everything is closed."""
        stream_id_var.set(self.stream.id)
        self._metrics.webrtc_sessions.inc()
        work = [self._connect(), self._keep_in_touch(), self._follow(), self._expire()]
        tasks = [asyncio.create_task(self._guarded(each)) for each in work]
        try:
            reason, outcome = await self._ended
        except asyncio.CancelledError:
            reason, outcome = "the server is shutting down", "shutdown"
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.close(reason, outcome=outcome)
            self._metrics.webrtc_sessions.dec()
            self._metrics.webrtc_sessions_total.labels(outcome=outcome).inc()
            _log.info(
                "a WebRTC session ended",
                extra={
                    "session": self.session_id,
                    "outcome": outcome,
                    "reason": reason,
                    "frames": self._sequence,
                },
            )

    async def close(self, reason: str, *, outcome: str) -> None:
        """Close the sockets and let go of the stream, which tells its viewers why. Idempotent."""
        self.end(reason, outcome=outcome)
        try:
            async with asyncio.timeout(MAX_PARTING_S):
                with contextlib.suppress(ConnectionError):
                    await self._link.stop()
                await self._path.close()
        except TimeoutError:
            _log.warning("a WebRTC session did not close in time")
        finally:
            change = SourceChange.FAILED if outcome in FAULTY else SourceChange.ENDED
            self._lease.release(reason, change=change)

    def end(self, reason: str, *, outcome: str) -> None:
        """Have the session end; the first reason is the one that is told."""
        if not self._ended.done():
            self._ended.set_result((reason, outcome))

    def drain(self) -> None:
        """End, since the server goes away. For the server's stop."""
        self.end("the server is shutting down", outcome="shutdown")

    def end_now(self) -> None:
        """As `drain`."""
        self.drain()

    # ---- tasks

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """The root of each task: a fault of ours ends this session only."""
        try:
            await work
        except Exception:
            _log.exception("a WebRTC session failed")
            self.end("internal error in this session", outcome="failed")

    async def _connect(self) -> None:
        limit_s = self._settings.connect_timeout_s
        try:
            await within(self._clock, limit_s, self._open())
        except ConnectionError as error:
            self.end(f"no connection: {error}", outcome="unreachable")
        except TimeoutError:
            self.end(
                f"no connection within {limit_s:g} s: no UDP packets got through between the peer "
                "and this server's ports (see docs/webrtc.md)",
                outcome="unreachable",
            )

    async def _open(self) -> None:
        await self._path.connect()
        if not await self._link.open(self._offer.fingerprints):
            raise ConnectionError("the DTLS handshake failed")
        self._is_open, self._frame_at_s = True, self._clock.now_s()

    async def _keep_in_touch(self) -> None:
        """Report to the peer every second, and end when nothing more comes."""
        while True:
            await self._clock.sleep(FEEDBACK_S)
            if not self._is_open:
                continue
            await self._receiver.report(self.wished_bits_per_s)
            if self._clock.now_s() - self._frame_at_s > self._settings.idle_s:
                self.end(
                    f"no picture came for {self._settings.idle_s:g} s "
                    "(setting streams.webrtc.idle_s)",
                    outcome="idle",
                )

    async def _follow(self) -> None:
        """Learn what becomes of the frames, and when the stream ends."""
        subscription = self.stream.subscribe(max_events=MAX_QUEUED_EVENTS)
        try:
            async for _, event in subscription:
                if isinstance(event, FrameAck) and event.reason in BROKEN:
                    self._receiver.want_key()
                elif isinstance(event, StreamEnded):
                    self.end(f"its stream was closed: {event.reason}", outcome="stream_closed")
        finally:
            subscription.close()

    async def _expire(self) -> None:
        if self._until is not None:
            error = await self._until()
            self.end(error.message, outcome="expired")

    # ---- packets

    @property
    def wished_bits_per_s(self) -> int:
        """What the peer is asked to send at most: as much less than it may as the model looks at
        fewer pixels than at full quality."""
        pace, full = self.stream.pace, self._full_pace
        share = (pace.fps * pace.width * pace.height) / (full.fps * full.width * full.height)
        most, least = self._settings.max_bits_per_s, self._settings.min_bits_per_s
        return max(least, min(most, round(most * share)))

    def _admits(self, data: bytes) -> bool:
        """Whether a datagram is to be taken in: a part of the handshake, or of the video."""
        if 20 <= data[0] < 64:
            kind = "stranger" if len(data) < 13 else None
        elif 128 <= data[0] < 192 and self._receiver.admits(data):
            kind = None
        else:
            return False  # audio, or what else was not asked for; nothing is wrong with it
        if kind is None and not self._bytes.take(max(len(data), LEAST_PACKET_BYTES)):
            kind = "too_much"
        if kind is not None:
            self._refuse(kind)
        return kind is None

    def _refuse(self, what: str) -> None:
        self._metrics.webrtc_dropped.labels(what=what).inc()

    async def _take(self, data: bytes) -> None:
        try:
            for frame in await self._receiver.take(data):
                self._push(frame)
        except NotFound as error:
            self.end(error.message, outcome="stream_closed")
        except OnlookerError as error:
            self.end(error.message, outcome="failed")
        except Exception:
            _log.exception("a WebRTC packet could not be taken")
            self.end("internal error in this session", outcome="failed")

    def _push(self, frame: WholeFrame) -> None:
        now_s = self._clock.now_s()
        if self._ended.done():
            return
        if not self._is_playing:
            self._is_playing = True
            self._lease.tell(SourceChange.PLAYING)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._frame_at_s = now_s
        arrived_s = self._began_s + (now_s - self._began_at_s)
        self.stream.push(
            EncodedFrame(
                sequence=self._sequence,
                capture_s=self._time.place(frame.timestamp, arrived_s),
                codec=self._offer.codec.codec,
                payload=frame.payload,
                received_at_s=now_s,
            )
        )

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await self._link.send(data)


class _Allowance:
    """How many bytes may still come."""

    def __init__(self, bits_per_s: int, clock: Clock) -> None:
        # A token is a kilobyte: what is left over of one is made up for by the next.
        rate = bits_per_s / 8000
        self._bucket = TokenBucket(rate_per_s=rate, burst=max(1.0, rate * BURST_S), clock=clock)
        self._rest = 0

    def take(self, num_bytes: int) -> bool:
        """Whether so many more bytes may come."""
        self._rest += num_bytes
        while self._rest >= 1000:
            if not self._bucket.try_take():
                self._rest = 0
                return False
            self._rest -= 1000
        return True
