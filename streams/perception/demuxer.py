"""A container's byte stream, fed piece by piece, to pictures as soon as they are complete.

FFmpeg's demuxers pull bytes; our pieces are pushed. So the demuxer runs in a thread of its own that
reads from a `_Pipe`, and `Demuxer.feed` hands a piece over and waits until that thread asks for
more: one of the two threads runs at a time, the pipe never holds more than one piece, and what
comes out depends on the bytes only, never on timing.
"""

import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from onlooker.core.media import Codec, DropReason
from onlooker.core.orientation import Orientation, Orientations
from onlooker.streams.perception.chunks import set_up_decoder
from onlooker.streams.perception.stills import Undecodable

FORMATS = {Codec.WEBM: "matroska", Codec.FMP4: "mp4"}
VIDEO_CODECS = ("h264", "vp8", "vp9", "av1", "hevc")

FEED_TIMEOUT_S = 10.0
"""Seconds of real time that one piece may take; far more than any honest one needs."""

MAX_STREAMS = 16
"""The most tracks of a container: picture, sound, subtitles in a few languages."""

OnFrame = Callable[[VideoFrame, Orientation, float], None]

_OPTIONS = {
    "probesize": "65536",
    "analyzeduration": "0",
    "fpsprobesize": "0",
    "max_streams": str(MAX_STREAMS),
}


class _Pipe:
    """What the demuxer reads from: blocks while empty, and tells that it does."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.data = memoryview(b"")
        self.is_ended = False
        self.is_hungry = False
        """Whether the reader waits for bytes (or has gone)."""

    def read(self, num_bytes: int) -> bytes:
        """Return up to `num_bytes` bytes to FFmpeg; none only at the end."""
        with self.changed:
            while not self.data and not self.is_ended:
                self.is_hungry = True
                self.changed.notify_all()
                self.changed.wait()
            piece, self.data = bytes(self.data[:num_bytes]), self.data[num_bytes:]
            return piece

    def hand_over(self, data: bytes, *, is_last: bool) -> None:
        """Give the reader `data` and wait until it has used it up.

        Raises:
            Undecodable: the reader is not done with it within `FEED_TIMEOUT_S`.
        """
        with self.changed:
            self.data = memoryview(bytes(self.data) + data)
            self.is_ended = self.is_ended or is_last
            self.is_hungry = False
            self.changed.notify_all()
            if not self.changed.wait_for(lambda: self.is_hungry, FEED_TIMEOUT_S):
                self.is_ended = True
                raise Undecodable(DropReason.UNDECODABLE, "a piece took too long to take apart")


class Demuxer:
    """One byte stream from its beginning: feed pieces, get decoded frames with container times.

    Args:
        on_frame: called for each decoded frame, on the demuxer's thread, while `feed` waits; its
            second argument says how it lies, the third is its time in the container, in seconds.
    """

    def __init__(self, codec: Codec, *, max_pixels: int, on_frame: OnFrame) -> None:
        self._format = FORMATS[codec]
        self._max_pixels = max_pixels
        self._on_frame = on_frame
        self._pipe = _Pipe()
        self._error: Undecodable | None = None
        self._num_broken = 0
        self._orientations = Orientations()
        self._thread = threading.Thread(target=self._run, name="demuxer", daemon=True)
        self._thread.start()

    @property
    def is_dead(self) -> bool:
        """Whether the demuxer has ended and takes nothing more."""
        return not self._thread.is_alive()

    def feed(self, piece: bytes, *, is_last: bool = False) -> int:
        """Take the next bytes; returns when all that they complete has been given to `on_frame`.

        Returns:
            How many coded pictures among them could not be decoded; later ones still may.

        Raises:
            Undecodable: the bytes cannot be read (any more); a new demuxer is needed.
        """
        num_broken_before = self._num_broken
        self._pipe.hand_over(piece, is_last=is_last)
        if self._error is not None:
            raise self._error
        return self._num_broken - num_broken_before

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._pipe.changed:
            self._pipe.is_ended = True
            self._pipe.data = memoryview(b"")
            self._pipe.changed.notify_all()
        self._thread.join(FEED_TIMEOUT_S)

    def _run(self) -> None:
        try:
            # Probing decodes, too. (The stubs have the type of stream_options wrong.)
            limits: Any = [{"max_pixels": str(self._max_pixels)}] * MAX_STREAMS
            with av.open(
                self._pipe,
                "r",
                format=self._format,
                container_options=_OPTIONS,
                stream_options=limits,
            ) as container:
                self._decode_all(container)
            if not self._pipe.is_ended:
                self._error = Undecodable(DropReason.UNDECODABLE, "the container ended early")
        except Undecodable as error:
            self._error = error
        except Exception as error:  # FFmpeg's errors, and what broken bytes do to its wrappers
            self._error = Undecodable(DropReason.UNDECODABLE, f"{self._format}: {error}")
        finally:
            with self._pipe.changed:
                self._pipe.is_hungry = True
                self._pipe.changed.notify_all()

    def _decode_all(self, container: InputContainer) -> None:
        if not container.streams.video:
            raise Undecodable(DropReason.UNDECODABLE, "there is no video in the container")
        stream = container.streams.video[0]
        source = stream.codec_context
        if source.name not in VIDEO_CODECS:
            raise Undecodable(
                DropReason.UNDECODABLE, f"video coded as '{source.name}' is not taken"
            )
        if source.width * source.height > self._max_pixels:
            raise Undecodable(DropReason.TOO_LARGE, f"{source.width} x {source.height} pixels")
        # The container's own decoder, unlike another, also knows what the container says of the
        # pictures: which way up they are.
        set_up_decoder(source, max_pixels=self._max_pixels)
        waits_for_key = True
        for packet in container.demux(stream):
            if waits_for_key and packet.size and not packet.is_keyframe:
                continue  # after a gap: what it builds on is missing
            waits_for_key = False
            try:
                for frame in source.decode(packet if packet.size else None):
                    self._give(frame, stream.time_base)
            except av.FFmpegError:
                self._num_broken += 1
                source.flush_buffers()
                waits_for_key = True

    def _give(self, frame: VideoFrame, time_base: Fraction | None) -> None:
        orientation = self._orientations.of(frame)
        if frame.pts is None or time_base is None:
            self._num_broken += 1
        elif not frame.is_corrupt:
            self._on_frame(frame, orientation, float(frame.pts * time_base))
