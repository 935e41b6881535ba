"""Standing orders: watches over labels, for streams that are open and for those that open later.

An order is kept for its tenant. Every stream that has its labels has a watch of it, which bears the
order's id; whoever opens the stream next, or changes its labels, brings that up to date. What was
said last holds: a stream's watch that was changed for itself is as the order again once the order
is changed.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onlooker.core.drawer import DrawerAway, DrawerFailed, StreamDrawer
from onlooker.core.errors import (
    Conflict,
    NotFound,
    OnlookerError,
    Overloaded,
    ServiceError,
    TooLarge,
)
from onlooker.core.ids import StreamId, split_stream_id, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.stream import Stream
from onlooker.watches.options import WatchOptions
from onlooker.watches.watch import Watch

_log = logging.getLogger("onlooker.streams.orders")

ORDERS = "orders"
"""The first word of the names of their documents."""

ORDER_PREFIX = "order_"
"""What the ids of orders, and so of their watches, begin with."""

_SHELF = "_orders"
"""The name beside those of streams under which a tenant's orders lie in the drawer: no stream's
name begins like that."""


MAX_TRIES = 20
"""Tries to write a change of an order that others change at the same time, or to follow those that
come and go."""


@dataclass(frozen=True, slots=True)
class StandingOrder:
    """One standing request to all streams of a tenant that have some labels."""

    order_id: str
    labels: tuple[str, ...]
    """A stream must have all of them; with none, all streams are meant."""
    options: WatchOptions
    """Of the watch that each of them has."""
    created_wall_s: float
    changed_wall_s: float = 0.0
    """When it was changed last; 0 where it never was."""

    @property
    def said_wall_s(self) -> float:
        """When it was given or changed last, by the clock of the server that was told."""
        return max(self.created_wall_s, self.changed_wall_s)

    def is_newer_than(self, watch: Watch) -> bool:
        """Whether it was changed after the options of its watch at a stream were last said."""
        return self.changed_wall_s > watch.changed_wall_s

    def changed(
        self, options: WatchOptions, labels: tuple[str, ...] | None, *, now_wall_s: float
    ) -> "StandingOrder":
        """The order with these options, and other labels where some are given. It is newer than it
        was, also where the wall clocks of servers differ."""
        later_wall_s = math.nextafter(max(self.changed_wall_s, self.created_wall_s), math.inf)
        return replace(
            self,
            labels=self.labels if labels is None else labels,
            options=options,
            changed_wall_s=max(now_wall_s, later_wall_s),
        )

    def option_values(self) -> dict[str, Any]:
        """The options of its watches, by their names."""
        return {one.name: getattr(self.options, one.name) for one in fields(self.options)}


Altered = Callable[[StandingOrder], StandingOrder | None]
"""Returns an order as it shall be, from how it is; None where it shall be no more. It is asked
again where others changed the order meanwhile, and what it raises changes nothing."""

_KEPT = TypeAdapter(StandingOrder)


class OrderBook:
    """The orders of all tenants. All on the event loop.

    Args:
        drawer: where they outlive the server, and other servers find them; None keeps them in
            memory.
        max_orders: of one tenant. Servers that add some at the same time may each add one more.
    """

    def __init__(self, drawer: StreamDrawer | None, *, max_orders: int, metrics: Metrics) -> None:
        self._drawer, self._max_orders, self._metrics = drawer, max_orders, metrics
        self._memory: dict[StreamId, dict[str, bytes]] = {}
        self._adding = asyncio.Lock()

    async def orders(self, tenant: str) -> list[StandingOrder]:
        """A tenant's orders, oldest first.

        Raises:
            Overloaded, ServiceError: it is not known.
        """
        found = [order for order, _ in await self._kept(tenant)]
        return sorted(found, key=lambda order: (order.created_wall_s, order.order_id))

    async def get(self, tenant: str, order_id: str) -> StandingOrder:
        """The order of this id.

        Raises:
            NotFound: the tenant has none.
            what `orders` does.
        """
        return (await self._find(tenant, order_id))[0]

    async def add(self, tenant: str, order: StandingOrder) -> None:
        """Keep a new order. Streams have their watches of it by `apply`.

        Raises:
            TooLarge: the tenant has as many as it may.
            what `orders` does.
        """
        async with self._adding:
            if len(await self.orders(tenant)) >= self._max_orders:
                raise TooLarge(
                    f"there are {self._max_orders} standing orders, which is the limit (setting "
                    "streams.max_orders): delete one first"
                )
            await self._exchange(tenant, order.order_id, b"", _KEPT.dump_json(order))

    async def alter(
        self, tenant: str, order_id: str, altered: Altered
    ) -> tuple[StandingOrder, StandingOrder | None]:
        """Change or drop an order; returns it as it was and as it is now. Of changes that come at
        the same time none is lost, whichever servers they come to. Streams follow by `apply`.

        Raises:
            NotFound: the tenant has none of this id.
            Overloaded: others change it all the time.
            what `altered` and `orders` do.
        """
        for _ in range(MAX_TRIES):
            before, content = await self._find(tenant, order_id)
            after = altered(before)
            wanted = b"" if after is None else _KEPT.dump_json(after)
            if await self._exchange(tenant, order_id, content, wanted):
                return before, after
        raise Overloaded(
            f"standing order '{order_id}' is being changed by others all the time: try again",
            retry_after_s=1.0,
        )

    async def apply(self, stream: Stream) -> None:
        """Bring a stream's watches up to date with its tenant's orders. What cannot be done is
        logged: the stream goes on, and the next change tries again."""
        for _ in range(MAX_TRIES):
            if not await self._applied(stream):
                return
            # An order may have been dropped while its watch was made: look again.

    # ---- inside

    async def _applied(self, stream: Stream) -> bool:
        """Do it once; whether a watch was made or dropped."""
        had = _watches_of_orders(stream)  # one that is made later may be of an order not read here
        try:
            orders = await self.orders(split_stream_id(stream.id)[0])
        except OnlookerError as error:
            _log.warning("standing orders are not looked at", extra={"detail": error.message})
            self._metrics.orders.labels("failed").inc()
            return False
        plate, done = stream.nameplate.plate, False
        meant = {one.order_id: one for one in orders if plate.has_labels(one.labels)}
        has = _watches_of_orders(stream)
        for order_id in sorted(had - meant.keys()):
            done |= await self._one(stream, order_id, None)
        for order_id in sorted(meant.keys() - has):
            done |= await self._one(stream, order_id, meant[order_id])
        for order_id in sorted(has & meant.keys()):
            if order_id not in stream.watches.ids():
                continue  # it was deleted while another was kept
            if meant[order_id].is_newer_than(stream.watches.get(order_id)):
                await self._one(stream, order_id, meant[order_id], is_new=False)
        return done

    async def _one(
        self, stream: Stream, order_id: str, order: StandingOrder | None, *, is_new: bool = True
    ) -> bool:
        """Make, change or drop the watch of an order; whether it was done."""
        try:
            if order is None:
                await stream.drop_watch(order_id)
            elif not is_new:
                stream.watches.update(
                    order_id, order.option_values(), said_wall_s=order.said_wall_s
                )
                await stream.keep_watches()
            else:  # it looks, also where it cannot be kept: nobody is there to make it again
                await stream.make_watch(
                    order.options, order_id, waits=False, said_wall_s=order.said_wall_s
                )
                await stream.keep_watches()
        except (Conflict, NotFound):  # somebody else was quicker
            return False
        except OnlookerError as error:
            self._metrics.orders.labels("failed").inc()
            _log.warning(
                "a standing order is not followed",
                extra={"order": order_id, "detail": error.message},
            )
            return False
        outcome = "dropped" if order is None else "applied" if is_new else "changed"
        self._metrics.orders.labels(outcome).inc()
        return True

    async def _find(self, tenant: str, order_id: str) -> tuple[StandingOrder, bytes]:
        for order, content in await self._kept(tenant):
            if order.order_id == order_id:
                return order, content
        raise NotFound(f"there is no standing order '{order_id[:80]}'", param="order")

    async def _kept(self, tenant: str) -> list[tuple[StandingOrder, bytes]]:
        """A tenant's orders, each with its document as it was read."""
        found = []
        for name, content in (await self._documents(tenant)).items():
            if name.partition("/")[0] != ORDERS:
                continue
            try:
                found.append((_KEPT.validate_json(content), content))
            except ValidationError as error:
                _log.warning("a standing order cannot be read", extra={"detail": str(error)})
        return found

    async def _documents(self, tenant: str) -> Mapping[str, bytes]:
        shelf = tenant_stream_id(tenant, _SHELF)
        if self._drawer is None:
            return self._memory.get(shelf, {})
        try:
            return await self._drawer.read(shelf)
        except (DrawerAway, DrawerFailed) as error:
            raise _unkept(error) from error

    async def _exchange(self, tenant: str, order_id: str, before: bytes, after: bytes) -> bool:
        shelf, name = tenant_stream_id(tenant, _SHELF), f"{ORDERS}/{order_id}"
        if self._drawer is None:
            kept = self._memory.setdefault(shelf, {})
            if kept.get(name, b"") != before:
                return False
            kept[name] = after
            if not after:
                del kept[name]
            return True
        exchange = partial(self._drawer.exchange, shelf, name, before=before, after=after)
        try:
            with contextlib.suppress(DrawerAway):
                return await exchange()
            # Only the reply may have been lost: then it is done, and the second try says so.
            return await exchange()
        except (DrawerAway, DrawerFailed) as error:
            raise _unkept(error) from error


def _watches_of_orders(stream: Stream) -> set[str]:
    return {one for one in stream.watches.ids() if one.startswith(ORDER_PREFIX)}


def _unkept(error: Exception) -> OnlookerError:
    _log.warning("standing orders cannot be reached", extra={"detail": str(error)})
    if isinstance(error, DrawerAway):
        return Overloaded(
            "standing orders cannot be reached now, since Redis does not answer: try again later"
        )
    return ServiceError("standing orders cannot be kept or read: the server's log says why")
