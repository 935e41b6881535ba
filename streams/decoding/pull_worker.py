"""The decoder process of one pulled source: FFmpeg takes apart and decodes here what the server
reads.

The process does one thing at a time. It works only while the server has given it a turn, which it
has from an answer of the server to its next message; the demuxer of a source behind a relay, whose
work is as much as its bytes, alone works without one. Each packet has a budget of processor time.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from onlooker.core.exif import jpeg_orientation
from onlooker.core.media import Pixels
from onlooker.core.orientation import Orientations
from onlooker.streams.decoding.frame_times import FrameTimes
from onlooker.streams.decoding.pull_wire import PullOrder, PullSaid, PullTold, Why, receive_told
from onlooker.streams.decoding.single_jpeg import is_single
from onlooker.streams.decoding.wire import send
from onlooker.streams.perception.chunks import to_pixels
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable

MAX_BROKEN_PACKETS = 100
"""Undecodable packets in a row after which a source is given up."""

SLICE_S = 0.02
"""Processor time after which the process asks for another turn, so that others come in between."""

BUFFER_BYTES = 128 << 10
"""The most that FFmpeg asks for at a time; each time costs more than the bytes."""

READ_GRANT_S = 0.01
"""Processor time that each read adds to a packet's budget: for what lies between two packets of
video, such as sound."""


class PullFault(Exception):
    """The source cannot be played on."""

    def __init__(self, why: Why, detail: str = "") -> None:
        super().__init__(detail)
        self.why: Why = why


class _Line:
    """The conversation with the server."""

    def __init__(self, link: socket.socket, now_s: float) -> None:
        self._link = link
        self._spent_at_s = self._slice_at_s = time.process_time()
        self._now_s = now_s

    def now_s(self) -> float:
        """The server's time when it was last heard of."""
        return self._now_s

    @property
    def has_had_its_slice(self) -> bool:
        return time.process_time() - self._slice_at_s > SLICE_S

    def say(self, said: PullSaid, *body: bytes | memoryview) -> None:
        """Say what is not answered."""
        spent_at_s = time.process_time()
        spent_s, self._spent_at_s = spent_at_s - self._spent_at_s, spent_at_s
        try:
            send(self._link, replace(said, spent_s=spent_s), *body)
        except OSError:
            _leave()

    def ask(self, said: PullSaid, *body: bytes | memoryview) -> tuple[PullTold, bytes]:
        """Say something, and wait for the answer; what is done next is done in a new turn."""
        self.say(said, *body)
        try:
            told, data = receive_told(self._link)
        except (EOFError, OSError):
            _leave()
        self._now_s, self._slice_at_s = told.now_s, time.process_time()
        return told, data


def _leave() -> Any:
    """The server is gone; FFmpeg, from within which this is called, would only go on."""
    os._exit(0)


class _RemoteFile:
    """A file that the server reads for FFmpeg."""

    def __init__(self, line: _Line, number: int, *, name: str, can_seek: bool) -> None:
        self._line, self._number, self._can_seek = line, number, can_seek
        self._position = 0
        self.name = name

    def read(self, num_bytes: int = 65536) -> bytes:
        told, data = self._line.ask(PullSaid(what="read", file=self._number, number=num_bytes))
        _check(told)
        left_s, _ = signal.getitimer(signal.ITIMER_PROF)
        signal.setitimer(signal.ITIMER_PROF, left_s + READ_GRANT_S)
        self._position += len(data)
        return data

    def seekable(self) -> bool:
        return self._can_seek

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        said = PullSaid(what="seek", file=self._number, number=offset, whence=whence)
        told, _ = self._line.ask(said)
        _check(told)
        self._position = told.number
        return told.number

    def close(self) -> None:
        self._line.ask(PullSaid(what="close", file=self._number))


def _check(told: PullTold) -> None:
    if told.has_failed:
        raise OSError("the server cannot read it")


class _Thinner:
    """Picks the frames that may be of use, so that the others need not be converted."""

    def __init__(self, interval_s: float, line: _Line) -> None:
        self._interval_s, self._line = interval_s, line
        self._own, self._arrived = Sampler(interval_s), Sampler(interval_s)
        self._last_s: float | None = None

    def pick(self, time_s: float, *, is_live: bool) -> bool:
        """Whether the frame is due, by its own time or, where it is live, by that of arrival: it
        shows later which of the two is right."""
        if self._last_s is not None and time_s < self._last_s:  # the source's time jumped back
            self._own = Sampler(self._interval_s)
        self._last_s = time_s
        has_arrived = is_live and self._arrived.pick(self._line.now_s())
        return self._own.pick(time_s) or has_arrived


