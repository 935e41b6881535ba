"""Opens one source and gives its pictures, in a thread of its own.

Only demuxers for video files and streams are allowed, and none of them opens a connection by
itself: HTTP goes through `HttpFetcher`, RTSP through `RtspRelay`, files are opened here.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from onlooker.core.address import AddressPolicy, Target
from onlooker.core.clock import Clock
from onlooker.core.errors import ClientError, Forbidden
from onlooker.core.media import Pixels
from onlooker.core.network import Lookups, TooSlow, WaitBudget
from onlooker.streams.config import StreamsSection
from onlooker.streams.perception.chunks import to_pixels
from onlooker.streams.perception.sampler import Sampler
from onlooker.streams.perception.stills import Undecodable
from onlooker.streams.sources.http_file import HttpFetcher, HttpFile
from onlooker.streams.sources.rtsp_relay import RtspRelay
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSlow, SourceSpec

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,mpjpeg,ogg,mpeg,h264,hevc,ivf"
"""Demuxers for files; none of them names other files or hosts."""

MAX_BROKEN_PACKETS = 100
"""Undecodable packets in a row after which a source is given up."""

_PLAYLIST_TYPES = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl")


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture from a source."""

    time_s: float
    """Seconds in the source's own time, which may jump."""
    pixels: Pixels


class _Closes(Protocol):
    def close(self) -> None: ...


