"""`PushListener`: what the watches of one stream say by themselves."""

import asyncio
from types import TracebackType
from typing import Any, Self

from onlooker.benchmarks.adapters.asked import Pushed
from onlooker.clients.python.events import EventLine
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.protocol.server_events import StreamAlert, StreamWatch
from onlooker.core.waiting import cancel

DELETED_TIMEOUT_S = 30.0
"""So long it is waited for the event that tells that a watch is gone."""


class PushListener:
    """Leaves watches with a stream and keeps what they say, each until it is taken away.

    Alerts and the news of a watch come in the order of one numbering, so all that a watch has said
    is here when it is told that the watch is gone. Enter it after the stream.
    """

    def __init__(self, stream: RemoteStream) -> None:
        self._stream = stream
        self._told: dict[str, list[Pushed]] = {}
        self._gone: dict[str, asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read(self._stream.events()), name="push listener")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        await cancel(self._task)

    async def begin(self, **options: Any) -> str:
        """Leave a watch with the stream; returns its id. Raises as `Watches.create`."""
        watch = await self._stream.watches.create(**options)
        self._told.setdefault(watch.id, [])
        self._gone[watch.id] = asyncio.Event()
        return watch.id

    async def end(self, watch_id: str) -> tuple[Pushed, ...]:
        """Take a watch away; returns what it has said, in stream time.

        Raises:
            OnlookerError: refused, the connection was lost, or a watch had trouble with a reply.
            TimeoutError: the server did not tell in time that the watch is gone.
        """
        await self._stream.watches.delete(watch_id)
        async with asyncio.timeout(DELETED_TIMEOUT_S):
            await self._gone[watch_id].wait()
        del self._gone[watch_id]
        return tuple(self._told.pop(watch_id))

    async def _read(self, events: EventLine) -> None:
        async for event in events:
            if isinstance(event, StreamAlert):
                alert = event.alert
                said = Pushed(alert.evidence.end_s, alert.text)
                self._told.setdefault(alert.watch, []).append(said)
            elif (
                isinstance(event, StreamWatch)
                and event.change == "deleted"
                and (gone := self._gone.get(event.watch_id)) is not None
            ):
                gone.set()
