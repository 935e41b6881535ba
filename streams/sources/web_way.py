"""HTTP and HTTPS: files, motion JPEG, and HLS with its playlists and segments."""

import av
from av.container import InputContainer

from onlooker.core.errors import ClientError, Forbidden
from onlooker.streams.sources import reasons
from onlooker.streams.sources.http_file import HttpFetcher, HttpFile
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec
from onlooker.streams.sources.way import FORMATS, Access, open_file

_PLAYLIST_TYPES = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl")


class WebWay:
    """Opens what lies behind one URL, and whatever it redirects to or lists."""

    def __init__(self, source: SourceSpec, access: Access) -> None:
        self._url = source.url
        self._fetcher = HttpFetcher(
            access.policy, access.lookups, access.settings, access.clock, access.budget
        )
        self._files: list[HttpFile] = []
        """The newest file, if any."""
        self._refusal: Exception | None = None
        self._is_open = False
        self.is_recorded = False

    def open(self) -> InputContainer:
        container = self._open()
        self._is_open = True
        return container

    def _open(self) -> InputContainer:
        file = self._fetcher.open(self._url)
        self._files.append(file)
        if file.media_type in _PLAYLIST_TYPES or file.name.endswith((".m3u8", ".m3u")):
            file.close()
            return self._open_playlist(file.url)
        if (picture := reasons.picture_kind(file.media_type, b"")) is not None:
            raise SourceBroken(reasons.of_picture(picture))
        self.is_recorded = file.seekable()
        if file.media_type == "multipart/x-mixed-replace":
            return open_file(file, format="mpjpeg")
        is_jpeg = reasons.picture_kind("", file.beginning()) == "JPEG"
        return open_file(file, format="mjpeg" if is_jpeg else None)

    def stop(self) -> None:
        self._fetcher.close()

    @property
    def fault(self) -> Exception | None:
        return self._refusal or (self._files[-1].error if self._files else None)

    def explain(self, error: Exception) -> Exception | None:
        if not self._files or not isinstance(error, av.FFmpegError):
            return None
        if self._is_open:
            return SourceBroken(reasons.DAMAGED)
        file = self._files[-1]
        return SourceBroken(reasons.of_content(file.media_type, file.head))

    def _open_playlist(self, url: str) -> InputContainer:
        """Open HLS. FFmpeg asks for each playlist and segment by URL; all are fetched here."""

        def io_open(url: str, flags: int, options: dict[str, str]) -> HttpFile:
            if flags & 2:
                raise Forbidden("a source may not write")
            end = int(options.get("end_offset") or 0)
            try:
                file = self._fetcher.open(
                    url,
                    first_byte=int(options.get("offset") or 0),
                    last_byte=end - 1 if end > 0 else None,
                )
            except (ClientError, SourceBroken, SourceLost) as error:
                self._refusal = error
                raise OSError(str(error)) from error
            if not isinstance(self._refusal, ClientError):  # those are told, whatever comes after
                self._refusal = None
            self._files[:] = [file]
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
