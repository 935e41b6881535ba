"""The times of pushed recordings: gaps are kept, wrong times moved, nothing is lost."""

import pytest

from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.streams.perception.pieces import PieceDecoder
from onlooker.streams.perception.stills import Undecodable
from tests.fakes.pictures import in_pieces, record
from tests.fakes.recordings import moved, parts_of, time_scale

CONTAINERS = [Codec.FMP4, Codec.WEBM]


class Pushed:
    """A recording that is pushed piece by piece; what came out of it."""

    def __init__(self, codec: Codec, data: bytes, *, piece_bytes: int = 500, begin_s: float = 0.0):
        self.decoder = PieceDecoder(codec, width=16, height=16, max_pixels=10**6, max_gap_s=1800.0)
        self.times: list[float] = []
        self.dropped: list[DropReason] = []
        self.codec, self.begin_s = codec, begin_s
        self.push(data, piece_bytes=piece_bytes)

    def push(self, data: bytes, *, piece_bytes: int = 500) -> None:
        pictures = []
        for index, piece in enumerate(in_pieces(data, piece_bytes)):
            message = EncodedFrame(index, self.begin_s, self.codec, piece, 0.0)
            try:
                pictures += self.decoder.decode(message, lambda at_s: True)
            except Undecodable as error:
                self.dropped.append(error.reason)
        pictures += self.decoder.finish(lambda at_s: True)
        self.times += [round(picture.capture_s, 3) for picture in pictures]

    def jumps(self) -> list[tuple[str, int]]:
        return [(jump.kind, round(jump.by_s)) for jump in self.decoder.take_jumps()]


def tenths(first: int, last: int, *, off_s: float = 0.0) -> list[float]:
    return [round(off_s + index / 10, 3) for index in range(first, last)]


def fragments(codec: Codec) -> tuple[list[bytes], int]:
    """Header and fragments of 6 s at 10 fps, and the units of their time."""
    data = record(codec, 60)
    return parts_of(data), time_scale(data) if codec is Codec.FMP4 else 1000


@pytest.mark.parametrize("codec", CONTAINERS)
@pytest.mark.parametrize("piece_bytes", [500, 1 << 20])
def test_a_hold_of_a_minute_is_kept_and_told(codec: Codec, piece_bytes: int) -> None:
    parts, scale = fragments(codec)
    parts = [*parts[:3], *(moved(part, 60.0, scale=scale) for part in parts[3:])]
    pushed = Pushed(codec, b"".join(parts), piece_bytes=piece_bytes)
    gap = next(i for i, at_s in enumerate(pushed.times) if at_s > 10)
    assert pushed.times == [*tenths(0, gap), *tenths(gap, 60, off_s=60.0)]
    assert pushed.jumps() == [("gap", 60)]
    assert not pushed.dropped


@pytest.mark.parametrize("off_s", [3600.0, 100_000.0])
@pytest.mark.parametrize("piece_bytes", [500, 1 << 20])
def test_a_fragment_far_ahead_is_laid_where_it_belongs(off_s: float, piece_bytes: int) -> None:
    parts, scale = fragments(Codec.FMP4)
    parts[3] = moved(parts[3], off_s, scale=scale)
    pushed = Pushed(Codec.FMP4, b"".join(parts), piece_bytes=piece_bytes)
    assert pushed.times == tenths(0, 60)
    assert pushed.jumps() == [("moved", round(off_s)), ("moved", round(-off_s))]
    assert not pushed.dropped


@pytest.mark.parametrize("codec", CONTAINERS)
@pytest.mark.parametrize("last", [4, None])
def test_a_fragment_or_all_from_one_on_that_begin_again_at_zero_lose_nothing(
    codec: Codec, last: int | None
) -> None:
    parts, scale = fragments(codec)
    parts[3:last] = [moved(part, -2.0, scale=scale) for part in parts[3:last]]
    pushed = Pushed(codec, b"".join(parts))
    assert pushed.times == tenths(0, 60)
    assert {kind for kind, _ in pushed.jumps()} == {"moved"}


@pytest.mark.parametrize("codec", CONTAINERS)
def test_recordings_that_are_sent_one_after_the_other_follow_each_other(codec: Codec) -> None:
    data = record(codec, 20)
    pushed = Pushed(codec, data + data, piece_bytes=500, begin_s=3.0)  # a header inside a piece
    pushed.push(data, piece_bytes=len(data))  # and one at the beginning of a piece
    assert len(pushed.times) == 60
    assert pushed.times == sorted(set(pushed.times))
    assert 8.8 < pushed.times[-1] < 9.2
    assert pushed.jumps()[0] == ("moved", -2)


def test_a_fragment_that_is_sent_twice_is_not_lost_in_silence() -> None:
    parts, _ = fragments(Codec.FMP4)
    pushed = Pushed(Codec.FMP4, b"".join([*parts[:4], parts[2], *parts[4:]]))
    assert len(pushed.times) == 70
    assert pushed.jumps()[0][0] == "moved"


def test_a_recording_may_be_cut_anywhere_in_its_header() -> None:
    data = record(Codec.FMP4, 10)
    for cut in range(8, len(parts_of(data)[0]), 41):
        decoder = PieceDecoder(Codec.FMP4, width=16, height=16, max_pixels=10**6)
        num = 0
        for piece in (data[:cut], data[cut:]):
            message = EncodedFrame(0, 0.0, Codec.FMP4, piece, 0.0)
            num += len(decoder.decode(message, lambda at_s: True))
        decoder.close()
        assert num == 10, cut


def test_pictures_that_are_a_little_late_are_told_as_late() -> None:
    parts, _ = fragments(Codec.WEBM)
    parts[3] = moved(parts[3], -0.4)  # its pictures begin before the last one's 2.1 s
    pushed = Pushed(Codec.WEBM, b"".join(parts[:4]), piece_bytes=100)
    assert pushed.times == tenths(0, 29)
    assert set(pushed.dropped) == {DropReason.LATE}
    assert not pushed.jumps()


def test_another_decoder_goes_on_with_the_times_as_they_were_moved() -> None:
    parts, scale = fragments(Codec.FMP4)
    parts = [parts[0], *parts[1:3], *(moved(part, 7200.0, scale=scale) for part in parts[3:])]
    first = PieceDecoder(Codec.FMP4, width=16, height=16, max_pixels=10**6, max_gap_s=1800.0)
    for part in (parts[0] + parts[1], *parts[2:4]):
        first.decode(EncodedFrame(0, 0.0, Codec.FMP4, part, 0.0), lambda at_s: True)
    beginning = first.beginning
    first.close()
    second = PieceDecoder(
        Codec.FMP4, width=16, height=16, max_pixels=10**6, max_gap_s=1800.0, beginning=beginning
    )
    message = EncodedFrame(0, 0.0, Codec.FMP4, b"".join(parts[4:]), 0.0)
    times = [picture.capture_s for picture in second.decode(message, lambda at_s: True)]
    second.close()
    assert times == pytest.approx(tenths(30, 60))