class PullWorker:
    """Opens one source and gives its pictures, once, as the server asks for them."""

    def __init__(self, link: socket.socket, order: PullOrder) -> None:
        self._order, self._line = order, _Line(link, order.now_s)
        self._packets: Iterator[Packet[VideoStream]] = iter(())

    def run(self) -> None:
        """Play the source to its end."""
        signal.setitimer(signal.ITIMER_PROF, self._order.open_budget_s)
        try:
            with contextlib.closing(self._open()) as container:
                self._play(container)
            self._line.say(PullSaid(what="ended"))
        except PullFault as fault:
            self._line.say(PullSaid(what="failed", why=fault.why, detail=str(fault)[:500]))

    def _open(self) -> InputContainer:
        order = self._order
        file: Any = order.url or _RemoteFile(
            self._line, 0, name=order.file_name, can_seek=order.can_seek
        )
        try:
            container: InputContainer = av.open(
                file,
                "r",
                format=order.format,
                io_open=None if order.relay_port is not None else self._open_other,
                options=order.options,
                timeout=order.timeouts_s,
                buffer_size=BUFFER_BYTES,
            )
            self._find_video(container)
        except PullFault:
            raise
        except Exception as error:  # FFmpeg's errors, and what broken bytes do to its wrappers
            raise _fault_of(error) from error
        return container

    def _open_other(self, url: str, flags: int, options: dict[str, str]) -> _RemoteFile:
        """Have the server open a file that the source names."""
        if flags & 2 or not self._order.opens_others:
            raise OSError("this source names other files, which are not opened")
        end = int(options.get("end_offset") or 0)
        told, _ = self._line.ask(
            PullSaid(
                what="open",
                url=url,
                first_byte=int(options.get("offset") or 0),
                last_byte=end - 1 if end > 0 else None,
            )
        )
        _check(told)
        name = url.partition("?")[0].rsplit("/", 1)[-1]
        return _RemoteFile(self._line, told.number, name=name, can_seek=told.can_seek)

    def _find_video(self, container: InputContainer) -> None:
        """Raise `PullFault` where there is no video. JPEGs are, where several follow each other
        that are not parts of one picture."""
        if all(_is_cover(stream) for stream in container.streams.video):
            raise PullFault("no_video")
        self._packets = container.demux(container.streams.video[0])
        if container.format.name == "mjpeg":
            first = list(islice(self._packets, 2))  # the last of all packets is an empty one
            payloads = [bytes(packet) if packet.size else b"" for packet in first]
            if is_single(*payloads, *[b""] * (2 - len(payloads))):
                raise PullFault("one_picture")
            self._packets = chain(first, self._packets)

    def _play(self, container: InputContainer) -> None:
        order = self._order
        has_end = container.duration is not None or container.format.name == "gif"
        is_recorded = order.is_recorded or (has_end and order.has_files)
        is_bursty = "hls" in container.format.name.split(",")
        self._line.ask(PullSaid(what="opened", is_recorded=is_recorded, is_bursty=is_bursty))
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(order.max_pixels)}
        num_broken, orientations = 0, Orientations()
        has_jpegs = stream.codec_context.name == "mjpeg"
        thinner = _Thinner(order.interval_s, self._line)
        times = FrameTimes(
            container,
            is_recorded=is_recorded,
            nominal_fps=order.nominal_fps,
            now_s=self._line.now_s,
        )
        while (packet := self._next_packet(stream)) is not None:
            try:
                frames = packet.decode()
                num_broken = 0
            except av.FFmpegError as error:
                num_broken += 1
                if num_broken >= MAX_BROKEN_PACKETS:
                    raise PullFault("undecodable", error.strerror or "") from error
                continue
            own = jpeg_orientation(bytes(packet)) if has_jpegs and packet.size else None
            for frame in frames:
                orientation, time_s = orientations.of(frame, own), times.of(frame)
                if thinner.pick(time_s, is_live=not is_recorded):
                    self._give(frame, orientation, time_s)

    def _next_packet(self, stream: VideoStream) -> "Packet[VideoStream] | None":
        """The next packet, which may be decoded now; None at the end."""
        is_relayed = self._order.relay_port is not None
        if is_relayed:
            self._line.say(PullSaid(what="waits"))
        try:
            packet = next(self._packets)
        except StopIteration:
            return None
        except Exception as error:
            raise _fault_of(error) from error
        if is_relayed or self._line.has_had_its_slice:
            self._line.ask(PullSaid(what="ready"))
        num_pixels = min(stream.width * stream.height, self._order.max_pixels)
        more_s = self._order.megapixel_budget_s * num_pixels / 1e6
        signal.setitimer(signal.ITIMER_PROF, self._order.packet_budget_s + more_s)
        return packet

    def _give(self, frame: VideoFrame, orientation: Any, time_s: float) -> None:
        try:
            pixels: Pixels = to_pixels(
                frame,
                orientation,
                width=self._order.width,
                height=self._order.height,
                max_pixels=self._order.max_pixels,
            )
        except Undecodable as error:
            raise PullFault("too_large", str(error)) from error
        self._line.ask(PullSaid(what="picture", time_s=time_s), pixels.data.cast("B"))


def _fault_of(error: Exception) -> PullFault:
    detail = getattr(error, "strerror", None) or type(error).__name__
    return PullFault("unreadable", detail)


def _is_cover(stream: VideoStream) -> bool:
    """Whether this is the picture on the cover of a piece of music."""
    return bool(stream.disposition & Disposition.attached_pic)
