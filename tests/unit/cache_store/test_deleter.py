"""Deletions while tiers hang or are away: nobody waits, and nothing is forgotten."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from onlooker.cache_store.codecs.table import RAW
from onlooker.cache_store.daemon_pool import DaemonPool
from onlooker.cache_store.deleter import Deleter
from onlooker.cache_store.erasure import Erasure
from onlooker.cache_store.errors import DeletionRefused
from onlooker.cache_store.fence import Fences
from onlooker.cache_store.files import Files
from onlooker.cache_store.key import SegmentKey, StreamKey
from onlooker.cache_store.lookup import PutResult
from onlooker.cache_store.tiered_store import TieredStore
from onlooker.cache_store.tiers.memory import MemoryTier
from onlooker.cache_store.tombstones import Tombstones
from onlooker.core.backoff import Backoff
from tests.fakes.faulty_tier import FaultRates, FaultyTier
from tests.fakes.waiting import WAIT_S, until
from tests.unit.cache_store.factories import (
    STREAM,
    make_encoded,
    make_key,
    make_memory,
    make_record,
    make_store,
    make_write_out,
)

AWAY = FaultRates(unreachable=1.0)


class Lower(MemoryTier):
    """A lower tier in RAM that tells when it was asked to delete something."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.deleted = threading.Event()
        super().__init__(budget_bytes=1 << 20, policy=make_memory()._policy)

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        found = super().delete_many(keys)
        self.deleted.set()
        return found


def make_patient_store(
    *tiers: FaultyTier, folder: Path | None = None, max_streams: int = 9
) -> TieredStore:
    """A store that waits for hanging tiers no longer than it must, and soon tries again."""
    outs = [make_write_out(tier) for tier in tiers]
    deleter = Deleter(
        outs,
        tombstones=Tombstones(folder),
        wait_s=0.01,
        backoff=Backoff(0.01, 0.01),
        max_streams=max_streams,
    )
    store = TieredStore(make_memory(), outs, memory_codec=RAW, deleter=deleter)
    store.start()
    return store


def test_a_deletion_does_not_wait_for_a_write_that_hangs() -> None:
    disk = FaultyTier(Lower("disk"), seed=0)
    store = make_patient_store(disk)
    disk.pause()
    store.put(make_record(0))
    assert disk.came_in.wait(WAIT_S)
    assert store.delete_stream(STREAM).result(WAIT_S) == ("disk",)
    assert store.is_deleting(STREAM)
    assert store.get_many([make_key(0)])[0].record is None
    disk.resume()
    store.close(WAIT_S)


def test_what_a_hanging_write_left_behind_is_deleted_once_it_has_ended() -> None:
    inner = Lower("disk")
    disk = FaultyTier(inner, seed=0)
    store = make_patient_store(disk)
    disk.pause()
    store.put(make_record(0))
    assert disk.came_in.wait(WAIT_S)
    store.delete_stream(STREAM).result(WAIT_S)
    disk.resume()
    assert store.flush(WAIT_S)
    while store.is_deleting(STREAM):
        inner.deleted.wait(0.001)
    assert inner.keys() == []
    assert store.stats().deletions.retried >= 1
    store.close(WAIT_S)


def test_the_end_does_not_wait_for_a_write_that_hangs() -> None:
    disk = FaultyTier(Lower("disk"), seed=0)
    store = make_patient_store(disk)
    disk.pause()
    store.put(make_record(0))
    assert disk.came_in.wait(WAIT_S)
    assert not store.close(0.01, hang_s=0.01)
    disk.resume()


def test_a_tier_below_one_that_hangs_is_emptied_meanwhile() -> None:
    disk, redis = FaultyTier(Lower("disk"), seed=0, rates=AWAY), Lower("redis")
    redis.put_many([make_encoded(0)])
    store = make_patient_store(disk, FaultyTier(redis, seed=0))
    assert store.delete_stream(STREAM).result(WAIT_S) == ("disk",)
    assert redis.keys() == []
    store.close(WAIT_S)


