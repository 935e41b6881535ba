"""`TenantStreams`: the streams of one tenant, and no others."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from onlooker.core.errors import NotFound
from onlooker.core.ids import StreamId, is_stream_id, new_id, split_stream_id, tenant_stream_id
from onlooker.streams.hub import StreamHub, check_name, not_found
from onlooker.streams.sources.spec import SourceSpec
from onlooker.streams.stream import Stream, StreamOptions


class TenantStreams:
    """The part of a hub that a caller may see. Names are the tenant's own: another tenant's stream
    of the same name is another stream, with another memory, in every tier."""

    def __init__(self, hub: StreamHub, tenant: str) -> None:
        self.tenant = tenant
        self._hub = hub

    async def open_stream(
        self, name: str | None = None, options: StreamOptions | None = None
    ) -> Stream:
        """Open a stream; without a name, one is made.

        Raises: what `StreamHub.open_stream` does.
        """
        name = new_id("stream") if name is None else name
        check_name(name)
        return await self._hub.open_stream(self._id(name), options)

    async def open_pulled(
        self, name: str | None, options: StreamOptions, source: SourceSpec
    ) -> Stream:
        """Open a stream that the server itself feeds from `source`: both, or neither. Where
        the source has a rate and the stream is given none, it is the stream's too: a picture that
        is taken now and then holds until the next.

        Raises: what `StreamHub.open_stream` and `StreamHub.pull` do.
        """
        if options.max_fps is None:
            options = replace(options, max_fps=source.most_fps)
        stream = await self.open_stream(name, options)
        try:
            await self._hub.pull(stream, source)
        except BaseException:
            with suppress(NotFound):  # it was closed meanwhile
                await asyncio.shield(self.close_stream(stream.name, "its source cannot be pulled"))
            raise
        return stream

    def get(self, name: str) -> Stream:
        """The open stream of this name.

        Raises:
            NotFound: no stream of this name is open.
        """
        return self._hub.get(self._id(name))

    def streams(self) -> list[Stream]:
        """All open streams of the tenant, oldest first."""
        found = self._hub.streams()
        return [stream for stream in found if split_stream_id(stream.id)[0] == self.tenant]

    async def close_stream(self, name: str, reason: str) -> None:
        """Close a stream and forget what is remembered of it.

        Raises:
            NotFound: no stream of this name is open.
        """
        await self._hub.close_stream(self._id(name), reason)

    def _id(self, name: str) -> StreamId:
        if not is_stream_id(name):  # a name with a slash in it could be another tenant's
            raise not_found(name[:80])
        return tenant_stream_id(self.tenant, name)
