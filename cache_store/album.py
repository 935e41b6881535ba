"""`Album`: a small picture of every clip, so that an answer or an alert can show what it rests on.

An album is bounded in bytes. Where it is full it is *thinned*: old and quiet stretches of a stream
lose pictures before new and eventful ones do (`albums/thinning.py`).
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from onlooker.cache_store.row_totals import RowTotals, totals_of


class AlbumUnreachable(Exception):
    """The album cannot be read or changed now; it may be again later. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What is known of a picture without reading it."""

    clip_index: int
    start_s: float
    """Stream time of the clip's first frame, which the picture shows."""
    end_s: float
    """Stream time of the clip's last frame."""
    wall_s: float
    """When it was taken, in seconds since the Unix epoch; as far as the server knows."""
    width: int
    height: int
    media_type: str
    change: float
    """How much it differs from the picture before it, 0-1."""
    num_bytes: int
    """Of the encoded picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumPicture:
    """A picture with its facts."""

    facts: PictureFacts
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPicture:
    """A picture to be kept."""

    stream: str
    picture: AlbumPicture
    epoch: int | None = None
    """The epoch in which its stream is owned; None where streams have no owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlbumStats(RowTotals):
    """Totals since opening, and what is held now."""

    num_pictures: int = 0

    @classmethod
    def of(
        cls, counts: Counter[str], *, num_pictures: int, num_bytes: int, num_streams: int
    ) -> Self:
        """What is held now, with the totals out of an album's `counts`."""
        totals = totals_of(counts)
        return cls(
            num_pictures=num_pictures, num_bytes=num_bytes, num_streams=num_streams, **totals
        )


class Album(Protocol):
    """The pictures of all streams, of a server or of a fleet. All calls may block, and may come
    from any thread.

    `stream` is a stream's id. Every call but `add`, `stats` and `close` raises `AlbumUnreachable`.
    """

    def add(self, pictures: Sequence[NewPicture]) -> None:
        """Take pictures, and thin the album where it is over a budget. One of
        a clip that is there already takes its place. What cannot be written is counted."""
        ...

    def facts(
        self, stream: str, start_s: float, end_s: float, *, limit: int, newest_first: bool = False
    ) -> list[PictureFacts]:
        """The pictures whose first frames lie in a span of stream time, its ends included, in
        order of time; the first `limit` of them."""
        ...

    def read(self, stream: str, clip_indices: Sequence[int]) -> list[AlbumPicture]:
        """The pictures of some clips, in the order of the indices; those that are not there are
        left out."""
        ...

    def forget(
        self,
        stream: str,
        start_s: float,
        end_s: float,
        clip_indices: Collection[int] = (),
        *,
        epoch: int | None = None,
    ) -> int:
        """Delete the pictures of clips that touch a span of stream time, and of some more; returns
        how many there were."""
        ...

    def delete(self, stream: str, *, epoch: int | None = None) -> None:
        """Delete all pictures of a stream."""
        ...

    def sweep(self, before_wall_s: float) -> None:
        """Delete the pictures, of all streams, that were taken before a wall time."""
        ...

    def stats(self) -> AlbumStats:
        """The album's totals."""
        ...

    def close(self) -> None:
        """Write what is not written yet, and let go of the files."""
        ...
