import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineFailed, Overloaded, OwnedElsewhere
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.fake import ScriptedEngine, ScriptedStore
from onlooker.streams.hub import StreamHub
from onlooker.streams.ownership import Ownership
from onlooker.streams.stream import StreamOptions
from onlooker.streams.tenure import LeaseTerms
from tests.fakes.leases import BookLeases, LeaseBook
from tests.fakes.pictures import make_message
from tests.fakes.streams import SMALL, ask, running_hub
from tests.fakes.waiting import until

DOOR = StreamId("door")
KEPT = StreamOptions(clock="virtual", persistent=True)
TERMS = LeaseTerms(10.0)


@dataclass(slots=True)
class Server:
    """One of several servers that share a book of leases and a store."""

    hub: StreamHub
    leases: BookLeases
    ownership: Ownership
    metrics: Metrics

    def leases_so_far(self, event: str) -> float:
        value = self.metrics.registry.get_sample_value
        return value("onlooker_leases_total", {"event": event}) or 0.0


class FickleStore(ScriptedStore):
    """May be away."""

    is_there = True

    def clips(self, stream_id: StreamId) -> Any:
        if not self.is_there:
            raise EngineFailed("there is no store")
        return super().clips(stream_id)


class Room:
    """Where servers are started. Time passes for all of them alike."""

    def __init__(self, stack: AsyncExitStack, tmp_path: Path) -> None:
        self._stack, self._tmp_path = stack, tmp_path
        self.clock = ManualClock()
        self.book = LeaseBook(self.clock.now_s)
        self.store = FickleStore()
        self.gone: set[str] = set()
        self.servers: list[Server] = []

    async def start(self, name: str, **settings: Any) -> Server:
        async def is_gone(url: str) -> bool:
            return url in self.gone

        metrics = Metrics()
        leases = BookLeases(self.book, name, lease_s=TERMS.lease_s)
        ownership = Ownership(
            leases, terms=TERMS, clock=self.clock, metrics=metrics, is_gone=is_gone
        )
        hub = await self._stack.enter_async_context(
            running_hub(
                engine=ScriptedEngine(clock=self.clock, info=SMALL, store=self.store),
                clock=self.clock,
                metrics=metrics,
                ownership=ownership,
                journal=self._tmp_path / name,
                **settings,
            )
        )
        self.servers.append(Server(hub, leases, ownership, metrics))
        return self.servers[-1]

    async def let_pass(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            for _ in range(20):
                await asyncio.sleep(0)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        room = Room(stack, tmp_path)
        yield room
        for server in room.servers:  # all at once, since each hub looks for tasks that are left
            await server.hub.close(deadline_s=0.0)


async def feed(server: Server, *times_s: float) -> None:
    stream = server.hub.get(DOOR)
    for time_s in times_s:
        colour = (int(18 * time_s),) * 3  # no frame is like the one before
        await stream.push_wait(make_message(time_s, colour=colour))
    await ask(stream)  # which waits until all has been seen


async def test_a_stream_is_opened_by_one_server_and_others_say_where(room: Room) -> None:
    a, b = await room.start("a"), await room.start("b")
    await a.hub.open_stream(DOOR)
    with pytest.raises(OwnedElsewhere, match="owned by the server 'a' at a: connect there"):
        await b.hub.open_stream(DOOR)
    assert b.hub.streams() == []
    await b.hub.open_stream(StreamId("garden"))


async def test_who_opens_a_stream_next_finds_all_of_it(room: Room) -> None:
    a, b = await room.start("a"), await room.start("b")
    await a.hub.open_stream(DOOR, KEPT)
    await feed(a, 0.0, 1.0, 2.0, 3.0)
    await a.hub.close(deadline_s=0.0)
    assert len(room.store.clips(DOOR)) > 1
    stream = await b.hub.open_stream(DOOR, KEPT)
    assert await ask(stream, "how many?") == "I have seen 2 clips up to 2.00 s."
    claim = b.ownership.claim_of(DOOR)
    assert claim is not None
    assert claim.is_handed_over


async def test_leases_are_renewed_for_as_long_as_their_streams_are_open(room: Room) -> None:
    a, b = await room.start("a"), await room.start("b")
    await a.hub.open_stream(DOOR)
    await room.let_pass(5 * TERMS.lease_s)
    assert a.ownership.holds(DOOR)
    with pytest.raises(OwnedElsewhere):
        await b.hub.open_stream(DOOR)
    await a.hub.close_stream(DOOR, "done")
    await b.hub.open_stream(DOOR)


async def test_a_server_that_cannot_reach_redis_stops_before_another_may_begin(room: Room) -> None:
    a, b = await room.start("a"), await room.start("b")
    stream = await a.hub.open_stream(DOOR, KEPT)
    a.leases.is_cut_off = True
    while a.hub.streams():
        await room.let_pass(0.5)
        with pytest.raises(OwnedElsewhere):
            await b.hub.open_stream(DOOR, KEPT)
    assert stream.closed_reason is not None
    assert stream.closed_reason.startswith("moved: Redis does not answer")
    assert a.leases_so_far("overdue") == 1
    await room.let_pass(TERMS.lease_s)
    await b.hub.open_stream(DOOR, KEPT)
    with pytest.raises(Overloaded, match="Redis does not answer"):
        await a.hub.open_stream(DOOR, KEPT)


async def test_a_server_that_is_gone_is_not_waited_for_and_its_ghost_loses_the_stream(
    room: Room,
) -> None:
    a, b = await room.start("a"), await room.start("b")
    stream = await a.hub.open_stream(DOOR, KEPT)
    room.gone.add("a")
    await b.hub.open_stream(DOOR, KEPT)
    assert b.leases_so_far("taken_over") == 1
    await room.let_pass(TERMS.renew_s + 1)
    assert a.hub.streams() == []
    assert stream.closed_reason == "moved: another server owns the stream now"
    assert b.hub.get(DOOR).closed_reason is None


async def test_a_stream_that_could_not_be_opened_is_let_go(room: Room) -> None:
    a, b = await room.start("a"), await room.start("b")
    room.store.is_there = False
    with pytest.raises(EngineFailed, match="no store"):
        await a.hub.open_stream(DOOR, KEPT)
    room.store.is_there = True
    await b.hub.open_stream(DOOR, KEPT)


async def test_a_stream_that_was_left_and_could_not_be_opened_is_left_still(room: Room) -> None:
    """Whoever is asked about it next opens it: it does not count as closed."""
    a, b = await room.start("a"), await room.start("b")
    await a.hub.open_stream(DOOR, KEPT)
    await a.hub.close(deadline_s=0.0)
    room.store.is_there = False
    with pytest.raises(EngineFailed, match="no store"):
        await b.hub.open_stream(DOOR, KEPT)
    assert await b.ownership.check_elsewhere(DOOR)


async def test_a_stream_that_never_was_and_could_not_be_opened_is_none(room: Room) -> None:
    a = await room.start("a")
    room.store.is_there = False
    with pytest.raises(EngineFailed, match="no store"):
        await a.hub.open_stream(DOOR, KEPT)
    assert not await a.ownership.check_elsewhere(DOOR)


async def test_a_stream_is_opened_again_only_once_it_is_closed(room: Room) -> None:
    """Else the closing lets go of what the opening has just taken: lease, memory and journal."""
    a = await room.start("a")
    await a.hub.open_stream(DOOR, KEPT)
    await feed(a, 0.0, 1.0, 2.0, 3.0)
    account = a.hub.accounts.of_stream(DOOR)
    close_stream, may_end = account.close_stream, asyncio.Event()

    async def slowly(*args: Any, **options: Any) -> None:
        await may_end.wait()
        await close_stream(*args, **options)

    account.close_stream = slowly  # type: ignore[method-assign]
    closing = asyncio.create_task(a.hub.move_all(deadline_s=1.0))
    await until(lambda: not a.hub.streams())
    opening = asyncio.create_task(a.hub.open_stream(DOOR, KEPT))
    await room.let_pass(1.0)
    is_early = opening.done()
    may_end.set()
    assert not is_early
    closing.cancel()  # what lets the stream go goes on
    stream = await opening
    await room.let_pass(1.0)
    assert a.hub.streams() == [stream]
    assert a.ownership.holds(DOOR)
    assert await ask(stream, "how many?") == "I have seen 2 clips up to 2.00 s."


async def test_frames_of_before_a_stream_was_elsewhere_are_not_shown_again(room: Room) -> None:
    """The journal of the first server has frames of clips that the second made otherwise."""
    a, b = await room.start("a"), await room.start("b")
    room.store.is_writing = False
    await a.hub.open_stream(DOOR, KEPT)
    await feed(a, *map(float, range(8)))
    room.gone.add("a")
    a.leases.is_cut_off = True
    await room.let_pass(TERMS.lease_s)
    assert a.hub.streams() == []
    room.store.lose_waiting()
    room.store.is_writing = True
    await b.hub.open_stream(DOOR, KEPT)
    await feed(b, 10.0, 11.0, 12.0, 13.0)
    await b.hub.close(deadline_s=0.0)
    room.gone.clear()
    a.leases.is_cut_off = False
    again = await a.hub.open_stream(DOOR, KEPT)
    await ask(again)
    assert [clip.start_s for clip in room.store.clips(DOOR).values()] == [10.0, 12.0]
