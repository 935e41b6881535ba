"""Opens one source and gives its pictures, in a thread of its own."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from onlooker.core.clock import Clock
from onlooker.core.errors import ClientError
from onlooker.core.exif import jpeg_orientation
from onlooker.core.media import Frame, Pixels
from onlooker.core.network import TooSlow
from onlooker.core.orientation import Orientation, Orientations
from onlooker.streams.config import StreamsSection
from onlooker.streams.perception.chunks import to_pixels
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.sources import reasons
from onlooker.streams.sources.frame_times import FrameTimes
from onlooker.streams.sources.single_jpeg import is_single
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow, SourceSpec
from onlooker.streams.sources.way import Access, SourceWay
from onlooker.streams.sources.ways import way_to

MAX_BROKEN_PACKETS = 100
"""Undecodable packets in a row after which a source is given up."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture from a source."""

    time_s: float
    """Seconds in the source's own time, which may jump."""
    pixels: Pixels

    def frame(self, sequence: int, capture_s: float, received_at_s: float) -> Frame:
        """The picture as the stream takes it."""
        return Frame(sequence, capture_s, received_at_s, self.pixels)


class _Thinner:
    """Picks the frames that may be of use, so that the others need not be converted."""

    def __init__(self, interval_s: float, clock: Clock) -> None:
        self._interval_s, self._clock = interval_s, clock
        self._own, self._arrived = Sampler(interval_s), Sampler(interval_s)
        self._last_s: float | None = None

    def pick(self, time_s: float, *, is_live: bool) -> bool:
        """Whether the frame is due, by its own time or, where it is live, by that of arrival: it
        shows later which of the two is right."""
        if self._last_s is not None and time_s < self._last_s:  # the source's time jumped back
            self._own = Sampler(self._interval_s)
        self._last_s = time_s
        has_arrived = is_live and self._arrived.pick(self._clock.now_s())
        return self._own.pick(time_s) or has_arrived


class SourceReader:
    """One opening of one source. All methods but `stop` are called on one thread."""

    def __init__(
        self,
        source: SourceSpec,
        *,
        settings: StreamsSection,
        access: Access,
        interval_s: float,
        width: int,
        height: int,
    ) -> None:
        self._source, self._settings, self._access = source, settings, access
        self._interval_s, self._width, self._height = interval_s, width, height
        self._way: SourceWay | None = None
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._stopped = threading.Event()
        self.is_recorded = False
        """Whether the source has an end, so that it is played at its own pace; else it is live."""

    def open(self) -> None:
        """Connect and find the video.

        Raises:
            SourceBroken: the source can never be played.
            SourceLost: the source cannot be reached now.
        """
        self._access.budget.begin(self._settings.sources.open_timeout_s)
        try:
            self._way = way_to(self._source, self._access)
            if self._stopped.is_set():
                raise SourceLost("it was stopped")
            self._container = self._way.open()
            self._check_video(self._container)
        except Exception as error:  # FFmpeg's errors, too, and what broken bytes do to its wrappers
            raise self._explained(error) from error
        finally:
            self._access.budget.end()
        has_end = self._container.duration is not None or self._container.format.name == "gif"
        self.is_recorded = self._way.is_recorded or (has_end and self._source.has_files)

    @property
    def comes_in_bursts(self) -> bool:
        """Whether a live source sends many pictures at a time, each segment of HLS at once, so that
        they are to be played at their own pace."""
        return self._container is not None and "hls" in self._container.format.name.split(",")

    def samples(self) -> Iterator[Sample]:
        """The pictures, thinned to about one per interval; ends where the source ends.

        Raises:
            SourceLost, SourceBroken: the source failed, for now or for good.
        """
        container = self._container
        assert container is not None, "the source was not opened"
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(self._settings.max_frame_pixels)}
        num_broken, orientations = 0, Orientations()
        has_jpegs = stream.codec_context.name == "mjpeg"
        thinner = _Thinner(self._interval_s, self._access.clock)
        times = FrameTimes(
            container,
            is_recorded=self.is_recorded,
            nominal_fps=self._source.nominal_fps,
            clock=self._access.clock,
        )
        while not self._stopped.is_set():
            try:
                packet = next(self._packets)
            except StopIteration:
                self._check_fault()
                return
            except Exception as error:
                raise self._explained(error) from error
            try:
                frames = packet.decode()
                num_broken = 0
            except av.FFmpegError as error:
                num_broken += 1
                if num_broken >= MAX_BROKEN_PACKETS:
                    raise SourceBroken(f"its video cannot be decoded: {error.strerror}") from error
                continue
            own = jpeg_orientation(bytes(packet)) if has_jpegs and packet.size else None
            for frame in frames:
                orientation, time_s = orientations.of(frame, own), times.of(frame)
                if thinner.pick(time_s, is_live=not self.is_recorded):
                    yield Sample(time_s, self._pixels(frame, orientation))

    def stop(self) -> None:
        """End reads under way. May be called from any thread."""
        self._stopped.set()
        if self._way is not None:
            self._way.stop()

    def close(self) -> None:
        """Let go of the container and of all connections and files."""
        self.stop()
        if self._container is not None:
            self._container.close()
            self._container = None

    def _check_video(self, container: InputContainer) -> None:
        """Raise `SourceBroken` where there is no video. JPEGs are, where several follow each other
        that are not parts of one picture."""
        if all(_is_cover(stream) for stream in container.streams.video):
            raise SourceBroken(reasons.NO_VIDEO)
        self._packets = container.demux(container.streams.video[0])
        if container.format.name == "mjpeg":
            first = list(islice(self._packets, 2))  # the last of all packets is an empty one
            payloads = [bytes(packet) if packet.size else b"" for packet in first]
            if is_single(*payloads, *[b""] * (2 - len(payloads))):
                is_file = self._source.scheme == "file"
                raise SourceBroken(reasons.of_picture("JPEG", is_file=is_file))
            self._packets = chain(first, self._packets)

    def _pixels(self, frame: VideoFrame, orientation: Orientation) -> Pixels:
        try:
            return to_pixels(
                frame,
                orientation,
                width=self._width,
                height=self._height,
                max_pixels=self._settings.max_frame_pixels,
            )
        except Undecodable as error:
            raise SourceBroken(f"its pictures are too large: {error}") from error

    def _check_fault(self) -> None:
        """Raise what went wrong where FFmpeg saw no more than an end."""
        fault = self._way.fault if self._way is not None else None
        if fault is not None and not self._stopped.is_set():
            raise self._explained(fault) from fault

    def _explained(self, error: Exception) -> Exception:
        """What went wrong, from those who know best; FFmpeg itself often knows only 'I/O error'."""
        is_known = isinstance(error, TooSlow | ClientError | SourceBroken | SourceLost)
        if not is_known and self._way is not None:
            error = self._way.fault or self._way.explain(error) or error
        match error:
            case SourceBroken() | SourceLost():
                return error
            case TooSlow():
                return SourceSlow(f"it is too slow: {error}")
            case ClientError():
                return SourceBroken(error.message)
        return SourceLost(getattr(error, "strerror", None) or type(error).__name__)


def _is_cover(stream: VideoStream) -> bool:
    """Whether this is the picture on the cover of a piece of music."""
    return bool(stream.disposition & Disposition.attached_pic)
