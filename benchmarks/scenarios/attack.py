"""Attacks on a server with an honest tenant beside: what that one feels, and what is left behind.

Shown, for each attack: by how much the worst frame (until it is acknowledged) or question (until
its first word) of the honest tenant took longer than usual, whether the attack was refused, and
what was answered. At the end: deaths and internal errors, and what the server still holds of
memory, descriptors, threads, streams and watches, which a second round of the same attacks must not
make grow. Everything is on loopback; the engine is the scripted one, so that all work is the
gateway's.

Not shown: attacks on the model's own work; networks. On a busy machine the honest tenant waits for
other programs as well: compare with `calm_worst_ms`, its worst delay while nobody attacked.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onlooker.benchmarks.attacks.attacker import Attacker
from onlooker.benchmarks.attacks.delays import Usual
from onlooker.benchmarks.attacks.leaks import leaks_of
from onlooker.benchmarks.attacks.server import ATTACKER_KEY, HONEST_KEY, attacked_server
from onlooker.benchmarks.attacks.table import ATTACKS
from onlooker.benchmarks.attacks.target import HUNG_UP, AttackTarget
from onlooker.benchmarks.attacks.victim import Victim
from onlooker.benchmarks.attacks.warm_up import warm_up
from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.processes import Holdings
from onlooker.benchmarks.report import rows
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import ConfigError

GOAL_MS = 250.0
WARM_UP_S = 2.0
END_S = 15.0
"""How long the server gets to let go of what the attacks left; idle threads go after ten."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is done; all in seconds and messages."""

    calm_s: float
    attack_s: float
    settle_s: float
    """How long the server gets after an attack until it counts as stuck, and is started anew."""
    messages: int
    payloads: int


FULL = Pace(calm_s=20.0, attack_s=20.0, settle_s=60.0, messages=200_000, payloads=10_000)
QUICK = Pace(calm_s=4.0, attack_s=1.5, settle_s=4.0, messages=1_500, payloads=40)


@dataclass(frozen=True, slots=True)
class AttackRow:
    """What came of one attack."""

    victim_worst_ms: float
    refused: bool
    victim_lost: dict[str, int]
    """Frames and questions of the honest tenant that came to nothing, by reason."""
    answers: dict[str, dict[str, int]]
    died: bool
    stuck: bool
    """Whether the honest tenant was still delayed when the server's time to settle was over."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--quick", action="store_true", help="about four minutes (attack)")
    parser.add_argument("--only", default="", help="names of attacks, by commas (attack)")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Attack a server with everything that `options.only` names, else with all there is.

    Raises:
        ConfigError: there is no attack of a name.
    """
    names = chosen(options.only)
    pace = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="attack") as folder:
        course = _Course(attacked_server(Path(folder)), SystemClock(), pace, options.seed)
        return await course.run(names)


def chosen(only: str) -> list[str]:
    """The attacks that ``--only`` names; all where it is empty.

    Raises:
        ConfigError: there is no attack of a name.
    """
    names = [name.strip() for name in only.split(",") if name.strip()] or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        raise ConfigError(f"there is no attack '{min(unknown)}'; there are: {', '.join(ATTACKS)}")
    return names


