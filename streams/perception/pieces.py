"""Pieces of a WebM or fragmented MP4 stream to pictures, with recovery.

A recorder sends its header (the *initialisation segment*) once, in the first piece. It is kept, so
that after lost or broken pieces decoding can begin anew at the next cluster (WebM) or fragment
(MP4), with the header put before it. Times come from the container; the first picture's is laid on
the first piece's capture time, and `StreamTime` sees to it that those that follow make sense.
"""

import math
from dataclasses import dataclass

from av.video.frame import VideoFrame

from onlooker.core.media import Codec, DropReason, EncodedFrame
from onlooker.core.orientation import Orientation
from onlooker.streams.perception.chunks import Picture, Wanted, to_picture
from onlooker.streams.perception.demuxer import Demuxer
from onlooker.streams.perception.fragments import FragmentTimes
from onlooker.streams.perception.scaler import Scaler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.perception.stream_time import StreamTime, TimeJump

MAX_HEADER_BYTES = 1 << 20
"""A header that is longer than this is none."""

MAX_BARREN_BYTES = 8 << 20
"""Bytes without one picture after which a demuxer is given up: it waits for the end of something
that is rubbish."""

LATE_S = 0.5
"""A picture that is older than the last by less is late. Decoders put pictures in order, so one
that is older by more says that the container's time began again."""

MAX_JUMPS = 16
"""Jumps of time that one message tells of, at most."""

_MARKS = {Codec.WEBM: b"\x1f\x43\xb6\x75", Codec.FMP4: b"moof"}
"""What a cluster or fragment begins with; a fragment's mark follows its 4-byte size."""


_PIXELS = b"mdat"
"""What follows the header of an MP4 that has no fragments."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What another decoder needs to go on with a stream at its next cluster, fragment or key frame:
    of H.264 the header is its parameter sets, and the times mean nothing."""

    header: bytes
    base_s: float
    """Stream time of a picture: the first, or the first after its time was moved."""
    origin_s: float
    """Its time in the container."""


