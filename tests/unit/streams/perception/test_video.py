import threading
from typing import Any

import pytest

from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.streams.perception.chunks import ChunkDecoder, Picture
from onlooker.streams.perception.keyframes import is_key_frame
from onlooker.streams.perception.pieces import PieceDecoder
from onlooker.streams.perception.stills import Undecodable
from tests.fakes.pictures import COLOURS, encode_chunks, in_pieces, record

ENCODERS = {Codec.H264: "libx264", Codec.VP8: "libvpx", Codec.VP9: "libvpx-vp9"}
SIZE: dict[str, Any] = {"width": 64, "height": 64}


def everything(capture_s: float) -> bool:
    return True


def message(index: int, payload: bytes, codec: Codec, capture_s: float) -> EncodedFrame:
    return EncodedFrame(index, capture_s, codec, payload, 0.0)


def background(picture: Picture) -> int:
    """Which of the drawn colours is behind."""
    corner = picture.whole[60, 60].astype(int)
    return min(range(3), key=lambda i: sum(abs(corner[c] - COLOURS[i][c]) for c in range(3)))


class Source:
    """Feeds a chunk decoder at 10 fps; notes what became of each message."""

    def __init__(self, codec: Codec, *, max_pixels: int = 10**6) -> None:
        self.codec = codec
        self.decoder = ChunkDecoder(codec, **SIZE, max_pixels=max_pixels)
        self.dropped: dict[int, DropReason] = {}
        self.times: list[float] = []

    def send(self, index: int, payload: bytes) -> None:
        try:
            pictures = self.decoder.decode(
                message(index, payload, self.codec, index / 10), everything
            )
        except Undecodable as error:
            self.dropped[index] = error.reason
        else:
            self.times += [picture.capture_s for picture in pictures]


@pytest.mark.parametrize("codec", ENCODERS)
def test_each_message_gives_its_picture_at_once_with_its_own_time(codec: Codec) -> None:
    source = Source(codec)
    for index, chunk in enumerate(encode_chunks(ENCODERS[codec])):
        source.send(index, chunk)
        assert source.times[-1] == pytest.approx(index / 10)
    assert len(source.times) == 20
    assert not source.dropped


@pytest.mark.parametrize("codec", ENCODERS)
def test_key_frames_are_told_from_the_first_bytes(codec: Codec) -> None:
    keys = [is_key_frame(codec, chunk) for chunk in encode_chunks(ENCODERS[codec])]
    assert [index for index, is_key in enumerate(keys) if is_key] == [0, 10]


@pytest.mark.parametrize("codec", ENCODERS)
def test_decoding_begins_at_a_key_frame(codec: Codec) -> None:
    source = Source(codec)
    for index, chunk in list(enumerate(encode_chunks(ENCODERS[codec])))[4:]:
        source.send(index, chunk)
    assert source.dropped == dict.fromkeys(range(4, 10), DropReason.NO_KEYFRAME)
    assert source.times[0] == pytest.approx(1.0)


@pytest.mark.parametrize("codec", ENCODERS)
def test_after_broken_bytes_decoding_goes_on_at_the_next_key_frame(codec: Codec) -> None:
    source = Source(codec)
    chunks = encode_chunks(ENCODERS[codec])
    chunks[3] = b"\x00\x00\x01\x65" + bytes(range(256)) if codec is Codec.H264 else b"\xff" * 64
    for index, chunk in enumerate(chunks):
        source.send(index, chunk)
    assert source.dropped[3] is DropReason.UNDECODABLE
    assert [t for t in source.times if t >= 0.95] == pytest.approx([i / 10 for i in range(10, 20)])


def test_video_with_more_pixels_than_allowed_is_refused() -> None:
    source = Source(Codec.VP8, max_pixels=160 * 120 - 1)
    for index, chunk in enumerate(encode_chunks("libvpx", 3)):
        source.send(index, chunk)
    assert not source.times
    assert source.dropped[0] in (DropReason.TOO_LARGE, DropReason.UNDECODABLE)


class Recorder:
    """Feeds pieces of a recording, all marked with the capture time of its beginning."""

    def __init__(self, codec: Codec, *, begin_s: float = 3.0, max_pixels: int = 10**6) -> None:
        self.codec, self.begin_s = codec, begin_s
        self.decoder = PieceDecoder(codec, **SIZE, max_pixels=max_pixels)
        self.pictures: list[Picture] = []
        self.dropped: dict[int, DropReason] = {}

    def send(self, index: int, piece: bytes, *, follows_gap: bool = False) -> None:
        frame = message(index, piece, self.codec, self.begin_s)
        try:
            self.pictures += self.decoder.decode(frame, everything, follows_gap=follows_gap)
        except Undecodable as error:
            self.dropped[index] = error.reason

    def finish(self) -> list[float]:
        self.pictures += self.decoder.finish(everything)
        self.decoder.close()
        return [round(picture.capture_s, 3) for picture in self.pictures]