class _Course:
    """One server after the other, each with the honest tenant, and the attacks in turn."""

    def __init__(self, server: LoneServer, clock: Clock, pace: Pace, seed: int) -> None:
        self._server = server
        self._clock = clock
        self._pace = pace
        self._seed = seed
        self._usual = Usual(frame=0.0, question=0.0)
        self._num_deaths = 0
        self._num_stuck = 0

    async def run(self, names: list[str]) -> dict[str, Any]:
        """The figures of all attacks `names`.

        What is left behind is told of the last server that was started, and not at all where that
        one died or was killed.
        """
        left, attacks, again = list(names), dict[str, AttackRow](), dict[str, AttackRow]()
        calm: dict[str, Any] = {}
        leaks: dict[str, Any] = {}
        while left:
            await self._server.start()
            try:
                async with self._honest_tenant() as victim:
                    if not calm:
                        calm = await self._calm(victim)
                    before = self._server.holdings()
                    if await self._attack_all(left, victim, attacks):
                        first = await self._settled()
                        print(f"  left behind: {first}; now the second round", flush=True)
                        is_well = await self._attack_all(list(names), victim, again)
                        leaks = await self._leaks(before, first, is_well=is_well)
            finally:
                await self._server.stop()
        return summary(
            attacks, calm, leaks, again=again,
            deaths=self._num_deaths, stuck=self._num_stuck, killed=self._server.num_killed,
            stack_traces=self._server.num_stack_traces(),
        ) | {"failures": self._server.failures()}  # fmt: skip

    @asynccontextmanager
    async def _honest_tenant(self) -> AsyncIterator[Victim]:
        victim = Victim(self._target(HONEST_KEY), self._clock)
        running = asyncio.create_task(victim.run())
        try:
            await warm_up(self._target(HONEST_KEY))
            await self._clock.sleep(WARM_UP_S)
            yield victim
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _calm(self, victim: Victim) -> dict[str, Any]:
        """Measure what is usual."""
        victim.delays.restart()
        await self._clock.sleep(self._pace.calm_s)
        self._usual = victim.delays.usual()
        worst_ms = round(1000 * victim.worst_beyond_s(self._usual), 1)
        print(f"  calm: {victim.delays.figures()}", flush=True)
        return {"calm_worst_ms": worst_ms, "usual": victim.delays.figures()}

    async def _attack_all(
        self, left: list[str], victim: Victim, rows: dict[str, AttackRow]
    ) -> bool:
        """Run the attacks that are `left`, each of which is taken off before it is begun. False
        where the server must be started anew."""
        while left:
            if not await self._attack(left.pop(0), victim, rows):
                return False
        return True

    async def _attack(self, name: str, victim: Victim, attacks: dict[str, AttackRow]) -> bool:
        """Run one attack and add its row. False where the server must be started anew."""
        async with Attacker(name, self._target(ATTACKER_KEY)) as attacker:
            await victim.settle(self._usual, limit_s=self._pace.settle_s)
            victim.delays.restart()
            tally = await attacker.attack()
        is_settled = await victim.settle(self._usual, limit_s=self._pace.settle_s)
        is_dead = not self._server.is_alive()
        self._num_deaths += is_dead
        self._num_stuck += not is_settled and not is_dead
        attacks[name] = row = AttackRow(
            victim_worst_ms=round(1000 * victim.worst_beyond_s(self._usual), 1),
            refused=tally.is_refused,
            victim_lost=dict(victim.delays.lost),
            answers=tally.as_dict(),
            died=is_dead,
            stuck=not is_settled and not is_dead,
        )
        print(f"  {name}: {asdict(row)}", flush=True)
        if row.stuck:
            await self._server.kill()
        return is_settled and not is_dead

    async def _settled(self) -> Holdings:
        """Close what the attacks left open; what is held then."""
        target = self._target(ATTACKER_KEY)
        with suppress(*HUNG_UP):
            async with target.http() as client:
                for stream in (await client.get("/v1/streams?limit=100")).json()["data"]:
                    await client.delete(f"/v1/streams/{stream['id']}")
        await self._clock.sleep(END_S)
        return self._server.holdings()

    async def _leaks(self, before: Holdings, first: Holdings, *, is_well: bool) -> dict[str, Any]:
        """What is left behind; without figures of the second round where it did harm."""
        if not is_well:
            return leaks_of(before, first, None)
        return {
            **leaks_of(before, first, await self._settled()),
            "streams": int(await self._server.metric("onlooker_streams_active")) - 1,
            "watches": int(await self._server.metric("onlooker_watches_active")),
        }

    def _target(self, key: str) -> AttackTarget:
        return AttackTarget(
            port=self._server.port, key=key, seed=self._seed, seconds=self._pace.attack_s,
            messages=self._pace.messages, payloads=self._pace.payloads,
        )  # fmt: skip


def summary(
    attacks: dict[str, AttackRow],
    calm: dict[str, Any],
    leaks: dict[str, Any],
    *,
    again: dict[str, AttackRow],
    deaths: int,
    stuck: int,
    killed: int,
    stack_traces: int,
) -> dict[str, Any]:
    """The figures: each attack's row, the worst of all, and what went wrong in the server. `again`
    has the rows of the second round, of which only the worst delay is told.

    An internal error is told to the client and leaves a stack trace: it counts once.
    """
    both = (*attacks.values(), *again.values())
    faults = sum(sum(row.answers["faults"].values()) for row in both)
    return {
        "attacks": {name: asdict(row) for name, row in attacks.items()},
        "victim_worst_ms": max((row.victim_worst_ms for row in attacks.values()), default=0.0),
        "second_round_worst_ms": max((row.victim_worst_ms for row in again.values()), default=0.0),
        "goal_ms": GOAL_MS,
        **calm,
        "crashes": deaths + max(faults, stack_traces),
        "crash_kinds": {
            "deaths": deaths,
            "internal_errors": faults,
            "stack_traces": stack_traces,
            "stuck_until_killed": stuck,
            "outlived_sigterm": killed,
        },
        "leaks": leaks,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        (
            name, row["victim_worst_ms"], "yes" if row["refused"] else "NO",
            sum(row["victim_lost"].values()), sum(row["answers"]["faults"].values()),
            "died" if row["died"] else "stuck" if row["stuck"] else "",
        )
        for name, row in figures["attacks"].items()
    ]  # fmt: skip
    titles = ("attack", "worst delay ms", "refused", "lost", "internal errors", "server")
    leaks = [
        (name, *(value.values() if isinstance(value, dict) else ("-", "-", value, "")))
        for name, value in figures["leaks"].items()
    ]
    return "\n\n".join(
        (
            rows(titles, lines),
            f"Worst delay beyond the usual: {figures['victim_worst_ms']:g} ms (goal {GOAL_MS:g}; "
            f"while nobody attacked: {figures.get('calm_worst_ms', 0.0):g}). "
            f"Crashes: {figures['crashes']} (goal 0), of which {figures['crash_kinds']}",
            rows(("left behind", "before", "after", "after second round", "leak"), leaks),
        )
    )
