"""Decodes parts of recordings, in a process of its own that can be killed.

    python -m onlooker.core.recordings.decoder [BUDGET_MS MEMORY_MIB]

Files are foreign: a process that hangs or dies takes nothing with it, and FFmpeg opens nothing but
the file. With a budget, the kernel ends the process when it has taken so much processor time since
it gave out a picture. A recording is cut at key
frames, so that many such processes decode one recording at a time (as QuickVideo does), and each
part is decoded from its first key frame to that of the next one. Leading pictures of an open group,
which need the group before, are given out by the part that has that one.
"""

import contextlib
import hashlib
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import av
import av.error
import av.logging
import numpy as np

from onlooker.core.clock import Clock, SystemClock
from onlooker.core.exif import jpeg_orientation
from onlooker.core.jpeg import encode_jpeg
from onlooker.core.media import Pixels
from onlooker.core.orientation import Orientation, Orientations
from onlooker.core.recordings.containers import open_file
from onlooker.core.recordings.records import (
    Facts,
    PartEnd,
    RecordingPart,
    RecordKind,
    write,
    write_json,
)

NICENESS = 10
"""Whatever else the machine does comes first."""

NOMINAL_FPS = 25.0
"""Rate of bare streams that name none."""

MAX_BAD_PACKETS = 100
"""Packets in a row that cannot be decoded before a recording is given up."""

MARGIN_S = 5.0
"""Seeking begins so much earlier, as the indices of some containers are not exact."""

SPARE_RATIO = 10.0
"""Pictures that no other needs are left out where so many times more come than are wanted."""

BEAT_S = 1.0
PRINT_BYTES = 1 << 16

_READ_ERRORS = (av.error.FFmpegError, OSError, ValueError)


class Unreadable(Exception):
    """The recording cannot be read, and why."""


@dataclass(frozen=True, slots=True)
class ProcessAllowance:
    """What the process may take of the machine; zeros are no limit."""

    budget_ms: int = 0
    """Milliseconds of processor time between two pictures that are given out."""
    memory_mib: int = 0
    """Address space."""

    def begin(self) -> None:
        """Set the limit of memory, for good."""
        if self.memory_mib:
            limit = self.memory_mib << 20
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def renew(self) -> None:
        """Let the budget begin anew. Its signal is not caught, so that no decoder outlasts it."""
        if self.budget_ms:
            signal.setitimer(signal.ITIMER_PROF, self.budget_ms / 1000)


def facts_of(path: str) -> Facts:
    """What the recording at `path` says of itself.

    Raises:
        Unreadable: it holds no video, or is no recording.
    """
    with _opened(path) as container:
        video = container.streams.video[0]
        tags = {name.lower(): value for name, value in video.metadata.items()}
        tags |= {name.lower(): value for name, value in container.metadata.items()}
        is_timed = True
        with contextlib.suppress(*_READ_ERRORS):
            for packet in container.demux(video):
                is_timed = packet.pts is not None
                break
        duration_s = container.duration / av.time_base if container.duration else None
        if not is_timed:
            duration_s = None
    return Facts(tags, duration_s, is_timed, _fingerprint(path))


def _fingerprint(path: str) -> str:
    """A digest of a file's size, its first and its last bytes."""
    size = os.path.getsize(path)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        digest.update(file.read(PRINT_BYTES))
        file.seek(max(0, size - PRINT_BYTES))
        digest.update(file.read(PRINT_BYTES))
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    with contextlib.ExitStack() as opened:
        try:
            container = open_file(opened.enter_context(open(path, "rb")))
        except _READ_ERRORS as error:
            raise Unreadable(_plain(error)) from error
        opened.enter_context(container)
        if not container.streams.video:
            raise Unreadable("it holds no video")
        yield container


