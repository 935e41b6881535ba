"""An RTMP server that plays a stream to whoever asks for it: FFmpeg's own, out of PyAV's wheel.

PyAV opens no output with options, so the server is opened through FFmpeg's libraries themselves.
"""

import ctypes
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from tests.fakes.pictures import Written, mux
from tests.fakes.waiting import WAIT_S

_WRITE = 2
"""FFmpeg's AVIO_FLAG_WRITE."""

_PIECE_BYTES = 4096


def flv(num: int) -> bytes:
    """The drawn frames as FLV, as a live encoder writes it."""
    written = Written()
    mux(written, "flv", "libx264", num, {"flvflags": "no_duration_filesize"})
    return bytes(written.data)


@contextmanager
def rtmp_server(data: bytes) -> Iterator[str]:
    """Its address. It serves `data`, FLV, to one client, and then ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/door"
    thread = threading.Thread(target=_serve, args=(url, data), daemon=True)
    thread.start()
    yield url
    thread.join(WAIT_S)


def _serve(url: str, data: bytes) -> None:
    formats, utilities = _library("libavformat"), _library("libavutil")
    context, options = ctypes.c_void_p(), ctypes.c_void_p()
    for key, value in ((b"listen", b"1"), (b"timeout", str(round(WAIT_S)).encode())):
        utilities.av_dict_set(ctypes.byref(options), key, value, 0)
    opened = formats.avio_open2(
        ctypes.byref(context), url.encode(), _WRITE, None, ctypes.byref(options)
    )
    utilities.av_dict_free(ctypes.byref(options))
    if opened < 0:
        return  # the client notices
    for at in range(0, len(data), _PIECE_BYTES):
        piece = data[at : at + _PIECE_BYTES]
        formats.avio_write(context, piece, len(piece))
        formats.avio_flush(context)
    formats.avio_closep(ctypes.byref(context))


def _library(name: str) -> ctypes.CDLL:
    folder = Path(av.__file__).parent.parent / "av.libs"
    (found,) = folder.glob(f"{name}*")
    return ctypes.CDLL(str(found))
