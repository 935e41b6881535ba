"""`Inspector`: asks about a fleet's streams through its door, and looks into its Redis."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import redis.asyncio

from onlooker.benchmarks.fleet.colour_show import ColourShow
from onlooker.benchmarks.fleet.fed_stream import FedStream
from onlooker.benchmarks.fleet.member import KEY
from onlooker.benchmarks.fleet.shared_engine import writes_name
from onlooker.cache_store.fence import fence_name
from onlooker.core.clock import Clock

AUTH = {"authorization": f"Bearer {KEY}"}
POLL_S = 0.1
LOOK_S = 0.02
PATIENCE_S = 60.0
NUM_NEWEST, NUM_OLDER = 4, 2
"""Seconds of each stream that an audit asks about: the last before a fault, and earlier ones."""
LACKING = "memory incomplete"
AT_ONCE = 8
"""Questions of an audit that are under way at a time."""
MAX_TOLD = 20


class Inspector:
    """Use as an async context manager's value: `close` ends it.

    Args:
        base: the door.
        namespace: of the fleet's keys in Redis.
        patience_s: how long an answer may take.
    """

    def __init__(
        self,
        base: str,
        redis_url: str,
        namespace: str,
        clock: Clock,
        *,
        show: ColourShow,
        patience_s: float,
    ) -> None:
        self._show = show
        self._said: dict[tuple[str, int], str] = {}
        self._client = httpx.AsyncClient(
            base_url=base, headers=AUTH, trust_env=False, timeout=patience_s,
            limits=httpx.Limits(max_connections=None),
        )  # fmt: skip
        self._redis: Any = redis.asyncio.Redis.from_url(redis_url)
        self._namespace, self._clock = namespace, clock
        self.counts: Counter[str] = Counter()
        """Of audits: clips ``right``, ``lost`` (acknowledged with a guarantee, and not there),
        ``lost_unpromised``, ``wrong`` (answered with what was not shown), ``refused``."""
        self.told: list[str] = []
        """Some of what went wrong, in words."""

    async def close(self) -> None:
        await self._client.aclose()
        await self._redis.aclose()

    async def owners(self) -> dict[str, str]:
        """The server that has each stream now."""
        found = {}
        prefix = f"{self._namespace}:owner:default/"
        async for key in self._redis.scan_iter(f"{prefix}*", count=1000):
            server = await self._redis.hget(key, "server")
            if server is not None:
                found[key.decode().removeprefix(prefix)] = server.decode()
        return found

    async def resumed_s(self, stream: str, since_s: float, *, not_by: str) -> float | None:
        """Seconds from `since_s` until a question about a stream is answered by another server than
        this one; None: it is not."""
        owner = f"{self._namespace}:owner:default/{stream}"
        while (passed_s := self._clock.now_s() - since_s) < PATIENCE_S:
            status, _ = await self.ask(stream, self._show.now)
            by = await self._redis.hget(owner, "server")
            if status == 200 and by not in (None, not_by.encode()):
                return self._clock.now_s() - since_s
            await self._clock.sleep(POLL_S)
        self.tell(f"{stream}: no answer within {passed_s:.0f} s")
        return None

    async def moved_s(self, streams: Sequence[str], *, from_server: str) -> dict[str, float | None]:
        """By stream, seconds from when its owner let go of it until a question about it is answered
        by another server; None: it is not, or the owner keeps it. Who owns the streams is looked up
        in Redis every few milliseconds, so that asking begins when a stream moves and does not load
        the machine before."""
        moved: dict[str, float | None] = dict.fromkeys(streams)
        until_s = self._clock.now_s() + PATIENCE_S
        waiting, asking = set(streams), set[asyncio.Task[None]]()

        async def ask(stream: str, since_s: float) -> None:
            moved[stream] = await self.resumed_s(stream, since_s, not_by=from_server)

        while waiting and (seen_s := self._clock.now_s()) < until_s:
            names = sorted(waiting)
            pipeline = self._redis.pipeline(transaction=False)
            for stream in names:
                pipeline.hget(f"{self._namespace}:owner:default/{stream}", "server")
            for stream, server in zip(names, await pipeline.execute(), strict=True):
                if server != from_server.encode():
                    waiting.discard(stream)
                    asking.add(asyncio.create_task(ask(stream, seen_s)))
            await self._clock.sleep(LOOK_S)
        for stream in waiting:
            self.tell(f"{stream}: it stayed at '{from_server}'")
        await asyncio.gather(*asking)
        return moved

    async def ask(self, stream: str, question: str) -> tuple[int, str]:
        """The status, and the answer or what was wrong. Status 0: nobody replied."""
        try:
            reply = await self._client.post(
                f"/v1/streams/{stream}/questions", json={"question": question}
            )
        except httpx.TransportError as error:
            return 0, repr(error)
        if reply.status_code != 200:
            return reply.status_code, reply.text
        told = reply.json()
        is_lacking = told["onlooker"]["memory_incomplete"]
        return 200, str(told["answer"]) + (f" ({LACKING})" if is_lacking else "")

    async def hear(self, streams: Iterable[FedStream], *, until: int) -> None:
        """Ask what was shown before `until`, and note what a model says of it, which may be wrong:
        audits compare with that."""
        await self.audit(streams, until=until, is_first=True)

    async def audit(
        self, streams: Iterable[FedStream], *, until: int, is_first: bool = False
    ) -> None:
        """Ask what was shown before `until`, and compare."""
        room = asyncio.Semaphore(AT_ONCE)

        async def check(stream: FedStream, second: int) -> None:
            async with room:
                await self._check(stream, second, is_first=is_first)

        async with asyncio.TaskGroup() as tasks:
            for stream in streams:
                known = sorted(second for second in stream.acknowledged if second < until)
                older = known[: -NUM_NEWEST or None]
                step = max(1, len(older) // NUM_OLDER)
                for second in [*known[-NUM_NEWEST:], *older[::step][:NUM_OLDER]]:
                    tasks.create_task(check(stream, second))

    async def stale_writes(self, streams: Iterable[str]) -> int:
        """Writes that were taken after a later epoch had begun than theirs. Epochs are Redis'
        times in microseconds, as are those at which writes were taken."""
        stale = 0
        for stream in streams:
            name = f"default/{stream}"
            newest = int(await self._redis.hget(fence_name(self._namespace, name), "epoch") or 0)
            lines = await self._redis.lrange(writes_name(self._namespace, name), 0, -1)
            writes = [tuple(map(int, line.split())) for line in lines]
            begun = sorted({newest, *(epoch for epoch, _ in writes)})
            for epoch, at in writes:
                later = next((one for one in begun if one > epoch), None)
                stale += later is not None and at > later
        return stale

    async def _check(self, stream: FedStream, second: int, *, is_first: bool) -> None:
        question = self._show.then.format(second=second)
        for _ in range(20):
            status, answer = await self.ask(stream.name, question)
            if status == 200:
                break
            await self._clock.sleep(POLL_S)
        expected = stream.colour(second)
        if is_first:
            if status == 200:
                self._said[stream.name, second] = answer
                is_right = expected in answer.lower()
                self.counts["right_before" if is_right else "wrong_before"] += 1
                if not is_right:
                    self.tell(f"{stream.name} at {second} s, before: {expected}, told: {answer}")
            return
        if status != 200:
            self.counts["refused"] += 1
            self.tell(f"{stream.name} at {second} s: {status} {answer[:200]}")
        elif expected in answer.lower():
            self.counts["right"] += 1
        elif answer == self._said.get((stream.name, second)):
            self.counts["wrong_as_before"] += 1
        elif "can't tell" in answer or LACKING in answer:
            self.counts["lost" if stream.is_promised(second) else "lost_unpromised"] += 1
            self.tell(f"{stream.name} at {second} s: lost ({stream.acknowledged[second]})")
        else:
            self.counts["wrong"] += 1
            self.tell(f"{stream.name} at {second} s: {expected} was shown, told was: {answer}")

    def tell(self, line: str) -> None:
        """Note what went wrong, in words."""
        if len(self.told) < MAX_TOLD:
            self.told.append(line)
