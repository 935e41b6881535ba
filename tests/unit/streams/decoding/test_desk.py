import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import Overloaded
from onlooker.core.media import Codec, DropReason, Pixels
from onlooker.core.metrics import Metrics
from onlooker.streams.config import DecodingSection
from onlooker.streams.decoding.assessors import StillToAssess
from onlooker.streams.decoding.desk import AsideTimer, Decoding, Desk
from onlooker.streams.perception.decoders import Decoders, Shape
from onlooker.streams.perception.gate import Before, LeastNews
from onlooker.streams.perception.stills import Undecodable
from tests.fakes.decoders import LocalDecoders, LocalWorkshop
from tests.fakes.pictures import make_pixels
from tests.fakes.streams import InlineExecutor

SHAPE = Shape(8, 8, max_pixels=100)
COSTLY = b"costly"


class CostlyDecoders(LocalDecoders):
    """Some pictures cost too much, and the others a second."""

    def __init__(self, spend: Callable[[float], None]) -> None:
        self._spend = spend

    def still(self, payload: bytes, codec: Codec, shape: Shape) -> Pixels:
        self._spend(1.0)
        if payload == COSTLY:
            raise Undecodable(DropReason.TOO_COSTLY, "it costs too much")
        return make_pixels(width=8, height=8)


class CostlyWorkshop(LocalWorkshop):
    def decoders(self, spend: Callable[[float], None]) -> Decoders:
        return CostlyDecoders(spend)


def make(clock: ManualClock, **settings: Any) -> Decoding:
    return Decoding(
        DecodingSection(**settings),
        workshop=CostlyWorkshop(),
        pool=InlineExecutor(),
        clock=clock,
        metrics=Metrics(),
    )


async def outcome(desk: Desk, payload: bytes) -> str:
    """What becomes of a picture, in words."""
    try:
        await (await desk.begin(lambda: desk.decoders.still(payload, Codec.JPEG, SHAPE)))
    except Undecodable as error:
        return "refused" if "refused for" in str(error) else "too costly"
    return "decoded"


async def test_who_sends_too_much_that_is_too_costly_is_refused_for_a_while() -> None:
    clock = ManualClock()
    decoding = make(clock, max_offences=2, refuse_s=10)
    desk, other = decoding.desk("t"), decoding.desk("t")
    assert [await outcome(desk, COSTLY) for _ in range(3)] == ["too costly"] * 2 + ["refused"]
    assert await outcome(desk, b"honest") == "refused"
    assert await outcome(other, b"honest") == "decoded"
    refused = decoding.metrics.registry.get_sample_value("onlooker_senders_refused_total")
    assert refused == 1
    clock.advance(10)
    assert await outcome(desk, b"honest") == "decoded"


async def test_what_was_too_costly_long_ago_is_not_held_against_anybody() -> None:
    clock = ManualClock()
    desk = make(clock, max_offences=2, offence_window_s=30).desk("t")
    for _ in range(5):
        assert await outcome(desk, COSTLY) == "too costly"
        clock.advance(31)


async def test_what_is_spent_counts_against_the_share_of_the_tenant() -> None:
    clock = ManualClock()
    decoding = make(clock, tenant_share=0.5, workers=1)
    desk = decoding.desk("t")
    for _ in range(3):
        await outcome(desk, b"honest")
    await decoding.turns.take("t")
    line: list[str] = []

    async def wait(tenant: str) -> None:
        await decoding.turns.take(tenant)
        line.append(tenant)

    tasks = [asyncio.create_task(wait(tenant)) for tenant in ("t", "u")]
    await asyncio.sleep(0)
    decoding.turns.give_back("t", spent_s=0.0)
    await tasks[1]
    assert line == ["u"]
    decoding.turns.give_back("u", spent_s=0.0)
    await tasks[0]


