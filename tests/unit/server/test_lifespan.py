"""Start and stop without sockets: a scripted engine and a clock that the test moves."""

import asyncio
from typing import Any

import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import ConfigError, EngineDead, OnlookerError, ShuttingDown
from onlooker.engine.fake import ScriptedEngine
from onlooker.server.errors import NotReady
from onlooker.server.gateway import Gateway, Phase
from onlooker.server.lifespan import Lifecycle
from onlooker.server.wiring import make_gateway
from onlooker.streams.hub import StreamHub
from tests.fakes.decoders import LocalWorkshop
from tests.fakes.served import make_settings
from tests.fakes.waiting import until


class Peer:
    """A connection that ends when `end_now` is called, or by itself when it drains."""

    def __init__(self, gateway: Gateway, *, stays: bool) -> None:
        self.said: list[str] = []
        self._gateway = gateway
        self._stays = stays

    def drain(self) -> None:
        self.said.append("drain")
        if not self._stays:
            self._gateway.connections.discard(self)

    def end_now(self) -> None:
        self.said.append("end_now")
        self._gateway.connections.discard(self)


def make(engine: ScriptedEngine | None = None, **settings: Any) -> tuple[Gateway, ManualClock]:
    clock = ManualClock()
    gateway = make_gateway(
        make_settings(**settings),
        engine=engine or ScriptedEngine(),
        clock=clock,
        workshop=LocalWorkshop(),
    )
    return gateway, clock


async def test_work_is_taken_when_the_engine_has_started() -> None:
    gateway, _ = make()
    lines: list[str] = []
    lifecycle = Lifecycle(gateway, progress=lines.append)
    with pytest.raises(NotReady, match="starting"):
        gateway.check_ready()
    lifecycle.start()
    await lifecycle.started()
    gateway.check_ready()
    assert lines == ["the scripted engine is ready"]
    await lifecycle.stop()
    with pytest.raises(ShuttingDown):
        gateway.check_ready()


async def test_freed_memory_is_given_back_regularly_until_the_end() -> None:
    gateway, clock = make(server__give_back_memory_s=7.0)
    times: list[float] = []
    lifecycle = Lifecycle(gateway, give_back=lambda: times.append(clock.now_s()))
    lifecycle.start()
    await lifecycle.started()

    async def pass_to(due_s: float) -> None:
        await until(lambda: due_s in [at_s for at_s, *_ in clock._sleepers])
        clock.advance(7.0)
        await until(lambda: due_s in times)

    await pass_to(7.0)
    await pass_to(14.0)
    await lifecycle.stop()
    assert times == [7.0, 14.0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ConfigError("no such model"), "no such model"), (KeyError("x"), "inside the server")],
)
async def test_a_failed_start_is_reported_once(error: Exception, expected: str) -> None:
    class Broken(ScriptedEngine):
        async def start(self, progress: Any) -> None:
            raise error

    gateway, _ = make(Broken())
    failures: list[OnlookerError] = []
    lifecycle = Lifecycle(gateway, on_failure=failures.append)
    lifecycle.start()
    await lifecycle.started()
    assert [expected in failure.message for failure in failures] == [True]
    assert gateway.phase is Phase.FAILED
    with pytest.raises(EngineDead):
        gateway.check_ready()
    await lifecycle.stop()


async def test_connections_are_asked_to_end_and_then_made_to() -> None:
    gateway, clock = make(server__drain_s=5.0)
    lifecycle = Lifecycle(gateway)
    lifecycle.start()
    await lifecycle.started()
    polite, stubborn = Peer(gateway, stays=False), Peer(gateway, stays=True)
    gateway.connections |= {polite, stubborn}
    stopping = asyncio.create_task(lifecycle.stop())
    await until(lambda: "drain" in stubborn.said)
    assert gateway.phase is Phase.DRAINING
    clock.advance(4.0)
    await asyncio.sleep(0)
    assert stubborn.said == ["drain"]
    clock.advance(2.0)
    await stopping
    assert (polite.said, stubborn.said) == (["drain"], ["drain", "end_now"])
    assert gateway.stopping.is_set()


async def test_while_it_drains_it_says_how_much_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, clock = make(server__drain_s=5.0)
    monkeypatch.setattr(StreamHub, "num_answers", property(lambda hub: 3))
    lines: list[str] = []
    lifecycle = Lifecycle(gateway, progress=lines.append)
    lifecycle.start()
    await lifecycle.started()
    del lines[:]
    stopping = asyncio.create_task(lifecycle.stop())
    await until(lambda: lines)
    clock.advance(2.5)
    await until(lambda: len(lines) == 2)
    clock.advance(3.0)
    await stopping
    assert lines == ["3 answers under way, 5 s left", "3 answers under way, 2 s left"]


async def test_asked_twice_it_waits_for_nobody() -> None:
    gateway, _ = make(server__drain_s=1000.0)
    lifecycle = Lifecycle(gateway)
    lifecycle.start()
    await lifecycle.started()
    stubborn = Peer(gateway, stays=True)
    gateway.connections.add(stubborn)
    lifecycle.hurry()
    await lifecycle.stop()
    assert stubborn.said == ["drain", "end_now"]


async def test_stopping_while_starting_gives_up_the_start() -> None:
    class Slow(ScriptedEngine):
        async def start(self, progress: Any) -> None:
            await asyncio.Event().wait()

    gateway, _ = make(Slow())
    failures: list[OnlookerError] = []
    lifecycle = Lifecycle(gateway, on_failure=failures.append)
    lifecycle.start()
    await asyncio.sleep(0)
    await lifecycle.stop()
    await lifecycle.stop()  # a second time does nothing
    assert failures == []


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        (["acme:first-key-1", "bolt+read:second-key-2", "own-key-of-3"], ["acme"]),
        (["acme:first-key-1", "bolt:second-key-2"], ["acme", "bolt"]),
        (["acme:first-key-1", "acme+push:second-key-2"], []),
        (["acme+read:first-key-1", "own-key-of-3"], []),
    ],
)
async def test_tenants_whose_keys_may_do_everything_are_told_but_never_their_keys(
    keys: list[str], warned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    gateway, _ = make(server__api_keys=keys)
    lifecycle = Lifecycle(gateway)
    lifecycle.start()
    await lifecycle.started()
    await lifecycle.stop()
    told = [one for one in caplog.records if "names no scopes" in one.getMessage()]
    assert [vars(one)["tenant"] for one in told] == warned
    assert not any("-key-" in one.getMessage() for one in told)
