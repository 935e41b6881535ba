"""The pictures of a stream's album, for the Python client."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import httpx

from onlooker.core.errors import NotFound
from onlooker.core.protocol.album import PictureList
from onlooker.core.protocol.answer_facts import EvidenceSpan

Time = float | datetime
"""Seconds of stream time, or a wall time for live streams."""

SUFFIXES = {"image/jpeg": ".jpg", "image/webp": ".webp", "video/mp4": ".mp4"}


class StreamPictures:
    """What the server's album has of one stream. Every call raises `NotFound` where there is no
    such picture, and `InvalidRequest` for a time that is none or lies in the future."""

    def __init__(self, stream_id: str, get: Callable[..., Awaitable[httpx.Response]]) -> None:
        self._path, self._get = f"/v1/streams/{stream_id}", get

    async def between(
        self,
        *,
        from_s: Time | None = None,
        to_s: Time | None = None,
        limit: int = 100,
        newest_first: bool = False,
    ) -> PictureList:
        """The pictures of a span without their bytes, in order of time."""
        order = "desc" if newest_first else "asc"
        query = {"from": from_s, "to": to_s, "limit": limit, "order": order}
        reply = await self._get(f"{self._path}/pictures", params=query_of(query))
        return PictureList.model_validate_json(reply.text)

    async def at(self, at_s: Time | None = None) -> bytes:
        """The encoded picture that stands for a time; by default for now."""
        return (await self._get(f"{self._path}/picture", params=query_of({"at": at_s}))).content

    async def strip(
        self, *, from_s: Time | None = None, to_s: Time | None = None, limit: int = 12
    ) -> bytes:
        """A contact sheet of a span, as JPEG."""
        query = {"from": from_s, "to": to_s, "limit": limit}
        return (await self._get(f"{self._path}/strip", params=query_of(query))).content

    async def film(
        self,
        *,
        from_s: Time | None = None,
        to_s: Time | None = None,
        fps: float = 4.0,
        format: Literal["mp4", "webp"] = "mp4",
    ) -> bytes:
        """The pictures of a span one after the other."""
        query = {"from": from_s, "to": to_s, "fps": fps, "format": format}
        return (await self._get(f"{self._path}/clips", params=query_of(query))).content

    async def of_evidence(self, spans: Sequence[EvidenceSpan]) -> dict[str, bytes]:
        """The pictures that an answer rests on, by names for files that begin with their stream
        times; those that have gone meanwhile are left out."""
        found = {}
        for span in spans:
            if span.picture is None:
                continue
            with contextlib.suppress(NotFound):
                reply = await self._get(span.picture)
                suffix = SUFFIXES.get(reply.headers.get("content-type", ""), "")
                found[f"{span.start_s:09.1f}s-{span.source}{suffix}"] = reply.content
        return found


def query_of(given: Mapping[str, Time | str | None]) -> dict[str, str]:
    """What is given of a query, as the server reads it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in given.items()
        if value is not None
    }