def _plain(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower()


class _TooLate(Exception):
    """Seeking came behind the time that was wanted: the recording is read from its beginning."""


class PartDecoder:
    """Decodes one part. Pictures go to `target` as they are decoded."""

    def __init__(
        self, part: RecordingPart, target: BinaryIO, clock: Clock, allowance: ProcessAllowance
    ) -> None:
        self._part, self._target, self._clock = part, target, clock
        self._allowance = allowance
        self._last_slot: int | None = None
        self._beat_at_s = clock.now_s()
        self._num_bad = self._num_bad_in_row = 0
        self._has_begun = self._seeks = False
        self._from_s: float | None = None
        self._until_s: float | None = None
        self._end_s = 0.0

    def run(self) -> PartEnd:
        """Decode.

        Raises:
            Unreadable: what was read so far is not all there should be.
        """
        try:
            self._decode(seeks=self._part.start_s > MARGIN_S)
        except _TooLate:
            self._decode(seeks=False)
        return PartEnd(self._from_s, self._until_s, self._end_s, self._num_bad)

    def _decode(self, *, seeks: bool) -> None:
        self._seeks = seeks
        with _opened(self._part.path) as container:
            video = container.streams.video[0]
            self._rate = float(video.average_rate or video.guessed_rate or NOMINAL_FPS)
            base_s = float(video.time_base) if video.time_base else 1.0
            self._zero_s = (video.start_time or 0) * base_s
            context = video.codec_context
            context.thread_count = 1
            self._orientations, self._has_jpegs = Orientations(), context.name == "mjpeg"
            if self._rate * self._part.interval_s >= SPARE_RATIO:
                context.skip_frame = "NONREF"
            if seeks:
                self._seek(container, video)
            try:
                for frame, orientation in self._frames(container, video):
                    self._give_out(frame, orientation)
            except av.error.EOFError:
                pass
            except av.error.FFmpegError as error:
                raise Unreadable(f"it broke off: {_plain(error)}") from error

    def _seek(self, container: Any, video: Any) -> None:
        to_s = self._part.start_s - MARGIN_S + self._zero_s
        with contextlib.suppress(*_READ_ERRORS):  # from the beginning, then
            container.seek(int(to_s / float(video.time_base)), stream=video, backward=True)

    def _frames(self, container: Any, video: Any) -> Iterator[tuple[Any, Orientation]]:
        """The pictures of the part, in the order in which they are shown, and how each lies."""
        for packet in container.demux(video):
            self._beat()
            at_s = self._time_of(packet)
            if not self._has_begun:
                if not self._begins(packet, at_s):
                    if self._is_over(packet, at_s):
                        return
                    continue
                self._has_begun, self._from_s = True, at_s
                write(self._target, RecordKind.BEGIN, at_s=at_s or 0.0)
            elif self._until_s is None and self._is_over(packet, at_s):
                self._until_s = at_s
            own = jpeg_orientation(bytes(packet)) if self._has_jpegs and packet.size else None
            for frame in self._decoded(packet):
                orientation = self._orientations.of(frame, own)
                if self._until_s is not None and self._shown_s(frame) >= self._until_s:
                    return
                yield frame, orientation

    def _begins(self, packet: Any, at_s: float | None) -> bool:
        if not packet.is_keyframe:
            return False
        if self._part.is_first or self._part.start_s <= 0:
            if self._seeks and (at_s is None or at_s > self._part.start_s):
                raise _TooLate
            return True
        return at_s is not None and at_s >= self._part.start_s and not self._is_over(packet, at_s)

    def _is_over(self, packet: Any, at_s: float | None) -> bool:
        """Whether the packet is a key frame of the next part."""
        end_s = self._part.end_s
        return packet.is_keyframe and at_s is not None and end_s is not None and at_s >= end_s

    def _decoded(self, packet: Any) -> Iterator[Any]:
        try:
            frames = packet.decode()
        except av.error.InvalidDataError as error:
            self._num_bad += 1
            self._num_bad_in_row += 1
            if self._num_bad_in_row > MAX_BAD_PACKETS:
                raise Unreadable(f"it cannot be decoded: {_plain(error)}") from error
            return
        if frames:
            self._num_bad_in_row = 0
        yield from frames

    def _time_of(self, packet: Any) -> float | None:
        """Time of a packet in the recording; None where it has none."""
        if packet.pts is None:
            return None
        return float(packet.pts * packet.time_base) - self._zero_s

    def _shown_s(self, frame: Any) -> float:
        """When a picture is shown, in seconds of the recording; counted where it has no times."""
        if frame.pts is None or frame.time_base is None:
            return self._end_s
        return max(0.0, float(frame.pts * frame.time_base) - self._zero_s)

    def _give_out(self, frame: Any, orientation: Orientation) -> None:
        at_s = self._shown_s(frame)
        length_s = 1 / self._rate
        if frame.pts is not None and frame.duration:
            length_s = float(frame.duration * frame.time_base)
        self._end_s = max(self._end_s, at_s + length_s)
        slot = int(at_s / self._part.interval_s + 1e-6)
        if self._last_slot is not None and slot <= self._last_slot:
            return
        self._last_slot = slot
        body = encode_jpeg(self._upright(frame, orientation))
        write(self._target, RecordKind.PICTURE, at_s=at_s, body=body)
        self._allowance.renew()

    def _upright(self, frame: Any, orientation: Orientation) -> Pixels:
        """The picture as it is meant to be seen, just large enough."""
        width, height = self._part.width, self._part.height
        if orientation.is_transposed:
            width, height = height, width
        scale = min(1.0, max(width / frame.width, height / frame.height))
        pixels = frame.to_ndarray(
            format="rgb24",
            width=max(1, round(frame.width * scale)),
            height=max(1, round(frame.height * scale)),
        )
        return np.ascontiguousarray(orientation.upright(pixels))

    def _beat(self) -> None:
        now_s = self._clock.now_s()
        if now_s - self._beat_at_s >= BEAT_S:
            self._beat_at_s = now_s
            write(self._target, RecordKind.BEAT)


def serve(lines: BinaryIO, target: BinaryIO, clock: Clock, allowance: ProcessAllowance) -> None:
    """Do what is asked, a line at a time, until there are no more."""
    for line in lines:
        asked = json.loads(line)
        allowance.renew()
        try:
            if "facts" in asked:
                write_json(target, RecordKind.FACTS, facts_of(asked["facts"]))
            else:
                write_json(
                    target,
                    RecordKind.END,
                    PartDecoder(RecordingPart(**asked["part"]), target, clock, allowance).run(),
                )
        except Unreadable as error:
            write(target, RecordKind.FAILED, body=str(error).encode())


if __name__ == "__main__":
    av.logging.set_level(av.logging.PANIC)
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        given = ProcessAllowance(*map(int, sys.argv[1:3]))
        given.begin()
        serve(sys.stdin.buffer, sys.stdout.buffer, SystemClock(), given)
