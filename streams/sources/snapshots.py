"""A picture at an HTTP address, fetched again and again: a camera that has no video to give."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from onlooker.core.errors import ClientError
from onlooker.core.media import Codec, EncodedFrame
from onlooker.core.network import TooSlow
from onlooker.streams.sources import reasons
from onlooker.streams.sources.http_file import Body, HttpFetcher
from onlooker.streams.sources.spec import SourceBroken, SourceSlow, SourceSpec
from onlooker.streams.sources.way import Access

_CODECS = {"JPEG": Codec.JPEG, "PNG": Codec.PNG, "WebP": Codec.WEBP}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture as it was fetched. It is decoded where pushed pictures are."""

    time_s: float
    """Seconds since the source was opened."""
    codec: Codec
    payload: bytes

    def frame(self, sequence: int, capture_s: float, received_at_s: float) -> EncodedFrame:
        """The picture as the stream takes it."""
        return EncodedFrame(sequence, capture_s, self.codec, self.payload, received_at_s)


class SnapshotReader:
    """One opening of such a source. All methods but `stop` are called on one thread."""

    is_recorded = comes_in_bursts = False

    def __init__(self, source: SourceSpec, access: Access, *, max_bytes: int) -> None:
        assert source.every_s is not None
        self._url, self._every_s = source.url, source.every_s
        self._budget, self._clock, self._settings = access.budget, access.clock, access.settings
        self._max_bytes = max_bytes
        self._fetcher = HttpFetcher(
            access.policy, access.lookups, access.settings, access.clock, access.budget
        )
        self._stopped = threading.Event()
        self._begun_s = 0.0
        self._newest: Snapshot | None = None
        self._tags: dict[str, str] = {}

    def open(self) -> None:
        """Fetch the first picture.

        Raises:
            SourceBroken, SourceLost: there is none, for good or for now.
        """
        self._begun_s = self._clock.now_s()
        self._fetch(self._settings.open_timeout_s)

    def samples(self) -> Iterator[Snapshot]:
        """A picture for every interval. One that has not changed since is given again.

        Raises: as `open`.
        """
        due_s = self._clock.now_s()
        while self._newest is not None:
            yield self._newest
            now_s = self._clock.now_s()
            due_s = max(due_s + self._every_s, now_s)  # what was missed is not made up for
            if self._stopped.wait(due_s - now_s):
                return
            self._fetch(self._settings.read_timeout_s)

    def stop(self) -> None:
        """End a fetch or a wait under way. May be called from any thread."""
        self._stopped.set()
        self._fetcher.close()

    def close(self) -> None:
        """Let go of all connections."""
        self.stop()

    def _fetch(self, limit_s: float) -> None:
        self._budget.begin(limit_s)
        try:
            body = self._fetcher.get(self._url, headers=self._conditions())
            try:
                self._take(body)
            finally:
                body.close()
        except ClientError as error:
            raise SourceBroken(error.message) from error
        except TooSlow as error:
            raise SourceSlow(f"it is too slow: {error}") from error
        finally:
            self._budget.end()

    def _take(self, body: Body) -> None:
        time_s = self._clock.now_s() - self._begun_s
        if body.status == 304 and self._newest is not None:
            self._newest = Snapshot(time_s, self._newest.codec, self._newest.payload)
            return
        payload = self._whole(body)
        kind = reasons.picture_kind("", payload)
        if kind is None:
            raise SourceBroken(_not_a_picture(body.media_type, payload))
        self._newest = Snapshot(time_s, _CODECS[kind], payload)
        self._tags = body.tags

    def _whole(self, body: Body) -> bytes:
        pieces, num_bytes = [], 0
        while piece := body.read(65536):
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes > self._max_bytes:
                raise SourceBroken(
                    f"its pictures are larger than {self._max_bytes} bytes (setting "
                    "streams.max_frame_bytes): have the camera send smaller ones"
                )
        return b"".join(pieces)

    def _conditions(self) -> list[tuple[str, str]]:
        """Headers that let the server say that nothing has changed."""
        asked = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
        return [(asked[name], value) for name, value in self._tags.items()]


def _not_a_picture(media_type: str, payload: bytes) -> str:
    if not payload:
        return "it is empty: not one byte came"
    if payload.startswith(b"GIF8"):
        return "it is a GIF, which is played as video: leave 'every_s' out"
    return (
        f"it is no JPEG, PNG or WebP ({media_type or 'no media type'}): if it is video, leave "
        "'every_s' out"
    )