def test_a_deletion_is_remembered_by_the_next_process(tmp_path: Path) -> None:
    inner = Lower("redis")
    inner.put_many([make_encoded(0)])
    away = make_patient_store(FaultyTier(inner, seed=0, rates=AWAY), folder=tmp_path)
    assert away.delete_stream(STREAM).result(WAIT_S) == ("redis",)
    away.close(WAIT_S)
    inner.put_many([make_encoded(0)])  # closing a tier in RAM has emptied it
    after = make_patient_store(FaultyTier(inner, seed=0), folder=tmp_path)
    assert after.delete_stream(STREAM).result(WAIT_S) == ()
    assert inner.keys() == []
    after.close(WAIT_S)
    assert Tombstones(tmp_path).load() == []


def test_a_stream_that_is_to_be_deleted_is_hidden_from_the_first_moment(tmp_path: Path) -> None:
    Tombstones(tmp_path).add(Erasure(STREAM))
    inner = Lower("redis")
    inner.put_many([make_encoded(0)])
    store = make_patient_store(FaultyTier(inner, seed=0, rates=AWAY), folder=tmp_path)
    inner_is_up = make_store(inner)
    assert inner_is_up.streams()[0] == [STREAM]
    assert store.is_deleting(STREAM)
    assert store.streams()[0] == []
    assert store.rows(STREAM).rows == ()
    assert store.put(make_record(1)).result is PutResult.REFUSED
    store.close(WAIT_S)
    inner_is_up.close(WAIT_S)


def test_one_deletion_too_many_is_given_up_and_counted() -> None:
    store = make_patient_store(FaultyTier(Lower("redis"), seed=0, rates=AWAY), max_streams=1)
    store.delete_stream(STREAM).result(WAIT_S)
    other = StreamKey("model-a", "tenant-a", "camera-2")
    assert store.delete_stream(other).result(WAIT_S) == ("redis",)
    assert not store.is_deleting(other)
    assert store.stats().deletions.refused == 1
    store.close(WAIT_S)


def test_a_deletion_goes_on_where_it_cannot_be_noted(tmp_path: Path) -> None:
    class Broken(Files):
        def sync(self, descriptor: int) -> None:
            raise OSError("the medium is gone")

    inner = Lower("redis")
    inner.put_many([make_encoded(0)])
    outs = [make_write_out(inner)]
    deleter = Deleter(outs, tombstones=Tombstones(tmp_path / "deletions", files=Broken()))
    store = TieredStore(make_memory(), outs, memory_codec=RAW, deleter=deleter)
    store.start()
    assert store.delete_stream(STREAM).result(WAIT_S) == ()
    assert inner.keys() == []
    store.close(WAIT_S)


def test_names_of_others_among_the_tombstones_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "a+b+c+x").touch()
    Tombstones(tmp_path).add(Erasure(STREAM))
    assert Tombstones(tmp_path).load() == [Erasure(STREAM)]


def test_a_pool_runs_what_it_is_given_and_passes_errors_on() -> None:
    pool = DaemonPool(2, name="test")
    assert list(pool.map(abs, [-1, 2, -3])) == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(WAIT_S)
    assert pool.close(WAIT_S)
    with pytest.raises(RuntimeError):
        pool.submit(abs, 1)


def test_a_pool_ends_though_a_call_hangs() -> None:
    pool, end = DaemonPool(1, name="test"), threading.Event()
    hanging, waiting = pool.submit(end.wait), pool.submit(abs, 1)
    assert not pool.close(0.01)
    assert waiting.cancelled()
    end.set()
    assert hanging.result(WAIT_S)


def test_segments_are_deleted_from_all_tiers_and_the_others_stay() -> None:
    disk, redis = Lower("disk"), Lower("redis")
    store = make_patient_store(FaultyTier(disk, seed=0), FaultyTier(redis, seed=0))
    for index in range(4):
        store.put(make_record(index))
    assert store.flush(WAIT_S)
    gone, kept = [make_key(1), make_key(2)], [make_key(0), make_key(3)]
    assert store.delete_segments(STREAM, gone).result(WAIT_S) == ()
    assert [found.record for found in store.get_many(gone)] == [None, None]
    for tier in (disk, redis):
        assert tier.keys() == kept
    assert [row.key for row in store.rows(STREAM).rows] == kept
    store.close(WAIT_S)


