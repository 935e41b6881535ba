import struct

from aiortc import rtp

from onlooker.core.clock import ManualClock
from onlooker.core.metrics import Metrics
from onlooker.streams.source_config import WebRtcSection
from onlooker.streams.webrtc.offer import parse_offer
from onlooker.streams.webrtc.receiver import KEY_FRAME_S, VideoReceiver
from tests.fakes.offers import H264, make_offer, video

KEY, DELTA = b"\x65key", b"\x41delta"
SSRC = 77


class Line:
    """A receiver, its clock, and what it sent."""

    def __init__(self, *, ssrcs: tuple[str, ...] = ()) -> None:
        self.clock, self.metrics = ManualClock(), Metrics()
        self.sent: list[rtp.AnyRtcpPacket] = []
        offer = make_offer(video(H264, more=ssrcs))
        self.receiver = VideoReceiver(
            parse_offer(offer, max_bytes=65_536),
            WebRtcSection(),
            max_frame_bytes=1000,
            clock=self.clock,
            metrics=self.metrics,
            send=self._send,
        )

    async def _send(self, data: bytes) -> None:
        self.sent += rtp.RtcpPacket.parse(data)

    async def take(self, sequence: int, payload: bytes, *, ssrc: int = SSRC) -> list[bytes]:
        data = packet(sequence, payload, ssrc=ssrc)
        return [frame.payload for frame in await self.receiver.take(data)]

    def kinds(self) -> list[tuple[str, int]]:
        return [(type(one).__name__, getattr(one, "fmt", 0)) for one in self.sent]


def packet(sequence: int, payload: bytes, *, ssrc: int = SSRC, number: int = 102) -> bytes:
    head = struct.pack("!BBHLL", 0x80, 0x80 | number, sequence, sequence * 3000, ssrc)
    return head + payload


async def test_a_key_frame_is_asked_for_until_it_comes_but_not_too_often() -> None:
    line = Line()
    for sequence in range(4):
        assert await line.take(sequence, DELTA) == []
    line.clock.advance(KEY_FRAME_S)
    await line.take(4, DELTA)
    assert line.kinds() == [("RtcpPsfbPacket", rtp.RTCP_PSFB_PLI)] * 2
    assert len(await line.take(5, KEY)) == 1
    line.clock.advance(KEY_FRAME_S)
    await line.take(6, DELTA)
    assert len(line.sent) == 2


async def test_a_key_frame_is_asked_for_when_the_decoder_lost_its_thread() -> None:
    line = Line()
    await line.take(0, KEY)
    line.receiver.want_key()
    await line.take(1, DELTA)
    await line.take(2, DELTA)
    assert line.kinds() == [("RtcpPsfbPacket", rtp.RTCP_PSFB_PLI)]


async def test_lost_packets_are_asked_for_and_reported() -> None:
    line = Line()
    await line.take(0, KEY)
    await line.take(2, DELTA)
    [nack] = line.sent
    assert isinstance(nack, rtp.RtcpRtpfbPacket)
    assert nack.lost == [1]
    line.sent.clear()
    await line.receiver.report(500_000)
    report, wish = line.sent
    assert isinstance(report, rtp.RtcpRrPacket)
    assert (report.reports[0].packets_lost, report.reports[0].fraction_lost) == (1, 256 // 3)
    assert isinstance(wish, rtp.RtcpPsfbPacket)
    assert rtp.unpack_remb_fci(wish.fci) == (500_000, [SSRC])


async def test_nothing_is_reported_of_nobody() -> None:
    line = Line()
    await line.receiver.report(500_000)
    assert line.sent == []


async def test_one_sender_is_taken_and_no_other() -> None:
    line = Line()
    await line.take(0, KEY)
    assert not line.receiver.admits(packet(1, DELTA, ssrc=5))
    assert await line.take(1, DELTA, ssrc=5) == []
    assert line.receiver.admits(packet(1, DELTA))
    assert not line.receiver.admits(packet(1, DELTA, number=111)), "sound"


async def test_a_sender_that_was_announced_is_taken_and_no_other() -> None:
    line = Line(ssrcs=(f"a=ssrc:{SSRC} cname:x", "a=ssrc:nonsense"))
    assert line.receiver.admits(packet(0, KEY))
    assert not line.receiver.admits(packet(0, KEY, ssrc=5))
    assert not line.receiver.admits(b"\x80\x66")


async def test_a_senders_report_is_repeated_with_its_age() -> None:
    line = Line()
    await line.take(0, KEY)
    info = rtp.RtcpSenderInfo(0x1111_2222_3333_4444, 5, 6, 7)
    line.receiver.take_report(bytes(rtp.RtcpSrPacket(ssrc=SSRC, sender_info=info)))
    line.receiver.take_report(bytes(rtp.RtcpSrPacket(ssrc=5, sender_info=info)))
    line.clock.advance(0.5)
    await line.receiver.report(500_000)
    [told] = line.sent[0].reports  # type: ignore[union-attr]
    assert (told.lsr, told.dlsr) == (0x2222_3333, 32_768)
