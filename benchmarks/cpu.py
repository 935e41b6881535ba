"""`CpuMeter`: what a stretch of work cost this process (the gateway's) and vLLM's processes.

CPU time is compared rather than elapsed time, as machines do other work as well. vLLM's processes
report theirs, with the stages of their work (`onlooker.benchmarks.stopwatch`); looking again and
again whether another process is done ("spin") is no work and not counted.
"""

import asyncio
import json
import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from onlooker.benchmarks.stopwatch import ENV_STAGES

SETTLE_S = 0.5
"""How long to wait for the reports of vLLM's processes to come in."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Elapsed seconds, and CPU seconds of this process and of vLLM's, the latter by stage too."""

    elapsed_s: float
    gateway_s: float
    core_s: float
    stages_s: dict[str, float]
    """CPU seconds of vLLM's processes by stage, and outside of the stages (``ipc_and_rest``). Empty
    where nothing was reported."""
    spin_s: float

    @property
    def cpu_s(self) -> float:
        return self.gateway_s + self.core_s

    def __add__(self, other: "Cost") -> "Cost":
        names = {**self.stages_s, **other.stages_s}
        return Cost(
            self.elapsed_s + other.elapsed_s,
            self.gateway_s + other.gateway_s,
            self.core_s + other.core_s,
            {n: self.stages_s.get(n, 0.0) + other.stages_s.get(n, 0.0) for n in names},
            self.spin_s + other.spin_s,
        )


class CpuMeter:
    """Measures what runs between `begin` and `end`. Enter it before vLLM is started."""

    def __enter__(self) -> "CpuMeter":
        self._folder = tempfile.TemporaryDirectory(prefix="stages")
        os.environ[ENV_STAGES] = self._folder.name
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del os.environ[ENV_STAGES]
        self._folder.cleanup()

    def pids(self) -> list[int]:
        """The ids of this process and of vLLM's."""
        return [os.getpid(), *(int(path.stem) for path in Path(self._folder.name).glob("*.json"))]

    async def begin(self, *, settle: bool = True) -> None:
        """Start counting. With `settle` earlier work is reported first, as `end` makes sure too."""
        if settle:
            await asyncio.sleep(SETTLE_S)
        self._stages = self._read()
        self._gateway_s = time.process_time()
        self._begun_s = time.perf_counter()

    async def end(self) -> Cost:
        """What was spent since `begin`."""
        elapsed_s = time.perf_counter() - self._begun_s
        gateway_s = time.process_time() - self._gateway_s
        await asyncio.sleep(SETTLE_S)
        stages, before = self._read(), self._stages
        found = {name: total_s - before.get(name, 0.0) for name, total_s in stages.items()}
        core_s = found.pop("process", 0.0)
        spin_s = found.pop("spin", 0.0)
        if any(found.values()):
            found["ipc_and_rest"] = core_s - spin_s - sum(found.values())
        return Cost(elapsed_s, gateway_s, core_s - spin_s, found, spin_s)

    def _read(self) -> dict[str, float]:
        total: dict[str, float] = defaultdict(float)
        for path in Path(self._folder.name).glob("*.json"):
            for name, spent_s in json.loads(path.read_text()).items():
                total[name] += spent_s
        return total


def process_rss_bytes(pid: int) -> int:
    """The bytes of a process's resident memory; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