def test_segments_in_a_tier_that_is_away_are_hidden_and_never_put_again(tmp_path: Path) -> None:
    inner = Lower("redis")
    inner.put_many([make_encoded(index) for index in range(3)])
    away = make_patient_store(FaultyTier(inner, seed=0, rates=AWAY), folder=tmp_path)
    assert away.delete_segments(STREAM, [make_key(1)]).result(WAIT_S) == ("redis",)
    assert away.unreached(STREAM) == ("redis",)
    assert away.put(make_record(1)).result is PutResult.REFUSED
    assert away.put(make_record(5)).result is not PutResult.REFUSED
    away.close(WAIT_S)
    inner.put_many([make_encoded(index) for index in range(3)])  # closing it has emptied it
    after = make_patient_store(FaultyTier(inner, seed=0), folder=tmp_path)
    while after.unreached(STREAM):
        inner.deleted.wait(0.001)
    assert inner.keys() == [make_key(0), make_key(2)]
    after.close(WAIT_S)
    assert Tombstones(tmp_path).load() == []


def test_a_deletion_is_noted_and_taken_up_again_with_the_epoch_of_its_owner(tmp_path: Path) -> None:
    def make(rates: FaultRates) -> tuple[TieredStore, Fences]:
        fences, out = Fences(), make_write_out(FaultyTier(Lower("redis"), seed=0, rates=rates))
        deleter = Deleter(
            [out], tombstones=Tombstones(tmp_path), fences=fences, wait_s=0.01,
            backoff=Backoff(0.01, 0.01),
        )  # fmt: skip
        return TieredStore(make_memory(), [out], memory_codec=RAW, deleter=deleter), fences

    first, fences = make(AWAY)
    fences.own(f"{STREAM.tenant}/{STREAM.stream}", 7)
    first.start()
    assert first.delete_stream(STREAM).result(WAIT_S) == ("redis",)
    (noted,) = Tombstones(tmp_path).load()
    assert (noted, noted.epoch) == (Erasure(STREAM), 7)
    second, fences = make(AWAY)  # the first was killed
    second.start()
    assert fences.epoch(STREAM) == 7, "so that nothing of the next owner is deleted"
    second.close(WAIT_S)
    first.close(WAIT_S)


def test_what_is_to_be_deleted_is_read_back_as_it_was_noted(tmp_path: Path) -> None:
    erasures = [Erasure(STREAM), Erasure(STREAM, frozenset({make_key(3), make_key(70)}))]
    for erasure in erasures:
        Tombstones(tmp_path).add(erasure)
    (tmp_path / ".half").write_text("written")
    assert set(Tombstones(tmp_path).load()) == set(erasures)
    for erasure in erasures:
        Tombstones(tmp_path).remove(erasure)
    assert Tombstones(tmp_path).load() == []


def test_each_erasure_that_is_taken_up_goes_by_the_newest_owner_of_its_stream(
    tmp_path: Path,
) -> None:
    """An older note of the same stream would have what the newer owner deleted be refused."""
    notes = Tombstones(tmp_path)
    some = [Erasure(STREAM, frozenset({make_key(index)}), 5 + index % 2) for index in range(6)]
    for erasure in some:
        notes.add(erasure)
    fences = Fences()
    deleter = Deleter(
        [make_write_out(FaultyTier(Lower("redis"), seed=0, rates=AWAY))],
        tombstones=notes, fences=fences, wait_s=0.01, backoff=Backoff(0.01, 0.01),
    )  # fmt: skip
    deleter.start()
    assert fences.epoch(STREAM) == 6
    assert deleter.stats().num_pending == 6
    deleter.close(WAIT_S)


async def test_a_deletion_that_waits_is_noted_anew_when_its_stream_is_claimed_again(
    tmp_path: Path,
) -> None:
    """Else the next process would go by the old claim, and Redis refuse what was asked for."""
    fences, notes = Fences(), Tombstones(tmp_path)
    deleter = Deleter(
        [make_write_out(FaultyTier(Lower("redis"), seed=0, rates=AWAY))],
        tombstones=notes, fences=fences, wait_s=0.01, backoff=Backoff(0.01, 0.01),
    )  # fmt: skip
    deleter.start()
    stream = f"{STREAM.tenant}/{STREAM.stream}"
    fences.own(stream, 5)
    assert deleter.delete(Erasure(STREAM)).result(WAIT_S) == ("redis",)
    assert [one.epoch for one in notes.load()] == [5]
    fences.own(stream, 6)
    await until(lambda: [one.epoch for one in notes.load()] == [6])
    deleter.close(WAIT_S)


