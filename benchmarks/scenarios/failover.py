"""Servers of a fleet that are killed, hang, are drained, come and go, while streams are watched.

Three servers with the scripted engine, whose memory is in one real Redis, behind HAProxy (or, where
this machine has none, behind the first server, which passes everything on); live streams, watches
on some of them, and questions. One server is killed, one is paused until its leases have run out
and then goes on, one is drained, a fourth is added, and two are taken away. After each, streams are
asked about what was acknowledged before.

With `--engine demo` there are two servers with the demo model, one of which is killed. What they
say of acknowledged seconds is compared with what they said before, since the model errs now and
then.

Not shown: several machines, cut networks, TLS, a large model, a Redis that fails.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from onlooker.benchmarks.fleet.colour_show import ColourShow, drawn_circles, flat_pictures
from onlooker.benchmarks.fleet.fed_stream import FedStream
from onlooker.benchmarks.fleet.front_door import FrontDoor
from onlooker.benchmarks.fleet.inspector import AUTH, Inspector
from onlooker.benchmarks.fleet.member import KEY, FleetMember
from onlooker.benchmarks.report import rows
from onlooker.benchmarks.soak.lone_redis import LoneRedis
from onlooker.clients.python.client import Client
from onlooker.clients.python.options import ClientOptions, Reconnect
from onlooker.core.clock import Clock, SystemClock

NAMESPACE = "onlooker:1"
WATCHED = 5
"""One of so many streams has a watch."""
CALM_S = 12.0
"""Before each fault, and after it."""
LEASE_S = 10.0
ASK_EVERY_S, DEMO_ASK_EVERY_S = 0.2, 5.0
FAULTS = ("kill", "zombie", "drain", "scale")
LONG_AWAY_S = 5.0
"""Of cameras that are away for longer it is said why."""
GOALS = {"resume_p95_s": 3.0, "drain_p95_s": 1.0}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument(
        "--num-streams",
        type=int,
        help="streams that are fed (failover) [200, with the demo model 6]",
    )
    parser.add_argument(
        "--engine",
        choices=("scripted", "demo"),
        default="scripted",
        help="demo: two servers with the demo model, of which one is killed; a minute or more to "
        "start, and 2 GB each (failover) [scripted]",
    )
    parser.add_argument(
        "--faults",
        default=",".join(FAULTS),
        metavar="NAME,…",
        help=f"what happens, of {', '.join(FAULTS)} (failover) [all]",
    )


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onlooker-fleet-")))
        redis = await stack.enter_async_context(LoneRedis())
        is_demo = options.engine == "demo"
        make = _demo_member if is_demo else _member
        members = [make(name, folder, redis.url) for name in "abcd"]
        for member in members:
            stack.push_async_callback(member.kill)
        running = members[: 2 if is_demo else 3]
        await asyncio.gather(*(member.start() for member in running))
        door = FrontDoor(folder) if FrontDoor.is_there() else None
        if door is not None:
            stack.push_async_callback(door.close)
            await door.open(running)
        course = _Course(
            members,
            door,
            redis.url,
            options.num_streams or (6 if is_demo else 200),
            faults=frozenset(["kill"] if is_demo else options.faults.split(",")),
            show=drawn_circles() if is_demo else flat_pictures(),
            is_demo=is_demo,
        )
        stack.push_async_callback(course.close)
        figures = await course.run()
        return {"engine": options.engine, "haproxy": door is not None, **figures}


def _member(name: str, folder: Path, redis_url: str) -> FleetMember:
    settings = {
        "cache_store.redis.url": redis_url,
        "fleet.lease_s": LEASE_S,
        "streams.max_streams": 400,
        "streams.perception.gate_threshold": 0.0,
        "streams.max_questions": 64,
        "server.max_connections": 1000,
        "server.max_http_requests": 1000,
        "server.max_guests": 1000,
        "server.max_guests_per_address": 1000,
        "scheduler.policy": "fcfs",  # two cores for all; it is not load that is looked at
    }
    command = ("onlooker.benchmarks.fleet.serve", "shared")
    return FleetMember(name, folder, command=command, settings=settings)


def _demo_member(name: str, folder: Path, redis_url: str) -> FleetMember:
    settings = {
        "cache_store.redis.url": redis_url,
        "cache_store.disk": "null",
        "fleet.lease_s": LEASE_S,
        "streams.perception.gate_threshold": 0.0,
        "streams.perception.clip_interval_s": 2.0,
        "engine.memory.recent_clips": 4,
        "engine.memory.retrieved_clips": 3,
        "engine.vllm.max_model_len": 1024,
    }
    return FleetMember(
        name,
        folder,
        command=("onlooker.server", "serve"),
        settings=settings,
        flag="--set=",
        boot_s=600.0,
    )


class _Course:
    """The faults, one after the other."""

    def __init__(
        self,
        members: list[FleetMember],
        door: FrontDoor | None,
        redis_url: str,
        num_streams: int,
        *,
        faults: frozenset[str],
        show: ColourShow,
        is_demo: bool,
    ) -> None:
        self._faults, self._show, self._is_demo = faults, show, is_demo
        self._members = {member.name: member for member in members}
        self._door = door
        self._clock: Clock = SystemClock()
        base = members[0].base if door is None else door.base
        self._inspector = Inspector(
            base,
            redis_url,
            NAMESPACE,
            self._clock,
            show=show,
            patience_s=60.0 if is_demo else 5.0,
        )
        quick = ClientOptions(reconnect=Reconnect(first_s=0.2, max_s=2.0))
        self._client = Client(base, KEY, options=quick)
        self._streams = [
            FedStream(
                f"s{number}",
                number,
                client=self._client,
                show=show,
                clock=self._clock,
                is_watched=number % WATCHED == 0,
            )
            for number in range(num_streams)
        ]
        self._statuses: Counter[str] = Counter()
        self._took_s: list[float] = []
        self._began_s = self._clock.now_s()
        self._first_door = None if door is not None else members[0].name

    async def close(self) -> None:
        await self._inspector.close()
        await self._client.close()

    async def run(self) -> dict[str, Any]:
        """The figures of all faults."""
        feeding = []
        for stream in self._streams:
            feeding.append(asyncio.create_task(stream.run()))
            await self._clock.sleep(0.02)
        asking = asyncio.create_task(self._ask())
        try:
            await self._clock.sleep(2 * CALM_S)
            figures: dict[str, Any] = {}
            faults = {"kill": ("b", self._kill), "zombie": ("c", self._pause)}
            for name, (server, fault) in {**faults, "drain": ("b", self._drain)}.items():
                if name in self._faults:
                    figures[name] = await self._befall(server, fault)
            if "scale" in self._faults:
                figures["moved_without_need"] = await self._scale()
            await self._clock.sleep(CALM_S)
        finally:
            for task in (*feeding, asking):
                task.cancel()
            await asyncio.gather(*feeding, asking, return_exceptions=True)
        names = [stream.name for stream in self._streams]
        counts = self._inspector.counts
        until = self._second() - 6
        missed = [
            (stream, second) for stream in self._streams for second in stream.alerts_missed(until)
        ]
        num_promised = sum(stream.is_promised(second) for stream, second in missed)
        for stream, second in missed:
            self._inspector.tell(
                f"{stream.name}: no alert of {second} s ({stream.acknowledged[second]})"
            )
        failed = [stream.failure.message for stream in self._streams if stream.failure is not None]
        return {
            **figures,
            "lost_clips": counts["lost"],
            "lost_clips_unpromised": counts["lost_unpromised"],
            "wrong_memory": counts["wrong"],
            "audited": dict(counts),
            "streams": len(self._streams),
            "alerts": sum(sum(stream.alerts.values()) for stream in self._streams),
            "alerts_lost": num_promised,
            "alerts_lost_unpromised": len(missed) - num_promised,
            "alerts_doubled": sum(stream.alerts_doubled() for stream in self._streams),
            "stale_writes_accepted": None
            if self._is_demo
            else await self._inspector.stale_writes(names),
            "resume_s": figures.get("kill", {}).get("resume_s"),
            "questions": dict(self._statuses),
            "streams_given_up": failed[:5],
            "told": self._inspector.told,
        }

    # ---- faults

    async def _befall(self, name: str, fault: Any) -> dict[str, Any]:
        owners = await self._inspector.owners()
        if self._is_demo:  # both may have been asked for all streams
            name = Counter(owners.values()).most_common(1)[0][0]
        affected = [stream for stream in self._streams if owners.get(stream.name) == name]
        until, before = self._second(), Counter(self._statuses)
        if self._is_demo:
            await self._inspector.hear(affected, until=until)
        num_before = len(self._took_s)
        since_s = self._clock.now_s()
        undo = asyncio.create_task(fault(self._members[name]))
        names = [stream.name for stream in affected]
        if fault == self._drain:  # a stream that waits for its turn still is answered
            moved = await self._inspector.moved_s(names, from_server=name)
            resumed = list(moved.values())
            took_s = self._clock.now_s() - since_s
        else:
            resumed = await asyncio.gather(
                *(self._inspector.resumed_s(one, since_s, not_by=name) for one in names)
            )
            took_s = self._clock.now_s() - since_s
        await undo
        await self._clock.sleep(CALM_S)
        await self._inspector.audit(affected, until=until)
        for stream in affected:
            if stream.away_s(since_s) > LONG_AWAY_S:
                self._inspector.tell(f"{stream.name}: its camera was away: {list(stream.reasons)}")
        told: dict[str, Any] = {
            "at_second": until,
            "streams": len(affected),
            "resume_s": _quantiles([one for one in resumed if one is not None]),
            "never_resumed": sum(one is None for one in resumed),
            "all_resumed_s": round(took_s, 2),
            "camera_away_s": _quantiles([stream.away_s(since_s) for stream in affected]),
            "slowest_question_s": round(max(self._took_s[num_before:], default=0.0), 2),
            "questions": dict(self._statuses - before),
        }
        print(f"  {fault.__name__.strip('_')} {name}: {told}", flush=True)
        return told

    async def _kill(self, member: FleetMember) -> None:
        await member.kill()
        await self._clock.sleep(CALM_S)
        if not self._is_demo:
            await member.start()

    async def _pause(self, member: FleetMember) -> None:
        member.pause()
        await self._clock.sleep(2 * LEASE_S)
        member.go_on()

    async def _drain(self, member: FleetMember) -> None:
        async with httpx.AsyncClient(headers=AUTH, trust_env=False, timeout=30.0) as client:
            drain = f"{member.base}/v1/servers/self/drain"
            (await client.post(drain)).raise_for_status()
            await self._clock.sleep(CALM_S)
            (await client.delete(drain)).raise_for_status()

    async def _scale(self) -> int:
        """From three servers to four, and to two. Returns how many streams moved whose server
        stayed."""
        a, b, c, d = (self._members[name] for name in "abcd")
        owners = await self._inspector.owners()
        await d.start()
        if self._door is not None:
            await self._door.open([a, b, c, d])
        await self._clock.sleep(CALM_S)
        grown = await self._inspector.owners()
        moved = _changed(owners, grown, self._members)
        if self._door is not None:
            await self._door.open([a, b])
        await asyncio.gather(c.stop(), d.stop())
        await self._clock.sleep(CALM_S)
        moved += _changed(grown, await self._inspector.owners(), ("a", "b"))
        print(f"  3 to 4 to 2 servers: {moved} streams moved without need", flush=True)
        return moved

    async def _ask(self) -> None:
        """Ask about one stream after another, for ever: of those whose camera has come."""
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                for stream in self._streams:
                    if stream.acknowledged:
                        task = asyncio.create_task(self._ask_once(stream.name))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    await self._clock.sleep(DEMO_ASK_EVERY_S if self._is_demo else ASK_EVERY_S)
        finally:
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_once(self, stream: str) -> None:
        since_s = self._clock.now_s()
        status, text = await self._inspector.ask(stream, self._show.now)
        self._took_s.append(self._clock.now_s() - since_s)
        code = text.partition('"code":"')[2].partition('"')[0]
        self._statuses[f"{status} {code}".strip()] += 1
        if status == 404:  # there is every stream that is asked about
            self._inspector.tell(f"{stream}: not found at {self._second()} s")

    def _second(self) -> int:
        """Stream time at least, of every stream."""
        begun = 0.02 * len(self._streams)
        return int(self._clock.now_s() - self._began_s - begun)


def _changed(before: dict[str, str], after: dict[str, str], stayed: Iterable[str]) -> int:
    """Streams whose server stayed, and that are another's now."""
    there = set(stayed)
    return sum(
        server in there and stream in after and after[stream] != server
        for stream, server in before.items()
    )


