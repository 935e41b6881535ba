"""Opens one source and gives its pictures, in a thread of its own.

What is foreign is taken apart and decoded in a process that can be killed (`PulledVideo`); here are
the connections and files that it may have, and the words for what goes wrong.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from onlooker.core.errors import ClientError
from onlooker.core.media import DropReason, Frame, Pixels
from onlooker.core.network import TooSlow
from onlooker.streams.config import StreamsSection
from onlooker.streams.decoding.desk import Desk
from onlooker.streams.decoding.pull_wire import PullOrder
from onlooker.streams.decoding.pulled_video import PulledVideo, PullFailed
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.sources import reasons
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow, SourceSpec
from onlooker.streams.sources.way import Access, Opening, SourceWay
from onlooker.streams.sources.ways import way_to


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture from a source."""

    time_s: float
    """Seconds in the source's own time, which may jump."""
    pixels: Pixels

    def frame(self, sequence: int, capture_s: float, received_at_s: float) -> Frame:
        """The picture as the stream takes it."""
        return Frame(sequence, capture_s, received_at_s, self.pixels)


class SourceReader:
    """One opening of one source. Made on the event loop; all methods but `stop` are called on one
    thread.

    Args:
        desk: where the source has its pictures decoded.
    """

    def __init__(
        self,
        source: SourceSpec,
        *,
        settings: StreamsSection,
        access: Access,
        desk: Desk,
        interval_s: float,
        width: int,
        height: int,
    ) -> None:
        self._source, self._settings, self._access = source, settings, access
        self._desk, self._seat = desk, desk.seat()
        self._interval_s, self._width, self._height = interval_s, width, height
        self._way: SourceWay | None = None
        self._video: PulledVideo | None = None
        self._has_begun = False
        self._stopped = threading.Event()

    @property
    def is_recorded(self) -> bool:
        """Whether the source has an end, so that it is played at its own pace; else it is live."""
        return self._video is not None and self._video.is_recorded

    @property
    def comes_in_bursts(self) -> bool:
        """Whether a live source sends many pictures at a time, each segment of HLS at once, so that
        they are to be played at their own pace."""
        return self._video is not None and self._video.comes_in_bursts

    def open(self) -> None:
        """Connect and find the video.

        Raises:
            SourceBroken: the source can never be played.
            SourceLost: the source cannot be reached now, or its decoder was ended.
        """
        self._access.budget.begin(self._settings.sources.open_timeout_s)
        try:
            with self._desk.judging():
                self._way = way_to(self._source, self._access)
                if self._stopped.is_set():
                    raise SourceLost("it was stopped")
                self._video = self._pulled(self._way.open(), self._way)
                if self._stopped.is_set():
                    raise SourceLost("it was stopped")
                self._video.open()
            self._has_begun = True
        except Exception as error:
            raise self._explained(error) from error
        finally:
            self._access.budget.end()

    def samples(self) -> Iterator[Sample]:
        """The pictures, thinned to about one per interval; ends where the source ends.

        Raises:
            SourceLost, SourceBroken: the source failed, for now or for good.
        """
        assert self._video is not None, "the source was not opened"
        try:
            with self._desk.judging():
                for picture in self._video.pictures():
                    yield Sample(picture.time_s, picture.pixels)
        except Exception as error:
            if self._stopped.is_set():
                return
            raise self._explained(error) from error
        self._check_fault()

    def stop(self) -> None:
        """End reads under way. May be called from any thread."""
        self._stopped.set()
        self._seat.leave()
        if self._way is not None:
            self._way.stop()
        if self._video is not None:
            self._video.stop()

    def close(self) -> None:
        """Let go of the process and of all connections and files."""
        self.stop()
        if self._video is not None:
            self._video.close()

    def _pulled(self, opening: Opening, way: SourceWay) -> PulledVideo:
        source, sources, file = self._source, self._settings.sources, opening.file
        order = PullOrder(
            url=opening.url,
            file_name=PurePath(getattr(file, "name", "")).name,
            can_seek=file is not None and file.seekable(),
            format=opening.format,
            options=dict(opening.options),
            timeouts_s=opening.timeouts_s,
            opens_others=opening.open_other is not None,
            relay_port=opening.relay_port,
            has_files=source.has_files,
            is_recorded=way.is_recorded,
            nominal_fps=source.nominal_fps,
            interval_s=self._interval_s,
            width=self._width,
            height=self._height,
            max_pixels=self._settings.max_frame_pixels,
            now_s=self._access.clock.now_s(),
        )
        is_relayed = opening.relay_port is not None
        return self._desk.pulled(
            order,
            self._seat,
            file=file,
            open_other=opening.open_other,
            patience_s=max(sources.open_timeout_s, sources.read_timeout_s) if is_relayed else 0.0,
        )

    def _check_fault(self) -> None:
        """Raise what went wrong where FFmpeg saw no more than an end."""
        fault = self._way.fault if self._way is not None else None
        if fault is not None and not self._stopped.is_set():
            raise self._explained(fault) from fault

    def _explained(self, error: Exception) -> Exception:
        """What went wrong, from those who know best; FFmpeg itself often knows only 'I/O error'."""
        if isinstance(error, PullFailed):
            error = self._behind(error)
        match error:
            case SourceBroken() | SourceLost():
                return error
            case TooSlow():
                return SourceSlow(f"it is too slow: {error}")
            case ClientError():
                return SourceBroken(error.message)
            case Undecodable(reason=DropReason.TOO_COSTLY):
                return SourceLost(reasons.of_costly(str(error)))
            case Undecodable():
                return SourceLost(f"it could not be decoded: {error}")
            case PullFailed():
                return SourceLost(error.detail)
        return SourceLost(getattr(error, "strerror", None) or type(error).__name__)

    def _behind(self, failed: PullFailed) -> Exception:
        """What is behind a failure that the decoder process told."""
        match failed.why:
            case "no_video":
                return SourceBroken(reasons.NO_VIDEO)
            case "one_picture":
                is_file = self._source.scheme == "file"
                return SourceBroken(reasons.of_picture("JPEG", is_file=is_file))
            case "too_large":
                return SourceBroken(f"its pictures are too large: {failed.detail}")
            case "undecodable":
                return SourceBroken(f"its video cannot be decoded: {failed.detail}")
        if self._way is None or failed.why == "gone":
            return failed
        return self._way.fault or self._way.explain(has_begun=self._has_begun) or failed