def test_a_life_that_went_on_under_a_newer_owner_is_not_deleted_for_an_older_one(
    tmp_path: Path,
) -> None:
    inner, notes = Lower("redis"), Tombstones(tmp_path)
    inner.put_many([make_encoded(index) for index in range(3)])
    notes.add(Erasure(STREAM, None, 5))
    notes.add(Erasure(STREAM, frozenset({make_key(1)}), 6))
    store = make_patient_store(FaultyTier(inner, seed=0), folder=tmp_path)
    while store.unreached(STREAM):
        inner.deleted.wait(0.001)
    assert inner.keys() == [make_key(0), make_key(2)]
    store.close(WAIT_S)
    assert notes.load() == []


def test_the_note_of_an_erasure_is_that_of_its_newest_owner(tmp_path: Path) -> None:
    notes, old, new = Tombstones(tmp_path), Erasure(STREAM, None, 5), Erasure(STREAM, None, 6)
    notes.add(old)
    notes.add(new)
    notes.add(old)
    assert [one.epoch for one in notes.load()] == [6]
    notes.remove(old)
    assert [one.epoch for one in notes.load()] == [6], "another server has it still to do"
    notes.remove(new)
    assert notes.load() == []


@pytest.mark.parametrize("trouble", [FileNotFoundError, PermissionError])
def test_a_note_that_cannot_be_read_keeps_no_other_from_being_taken_up(
    tmp_path: Path, trouble: type[OSError]
) -> None:
    """Servers may share the folder: one note is gone meanwhile, another is of another user."""
    whole, some = Erasure(STREAM), Erasure(STREAM, frozenset({make_key(3)}))

    class OneIsGone(Files):
        def read(self, path: Path, num_bytes: int | None = None) -> tuple[bytes, int]:
            if path.name.count("+") == 4:
                raise trouble("it cannot be read")
            return super().read(path, num_bytes)

    for erasure in (whole, some):
        Tombstones(tmp_path).add(erasure)
    assert Tombstones(tmp_path, files=OneIsGone()).load() == [whole]


def test_too_many_segments_to_delete_are_given_up_and_counted() -> None:
    redis = FaultyTier(Lower("redis"), seed=0, rates=AWAY)
    outs = [make_write_out(redis)]
    deleter = Deleter(outs, wait_s=0.01, backoff=Backoff(0.01, 0.01), max_segments=2)
    deleter.start()
    first = Erasure(STREAM, frozenset({make_key(0), make_key(1)}))
    second = Erasure(STREAM, frozenset({make_key(2)}))
    assert deleter.delete(first).result(WAIT_S) == ("redis",)
    assert deleter.delete(second).result(WAIT_S) == ("redis",)
    assert [deleter.is_gone(make_key(index)) for index in range(3)] == [True, True, False]
    assert deleter.stats().refused == 1
    deleter.close(WAIT_S)


class Elsewhere(Lower):
    """A tier whose streams are another server's."""

    def delete_many(self, keys: Sequence[SegmentKey]) -> bool:
        self.deleted.set()
        raise DeletionRefused("another server owns the stream")


def test_a_deletion_that_is_refused_is_told_and_counted_and_not_tried_again(tmp_path: Path) -> None:
    disk, redis = Lower("disk"), Elsewhere("redis")
    for tier in (disk, redis):
        tier.put_many([make_encoded(0)])
    store = make_patient_store(FaultyTier(disk, seed=0), FaultyTier(redis, seed=0), folder=tmp_path)
    assert store.delete_stream(STREAM).result(WAIT_S) == ("redis",)
    assert disk.keys() == []
    assert redis.keys() == [make_key(0)]
    assert store.close(WAIT_S)
    deletions = store.stats().deletions
    assert (deletions.overruled, deletions.num_pending, deletions.retried) == (1, 0, 0)
    assert list(tmp_path.iterdir()) == [], "the next process has nothing to do either"