class PieceDecoder:
    """Decodes one source's pieces, in order, on one thread at a time.

    Args:
        beginning: of the stream, where another decoder had it before and was lost.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        width: int,
        height: int,
        max_pixels: int,
        max_gap_s: float = math.inf,
        beginning: Beginning | None = None,
    ) -> None:
        self._codec = codec
        self._width, self._height, self._max_pixels = width, height, max_pixels
        self._demuxer: Demuxer | None = None
        self._header = b""
        self._is_header_complete = False
        self._tail = b""
        """The last bytes while a mark is looked for: it may lie across two pieces."""
        self._fragments: FragmentTimes | None = None
        self._unfed = b""
        """What has come of a header that is not complete."""
        self._num_barren_bytes = 0
        self._time = StreamTime(max_gap_s=max_gap_s)
        self._anchor: tuple[float, float] | None = None
        """Stream time and container time of a picture from which the others' times follow."""
        self._jumps: list[TimeJump] = []
        self._num_placed = self._num_late = 0
        """Pictures of the present message that have a place in stream time, and that are late."""
        self._pictures: list[Picture] = []
        self._wanted: Wanted = lambda capture_s: False
        self._scaler = Scaler()
        if beginning is not None:
            self._header, self._is_header_complete = beginning.header, True
            self._anchor = beginning.base_s, beginning.origin_s
            self._time.resume(beginning.origin_s, beginning.base_s)

    @property
    def beginning(self) -> Beginning | None:
        """The stream's, once its header and its first picture have come."""
        if not self._is_header_complete or not self._header or self._anchor is None:
            return None
        return Beginning(self._header, *self._anchor)

    def take_jumps(self) -> list[TimeJump]:
        """How the container's time jumped since the last call."""
        jumps, self._jumps = self._jumps, []
        return jumps

    def decode(
        self, message: EncodedFrame, wanted: Wanted, *, follows_gap: bool = False
    ) -> list[Picture]:
        """The pictures that this piece completes, as far as they are wanted.

        Raises:
            Undecodable: the piece is of no use; goes on at the next cluster, fragment or header.
        """
        self._wanted = wanted
        self._num_placed = self._num_late = 0
        if self._is_header(message.payload):
            self._restart(message.capture_s)
        elif follows_gap:
            self._drop_demuxer()
        payload = message.payload
        if self._demuxer is None:
            payload = self._from_mark(payload)
            self._begin_demuxer()
        if not self._is_header_complete:
            self._collect_header(message.payload)
            self._unfed += payload
            if self._is_header_complete or _PIXELS in self._unfed:
                payload, self._unfed = self._unfed, b""
            else:
                return []  # a header is fed whole: FFmpeg refuses one that stops in some places
        num_broken = self._fed(payload)
        self._num_barren_bytes += len(payload)
        if self._num_barren_bytes > MAX_BARREN_BYTES:
            self._drop_demuxer()
            raise Undecodable(DropReason.UNDECODABLE, "no pictures come out")
        pictures = self._taken()
        if num_broken and not pictures:
            raise Undecodable(DropReason.UNDECODABLE, f"{num_broken} broken pictures")
        if self._num_late and not self._num_placed:
            raise Undecodable(DropReason.LATE, f"{self._num_late} pictures older than the last")
        return pictures

    def finish(self, wanted: Wanted) -> list[Picture]:
        """End the source; return the wanted pictures that the demuxer held back."""
        self._wanted = wanted
        if self._demuxer is None:
            return []
        try:
            rest = self._fragments.rest() if self._fragments is not None else b""
            self._demuxer.feed(self._unfed + rest, is_last=True)
        except Undecodable:
            self._pictures = []
        self._drop_demuxer()
        return self._taken()

    def close(self) -> None:
        """Let go of the demuxer and its thread."""
        self._drop_demuxer()

    def _is_header(self, payload: bytes) -> bool:
        if self._codec is Codec.WEBM:
            return payload[:4] == b"\x1a\x45\xdf\xa3"
        return payload[4:8] == b"ftyp"

    def _restart(self, capture_s: float) -> None:
        self._drop_demuxer()
        self._header, self._is_header_complete = b"", False
        self._anchor = None
        if (last_s := self._time.last_s) is not None and capture_s <= last_s:
            self._jumps.append(TimeJump("moved", self._time.next_s, capture_s - last_s))
            capture_s = self._time.next_s
        self._time.begin(capture_s)
        self._begin_demuxer()

    def _begin_demuxer(self) -> None:
        self._demuxer = Demuxer(self._codec, max_pixels=self._max_pixels, on_frame=self._take)
        self._fragments = FragmentTimes() if self._codec is Codec.FMP4 else None

    def _fed(self, payload: bytes) -> int:
        """Feed the demuxer; returns how many pictures among the bytes were broken.

        Raises:
            Undecodable: the bytes cannot be read; there is no demuxer any more.
        """
        assert self._demuxer is not None, "begun before it is fed"
        parts = [payload] if self._fragments is None else self._fragments.cut(payload)
        num_broken = 0
        for index, part in enumerate(parts):
            if index:  # time goes back here
                self._demuxer.close()
                self._demuxer = Demuxer(
                    self._codec, max_pixels=self._max_pixels, on_frame=self._take
                )
                part = self._header + part
            try:
                num_broken += self._demuxer.feed(part)
            except Undecodable:
                self._drop_demuxer()
                raise
        return num_broken

    def _drop_demuxer(self) -> None:
        demuxer, self._demuxer = self._demuxer, None
        self._tail = self._unfed = b""
        self._num_barren_bytes = 0
        if demuxer is not None:
            demuxer.close()

    def _collect_header(self, payload: bytes) -> None:
        self._header += payload
        if (start := self._find_mark(self._header)) is not None:
            self._header, self._is_header_complete = self._header[:start], True
        elif len(self._header) > MAX_HEADER_BYTES:
            self._header, self._is_header_complete = b"", True

    def _from_mark(self, payload: bytes) -> bytes:
        """The header, followed by the payload from its first cluster or fragment on.

        Raises:
            Undecodable: the header is missing, or no cluster or fragment has begun yet.
        """
        if not self._is_header_complete or not self._header:
            raise Undecodable(
                DropReason.NO_KEYFRAME, f"{self._codec.name}: the stream's beginning is missing"
            )
        data = self._tail + payload
        start = self._find_mark(data)
        if start is None:
            self._tail = data[-8:]
            raise Undecodable(DropReason.NO_KEYFRAME, "waiting for the next cluster or fragment")
        self._tail = b""
        return self._header + data[start:]

    def _find_mark(self, data: bytes) -> int | None:
        at = data.find(_MARKS[self._codec])
        if self._codec is Codec.FMP4:
            at -= 4
        return at if at >= 0 else None

    def _take(self, frame: VideoFrame, orientation: Orientation, time_s: float) -> None:
        """Take a frame, on the demuxer's thread, while `decode` or `finish` waits."""
        self._num_barren_bytes = 0
        placed = self._time.place(time_s, late_s=LATE_S)
        capture_s = placed.at_s
        if capture_s is None:
            self._num_late += 1
            return
        self._num_placed += 1
        if placed.jump is not None and len(self._jumps) < MAX_JUMPS:
            self._jumps.append(placed.jump)
        if self._anchor is None or (placed.jump is not None and placed.jump.kind == "moved"):
            self._anchor = capture_s, time_s
        if self._wanted(capture_s):
            picture = to_picture(
                capture_s,
                frame,
                orientation,
                width=self._width,
                height=self._height,
                max_pixels=self._max_pixels,
                scaler=self._scaler,
            )
            self._pictures.append(picture)

    def _taken(self) -> list[Picture]:
        pictures, self._pictures = self._pictures, []
        return pictures
