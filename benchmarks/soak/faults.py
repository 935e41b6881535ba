"""What befalls the server, one after the other: faults of Redis, and the death of the engine."""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.processes import family_of
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.core.clock import Clock

LASTS_S = 5.0
"""How long Redis hangs, is away or refuses."""
ENGINE = b"EngineCore"
"""Part of the title of vLLM's process, once it is up."""

Fault = Callable[[LoneServer, LoneRedis, Clock], Awaitable[None]]


async def redis_restarts(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """It is started again with what it had."""
    await redis.save()
    await redis.kill()
    await redis.start(is_empty=False)


async def redis_comes_back_empty(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """It is started again without anything."""
    await redis.kill()
    await redis.start()


async def redis_hangs(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """It keeps its connections and answers nothing for a while."""
    redis.hang()
    try:
        await clock.sleep(LASTS_S)
    finally:
        redis.go_on()


async def redis_refuses_writes(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """It is full for a while."""
    await redis.refuse_writes()
    await clock.sleep(LASTS_S)
    await redis.take_writes()


async def redis_is_away(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """Nothing listens for a while, and then it is there with what it had."""
    await redis.save()
    await redis.kill()
    await clock.sleep(LASTS_S)
    await redis.start(is_empty=False)


async def engine_is_killed(server: LoneServer, redis: LoneRedis, clock: Clock) -> None:
    """vLLM's process ends without warning."""
    for pid in family_of(server.pid):
        if ENGINE in title_of(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def title_of(pid: int) -> bytes:
    """The command line of a process; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


FAULTS: tuple[Fault, ...] = (
    redis_restarts, redis_comes_back_empty, engine_is_killed, redis_hangs, redis_refuses_writes,
    engine_is_killed, redis_is_away,
)  # fmt: skip
"""In the order in which they come, again and again. The engine is killed once what Redis lost has
been written to it again: before that, streams promise nothing."""
