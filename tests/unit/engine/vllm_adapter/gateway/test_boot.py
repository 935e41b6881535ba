"""How a gateway joins an engine core that others have started. vLLM is played by functions."""

import asyncio
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from onlooker.core.clock import ManualClock, SystemClock
from onlooker.core.errors import ConfigError
from onlooker.engine.config import VllmSection
from onlooker.engine.shared_core import CoreSeat
from onlooker.engine.vllm_adapter.gateway import boot
from onlooker.engine.vllm_adapter.gateway.model_folder import Model, Profile
from onlooker.engine.wording import Wording
from tests.fakes.waiting import limited, until

SEAT = CoreSeat(3, 1, 4, "ipc:///in", "ipc:///out")
RECIPE = boot.Recipe(cast(Model, SimpleNamespace(served_name="small")), {})


class Joined:
    """What becomes of a gateway that sits down at a core."""

    def __init__(self) -> None:
        self.says = threading.Event()
        """Whether the core has said that it takes this gateway's work."""
        self.seats: list[CoreSeat] = []

    def sit_down(self, config: Any, seat: CoreSeat) -> str:
        self.seats.append(seat)
        self.says.wait()
        return "the engine"


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[Joined]:
    found = Joined()
    monkeypatch.setattr(boot, "prepare", lambda settings, recipe: None)
    monkeypatch.setattr(boot, "is_cpu_build", lambda: True)
    monkeypatch.setattr(boot, "make_config", lambda settings, recipe, num_gateways: None)
    monkeypatch.setattr(boot, "_sit_down", found.sit_down)
    yield found
    found.says.set()


async def test_a_gateway_that_joins_a_core_has_its_engine(joined: Joined) -> None:
    joined.says.set()

    async def seat() -> CoreSeat:
        return SEAT

    async def never(life: int) -> None:
        await asyncio.Event().wait()

    async with limited("the engine"):
        assert await boot.start_vllm(
            VllmSection(),
            RECIPE,
            progress=lambda line: None,
            clock=SystemClock(),
            get_seat=seat,
            gone=never,
        )
    assert joined.seats == [SEAT]


async def test_a_core_that_ends_while_a_gateway_joins_it_is_not_waited_for(
    joined: Joined,
) -> None:
    lives: list[int] = []
    ended = asyncio.Event()

    async def seat() -> CoreSeat:
        return SEAT

    async def gone(life: int) -> None:
        lives.append(life)
        await ended.wait()

    start = asyncio.ensure_future(
        boot.start_vllm(
            VllmSection(),
            RECIPE,
            progress=lambda line: None,
            clock=SystemClock(),
            get_seat=seat,
            gone=gone,
        )
    )
    try:
        await until(lambda: lives == [SEAT.life] and joined.seats == [SEAT])
        assert not start.done()
        ended.set()
        async with limited("the start to be given up"):
            with pytest.raises(ConfigError, match="ended while this gateway joined it"):
                await start
    finally:
        joined.says.set()  # the event loop's end waits for its threads


async def test_a_start_that_is_given_up_takes_no_seat_any_more(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "PROGRESS_INTERVAL_S", 0.001)
    clock = ManualClock()
    asks: list[str] = []

    async def seat() -> CoreSeat:
        asks.append("asked")
        clock.advance(1000.0)
        try:
            await asyncio.Event().wait()
        finally:
            asks.append("gave up")
        return SEAT

    async def never(life: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ConfigError, match="boot_timeout_s"):
        await boot.start_vllm(
            VllmSection(boot_timeout_s=10),
            RECIPE,
            progress=lambda line: None,
            clock=clock,
            get_seat=seat,
            gone=never,
        )
    await until(lambda: asks == ["asked", "gave up"])


def with_pause(pause: str | None) -> Model:
    profile = Profile(watching=Wording(pause=pause))
    return Model("folder", True, None, "commentator", profile)


def test_guesses_are_refused_beside_a_models_pause() -> None:
    with pytest.raises(ConfigError, match=r"guessed_tokens is 3.*'commentator'.*watching.pause"):
        boot.prepare(VllmSection(guessed_tokens=3), boot.Recipe(with_pause(" ..."), {}))
    boot.check_guesses(VllmSection(guessed_tokens=0), with_pause(" ..."))
    boot.check_guesses(VllmSection(guessed_tokens=3), with_pause(None))