CONTAINERS = [Codec.WEBM, Codec.FMP4]


@pytest.mark.parametrize("size", [313, 4000, 1 << 20])
@pytest.mark.parametrize("codec", CONTAINERS)
def test_a_recording_comes_out_whole_however_it_is_cut_up(codec: Codec, size: int) -> None:
    recorder = Recorder(codec)
    for index, piece in enumerate(in_pieces(record(codec), size)):
        recorder.send(index, piece)
    assert len(recorder.pictures) == 40  # before the end is told: nothing is held back
    assert recorder.finish() == [round(3.0 + i / 10, 3) for i in range(40)]
    assert [background(picture) for picture in recorder.pictures] == [
        i // 10 % 3 for i in range(40)
    ]
    assert not recorder.dropped


@pytest.mark.parametrize("codec", CONTAINERS)
def test_after_lost_pieces_a_recording_goes_on_with_its_own_times(codec: Codec) -> None:
    recorder = Recorder(codec)
    pieces = in_pieces(record(codec), 400)
    lost = range(len(pieces) // 2, len(pieces) * 5 // 8)
    for index, piece in enumerate(pieces):
        if index not in lost:
            recorder.send(index, piece, follows_gap=index == lost[-1] + 1)
    times = recorder.finish()
    assert times[0] == 3.0
    assert times[-1] == 6.9
    assert times == sorted(times)
    assert 10 <= len(times) < 40
    assert set(recorder.dropped.values()) <= {DropReason.NO_KEYFRAME}


@pytest.mark.parametrize("codec", CONTAINERS)
def test_rubbish_in_a_recording_costs_only_what_is_near_it(codec: Codec) -> None:
    recorder = Recorder(codec)
    pieces = in_pieces(record(codec), 400)
    spoiled = len(pieces) // 3
    pieces[spoiled] = bytes((index * 7919) % 256 for index in range(400))
    for index, piece in enumerate(pieces):
        recorder.send(index, piece)
    times = recorder.finish()
    assert times[0] == 3.0
    assert times[-1] == 6.9
    assert len(times) >= 15


@pytest.mark.parametrize("codec", CONTAINERS)
def test_pieces_without_their_beginning_are_dropped_until_one_comes(codec: Codec) -> None:
    recorder = Recorder(codec)
    data = record(codec)
    for index, piece in enumerate(in_pieces(data[1000:], 1000)):
        recorder.send(index, piece)
    assert set(recorder.dropped.values()) == {DropReason.NO_KEYFRAME}
    recorder.send(99, data)
    assert len(recorder.finish()) == 40


@pytest.mark.parametrize("codec", CONTAINERS)
def test_a_recording_that_is_begun_again_is_laid_on_its_own_capture_time(codec: Codec) -> None:
    recorder = Recorder(codec)
    recorder.send(0, record(codec, 10))
    recorder.begin_s = 20.0
    recorder.send(1, record(codec, 10))
    assert recorder.finish() == [round(base + i / 10, 3) for base in (3, 20) for i in range(10)]


@pytest.mark.parametrize("codec", CONTAINERS)
def test_random_bytes_are_undecodable_and_leave_no_thread(codec: Codec) -> None:
    before = threading.active_count()
    recorder = Recorder(codec)
    start = b"\x1a\x45\xdf\xa3" if codec is Codec.WEBM else b"\x00\x00\x00\x18ftypisom"
    recorder.send(0, start + bytes((index * 31) % 251 for index in range(100_000)))
    for index in range(1, 12):
        recorder.send(index, bytes(1 << 20))
    assert recorder.dropped
    assert recorder.finish() == []
    assert threading.active_count() == before


def test_a_recording_of_huge_pictures_is_refused() -> None:
    recorder = Recorder(Codec.FMP4, max_pixels=160 * 120 - 1)
    recorder.send(0, record(Codec.FMP4, 10))
    assert recorder.dropped == {0: DropReason.TOO_LARGE}
    assert recorder.finish() == []


def test_closing_in_the_middle_ends_the_demuxers_thread() -> None:
    before = threading.active_count()
    recorder = Recorder(Codec.WEBM)
    recorder.send(0, record(Codec.WEBM)[:3000])
    assert threading.active_count() == before + 1
    recorder.decoder.close()
    assert threading.active_count() == before