def _quantiles(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {"p50": round(sum(values), 3), "p95": round(sum(values), 3)}
    cuts = statistics.quantiles(values, n=20)
    return {"p50": round(statistics.median(values), 3), "p95": round(cuts[-1], 3)}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    titles = ("fault", "streams", "answered again p50 s", "p95 s", "all after s",
              "camera away p50 s", "p95 s", "slowest question s", "never")  # fmt: skip
    lines = [
        (
            name,
            one["streams"],
            *one["resume_s"].values(),
            one["all_resumed_s"],
            *one["camera_away_s"].values(),
            one["slowest_question_s"],
            one["never_resumed"],
        )
        for name in ("kill", "zombie", "drain")
        if name in figures
        for one in [figures[name]]
    ]
    names = ("lost_clips", "wrong_memory", "alerts_lost", "alerts_doubled",
             "stale_writes_accepted", "moved_without_need")  # fmt: skip
    return "\n\n".join(
        (
            rows(titles, lines),
            ", ".join(f"{name} {figures[name]}" for name in names if name in figures)
            + " (goal 0 of each)",
            f"answered again p95: goal {GOALS['resume_p95_s']:g} s after a kill, "
            f"{GOALS['drain_p95_s']:g} s in a drain",
            *figures["told"],
        )
    )
