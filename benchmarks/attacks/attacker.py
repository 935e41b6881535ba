"""`Attacker`: one attack in a process of its own, which is killed when its time is over.

The process is nice to others, so that what the honest tenant feels is the server's work for the
attacker, not the attacker's own; and the honest tenant's clock is not in it.
"""

import asyncio
import dataclasses
import json
import os
import signal
import sys
from contextlib import suppress
from types import TracebackType

from onlooker.benchmarks.attacks.table import ATTACKS
from onlooker.benchmarks.attacks.tally import AttackTally
from onlooker.benchmarks.attacks.target import AttackTarget

NICENESS = 10
START_S = 60.0
"""How long the process may take to be ready."""
MAX_LINE_BYTES = 1 << 20


class Attacker:
    """Use as an async context manager: when it is entered the process is ready to begin."""

    def __init__(self, name: str, target: AttackTarget) -> None:
        self._name = name
        self._target = target

    async def __aenter__(self) -> "Attacker":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "onlooker.benchmarks.attacks.attacker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MAX_LINE_BYTES,
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S):
            await self._process.stdout.readline()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def attack(self) -> AttackTally:
        """Let it begin, and return what the server answered once it is over."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"name": self._name, "target": dataclasses.asdict(self._target)}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        deadline_s = ATTACKS[self._name].deadline_s(self._target)
        tally = AttackTally()
        try:
            async with asyncio.timeout(deadline_s + START_S):
                line = await self._process.stdout.readline()
            tally = AttackTally.of(json.loads(line))
        except (TimeoutError, ValueError):
            tally.gave_way["attacker gave no account"] += 1
        return tally


async def _attack(name: str, target: AttackTarget) -> AttackTally:
    tally, attack = AttackTally(), ATTACKS[name]
    try:
        async with asyncio.timeout(attack.deadline_s(target)):
            await attack.run(target, tally)
    except TimeoutError:
        tally.gave_way["not through in time"] += 1
    except Exception as error:  # whatever the server does to it, the attack gives an account
        tally.gave_way[f"ended by {type(error).__name__}"] += 1
    return tally


def main() -> None:
    """Say that all is loaded, read the order from standard input, and write what came of it."""
    os.nice(NICENESS)
    print("ready", flush=True)
    order = json.loads(sys.stdin.readline())
    tally = asyncio.run(_attack(order["name"], AttackTarget(**order["target"])))
    print(json.dumps(tally.as_dict()), flush=True)


if __name__ == "__main__":
    main()
