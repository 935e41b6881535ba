import pytest
from hypothesis import given
from hypothesis import strategies as st

from onlooker.streams.sources.rtsp_messages import MAX_HEADER_BYTES, ReplyFilter

OK = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nRTSP/"
MOVED = b"RTSP/1.0 302 Moved\r\nLocation: rtsp://10.0.0.1/\r\n\r\n"
PACKET = b"$\x00\x00\x14RTSP/1.0 302 Moved\r\n"  # a packet that looks like a redirect
REQUEST = b"OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 9\r\n\r\n"


@given(st.lists(st.integers(1, 40), min_size=1))
def test_ordinary_traffic_passes_however_it_is_cut_up(sizes: list[int]) -> None:
    data, replies = OK + PACKET * 3 + OK + REQUEST, ReplyFilter()
    position = 0
    while position < len(data):
        for size in sizes:
            assert replies.passes(data[position : position + size])
            position += size


@given(st.integers(1, 60))
def test_a_redirect_is_stopped_wherever_it_comes(size: int) -> None:
    data, replies = OK + PACKET + MOVED, ReplyFilter()
    passed = [replies.passes(data[at : at + size]) for at in range(0, len(data), size)]
    assert not passed[-1]
    assert "redirects" in str(replies.refusal)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\nsecret",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        bytes(MAX_HEADER_BYTES + 1),
        b"REDIRECT rtsp://x RTSP/1.0\r\nLocation: rtsp://10.0.0.1/\r\n\r\n",
    ],
)
def test_what_is_no_rtsp_is_stopped(data: bytes) -> None:
    assert not ReplyFilter().passes(data)
