"""`OrderRound`: goes round the open streams of a fleet, so that their watches are as an order says.

Several rounds of one order may be under way at once, as when it is changed twice. Each round looks
at the order again when it has ended, and goes once more where the order is another by now: so the
streams end up with what the order says last, whichever round was slower.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request

from onlooker.core.errors import Conflict, NotFound, OnlookerError, Overloaded, ServiceError
from onlooker.core.protocol.base import ErrorBody, ErrorReply
from onlooker.core.protocol.orders import OrderedStream
from onlooker.core.protocol.stream_objects import StreamObject
from onlooker.server.errors import body_of, hide
from onlooker.server.gateway import Gateway
from onlooker.server.surveys.anywhere import ask_anywhere
from onlooker.server.surveys.called import NoReply
from onlooker.server.surveys.roll import StreamRoll, call_roll, each
from onlooker.server.watch_wire import watch_wire_options
from onlooker.streams.standing_orders import StandingOrder
from onlooker.streams.stream import Stream
from onlooker.streams.tenants import TenantStreams

WATCHES = "/v1/streams/{stream_id}/watches"

MAX_STREAMS = 10_000
"""Streams of one server that an order is given to."""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """An order, and what came of handing it out."""

    order: StandingOrder
    streams: list[OrderedStream] | None = None
    """The streams that were asked to have a watch of it; None where none was asked."""
    unreached: list[str] = field(default_factory=list)
    """Servers whose streams were not asked."""


class OrderRound:
    """Of one caller. `call`: whose key or token is shown to the other servers."""

    def __init__(self, gateway: Gateway, call: Request, streams: TenantStreams) -> None:
        self._gateway, self._call, self._streams = gateway, call, streams
        self._ask = partial(ask_anywhere, gateway, call, streams)

    async def hand_out(self, order: StandingOrder) -> HandedOut:
        """Have all streams that are meant make a watch of a new order.

        Raises:
            NotFound: it was dropped meanwhile.
        """
        roll = await self._roll(order.labels)
        given = await self._at_each(roll.streams, partial(self._make, order))
        return await self._settled(HandedOut(order, given, roll.unreached), [])

    async def follow(self, order: StandingOrder, *, had: Sequence[str]) -> HandedOut:
        """Have all streams that are meant follow an order that was changed. `had`: its labels
        before. Raises: as `hand_out`."""
        labels = [] if had == order.labels else [had]
        return await self._settled(await self._follow(order, labels), labels)

    async def take_back(self, order: StandingOrder) -> None:
        """Take the watch of an order that was dropped from all streams that have it."""
        await self._take_back(order.order_id, [order.labels], set())

    async def take_back_left(self, order_id: str) -> None:
        """Take the watch of an order of which nothing else is known any more from all streams."""
        await self._take_back(order_id, [()], set())

    # ---- inside

    async def _settled(self, done: HandedOut, had: list[Sequence[str]]) -> HandedOut:
        """Go round until the order is still as it was handed out. That ends: each further round
        needs a further change. `had`: labels that the order had."""
        while True:
            order_id = done.order.order_id
            try:
                newest = await self._gateway.hub.orders.get(self._streams.tenant, order_id)
            except NotFound:
                await self._take_back(order_id, [*had, done.order.labels], set())
                raise
            except (Overloaded, ServiceError):  # the log says why; this round is done all the same
                return done
            if newest.changed_wall_s == done.order.changed_wall_s:  # which grows with each change
                return done
            if newest.labels != done.order.labels:
                had.append(done.order.labels)
            done = await self._follow(newest, had)

    async def _follow(self, order: StandingOrder, had: list[Sequence[str]]) -> HandedOut:
        roll = await self._roll(order.labels)
        given = await self._at_each(roll.streams, partial(self._change, order))
        await self._take_back(order.order_id, had, {one.id for one in roll.streams})
        return HandedOut(order, given, roll.unreached)

    async def _take_back(self, order_id: str, had: list[Sequence[str]], but: set[str]) -> None:
        """Take the watch of an order from the streams that have labels that it had, `but` some."""
        done = set(but)
        for labels in had:
            roll = await self._roll(labels)
            left = [one for one in roll.streams if one.id not in done]
            done |= {one.id for one in left}
            await self._at_each(left, partial(self._delete, order_id))

    async def _roll(self, labels: Sequence[str]) -> StreamRoll:
        tenant = self._streams.tenant
        return await call_roll(self._gateway, self._call, tenant, labels, limit=MAX_STREAMS)

    async def _make(self, order: StandingOrder, name: str) -> tuple[int, Any]:
        async def here(stream: Stream) -> None:
            with suppress(Conflict):  # it was opened meanwhile, and found the order by itself
                await stream.make_watch(
                    order.options, order.order_id, said_wall_s=order.said_wall_s
                )

        options = watch_wire_options(order.options)
        named = {option: value for option, value in options.items() if value is not None}
        body = {**named, "id": order.order_id}
        return await self._ask(name, method="POST", path=WATCHES, body=body, here=here)

    async def _change(self, order: StandingOrder, name: str) -> tuple[int, Any]:
        async def here(stream: Stream) -> None:
            if order.order_id in stream.watches.ids():
                stream.watches.update(
                    order.order_id, order.option_values(), said_wall_s=order.said_wall_s
                )
                await stream.keep_watches()
            else:
                with suppress(Conflict):
                    await stream.make_watch(
                        order.options, order.order_id, said_wall_s=order.said_wall_s
                    )

        status, reply = await self._ask(
            name,
            method="PATCH",
            path=f"{WATCHES}/{{watch_id}}",
            body=watch_wire_options(order.options),
            here=here,
            watch_id=order.order_id,
        )
        return await self._make(order, name) if status == 404 else (status, reply)

    async def _delete(self, order_id: str, name: str) -> tuple[int, Any]:
        return await self._ask(
            name,
            method="DELETE",
            path=f"{WATCHES}/{{watch_id}}",
            here=self._gateway.hub.orders.apply,
            watch_id=order_id,
        )

    async def _at_each(
        self, streams: Sequence[StreamObject], asking: Callable[[str], Awaitable[tuple[int, Any]]]
    ) -> list[OrderedStream]:
        """What came of a call about every stream."""

        async def one(stream: StreamObject) -> OrderedStream:
            error: ErrorBody | None = None
            try:
                status, reply = await asking(stream.id)
                if status >= 400 and status != 409:
                    error = ErrorReply.model_validate_json(reply).error
            except OnlookerError as failure:
                error = body_of(failure)
            except (NoReply, ValidationError) as failure:
                error = body_of(hide(failure, where="standing order"))
            return OrderedStream(
                stream=stream.id,
                name=stream.name or stream.id,
                has_watch=error is None,
                error=error,
            )

        return await each(streams, one)
