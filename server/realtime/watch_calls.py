"""What clients ask about watches over a connection."""

from collections.abc import Awaitable, Callable
from typing import Any

from onlooker.core.protocol import client_events as asked
from onlooker.core.protocol import server_events as told
from onlooker.core.protocol.server_event import ServerEvent
from onlooker.server.rights import Grant
from onlooker.server.watch_wire import check_hook, option_changes, watch_object, watch_options
from onlooker.streams.hub import StreamHub
from onlooker.streams.stream import Stream


class WatchCalls:
    """Handles a session's calls about watches. All who follow the stream are told of changes."""

    def __init__(
        self,
        hub: StreamHub,
        grant: Grant,
        *,
        find: Callable[[str | None], Stream],
        emit: Callable[[ServerEvent], None],
    ) -> None:
        """`find`: returns the stream of a name, or the session's own for None."""
        self._hub, self._grant, self._find, self._emit = hub, grant, find, emit
        self.handlers: dict[type[asked.ClientEvent], Callable[[Any], Awaitable[None]]] = {
            asked.WatchCreate: self._create,
            asked.WatchUpdate: self._update,
            asked.WatchDelete: self._delete,
            asked.WatchListRequest: self._list,
        }

    async def _create(self, event: asked.WatchCreate) -> None:
        stream, options = self._find(event.stream), watch_options(event.watch, self._grant)
        await self._hub.webhooks.check(options.webhook)
        await stream.make_watch(options, event.watch.id)

    async def _update(self, event: asked.WatchUpdate) -> None:
        stream, changes = self._find(event.stream), option_changes(event.watch, self._grant)
        await self._hub.webhooks.check(changes.get("webhook"))
        check_hook(stream.watches.get(event.watch_id), self._grant)
        stream.watches.update(event.watch_id, changes)
        await stream.keep_watches()

    async def _delete(self, event: asked.WatchDelete) -> None:
        stream = self._find(event.stream)
        check_hook(stream.watches.get(event.watch_id), self._grant)
        await stream.drop_watch(event.watch_id)

    async def _list(self, event: asked.WatchListRequest) -> None:
        stream = self._find(event.stream)
        watches = [watch_object(watch) for watch in stream.watches.watches()]
        self._emit(told.StreamWatches(stream=stream.name, watches=watches))
