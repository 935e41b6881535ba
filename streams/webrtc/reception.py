"""`Reception`: what a sender is told of how its packets arrive (RFC 3550, section 6.4 and A.8)."""

from onlooker.streams.webrtc.packets import ReportBlock, SenderReport, VideoPacket

CLOCK_RATE = 90_000
"""Ticks a second of the media clock of every video codec here."""

_MOST_STEP = 1 << 15


class Reception:
    """Counts one sender's packets."""

    def __init__(self, ssrc: int) -> None:
        self.ssrc = ssrc
        self._first: int | None = None
        self._highest = 0
        """The highest sequence number, extended."""
        self._num_received = 0
        self._jitter = 0.0
        self._transit: float | None = None
        self._expected_before, self._received_before = 0, 0
        self._stamp, self._stamp_at_s = 0, 0.0

    def note(self, packet: VideoPacket, now_s: float) -> None:
        """Count a packet that came at `now_s`."""
        self._num_received += 1
        if self._first is None:
            self._first = self._highest = packet.sequence
        step = (packet.sequence - self._highest) & 0xFFFF
        if step < _MOST_STEP:
            self._highest += step
        transit = now_s * CLOCK_RATE - packet.timestamp
        if self._transit is not None:
            change = abs(transit - self._transit)
            if change < CLOCK_RATE:  # else the sender's clock has jumped, or come round
                self._jitter += (change - self._jitter) / 16
        self._transit = transit

    def note_report(self, report: SenderReport, now_s: float) -> None:
        """Keep a sender's report, which the next report to it repeats."""
        self._stamp, self._stamp_at_s = report.stamp, now_s

    def report(self, now_s: float) -> ReportBlock:
        """What to tell the sender now."""
        expected = self._highest - (self._first or 0) + 1
        expected_now = expected - self._expected_before
        lost_now = expected_now - (self._num_received - self._received_before)
        self._expected_before, self._received_before = expected, self._num_received
        share = 256 * lost_now // expected_now if expected_now > 0 else 0
        return ReportBlock(
            ssrc=self.ssrc,
            fraction_lost=max(0, min(255, share)),
            num_lost=expected - self._num_received,
            highest_sequence=self._highest,
            jitter=round(self._jitter),
            last_stamp=self._stamp,
            since_stamp=round(65_536 * (now_s - self._stamp_at_s)) if self._stamp else 0,
        )
