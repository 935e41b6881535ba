"""`StreamAlbum`: the pictures of one stream."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from onlooker.cache_store.album import AlbumPicture, PictureFacts
from onlooker.core.ids import StreamId
from onlooker.core.media import Clip
from onlooker.streams.album.album_keeper import AlbumKeeper
from onlooker.streams.album.films import FilmLook


class StreamAlbum:
    """The album of one stream. Times are stream time in seconds.

    Args:
        epoch: in which the stream is owned; None where streams have no owners.
        is_forgotten: tells of the span of a clip whether any of it was deleted; its picture is
            hidden then, also where the album could not be reached.
    """

    def __init__(
        self,
        stream_id: StreamId,
        keeper: AlbumKeeper,
        *,
        is_forgotten: Callable[[float, float], bool],
        epoch: int | None = None,
    ) -> None:
        self._epoch = epoch
        self.first_s: float | None = None
        """Stream time from which on there are pictures; None where there is none yet."""
        self._stream_id, self._keeper, self._is_forgotten = stream_id, keeper, is_forgotten

    def begin(
        self, newest_s: float | None, forgotten_spans_s: Iterable[tuple[float, float]]
    ) -> None:
        """Delete what an earlier life of the stream has left and nothing else remembers: what came
        after `newest_s`, or all where that is None, and the spans that were deleted. Never waits;
        what cannot be deleted now is hidden, or overwritten by what comes."""
        after_s = -math.inf if newest_s is None else math.nextafter(newest_s, math.inf)
        gone = [(after_s, math.inf), *forgotten_spans_s]
        self._keeper.begin(self._stream_id, gone, epoch=self._epoch, then=self._note_first)

    def _note_first(self, first_s: float | None) -> None:
        self.first_s = self.first_s if first_s is None else first_s

    def add(self, clip: Clip, wall_s: float) -> None:
        """Have a picture of a clip kept; never waits."""
        self.first_s = clip.start_s if self.first_s is None else self.first_s
        self._keeper.add(self._stream_id, clip, wall_s, epoch=self._epoch)

    async def at(self, at_s: float) -> PictureFacts | None:
        """The picture that stands for a time: the newest from before it. Raises `Overloaded`."""
        found = await self.between(-math.inf, at_s, limit=1, newest_first=True)
        return found[0] if found else None

    async def between(
        self, start_s: float, end_s: float, *, limit: int, newest_first: bool = False
    ) -> list[PictureFacts]:
        """The pictures of a span, at most `limit`, in order of time. Raises `Overloaded`."""
        found = await self._keeper.facts(
            self._stream_id, start_s, end_s, limit=limit, newest_first=newest_first
        )
        return [one for one in found if not self._is_forgotten(one.start_s, one.end_s)]

    async def spread(self, start_s: float, end_s: float, *, limit: int) -> list[PictureFacts]:
        """At most `limit` pictures of a span: all there are, or some spread evenly over the time
        from the first to the last of them. Raises `Overloaded`."""
        found = await self.between(start_s, end_s, limit=limit + 1)
        if len(found) <= limit:
            return found
        (last,) = await self._keeper.facts(
            self._stream_id, start_s, end_s, limit=1, newest_first=True
        )
        times_s = np.linspace(found[0].start_s, last.start_s, limit).tolist()
        chosen = await self._keeper.standing_for(self._stream_id, times_s)
        return [one for one in chosen if not self._is_forgotten(one.start_s, one.end_s)]

    async def picture(self, facts: PictureFacts) -> AlbumPicture | None:
        """A picture with its bytes; None where it has gone meanwhile. Raises `Overloaded`."""
        found = await self._keeper.read(self._stream_id, [facts.clip_index])
        return found[0] if found else None

    async def sheet(self, chosen: Sequence[PictureFacts], look: FilmLook) -> bytes:
        """See `AlbumKeeper.sheet`."""
        return await self._keeper.sheet(self._stream_id, chosen, look)

    async def film(self, chosen: Sequence[PictureFacts], look: FilmLook) -> bytes:
        """See `AlbumKeeper.film`."""
        return await self._keeper.film(self._stream_id, chosen, look)

    async def forget(
        self, start_s: float, end_s: float, clip_indices: Collection[int] = ()
    ) -> int | None:
        """See `AlbumKeeper.forget`."""
        return await self._keeper.forget(
            self._stream_id, start_s, end_s, clip_indices, epoch=self._epoch
        )