class SourceReader:
    """One opening of one source. All methods but `stop` are called on one thread."""

    def __init__(
        self,
        source: SourceSpec,
        *,
        settings: StreamsSection,
        policy: AddressPolicy,
        lookups: Lookups,
        clock: Clock,
        interval_s: float,
        width: int,
        height: int,
    ) -> None:
        self._source, self._settings, self._policy = source, settings, policy
        self._lookups, self._clock = lookups, clock
        sources = settings.sources
        self._budget = WaitBudget(
            clock, min_bytes_per_s=sources.min_bytes_per_s, window_s=sources.read_timeout_s
        )
        self._relay: RtspRelay | None = None
        self._interval_s, self._width, self._height = interval_s, width, height
        self._container: InputContainer | None = None
        self._helpers: list[_Closes] = []
        self._file_errors: list[HttpFile] = []
        self._refusal: Exception | None = None
        self._stopped = threading.Event()
        self.is_recorded = False
        """Whether the source has an end, so that it is played at its own pace; else it is live."""

    def open(self) -> None:
        """Connect and find the video.

        Raises:
            SourceBroken: the source can never be played.
            SourceLost: the source cannot be reached now.
        """
        self._budget.begin(self._settings.sources.open_timeout_s)
        try:
            self._container = self._opened()
        except (ClientError, SourceBroken, SourceLost) as error:
            raise self._explained(error) from error
        except Exception as error:  # FFmpeg's errors, and what broken bytes do to its wrappers
            raise self._explained(error) from error
        finally:
            self._budget.end()
        if not self._container.streams.video:
            raise SourceBroken("there is no video in it")
        if self._container.format.name != "rtsp" and self._container.duration is not None:
            self.is_recorded = True

    def samples(self) -> Iterator[Sample]:
        """The pictures, thinned to one per interval; ends where the source ends.

        Raises:
            SourceLost, SourceBroken: the source failed, for now or for good.
        """
        container = self._container
        assert container is not None, "the source was not opened"
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(self._settings.max_frame_pixels)}
        sampler, last_s, num_broken = Sampler(self._interval_s), -1.0, 0
        packets = container.demux(stream)
        while not self._stopped.is_set():
            try:
                packet = next(packets)
            except StopIteration:
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
            for frame in frames:
                if frame.pts is None or frame.time is None:
                    continue
                if frame.time < last_s:  # the source's time jumped back
                    sampler = Sampler(self._interval_s)
                last_s = frame.time
                if sampler.pick(frame.time):
                    yield Sample(frame.time, self._pixels(frame))

    def stop(self) -> None:
        """End reads under way. May be called from any thread."""
        self._stopped.set()
        for helper in list(self._helpers):
            helper.close()

    def close(self) -> None:
        """Let go of the container and of all connections and files."""
        self.stop()
        if self._container is not None:
            self._container.close()
            self._container = None

    def _opened(self) -> InputContainer:
        url = self._source.url
        if url.startswith(("file:", "/")):
            self.is_recorded = True
            file = self._policy.file(url).open("rb")
            self._helpers.append(file)
            return self._av_open(file)
        target = self._policy.parse(url)
        if target.scheme in ("rtsp", "rtsps"):
            return self._open_rtsp(target)
        return self._open_http(url)

    def _open_http(self, url: str) -> InputContainer:
        fetcher = HttpFetcher(
            self._policy, self._lookups, self._settings.sources, self._clock, self._budget
        )
        self._helpers.append(fetcher)
        file = fetcher.open(url)
        if file.media_type.lower() in _PLAYLIST_TYPES or file.name.endswith((".m3u8", ".m3u")):
            file.close()
            return self._open_playlist(file.url, fetcher)
        self._file_errors.append(file)
        self.is_recorded = file.seekable()
        is_motion_jpeg = file.media_type == "multipart/x-mixed-replace"
        return self._av_open(file, format="mpjpeg" if is_motion_jpeg else None)

    def _open_playlist(self, url: str, fetcher: HttpFetcher) -> InputContainer:
        """Open HLS. FFmpeg asks for each playlist and segment by URL; all are fetched here."""

        def io_open(url: str, flags: int, options: dict[str, str]) -> HttpFile:
            if flags & 2:
                raise Forbidden("a source may not write")
            end = int(options.get("end_offset") or 0)
            try:
                file = fetcher.open(
                    url,
                    first_byte=int(options.get("offset") or 0),
                    last_byte=end - 1 if end > 0 else None,
                )
            except (ClientError, SourceBroken, SourceLost) as error:
                self._refusal = error
                raise OSError(str(error)) from error
            del self._file_errors[:-4]
            self._file_errors.append(file)
            return file

        container: InputContainer = av.open(
            url,
            "r",
            format="hls",
            io_open=io_open,
            options={
                "http_persistent": "0",  # our files have no connection that FFmpeg could keep
                "http_multiple": "0",
                "protocol_whitelist": "none",
                "format_whitelist": f"hls,{FORMATS}",
            },
        )
        return container

    def _open_rtsp(self, target: Target) -> InputContainer:
        sources = self._settings.sources
        relay = self._relay = RtspRelay(
            self._lookups, target, clock=self._clock, budget=self._budget, settings=sources
        )
        self._helpers.append(relay)
        login = ""
        if target.username is not None:
            login = self._source.url.split("://", 1)[1].rpartition("@")[0] + "@"
        try:
            return av.open(
                f"rtsp://{login}127.0.0.1:{relay.port}{target.path}",
                "r",
                format="rtsp",
                options={
                    "rtsp_transport": "tcp",
                    "protocol_whitelist": "rtsp,tcp,rtp",
                    "allowed_media_types": "video",
                },
                timeout=(sources.open_timeout_s, sources.read_timeout_s),
            )
        except Exception as error:
            if relay.refusal is not None:
                raise SourceBroken(relay.refusal) from error
            raise

    def _av_open(self, file: Any, *, format: str | None = None) -> InputContainer:
        def refuse(url: str, flags: int, options: dict[str, str]) -> Any:
            raise OSError("this source names other files, which are not opened")

        container: InputContainer = av.open(
            file,
            "r",
            format=format,
            io_open=refuse,
            options={"protocol_whitelist": "none", "format_whitelist": FORMATS},
        )
        return container

    def _pixels(self, frame: VideoFrame) -> Pixels:
        try:
            return to_pixels(
                frame,
                width=self._width,
                height=self._height,
                max_pixels=self._settings.max_frame_pixels,
            )
        except Undecodable as error:
            raise SourceBroken(f"its pictures are too large: {error}") from error

    def _explained(self, error: Exception) -> Exception:
        """What went wrong, from those who know best; FFmpeg itself often knows only 'I/O error'."""
        if self._relay is not None and self._relay.slowness is not None:
            return SourceSlow(f"the camera is too slow: {self._relay.slowness}")
        if isinstance(error, TooSlow):
            return SourceSlow(f"it is too slow: {error}")
        causes = [self._refusal, *(file.error for file in reversed(self._file_errors)), error]
        for cause in causes:
            if isinstance(cause, SourceBroken | SourceLost):
                return cause
            if isinstance(cause, ClientError):
                return SourceBroken(cause.message)
        if isinstance(error, av.error.InvalidDataError | av.error.DecoderNotFoundError):
            return SourceBroken(f"it is no video that this server can read ({error.strerror})")
        if isinstance(error, av.error.HTTPClientError | av.error.FileNotFoundError):
            return SourceBroken(str(error.strerror))
        if self._source.url.startswith(("file:", "/")):
            why = getattr(error, "strerror", None) or type(error).__name__  # without the path
            return SourceBroken(f"the file cannot be read as video: {why}")
        return SourceLost(getattr(error, "strerror", None) or type(error).__name__)
