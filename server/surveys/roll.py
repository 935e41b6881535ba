"""`StreamRoll`: which streams of a tenant there are, here and on the other servers of the fleet."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote

from pydantic import ValidationError
from starlette.requests import Request

from onlooker.core.errors import Overloaded
from onlooker.core.protocol.http import ServerObject, StreamList
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.core.waiting import within
from onlooker.server.fleet.fleet_relay import FleetRelay
from onlooker.server.gateway import Gateway
from onlooker.server.surveys.called import NoReply, get_at
from onlooker.server.views import stream_object
from onlooker.streams.nameplate import checked_labels

T = TypeVar("T")
Result = TypeVar("Result")

PAGE = 100
"""Streams that another server is asked for at a time."""

MAX_ASKED = 16
"""Servers that are asked at a time."""

UNKNOWN = "all other servers"
"""Told in place of names where it is not known which servers there are."""

EVERYONE = ("ready", "draining")
"""Servers that have streams."""


@dataclass(slots=True)
class StreamRoll:
    """The streams that were found."""

    streams: list[StreamObject] = field(default_factory=list)
    """Oldest first; none twice."""
    unreached: list[str] = field(default_factory=list)
    """Servers that did not say which they have."""


async def call_roll(
    gateway: Gateway, request: Request, tenant: str, labels: Sequence[str], *, limit: int
) -> StreamRoll:
    """The open streams of a tenant that have all of some labels, `limit` of each server at most.
    `request`: whose key or token is shown to the other servers.

    Raises:
        InvalidRequest, TooLarge: what is no label; too many.
    """
    wanted = checked_labels(labels, gateway.settings.streams.nameplates)
    own = gateway.streams_of(tenant).streams()
    roll = StreamRoll([stream_object(one) for one in own if one.nameplate.plate.has_labels(wanted)])
    await _ask_others(gateway, request, wanted, roll, limit=limit)
    found = {one.id: one for one in sorted(roll.streams, key=lambda one: (one.created_at, one.id))}
    roll.streams = list(found.values())
    return roll


async def each(streams: Sequence[T], work: Callable[[T], Awaitable[Result]]) -> list[Result]:
    """What comes of some work for each, so many at a time, in their order."""
    room = asyncio.Semaphore(MAX_ASKED)

    async def one(stream: T) -> Result:
        async with room:
            return await work(stream)

    return list(await asyncio.gather(*map(one, streams)))


async def other_servers(gateway: Gateway, request: Request) -> list[ServerObject]:
    """The other servers of the fleet that have streams; none where `request` comes from one of
    them.

    Raises:
        Overloaded: it is not known which there are.
    """
    relay, herald = gateway.relay, gateway.herald
    if relay is None or herald is None or relay.was_passed_on(request.headers):
        return []
    servers = await herald.servers()
    return [s for s in servers if s.name != gateway.name and s.url and s.status in EVERYONE]


async def _ask_others(
    gateway: Gateway,
    request: Request,
    labels: Sequence[str],
    roll: StreamRoll,
    *,
    limit: int,
) -> None:
    try:
        others = await other_servers(gateway, request)
    except Overloaded:
        roll.unreached.append(UNKNOWN)
        return

    async def ask(server: ServerObject) -> None:
        assert gateway.relay is not None, "who hears of other servers can reach them"
        try:
            roll.streams += await within(
                gateway.clock,
                gateway.settings.server.surveys.servers_timeout_s,
                _of_server(gateway.relay, server.url, request, labels, limit=limit),
            )
        except (NoReply, TimeoutError):
            roll.unreached.append(server.name)

    await each(others, ask)
    roll.unreached.sort()


async def _of_server(
    relay: FleetRelay, base: str, request: Request, labels: Sequence[str], *, limit: int
) -> list[StreamObject]:
    query = "".join(f"&label={quote(label)}" for label in labels)
    found: list[StreamObject] = []
    after = ""
    while True:
        path = f"/v1/streams?limit={PAGE}{query}{after}"
        told = await get_at(relay, base, path.encode(), request.scope["headers"])
        try:
            page = StreamList.model_validate(told)
        except ValidationError as error:
            raise NoReply("it is of another version") from error
        found += page.data
        if not page.has_more or len(found) >= limit or page.last_id is None:
            return found
        after = f"&after={quote(page.last_id)}"
