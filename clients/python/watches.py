"""A stream's watches and alerts on the client's side: requests matched to the server's events.

Each alert comes once: one that a reconnection brings again is recognised by its id, and the number
of the newest event goes along when the connection is dialled, so that nothing is missed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from onlooker.clients.python.errors import error_from
from onlooker.core.errors import InvalidRequest, OnlookerError
from onlooker.core.ids import new_id
from onlooker.core.protocol.client_events import (
    WatchCreate,
    WatchDelete,
    WatchUpdate,
    explain_validation,
)
from onlooker.core.protocol.server_events import (
    AnyServerEvent,
    ErrorEvent,
    StreamAlert,
    StreamWatch,
)
from onlooker.core.protocol.watches import WatchChanges, WatchConfig, WatchObject

MAX_KNOWN_ALERTS = 4096
"""How many ids of alerts are kept, to recognise an alert that comes again."""


class Watches:
    """Requests watches, and passes on what the server tells of them."""

    def __init__(
        self, send: Callable[[str], None], timeout_s: float, check_open: Callable[[], None]
    ) -> None:
        self._send, self._timeout_s, self._check_open = send, timeout_s, check_open
        self._waiting: dict[str, tuple[str, asyncio.Future[WatchObject | None]]] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self.last_event: int | None = None
        """The number of the newest event that came of the stream; None before the first."""

    async def create(self, **options: Any) -> WatchObject:
        """Leave a watch with the stream. `options` are the protocol's: ``instruction=""`` for
        commentary, ``question="…"`` for an answer as soon as it can be told.

        Raises:
            InvalidRequest: the options are wrong.
            OnlookerError: the server refused, or the connection was lost.
            TimeoutError: the server did not reply in time.
        """
        fields = {"id": new_id("watch"), **options}
        config = _checked(WatchConfig, fields)
        event = WatchCreate(type="stream.watch.create", event_id=new_id("ask"), watch=config)
        watch = await self._ask(fields["id"], event)
        assert watch is not None
        return watch

    async def update(self, watch_id: str, **options: Any) -> WatchObject:
        """Change or pause a watch; an option that is None is taken back. Raises as `create`."""
        changes = _checked(WatchChanges, options)
        event = WatchUpdate(
            type="stream.watch.update", event_id=new_id("ask"), watch_id=watch_id, watch=changes
        )
        watch = await self._ask(watch_id, event)
        assert watch is not None
        return watch

    async def delete(self, watch_id: str) -> None:
        """Take a watch away. Raises as `create`."""
        event = WatchDelete(type="stream.watch.delete", event_id=new_id("ask"), watch_id=watch_id)
        await self._ask(watch_id, event)

    def take(self, event: AnyServerEvent) -> bool:
        """Note a server event; returns whether it is news of a watch for the stream's owner."""
        if isinstance(event, ErrorEvent):
            found = self._waiting.pop(event.error.event_id or "", None)
            if found is not None and not found[1].done():
                found[1].set_exception(error_from(event.error))
            return False
        if not isinstance(event, StreamAlert | StreamWatch) or event.slot not in (0, None):
            return False
        self.last_event = max(self.last_event or 0, event.event_number)
        if isinstance(event, StreamWatch):
            self._settle(event)
            return True
        if event.alert.id in self._known:
            return False
        self._known[event.alert.id] = None
        if len(self._known) > MAX_KNOWN_ALERTS:
            self._known.popitem(last=False)
        return True

    def is_waiting_for(self, event: ErrorEvent) -> bool:
        """Whether an error is the reply to a request that was made here and still waits."""
        return event.error.event_id in self._waiting

    def fail_all(self, error: OnlookerError) -> None:
        """End all requests that wait: with the connection their replies are gone."""
        for _, reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(error)
        self._waiting.clear()

    async def _ask(
        self, watch_id: str, event: WatchCreate | WatchUpdate | WatchDelete
    ) -> WatchObject | None:
        self._check_open()
        reply: asyncio.Future[WatchObject | None] = asyncio.get_running_loop().create_future()
        assert event.event_id is not None
        self._waiting[event.event_id] = (watch_id, reply)
        try:
            self._send(event.model_dump_json(exclude_unset=True))
            async with asyncio.timeout(self._timeout_s):
                return await reply
        finally:
            self._waiting.pop(event.event_id, None)

    def _settle(self, event: StreamWatch) -> None:
        for watch_id, reply in self._waiting.values():
            if watch_id == event.watch_id and event.change != "ended" and not reply.done():
                reply.set_result(event.watch)
                return


def _checked(kind: type[Any], fields: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        message, param = explain_validation(error)
        raise InvalidRequest(message, param=param) from error