async def test_a_turn_is_over_when_the_work_is_and_not_when_its_caller_goes() -> None:
    clock = ManualClock()
    going_on = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        decoding = Decoding(
            DecodingSection(workers=1),
            workshop=LocalWorkshop(),
            pool=pool,
            clock=clock,
            metrics=Metrics(),
        )
        job = await decoding.desk("t").begin(going_on.wait)
        assert not decoding.turns.is_idle
        clock.advance(decoding.settings.stall_s + 1)
        assert decoding.is_stalled
        going_on.set()
        await job
    assert decoding.turns.is_idle
    assert not decoding.is_stalled


async def test_pictures_beyond_those_that_may_wait_are_refused() -> None:
    decoding = make(ManualClock(), workers=1, max_waiting=1)
    desk = decoding.desk("t")
    await decoding.turns.take("t")
    waiting = asyncio.create_task(desk.begin_if_room(lambda: None))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="1 pictures"):
        await desk.begin_if_room(lambda: None)
    decoding.turns.give_back("t", spent_s=0.0)
    await (await waiting)


class LongTurn:
    """A turn that says when it was asked to step aside."""

    def __init__(self) -> None:
        self.is_over = False
        self.asked = asyncio.Event()

    def step_aside(self) -> None:
        self.asked.set()


async def test_turns_that_last_step_aside_each_in_its_time_and_those_that_are_over_do_not() -> None:
    patience, turns = AsideTimer(0.01), [LongTurn() for _ in range(3)]
    for turn in turns:
        patience.have_with(turn)
    turns[1].is_over = True
    async with asyncio.timeout(10):
        await turns[0].asked.wait()
        await turns[2].asked.wait()
        later = LongTurn()
        patience.have_with(later)
        await later.asked.wait()
    assert not turns[1].asked.is_set()


class ReplacedTurn(LongTurn):
    """A turn in whose place another one begins at once, as that of whoever stands in line."""

    def __init__(self, patience: AsideTimer, follower: LongTurn) -> None:
        super().__init__()
        self._patience, self._follower = patience, follower

    def step_aside(self) -> None:
        self._patience.have_with(self._follower)
        super().step_aside()


async def test_a_turn_that_begins_as_another_steps_aside_gets_no_second_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, patience = asyncio.get_running_loop(), AsideTimer(0.01)
    set_timer, num_timers = loop.call_at, 0

    def counted(when: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
        nonlocal num_timers
        num_timers += getattr(callback, "__self__", None) is patience
        return set_timer(when, callback, *args, **more)

    monkeypatch.setattr(loop, "call_at", counted)
    follower = LongTurn()
    patience.have_with(ReplacedTurn(patience, follower))
    async with asyncio.timeout(10):
        await follower.asked.wait()
    assert num_timers == 2  # one for each


STILL = StillToAssess(
    payload=b"", codec=Codec.JPEG, shape=SHAPE, before=Before(), least=LeastNews()
)


class FaultyWorkshop(LocalWorkshop):
    """Cannot even be asked."""

    num_asked = 0

    def assess(self, *args: Any) -> None:
        self.num_asked += 1
        raise RuntimeError("a fault of ours")


def make_faulty() -> tuple[Decoding, FaultyWorkshop]:
    workshop = FaultyWorkshop()
    decoding = Decoding(
        DecodingSection(workers=1),
        workshop=workshop,
        pool=InlineExecutor(),
        clock=ManualClock(),
        metrics=Metrics(),
    )
    return decoding, workshop


async def test_a_fault_is_told_to_who_asked_and_not_to_who_gave_the_turn_back() -> None:
    decoding, _ = make_faulty()
    faults: list[Exception] = []
    await decoding.turns.take("t")
    place = decoding.desk("t").assess(STILL, lambda found: None, faults.append)
    assert place is not None
    assert faults == []
    decoding.turns.give_back("t", spent_s=0.0)
    assert [str(one) for one in faults] == ["a fault of ours"]
    assert decoding.turns.is_idle


async def test_a_still_whose_asker_has_left_the_line_is_not_asked_for() -> None:
    decoding, workshop = make_faulty()
    await decoding.turns.take("t")
    place = decoding.desk("t").assess(STILL, lambda found: None, lambda error: None)
    assert place is not None
    place.leave()
    decoding.turns.give_back("t", spent_s=0.0)
    assert workshop.num_asked == 0
    assert decoding.turns.is_idle
