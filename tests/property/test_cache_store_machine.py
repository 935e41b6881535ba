"""The tiered store against a dictionary, through any sequence of operations, faults and crashes."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onlooker.cache_store.key import SegmentKey, StreamKey
from onlooker.cache_store.lookup import PutResult
from onlooker.cache_store.tier import FetchOutcome
from onlooker.cache_store.tiers.disk import DiskTier
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.fakes.waiting import WAIT_S, in_time
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_disk,
    make_encoded,
    make_key,
    make_memory,
    make_record,
    make_store,
)

SIZE = make_encoded().resident_bytes
STREAMS = [STREAM, StreamKey("model-a", "tenant-b", "camera-1"), StreamKey("m", "t", "s", 2)]
KEYS = st.builds(
    lambda index, stream: make_key(index, stream=stream),
    st.integers(0, 3),
    st.sampled_from(STREAMS),
)

SETTINGS = settings(
    max_examples=40,
    stateful_step_count=30,
)


class Machine(RuleBasedStateMachine):
    """What both machines do: a store over a disk, in a folder of its own."""

    disk_budget_bytes = 1 << 22
    queue: dict[str, Any] = {}  # noqa: RUF012 - never changed

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="store"))
        self.num_puts = 0
        self.open()

    def open(self) -> None:
        self.disk: DiskTier = make_disk(self.root, budget_bytes=self.disk_budget_bytes)
        self.faulty = FaultyTier(self.disk, seed=self.num_puts)
        self.memory = make_memory(3 * SIZE)
        self.store = make_store(self.faulty, memory=self.memory, **self.queue)
        self.disk.on_evicting = lambda keys, read: self.store.demote("disk", keys, read)

    @invariant()
    def integrity(self) -> None:
        if hasattr(self, "store"):
            self.store.check_integrity()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.faulty.resume()
            self.store.close(WAIT_S)
            shutil.rmtree(self.root)


class Roomy(Machine):
    """With room for everything and no failing writes, nothing that was put is ever missed."""

    def __init__(self) -> None:
        super().__init__()
        self.versions: dict[SegmentKey, list[int]] = {}
        """All seeds put under a key that may be found, oldest first; the last is the newest."""
        self.uncertain: set[SegmentKey] = set()
        """Keys that a crash may have lost."""

    def expect(self, key: SegmentKey, found: object, outcome: FetchOutcome) -> None:
        seeds = self.versions.get(key, [])
        if found is None:
            assert not seeds or key in self.uncertain, outcome
            self.versions.pop(key, None)
            self.uncertain.discard(key)
            return
        matching = [seed for seed in seeds if self.matches(key, seed, found)]
        assert matching, "a record that nobody put"
        if key not in self.uncertain:
            assert matching[-1] == seeds[-1], "an outdated record"
        self.versions[key] = [matching[-1]]
        self.uncertain.discard(key)

    @staticmethod
    def matches(key: SegmentKey, seed: int, found: object) -> bool:
        try:
            assert_same(found, make_record(key=key, seed=seed))  # type: ignore[arg-type]
        except AssertionError:
            return False
        return True

    @rule(keys=st.lists(KEYS, min_size=1, max_size=6))
    def put(self, keys: list[SegmentKey]) -> None:
        for key in keys:
            self.num_puts += 1
            receipt = self.store.put(make_record(key=key, seed=self.num_puts))
            assert receipt.result is PutResult.QUEUED
            self.uncertain.discard(key)
            self.versions.setdefault(key, []).append(self.num_puts)

    @rule(key=KEYS)
    def put_again_and_again(self, key: SegmentKey) -> None:
        for _ in range(3):
            self.put([key])
            self.flush()

    @rule(keys=st.lists(KEYS, max_size=8))
    def get(self, keys: list[SegmentKey]) -> None:
        found = in_time("a read", lambda: self.store.get_many(keys))
        for key, lookup in zip(keys, found, strict=True):
            assert lookup.key == key
            self.expect(key, lookup.record, lookup.outcome)

    @rule(stream=st.sampled_from(STREAMS))
    def delete(self, stream: StreamKey) -> None:
        """While a write is held a deletion is done later, so none may be held here."""
        self.faulty.resume()
        assert self.store.delete_stream(stream).result(WAIT_S) == ()
        for key in [key for key in self.versions if key.stream_key == stream]:
            del self.versions[key]
            self.uncertain.discard(key)

    @rule(stream=st.sampled_from(STREAMS))
    def rows(self, stream: StreamKey) -> None:
        rows = self.store.rows(stream)
        assert rows.is_complete
        found = {row.key for row in rows.rows}
        expected = {key for key in self.versions if key.stream_key == stream}
        assert expected - self.uncertain <= found <= expected

    @rule()
    def hold_writes(self) -> None:
        self.faulty.pause()

    @rule()
    def let_writes_go_on(self) -> None:
        self.faulty.resume()

    @rule()
    def flush(self) -> None:
        self.faulty.resume()
        assert self.store.flush(WAIT_S)
        for key in self.versions.keys() - self.uncertain:
            self.versions[key] = self.versions[key][-1:]
        self.disk.check_integrity()

    @rule()
    def restart(self) -> None:
        self.faulty.resume()
        assert self.store.close(WAIT_S)
        self.open()

    @rule()
    def crash(self) -> None:
        """What was not flushed may be lost, or be there in any version since."""
        self.faulty.resume()
        self.store.close(0.0)
        self.uncertain.update(self.versions)
        self.open()


class Cramped(Machine):
    """With little room and everything failing now and then, what is found is right."""

    disk_budget_bytes = 6000
    queue = {"max_records": 3}  # noqa: RUF012 - never changed

    def __init__(self) -> None:
        super().__init__()
        self.put_keys: set[SegmentKey] = set()
        self.deleted: set[SegmentKey] = set()

    @rule(streams=st.lists(st.sampled_from(STREAMS), min_size=1, max_size=6))
    def put(self, streams: list[StreamKey]) -> None:
        """Keys are written once, as the engine does."""
        for stream in streams:
            self.num_puts += 1
            key = make_key(self.num_puts, stream=stream)
            self.store.put(make_record(key=key))
            self.put_keys.add(key)

    @precondition(lambda self: self.put_keys)
    @rule(data=st.data())
    def get(self, data: st.DataObject) -> None:
        known = sorted(self.put_keys | self.deleted)
        keys = data.draw(st.lists(st.sampled_from(known), max_size=6))
        found = in_time("a read", lambda: self.store.get_many(keys))
        for key, lookup in zip(keys, found, strict=True):
            if lookup.record is not None:
                assert key in self.put_keys, "a deleted record"
                assert_same(lookup.record, make_record(key=key))

    @rule(stream=st.sampled_from(STREAMS))
    def delete(self, stream: StreamKey) -> None:
        self.faulty.rates = FaultRates()
        assert self.store.delete_stream(stream).result(WAIT_S) == ()
        gone = {key for key in self.put_keys if key.stream_key == stream}
        self.put_keys -= gone
        self.deleted |= gone

    @rule(
        rates=st.builds(
            FaultRates,
            **{
                name: st.sampled_from([0.0, 0.3, 1.0])
                for name in ("read_error", "lost", "flipped", "truncated", "swapped")
            },
            write_error=st.sampled_from([0.0, 0.5]),
            refused=st.sampled_from([0.0, 0.5]),
            unreachable=st.sampled_from([0.0, 0.2]),
        )
    )
    def break_things(self, rates: FaultRates) -> None:
        self.faulty.rates = rates

    @rule()
    def flush(self) -> None:
        assert self.store.flush(WAIT_S)
        self.disk.check_integrity()

    @rule()
    def restart(self) -> None:
        self.store.close(WAIT_S)
        self.open()


TestRoomyStore = Roomy.TestCase
TestRoomyStore.settings = SETTINGS
TestCrampedStore = Cramped.TestCase
TestCrampedStore.settings = SETTINGS
