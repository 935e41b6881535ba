"""Video stands upright, whatever way it was coded and in whatever it comes."""

import pytest

from onlooker.core.media import Codec, EncodedFrame
from onlooker.streams.perception.chunks import ChunkDecoder, Picture
from onlooker.streams.perception.pieces import PieceDecoder
from tests.fakes.pictures import encode_chunks, in_pieces
from tests.fakes.turned import CORNERS, LYING, corners, says_it_is_turned, turned_video


def everything(capture_s: float) -> bool:
    return True


def pushed(data: bytes, codec: Codec, decoder: PieceDecoder) -> list[Picture]:
    pictures: list[Picture] = []
    for index, piece in enumerate(in_pieces(data, 2000)):
        pictures += decoder.decode(EncodedFrame(index, 0.0, codec, piece, 0.0), everything)
    return pictures + decoder.finish(everything)


def piece_decoder(codec: Codec) -> PieceDecoder:
    return PieceDecoder(codec, width=64, height=64, max_pixels=10**6)


@pytest.mark.parametrize(("turn", "is_mirrored"), LYING)
@pytest.mark.parametrize("codec", [Codec.FMP4, Codec.WEBM])
def test_a_pushed_recording_comes_out_upright(codec: Codec, turn: int, is_mirrored: bool) -> None:
    data = turned_video(codec.name.lower(), turn, is_mirrored=is_mirrored)
    pictures = pushed(data, codec, piece_decoder(codec))
    assert len(pictures) == 20
    assert all(corners(picture.whole) == list(CORNERS) for picture in pictures)


def test_a_recorder_that_is_turned_while_it_records_says_so_in_a_new_header() -> None:
    decoder = piece_decoder(Codec.FMP4)
    for turn in (0, 90, 270):
        data = turned_video("fmp4", turn, is_mirrored=False, num=10)
        pictures = pushed(data, Codec.FMP4, decoder)
        assert corners(pictures[-1].whole) == list(CORNERS), turn


def test_pictures_after_a_broken_one_are_upright_too() -> None:
    data = turned_video("fmp4", 90, is_mirrored=False, num=40)
    middle = data.index(b"mdat", len(data) // 3)
    spoiled = data[: middle + 12] + b"\xff" * 20 + data[middle + 32 :]
    pictures = pushed(spoiled, Codec.FMP4, piece_decoder(Codec.FMP4))
    assert pictures[-1].capture_s == pytest.approx(3.9)
    assert corners(pictures[-1].whole) == list(CORNERS)


def test_h264_that_says_how_it_lies_is_turned_from_that_picture_on() -> None:
    decoder = ChunkDecoder(Codec.H264, width=64, height=64, max_pixels=10**6)
    chunks = encode_chunks("libx264", 20)  # a white square near the left, a little above the middle
    chunks[10] = says_it_is_turned(chunks[10], 180)
    squares = []
    for index, chunk in enumerate(chunks):
        message = EncodedFrame(index, index / 10, Codec.H264, chunk, 0.0)
        (picture,) = decoder.decode(message, everything)
        rows, columns = (picture.whole.min(axis=2) > 200).nonzero()
        squares.append((rows.mean() < 32, columns.mean() < 32))
    assert squares == [(True, True)] * 10 + [(False, False)] * 10
