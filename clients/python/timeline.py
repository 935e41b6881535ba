"""The diary of a stream, for the Python client and for `onlooker timeline`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import httpx

from onlooker.clients.python.album import Time, query_of
from onlooker.core.protocol.timeline import DiaryLevel, DiaryPage, TimelineEntry

PAGE = 500
"""Entries that are fetched at once."""


class StreamTimeline:
    """What the model wrote down of one stream. Every call raises `NotFound` where the server writes
    no diary, and `InvalidRequest` for a span that runs backwards or lies in the future."""

    def __init__(self, stream_id: str, get: Callable[..., Awaitable[httpx.Response]]) -> None:
        self._path, self._get = f"/v1/streams/{stream_id}/timeline", get

    async def page(
        self,
        *,
        from_s: Time | None = None,
        to_s: Time | None = None,
        level: DiaryLevel | None = None,
        words: str | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> DiaryPage:
        """Entries of a span in order of time, those that hold all `words` where any are given."""
        order = "desc" if newest_first else "asc"
        query = {"from": from_s, "to": to_s, "level": level, "q": words, "order": order}
        reply = await self._get(self._path, params={**query_of(query), "limit": str(limit)})
        return DiaryPage.model_validate_json(reply.text)

    async def entries(
        self,
        *,
        from_s: Time | None = None,
        to_s: Time | None = None,
        level: DiaryLevel | None = None,
        words: str | None = None,
    ) -> AsyncIterator[TimelineEntry]:
        """All entries of a span in order of time, a page at a time."""
        while True:
            page = await self.page(from_s=from_s, to_s=to_s, level=level, words=words, limit=PAGE)
            for entry in page.data:
                yield entry
            if not page.has_more:
                return
            from_s = page.next_s

    async def markdown(
        self,
        *,
        from_s: Time | None = None,
        to_s: Time | None = None,
        level: DiaryLevel | None = None,
        limit: int = 1000,
    ) -> str:
        """The same for people to read and keep."""
        query = {"from": from_s, "to": to_s, "level": level, "format": "markdown"}
        reply = await self._get(self._path, params={**query_of(query), "limit": str(limit)})
        return reply.text


def line_of(entry: TimelineEntry) -> str:
    """An entry as a line of a terminal."""
    time = f"{entry.start_s:9.1f} s"
    if entry.wall_time is not None:
        time = f"{datetime.fromtimestamp(entry.wall_time, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    name = "" if entry.level == "scene" else f"[{entry.level}] "
    return f"{time}  {name}{entry.text}"


def day_of(wall_s: float) -> datetime:
    """When the day began in which a wall time lies, by this machine's zone."""
    moment = datetime.fromtimestamp(wall_s, UTC).astimezone()
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
