"""A process that is killed in the middle of writing loses nothing that it had acknowledged."""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onlooker.cache_store.config import SyncPolicy
from onlooker.cache_store.envelope import decode
from onlooker.cache_store.journal import DurableMark, JournalReceipt, NewEntry
from onlooker.cache_store.journals.sqlite_journal import SqliteJournal
from onlooker.core.guarantee import Guarantee
from onlooker.core.media import Codec
from tests.fakes.waiting import WAIT_S
from tests.unit.cache_store.factories import (
    STREAM,
    assert_same,
    make_disk,
    make_encoded,
    make_key,
    make_record,
    make_store,
)

SHAPE = (2, 2, 2, 16, 64)
NUMBER = struct.Struct("<I")


def killed_after(num_acknowledged: int, work: Callable[[Callable[[int], None]], None]) -> set[int]:
    """Run `work` in a child and kill it after some acknowledgements; all that it gave."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(lambda number: acknowledge_to(writing, number))
        finally:
            os._exit(1)
    os.close(writing)
    acknowledged: set[int] = set()
    with os.fdopen(reading, "rb") as pipe:
        for _ in range(num_acknowledged):
            data = pipe.read(NUMBER.size)
            assert data, "the child ended by itself"
            acknowledged.add(*NUMBER.unpack(data))
        os.kill(child, signal.SIGKILL)
        while data := pipe.read(NUMBER.size):
            acknowledged.add(*NUMBER.unpack(data))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return acknowledged


def acknowledge_to(descriptor: int, number: int) -> None:
    os.write(descriptor, NUMBER.pack(number))


def numbers() -> Iterator[int]:
    """The same few hundred indexes again and again, so that records are also written over."""
    while True:
        yield from range(300)


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("num_acknowledged", [1, 2, 57, 350])
def test_a_disk_tier(tmp_path: Path, num_acknowledged: int, sync: bool) -> None:
    def work(acknowledge: Callable[[int], None]) -> None:
        tier = make_disk(tmp_path, sync=sync)
        for number in numbers():
            tier.put_many([make_encoded(number, shape=SHAPE)])
            acknowledge(number)

    # A synced write of a batch this small takes milliseconds: a few are enough.
    acknowledged = killed_after(min(num_acknowledged, 57) if sync else num_acknowledged, work)
    tier = make_disk(tmp_path)
    tier.check_integrity()
    keys = [make_key(number) for number in sorted(acknowledged)]
    assert set(keys) <= set(tier.keys())
    for key, fetch in zip(keys, tier.get_many(keys), strict=True):
        assert fetch.record is not None
        assert_same(decode(fetch.record), make_record(key.index, shape=SHAPE))
    assert {fetch.outcome.value for fetch in tier.get_many(tier.keys())} == {"hit"}
    tier.close()


@pytest.mark.parametrize("num_acknowledged", [1, 40, 200])
def test_a_store(tmp_path: Path, num_acknowledged: int) -> None:
    def work(acknowledge: Callable[[int], None]) -> None:
        store = make_store(make_disk(tmp_path), on_durable=lambda key, tier: acknowledge(key.index))
        for number in numbers():
            store.put(make_record(number, shape=SHAPE))

    acknowledged = killed_after(num_acknowledged, work)
    store = make_store(make_disk(tmp_path))
    rows = store.rows(STREAM)
    assert rows.is_complete
    assert acknowledged <= {row.key.index for row in rows.rows}
    for lookup in store.get_many([row.key for row in rows.rows]):
        assert_same(lookup.record, make_record(lookup.key.index, shape=SHAPE))
    assert store.stats().tiers["disk"].corrupt == 0
    store.close(WAIT_S)


def open_journal(root: Path) -> SqliteJournal:
    return SqliteJournal(
        root, max_bytes=1 << 26, max_streams=4, sync=SyncPolicy.NEVER, wal_bytes=1 << 20
    )


def payload_of(number: int) -> bytes:
    return number.to_bytes(4, "little") * 500


@pytest.mark.parametrize("num_acknowledged", [1, 10, 333, 2000])
def test_a_journal(tmp_path: Path, num_acknowledged: int) -> None:
    """Of all frames acknowledged, those marked as durable may be gone; no other."""

    def work(acknowledge: Callable[[int], None]) -> None:
        journal = open_journal(tmp_path)
        for number in range(1_000_000):
            entry = NewEntry(
                stream="cam",
                sequence=number,
                capture_s=0.0,
                codec=Codec.WEBP,
                payload=payload_of(number),
            )
            marks = [DurableMark(stream="cam", position=number - 100)] if number >= 100 else []
            receipt = journal.write([entry, *marks])[0]
            assert receipt == JournalReceipt(Guarantee.PROCESS, number)
            acknowledge(number)

    acknowledged = killed_after(num_acknowledged, work)
    journal = open_journal(tmp_path)
    entries = {entry.sequence: entry for entry in journal.replay("cam")}
    for number, entry in entries.items():
        assert entry.payload == payload_of(number)
    last = max(acknowledged)
    assert acknowledged - entries.keys() <= set(range(last - 98))
    assert journal.stats().damaged == 0
    journal.close()
