"""HTTP and HTTPS: files, motion JPEG, and HLS with its playlists and segments."""

from onlooker.core.errors import ClientError
from onlooker.core.recordings.containers import FORMATS
from onlooker.streams.sources import reasons
from onlooker.streams.sources.http_file import HttpFetcher, HttpFile
from onlooker.streams.sources.spec import SourceBroken, SourceLost, SourceSpec
from onlooker.streams.sources.way import Access, Opening

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
        self.is_recorded = False

    def open(self) -> Opening:
        file = self._fetcher.open(self._url)
        self._files.append(file)
        if file.media_type in _PLAYLIST_TYPES or file.name.endswith((".m3u8", ".m3u")):
            file.close()
            return self._open_playlist(file.url)
        if (picture := reasons.picture_kind(file.media_type, b"")) is not None:
            raise SourceBroken(reasons.of_picture(picture))
        self.is_recorded = file.seekable()
        if file.media_type == "multipart/x-mixed-replace":
            return Opening(file, format="mpjpeg")
        is_jpeg = reasons.picture_kind("", file.beginning()) == "JPEG"
        return Opening(file, format="mjpeg" if is_jpeg else None)

    def stop(self) -> None:
        self._fetcher.close()

    @property
    def fault(self) -> Exception | None:
        return self._refusal or (self._files[-1].error if self._files else None)

    def explain(self, *, has_begun: bool) -> Exception | None:
        if not self._files:
            return None
        if has_begun:
            return SourceBroken(reasons.DAMAGED)
        file = self._files[-1]
        return SourceBroken(reasons.of_content(file.media_type, file.head))

    def _open_playlist(self, url: str) -> Opening:
        """Open HLS. FFmpeg asks for each playlist and segment by URL; all are fetched here."""
        return Opening(
            url=url,
            format="hls",
            options={
                "http_persistent": "0",  # our files have no connection that FFmpeg could keep
                "http_multiple": "0",
                "protocol_whitelist": "none",
                "format_whitelist": f"hls,{FORMATS}",
            },
            open_other=self._open_other,
        )

    def _open_other(self, url: str, first_byte: int, last_byte: int | None) -> HttpFile:
        try:
            file = self._fetcher.open(url, first_byte=first_byte, last_byte=last_byte)
        except (ClientError, SourceBroken, SourceLost) as error:
            self._refusal = error
            raise
        if not isinstance(self._refusal, ClientError):  # those are told, whatever comes after
            self._refusal = None
        self._files[:] = [file]
        return file
