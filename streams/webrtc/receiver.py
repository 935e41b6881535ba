"""`VideoReceiver`: one peer's packets to frames, and what the peer is asked for in return.

It touches no network: packets come in as bytes, and what is to be sent back is handed to `send`.
"""

import random
from collections.abc import Awaitable, Callable

from onlooker.core.clock import Clock
from onlooker.core.metrics import Metrics
from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.webrtc import packets
from onlooker.streams.webrtc.offer import Offer
from onlooker.streams.webrtc.reassembly import Reassembly, WholeFrame
from onlooker.streams.webrtc.reception import Reception

KEY_FRAME_S = 1.0
"""Seconds between two requests for a key frame: the peer must have had time to send one."""

Send = Callable[[bytes], Awaitable[None]]


class VideoReceiver:
    """Receives one peer's video. All calls on the event loop.

    Args:
        send: sends an RTCP packet to the peer; what it cannot send is lost.
    """

    def __init__(
        self,
        offer: Offer,
        settings: WebRtcSection,
        *,
        max_frame_bytes: int,
        clock: Clock,
        metrics: Metrics,
        send: Send,
    ) -> None:
        self._offer, self._clock, self._metrics = offer, clock, metrics
        self._send = send
        self._own_ssrc = random.getrandbits(32)
        self._reassembly = Reassembly(
            offer.codec.codec,
            patience_s=settings.loss_patience_s,
            max_frame_bytes=max_frame_bytes,
        )
        self._reception: Reception | None = None
        self._num_lost = 0
        self._asked_key_at_s: float | None = None
        self._wants_key = False

    @property
    def ssrc(self) -> int | None:
        """The number by which the peer sends; None before its first packet."""
        return self._reception.ssrc if self._reception is not None else None

    def admits(self, data: bytes) -> bool:
        """Whether an encrypted RTP or RTCP packet is to be decrypted: it is of the video that was
        asked for, and of one sender."""
        if packets.is_rtcp(data):
            return self.ssrc is None or packets.ssrc_of(data) == self.ssrc
        sender = packets.ssrc_of(data)
        if sender is None or data[1] & 0x7F != self._offer.codec.payload_type:
            return False
        if self.ssrc is not None:
            return sender == self.ssrc
        return not self._offer.ssrcs or sender in self._offer.ssrcs

    async def take(self, data: bytes) -> list[WholeFrame]:
        """Take a decrypted RTP packet; return the frames that are whole now."""
        packet = packets.parse_rtp(data)
        if packet is None or packet.payload_type != self._offer.codec.payload_type:
            return []
        now_s = self._clock.now_s()
        if self._reception is None:
            self._reception = Reception(packet.ssrc)
        if packet.ssrc != self._reception.ssrc:
            return []
        self._reception.note(packet, now_s)
        frames = self._reassembly.add(packet, now_s)
        if "nack" in self._offer.codec.feedback:
            missing = self._reassembly.to_ask(now_s)
            if missing:
                await self._send(packets.nack(self._own_ssrc, packet.ssrc, missing))
        self._count_lost()
        if self._reassembly.needs_key or self._wants_key:
            await self._ask_key(now_s)
        return frames

    def take_report(self, data: bytes) -> None:
        """Take a decrypted RTCP packet."""
        if self._reception is None:
            return
        for report in packets.sender_reports(data):
            if report.ssrc == self._reception.ssrc:
                self._reception.note_report(report, self._clock.now_s())

    def want_key(self) -> None:
        """Have the peer asked for a key frame, with its next packet."""
        self._wants_key = True

    async def report(self, bits_per_s: int) -> None:
        """Tell the peer how its packets arrive, and the most that it should send."""
        if self._reception is None:
            return
        told = packets.receiver_report(self._own_ssrc, self._reception.report(self._clock.now_s()))
        if "goog-remb" in self._offer.codec.feedback:
            told += packets.bitrate_wish(self._own_ssrc, self._reception.ssrc, bits_per_s)
        await self._send(told)

    async def _ask_key(self, now_s: float) -> None:
        asked_at_s = self._asked_key_at_s
        if asked_at_s is not None and now_s - asked_at_s < KEY_FRAME_S:
            return
        assert self._reception is not None
        self._asked_key_at_s, self._wants_key = now_s, False
        self._metrics.webrtc_key_frames.inc()
        await self._send(packets.picture_loss(self._own_ssrc, self._reception.ssrc))

    def _count_lost(self) -> None:
        lost = self._reassembly.num_lost_frames
        if lost > self._num_lost:
            self._metrics.webrtc_dropped.labels(what="frame").inc(lost - self._num_lost)
            self._num_lost = lost
