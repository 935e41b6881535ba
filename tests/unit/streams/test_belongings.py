"""What belongs to a stream is written whenever it comes."""

import asyncio

from onlooker.core.clock import ManualClock
from onlooker.core.drawer import Documents
from onlooker.core.ids import StreamId, tenant_stream_id
from onlooker.core.metrics import Metrics
from onlooker.streams.belongings import Belongings, Saved
from tests.fakes.waiting import limited, until

DOOR = tenant_stream_id("acme", "door")


class QuickDrawer:
    """Writes at once, and knows what was written."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def read(self, stream_id: StreamId) -> dict[str, bytes]:
        return dict(self.kept)

    async def write(self, stream_id: StreamId, documents: Documents, *, epoch: int) -> None:
        self.kept.update(documents)

    async def exchange(
        self, stream_id: StreamId, name: str, *, before: bytes, after: bytes
    ) -> bool:
        raise AssertionError("nobody else writes here")

    async def clear(self, stream_id: StreamId, *, epoch: int) -> None:
        self.kept.clear()

    async def stream_ids(self) -> list[StreamId]:
        return [DOOR]

    async def close(self) -> None:
        return None


def make_belongings(drawer: QuickDrawer) -> Belongings:
    return Belongings(DOOR, drawer, clock=ManualClock(), metrics=Metrics())


async def test_what_comes_in_the_tick_in_which_the_writing_ends_is_written_too() -> None:
    drawer = QuickDrawer()
    belongings = make_belongings(drawer)

    def next_tick(_: Saved) -> None:
        asyncio.get_running_loop().call_soon(belongings.keep, "second", b"2")

    belongings.keep("first", b"1", next_tick)
    await until(lambda: drawer.kept == {"first": b"1", "second": b"2"})
    await belongings.close()


async def test_who_waits_from_the_tick_in_which_the_writing_ends_is_told() -> None:
    belongings = make_belongings(QuickDrawer())
    waiting: list[asyncio.Task[None]] = []

    def next_tick(_: Saved) -> None:
        waiting.append(asyncio.create_task(belongings.settle("it")))

    belongings.keep("first", b"1", next_tick)
    await until(lambda: waiting)
    async with limited("who settles in the tick in which the writing ends"):
        await waiting[0]
    await belongings.close()
