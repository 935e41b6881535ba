"""Files, network streams and cameras, read with PyAV.

A file is decoded on request, in real time or slower; a live source is read by a thread of its own
that keeps only the newest picture, so that it never falls behind.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import av
import av.error
import numpy as np

from onlooker.clients.python.errors import ConnectionLost
from onlooker.clients.python.sources.interface import SourcePicture
from onlooker.core.clock import Clock
from onlooker.core.errors import NotFound, OnlookerError, UnsupportedMedia
from onlooker.core.exif import jpeg_orientation
from onlooker.core.media import Pixels
from onlooker.core.orientation import Orientation, Orientations

TIMEOUT_S = 10.0
"""How long opening a source may take, and each wait for its next packet."""

MAX_BAD_PACKETS = 100
"""Packets in a row that may fail to decode (a broken stretch) before the source is given up."""


class _Decoded(NamedTuple):
    """A frame of video, not yet converted."""

    frame: Any
    orientation: Orientation

    @property
    def length_s(self) -> float:
        """How long it is to be seen, in seconds; 0 where that is not known."""
        duration, base = self.frame.duration, self.frame.time_base
        return float(duration * base) if duration and base else 0.0

    def pixels(self) -> Pixels:
        """The picture as it is to be seen: RGB, upright."""
        stored = self.frame.to_ndarray(format="rgb24")
        return np.ascontiguousarray(self.orientation.upright(stored), dtype=np.uint8)


def open_container(url: str, name: str, *, format_name: str | None, options: dict[str, str]) -> Any:
    """Open a container that holds video; blocks.

    Raises:
        NotFound: there is no such file, device or host.
        UnsupportedMedia: it exists but holds no video that can be read.
    """
    try:
        container = av.open(url, format=format_name, options=options, timeout=TIMEOUT_S)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        kind = NotFound if isinstance(error, OSError) else UnsupportedMedia
        raise kind(f"cannot open {name}: {_plain(error)}") from error
    if not container.streams.video:
        container.close()
        raise UnsupportedMedia(f"{name} holds no video")
    video = container.streams.video[0]
    # With threads, frames come out behind their packets, and each JPEG says how it lies.
    video.thread_type = "NONE" if video.codec_context.name == "mjpeg" else "AUTO"
    return container


def _plain(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)


def decoded(container: Any, name: str) -> Iterator[_Decoded]:
    """The video frames of a container; broken stretches are passed over.

    Raises:
        UnsupportedMedia: nothing in it can be decoded.
        ConnectionLost: reading broke off.
    """
    num_bad, orientations = 0, Orientations()
    has_jpegs = container.streams.video[0].codec_context.name == "mjpeg"
    try:
        for packet in container.demux(container.streams.video[0]):
            try:
                frames = packet.decode()
                num_bad = 0 if frames else num_bad
            except av.error.InvalidDataError as error:
                num_bad += 1
                if num_bad > MAX_BAD_PACKETS:
                    raise UnsupportedMedia(f"{name} cannot be decoded: {_plain(error)}") from error
                continue
            own = jpeg_orientation(bytes(packet)) if has_jpegs and packet.size else None
            yield from (_Decoded(frame, orientations.of(frame, own)) for frame in frames)
    except av.error.EOFError:
        return
    except av.error.FFmpegError as error:
        raise ConnectionLost(f"{name} broke off: {_plain(error)}") from error


class FileSource:
    """A recording, played at its own speed."""

    def __init__(self, path: Path | str, *, loop: bool = False) -> None:
        self._url = str(path)
        self.name = self._url if "://" in self._url else Path(path).name
        self._loop = loop
        self._container: Any = None
        self._frames: Iterator[tuple[float, _Decoded]] = iter(())
        self._now: _Decoded | None = None
        self._next: tuple[float, _Decoded] | None = None
        self._due_s = 0.0
        """Source time at which the next frame is due at the pace of those before it."""

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._container is not None:
            await asyncio.to_thread(self._container.close)

    async def picture(self, due_s: float) -> SourcePicture | None:
        """The last picture up to source time `due_s`; None after the end."""
        return await asyncio.to_thread(self._advance, due_s)

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = open_container(self._url, self.name, format_name=None, options={})
        self._frames = self._timed()
        self._next = next(self._frames, None)
        if self._next is None:
            raise UnsupportedMedia(f"{self.name} holds no picture that can be decoded")

    def _advance(self, due_s: float) -> SourcePicture | None:
        taken = None
        while self._next is not None and self._next[0] <= due_s:
            taken = self._next[1]
            self._next = next(self._frames, None)
            if self._next is None and self._loop:
                self._open()
        if taken is not None:
            self._now = taken
        elif self._next is None:
            return None
        else:
            taken = self._now or self._next[1]
        return SourcePicture(due_s, taken.pixels())

    def _timed(self) -> Iterator[tuple[float, _Decoded]]:
        """The file's frames with their source times, which only grow. Where the file names no times
        they are counted at its rate; a time that goes back goes on from the last."""
        container, last_s, shift_s = self._container, -1.0, None
        rate = float(container.streams.video[0].average_rate or 25.0)
        for one in decoded(container, self.name):
            own_s = one.frame.time
            if own_s is None:
                at_s = self._due_s
            else:
                if shift_s is None or own_s + shift_s <= last_s:
                    shift_s = self._due_s - own_s
                at_s = float(own_s + shift_s)
            last_s, self._due_s = at_s, at_s + (one.length_s or 1 / rate)
            yield at_s, one


class LiveSource:
    """A camera or a network stream, of which only the newest picture is kept."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        clock: Clock,
        format_name: str | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self._url, self._format, self._options = url, format_name, options or {}
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: tuple[float, _Decoded] | None = None
        self._error: OnlookerError | None = None
        self._ended = False
        self._stop = False
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._start_s = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        container = await asyncio.to_thread(
            open_container, self._url, self.name, format_name=self._format, options=self._options
        )
        self._start_s = self._clock.now_s()
        self._thread = threading.Thread(target=self._read, args=(container,), daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop = True
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 2.0)

    async def picture(self, due_s: float) -> SourcePicture | None:
        """The newest picture that was not taken yet, once there is one; None after the end."""
        while True:
            with self._lock:
                taken, self._newest = self._newest, None
            if taken is not None:
                pixels = await asyncio.to_thread(taken[1].pixels)
                return SourcePicture(taken[0], pixels)
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()

    def _read(self, container: Any) -> None:
        try:
            for frame in decoded(container, self.name):
                with self._lock:
                    self._newest = self._clock.now_s() - self._start_s, frame
                self._wake()
                if self._stop:
                    return
        except OnlookerError as error:
            self._error = error
        finally:
            container.close()
            self._ended = True
            self._wake()

    def _wake(self) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)
