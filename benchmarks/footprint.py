"""`Footprint`: the memory that a segments engine takes, by kind."""

from collections.abc import Sequence
from dataclasses import dataclass

from onlooker.benchmarks.cpu import process_rss_bytes
from onlooker.engine.interface import Engine
from onlooker.engine.vllm_adapter.gateway.segment_engine import SegmentEngine
from onlooker.engine.vllm_adapter.wire import worker_stats


@dataclass(frozen=True, slots=True)
class State:
    """The memory that an engine takes at one moment: bytes by place, and rows of its index."""

    device_bytes: int
    rss_bytes: int
    stored_bytes: dict[str, int]
    index_rows: int


class Footprint:
    """Asks the workers of a segments engine how much memory they take."""

    def __init__(self, engine: Engine) -> None:
        assert isinstance(engine, SegmentEngine)
        self._runner = engine.runner

    async def read(self, pids: Sequence[int]) -> State:
        """The state now; resident memory is that of the processes `pids`."""
        stats = (await self._runner.ask_workers(worker_stats()))[0]
        return State(
            device_bytes=stats.bytes,
            rss_bytes=sum(process_rss_bytes(pid) for pid in pids),
            stored_bytes={name: tier["used_bytes"] for name, tier in stats.tiers.items()},
            index_rows=stats.index_rows,
        )
