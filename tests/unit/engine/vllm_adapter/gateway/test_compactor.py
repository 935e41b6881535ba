"""Clips are made smaller in the background: when, and what becomes of those that they replace."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import numpy as np
import pytest

from onlooker.core.clock import ManualClock
from onlooker.core.errors import EngineFailed
from onlooker.core.ids import StreamId
from onlooker.core.metrics import Metrics
from onlooker.engine.memory.clip_tokens import ClipTokens, Placeholder
from onlooker.engine.memory.compaction import CompactionSection
from onlooker.engine.memory.plan import SaveSpan
from onlooker.engine.memory.rotary_layout import RotaryLayout
from onlooker.engine.memory.stream_memory import StreamMemory
from onlooker.engine.memory.timeline import RememberedClip
from onlooker.engine.vllm_adapter import wire
from onlooker.engine.vllm_adapter.gateway.compactor import Compactor
from onlooker.engine.vllm_adapter.gateway.gauge import LoadGauge
from onlooker.engine.vllm_adapter.gateway.memories import StreamMemories
from onlooker.engine.vllm_adapter.gateway.runner import VllmRunner
from onlooker.scheduler.load import EngineLoad
from tests.fakes.streams import driven

DOOR = StreamId("acme/door")
LAYOUT = RotaryLayout(video_token=9, patch=4, merge=2, tokens_per_second=None)
TOKENS = 12
"""Of a clip: two of text, nine places, and one of text."""


class Workers:
    """Two workers that compact what they have stored."""

    def __init__(self) -> None:
        self.stored: dict[str, SaveSpan | None] = {}
        self.unwritten: set[str] = set()
        self.asked: list[str] = []
        self.made: dict[str, SaveSpan] = {}
        self.is_broken = False
        self.most_stored = 0
        """Segments that there were at most after some had been made smaller."""

    def healthy(self) -> bool:
        return True

    async def ask_workers(self, call: wire.WorkerCall[Any]) -> list[Any]:
        self.asked.append(call.method)
        answer = getattr(self, f"_{call.method}")(*call.args)
        return [call.read(answer), call.read(answer)]

    def _stored_lives(self, prefix: str, is_first: bool) -> Any:
        return {"generations": [], "is_complete": True}

    def _measure_segments(self, name: str, op: Any) -> Any:
        if self.is_broken:
            raise EngineFailed("the store is broken")
        return {
            key: [float(row) for row in range(TOKENS)] for key in op["asked"] if key in self.stored
        }

    def _compact_segments(self, name: str, ops: Any) -> Any:
        found = wire.read_compact_ops(ops) or []
        self.made = {op.span.key: op.span for op in found if op.key in self.stored}
        return list(self.made)

    def _take_up_segments(self, keys: list[str]) -> None:
        self.stored |= {key: self.made[key] for key in keys}
        self.most_stored = max(self.most_stored, len(self.stored))

    def _unwritten_segments(self, keys: list[str]) -> list[str]:
        return [key for key in keys if key in self.unwritten]

    def _drop_segments(self, prefix: str, epoch: int, keys: list[str]) -> int:
        return self._delete_segments(prefix, epoch, keys)

    def _delete_segments(self, prefix: str, epoch: int, keys: list[str]) -> int:
        return sum(self.stored.pop(key, self) is not self for key in keys)

    def _unreached_tiers(self, prefix: str) -> list[str]:
        return []

    def _drop_stream(self, prefix: str, epoch: int, forget: bool) -> int:
        return 0


class Bench:
    """A stream, its workers, and the compactor."""

    def __init__(self, **settings: Any) -> None:
        self.workers, self.clock, self.metrics = Workers(), ManualClock(), Metrics()
        runner = cast(VllmRunner, self.workers)
        self.gauge = LoadGauge(self.metrics, clock=self.clock)
        self.streams = StreamMemories(runner, self.clock, fingerprint="model-a", layout=LAYOUT)
        self.streams.bytes_per_token = 100
        section = CompactionSection.model_validate(
            {"method": "value_norm", "batch_clips": 4, "keep_ratio": 0.5, **settings}
        )
        self.compactor = Compactor(
            section,
            self.streams,
            self.gauge,
            self.clock,
            self.metrics,
            recent_clips=4,
            merge=LAYOUT.merge,
            is_lasting=True,
        )

    @property
    def memory(self) -> StreamMemory:
        return self.streams[DOOR]

    def watch(self, num_clips: int, method: str | None = None) -> None:
        """Remember more clips."""
        first = self.memory.ends[1].clip_index + 1 if len(self.memory) else 0
        for index in range(first, first + num_clips):
            ids = [1, 1] + [9] * 9 + [2]
            key = self.memory.clip_key(index)
            place = Placeholder(0, TOKENS, np.array(ids) == 9)
            tokens = ClipTokens.made(
                key, ids, place, [1, 6, 6], LAYOUT, stamps=None, second_per_grid=None
            )
            clip = RememberedClip(tokens, index, float(index), index + 0.5, index + 0.8)
            self.memory.add(clip)
            self.workers.stored[key] = None
            self.compactor.note(self.memory, method)

    async def pass_s(self, duration_s: float) -> None:
        """Let time pass."""
        await driven(self.clock, self.clock.sleep(duration_s))

    def compacted(self) -> list[int]:
        """Indices of the clips that are remembered as smaller ones."""
        return [c.clip_index for c in self.memory.recent(1000) if c.tokens.is_compacted]

    def stored(self, kind: str) -> list[int]:
        """Indices of the segments of a kind that are stored."""
        return sorted(int(key[-10:]) for key in self.workers.stored if f"/{kind}/" in key)

    def count(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "onlooker_compaction_clips_total", {"outcome": outcome}
        )
        return value or 0.0


@asynccontextmanager
async def benched(**settings: Any) -> AsyncIterator[Bench]:
    bench = Bench(**settings)
    await bench.streams.open(DOOR)
    yield bench
    await bench.compactor.close()


async def test_what_left_the_window_becomes_smaller_and_takes_the_place_of_the_whole() -> None:
    async with benched() as bench:
        bench.watch(20)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(12)), "twice the window stays as it is"
        assert bench.stored("compacted") == list(range(12))
        assert bench.stored("clip") == list(range(12, 20))
        clip = bench.memory.at_index(3)
        assert clip is not None
        assert clip.tokens.rows.tolist() == [0, 1, 7, 8, 9, 10, 11]
        assert bench.memory.num_tokens == 12 * 7 + 8 * TOKENS
        assert bench.count("compacted") == 12
        saved = bench.metrics.registry.get_sample_value("onlooker_compaction_saved_bytes_total")
        assert saved == 12 * 5 * 100
        span = bench.workers.stored[bench.memory.compacted_key(3)]
        assert span is not None
        assert (span.start_s, span.end_s) == (3.0, 3.5)
        assert span.meta["before_until_s"] == "2.8", "covers outlive a restart"
        assert bench.memory.twins == {}


async def test_nothing_happens_where_it_is_off_and_a_stream_may_choose_otherwise() -> None:
    async with benched(method="off") as bench:
        bench.watch(20)
        await bench.pass_s(5)
        assert bench.workers.asked == ["stored_lives"]
        bench.watch(1, "carriers")
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(12))


async def test_a_stream_may_be_left_as_it_is_where_others_are_compacted() -> None:
    async with benched() as bench:
        bench.watch(30, "off")
        await bench.pass_s(5)
        assert bench.compacted() == []


async def test_the_first_segments_stay_as_long_as_somebody_may_read_them() -> None:
    async with benched() as bench:
        with bench.memory.reading():
            bench.watch(12)
            await bench.pass_s(5)
            assert bench.compacted() == [0, 1, 2, 3]
            assert bench.stored("clip") == list(range(12)), "a request may be under way"
        with bench.memory.reading():
            await bench.pass_s(1)
            assert bench.stored("clip") == list(range(4, 12)), "who came later reads the others"


async def test_the_first_segments_stay_until_the_others_are_as_safe() -> None:
    async with benched() as bench:
        key = bench.memory.compacted_key(2)
        bench.workers.unwritten.add(key)
        bench.watch(12)
        await bench.pass_s(5)
        assert bench.compacted() == [0, 1, 2, 3]
        assert bench.stored("clip") == list(range(12)), "a crash now must leave one whole"
        bench.workers.unwritten.clear()
        await driven(bench.clock, bench.compactor.settled())
        assert bench.stored("clip") == list(range(4, 12))


async def test_what_is_not_yet_safe_is_bounded() -> None:
    async with benched() as bench:
        bench.workers.unwritten |= {bench.memory.compacted_key(index) for index in range(1000)}
        bench.watch(200)
        await bench.pass_s(60)
        assert len(bench.compacted()) == 8 * 4
        assert bench.count("put_off") > 0


async def test_a_busy_engine_is_left_alone() -> None:
    async with benched() as bench:
        bench.gauge._load = EngineLoad(load_ratio=0.95)
        with bench.gauge.running():
            bench.watch(20)
            await bench.pass_s(1)
            assert bench.compacted() == []
            assert bench.count("put_off") >= 4
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(12))


async def test_clips_that_cannot_be_read_are_left_and_the_stream_rests() -> None:
    async with benched() as bench:
        bench.watch(11)
        del bench.workers.stored[bench.memory.clip_key(1)]
        bench.watch(1)
        await bench.pass_s(1)
        assert bench.compacted() == [0, 2, 3]
        assert bench.count("lost") == 1
        bench.watch(5)
        await bench.pass_s(1)
        assert bench.compacted() == [0, 2, 3]
        await bench.pass_s(30)
        bench.watch(1)
        await bench.pass_s(1)
        assert bench.compacted() == [0, 2, 3, 4, 5, 6, 7], "it goes on behind what it cannot read"


async def test_clips_that_cannot_be_read_do_not_keep_newer_ones_from_becoming_smaller() -> None:
    async with benched() as bench:
        bench.watch(11)
        lost = {index: bench.memory.clip_key(index) for index in range(4)}
        for key in lost.values():
            del bench.workers.stored[key]
        bench.watch(9)
        await bench.pass_s(1)
        assert bench.compacted() == []
        await bench.pass_s(30)
        bench.watch(1)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(4, 12))
        bench.workers.stored |= dict.fromkeys(lost.values())
        await bench.pass_s(30)
        bench.watch(1)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(12)), "later it tries them again"


async def test_after_a_crash_the_first_segments_stay_until_the_others_are_as_safe() -> None:
    async with benched(method="off") as bench:
        bench.watch(4)
        memory = bench.memory
        clip = memory.at_index(1)
        assert clip is not None
        key = memory.compacted_key(1)
        memory.compact({1: clip.tokens.compacted(key, np.array([0, 5], np.int64))})
        memory.twins[1] = clip.tokens.key
        bench.workers.stored[key] = None
        bench.workers.unwritten.add(key)
        bench.compactor.opened(memory)
        await bench.pass_s(5)
        assert bench.stored("clip") == [0, 1, 2, 3], "a crash now must leave one whole"
        bench.workers.unwritten.clear()
        await driven(bench.clock, bench.compactor.settled())
        assert (bench.stored("clip"), bench.stored("compacted")) == ([0, 2, 3], [1])
        assert memory.twins == {}


async def test_a_stream_that_was_left_in_order_gives_nothing_to_do_when_it_is_opened() -> None:
    async with benched(method="off") as bench:
        bench.watch(4)
        bench.compactor.opened(bench.memory)
        await bench.pass_s(1)
        assert bench.workers.asked == ["stored_lives"]


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_a_clip_that_is_deleted_or_lost_while_it_is_compacted_stays_away(
    is_deleted: bool,
) -> None:
    async with benched() as bench:
        bench.watch(11)
        num_gone = 0

        async def ask(call: wire.WorkerCall[Any], ask: Any = bench.workers.ask_workers) -> Any:
            nonlocal num_gone
            found = await ask(call)
            if call.method == "take_up_segments" and not num_gone:
                num_gone += 1
                if is_deleted:
                    await bench.streams.forget(DOOR, 1.0, 1.2, is_aged=False, max_clips=None)
                else:
                    bench.memory.forget({bench.memory.clip_key(1)})
            return found

        bench.workers.ask_workers = ask  # type: ignore[method-assign]
        bench.watch(1)
        await driven(bench.clock, bench.compactor.settled())
        assert num_gone == 1
        assert bench.compacted() == [0, 2, 3]
        assert bench.memory.twins == {}
        assert bench.stored("compacted") == [0, 2, 3], "nothing is left that nobody knows of"
        if is_deleted:
            assert 1 not in bench.stored("clip")
        bench.watch(5)
        await bench.pass_s(1)
        assert bench.compacted() == [0, *range(2, 8)], "nothing was left that could not be read"
        assert bench.count("lost") == 0


async def test_others_are_compacted_at_once_when_what_was_due_has_been_deleted() -> None:
    async with benched() as bench:
        bench.watch(12)
        await bench.streams.forget(DOOR, 0.0, 99.0, is_aged=False, max_clips=None)
        await bench.pass_s(1)
        bench.watch(12)
        await bench.pass_s(1)
        assert bench.compacted() == [0, 1, 2, 3]


async def test_clips_that_come_while_a_batch_is_compacted_wait_for_a_whole_one() -> None:
    async with benched() as bench:
        compact = bench.workers._compact_segments

        def and_two_come(name: str, ops: Any) -> Any:
            if len(bench.memory) == 12:
                bench.watch(2)
            return compact(name, ops)

        bench.workers._compact_segments = and_two_come  # type: ignore[method-assign]
        bench.watch(12)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == [0, 1, 2, 3]
        bench.watch(2)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == list(range(8)), "none is left between two batches"


async def test_nobody_waits_for_a_smaller_clip_that_is_lost_before_it_is_safe() -> None:
    async with benched() as bench:
        key = bench.memory.compacted_key(2)
        bench.workers.unwritten.add(key)
        bench.watch(12)
        await bench.pass_s(1)
        bench.memory.forget({key})
        await bench.pass_s(1)
        assert bench.stored("clip") == list(range(4, 12))


async def test_what_is_stored_twice_meanwhile_has_room_in_the_index_too() -> None:
    async with benched() as bench:
        bench.streams.max_clips = 22
        bench.workers.unwritten |= {bench.memory.compacted_key(index) for index in range(1000)}
        bench.watch(20)
        await bench.pass_s(5)
        assert bench.workers.most_stored <= 22
        assert bench.compacted()
        assert len(bench.memory) + len(bench.memory.twins) <= 22


async def test_a_stream_that_is_closed_meanwhile_is_let_go() -> None:
    async with benched() as bench:
        bench.workers.unwritten.add(bench.memory.compacted_key(0))
        bench.watch(12)
        await bench.pass_s(1)
        await bench.streams.close(DOOR, forget=False)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.stored("clip") == list(range(12)), "whoever opens it next finds either"


async def test_compaction_goes_on_after_a_failure() -> None:
    async with benched() as bench:
        bench.workers.is_broken = True
        bench.watch(12)
        await bench.pass_s(1)
        assert bench.compacted() == []
        bench.workers.is_broken = False
        bench.watch(1)
        await driven(bench.clock, bench.compactor.settled())
        assert bench.compacted() == [0, 1, 2, 3]
