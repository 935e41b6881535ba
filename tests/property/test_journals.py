"""Any journal does what a plain list would, over restarts too."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onlooker.cache_store.journal import Change, DurableMark, FrameJournal, NewEntry, touched
from tests.contract.redis_server import RedisServer, flush
from tests.fakes.journals import entry_of, look_of, open_in_file, open_in_redis

STREAMS = ("a", "b", "tenant/a")
NOT_TOLD = 1 << 200
"""The position of a look, which is later than all that a mark can name."""


@dataclass(slots=True)
class PlainJournal:
    """What a journal should hold: by stream, (position, entry)."""

    held: dict[str, list[tuple[int, NewEntry]]] = field(
        default_factory=lambda: {stream: [] for stream in STREAMS}
    )

    def let_go(self, stream: str, position: int) -> None:
        self.held[stream] = [one for one in self.held[stream] if one[0] > position]

    def forget(self, stream: str, start_s: float, end_s: float, sequences: set[int]) -> int:
        frames = [(entry.sequence, entry.capture_s) for _, entry in self.held[stream]]
        gone = touched(frames, start_s, end_s, sequences)
        left = [one for one in self.held[stream] if one[1].sequence not in gone]
        num_gone = len(self.held[stream]) - len(left)
        self.held[stream] = left
        return num_gone

    def newest_s(self, stream: str) -> float | None:
        return self.held[stream][-1][1].capture_s if self.held[stream] else None

    @property
    def num_bytes(self) -> int:
        return sum(entry.num_bytes for held in self.held.values() for _, entry in held)


stream_names = st.sampled_from(STREAMS)
sequences = st.integers(0, 6)
frames = st.builds(
    lambda stream, sequence, payload: entry_of(sequence, stream, payload=payload),
    stream_names,
    sequences,
    st.binary(min_size=1, max_size=40),
)
looks = st.builds(look_of, sequences, st.integers(0, 6).map(float), stream_names)
marks = st.tuples(st.just("mark"), stream_names, st.integers(0, 8))
"""Up to the so-many-th of the frames that are held."""
batches = st.tuples(st.just("write"), st.lists(st.one_of(frames, looks, marks), max_size=6))
forgets = st.tuples(
    st.just("forget"),
    stream_names,
    st.integers(0, 4),
    st.integers(0, 4),
    st.sets(sequences, max_size=2),
)
deletes = st.tuples(st.just("delete"), stream_names)
restarts = st.tuples(st.just("restart"))
steps = st.lists(st.one_of(batches, batches, forgets, deletes, restarts), max_size=12)


Open = Callable[[], FrameJournal]


@contextmanager
def in_files() -> Iterator[Open]:
    in_ram = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=in_ram) as folder:
        yield lambda: open_in_file(Path(folder), sync="never")


@pytest.fixture(scope="module")
def redis_of_the_module() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on this machine; `make setup` installs one where it may")
    with tempfile.TemporaryDirectory(prefix="ol") as folder:
        server = RedisServer(Path(folder))
        server.start()
        yield server
        server.kill()


def run_against_a_list(open_next: Open, script: list[tuple]) -> None:  # type: ignore[type-arg]
    journal, plain = open_next(), PlainJournal()
    try:
        for step in script:
            if step[0] == "write":
                _write(journal, plain, step[1])
            elif step[0] == "forget":
                _, stream, first, second, named = step
                num_frames, _ = journal.forget(stream, float(first), float(second), named)
                assert num_frames == plain.forget(stream, float(first), float(second), named)
            elif step[0] == "delete":
                journal.delete(step[1])
                plain.held[step[1]] = []
            else:
                journal.close()
                journal = open_next()
            _compare(journal, plain)
        assert journal.stats().num_bytes == plain.num_bytes
        assert journal.streams() == sorted(one for one in STREAMS if plain.held[one])
    finally:
        journal.close()


def _write(journal: FrameJournal, plain: PlainJournal, batch: list[NewEntry | tuple]) -> None:  # type: ignore[type-arg]
    changes: list[Change] = []
    marked: list[DurableMark] = []
    for one in batch:
        if isinstance(one, NewEntry):
            changes.append(one)
            continue
        _, stream, count = one
        held = plain.held[stream][:count]
        if held:
            marked.append(DurableMark(stream=stream, position=held[-1][0]))
            changes.append(marked[-1])
    known = {stream for stream in STREAMS if plain.held[stream]}
    receipts = journal.write(changes)
    assert len(receipts) == len(changes)
    for change, receipt in zip(changes, receipts, strict=True):
        if isinstance(change, DurableMark):
            plain.let_go(change.stream, change.position)
        elif not change.is_look:
            known.add(change.stream)
            assert receipt.position is not None
            plain.held[change.stream].append((receipt.position, change))
        elif change.stream in known:
            plain.held[change.stream].append((NOT_TOLD, change))
    for stream in STREAMS:  # what was not told is found now
        entries = journal.replay(stream)
        if len(entries) == len(plain.held[stream]):
            found = [entry.position for entry in entries]
            plain.held[stream] = [
                (position, entry)
                for position, (_, entry) in zip(found, plain.held[stream], strict=True)
            ]


def _compare(journal: FrameJournal, plain: PlainJournal) -> None:
    for stream in STREAMS:
        found = [
            (one.position, one.sequence, one.capture_s, one.payload, one.is_last, one.is_look)
            for one in journal.replay(stream)
        ]
        assert found == [
            (position, one.sequence, one.capture_s, one.payload, one.is_last, one.is_look)
            for position, one in plain.held[stream]
        ]
        assert journal.newest_s(stream) == plain.newest_s(stream)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_a_journal_in_a_file_does_what_a_list_would(script: list[tuple]) -> None:  # type: ignore[type-arg]
    with in_files() as open_next:
        run_against_a_list(open_next, script)


@pytest.mark.redis
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps)
def test_a_journal_in_redis_does_what_a_list_would(
    redis_of_the_module: RedisServer,
    script: list[tuple],  # type: ignore[type-arg]
) -> None:
    flush(redis_of_the_module)
    run_against_a_list(lambda: open_in_redis(redis_of_the_module.url), script)
