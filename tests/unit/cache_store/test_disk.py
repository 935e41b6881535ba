import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from onlooker.cache_store.codecs.base import Buffer
from onlooker.cache_store.envelope import EncodedRecord, decode
from onlooker.cache_store.errors import StoreLocked
from onlooker.cache_store.files import Files
from onlooker.cache_store.key import SegmentKind
from onlooker.cache_store.tier import FetchOutcome, PutOutcome
from onlooker.cache_store.tiers.disk import DiskTier
from onlooker.cache_store.tiers.disk_layout import path_of
from tests.unit.cache_store.factories import (
    assert_same,
    make_disk,
    make_encoded,
    make_key,
    make_record,
)


class BrokenFiles(Files):
    """Fails in one chosen way until told to stop; half of a failed write reaches the disk."""

    def __init__(self) -> None:
        self.room_bytes: int | None = None
        self.write_errno = errno.ENOSPC
        self.sync_errno: int | None = None
        self.read_errno: int | None = None
        self.rename_errno: int | None = None
        self.synced: list[Path] = []

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> int:
        if self.room_bytes is None:
            return super().write(descriptor, parts)
        part = memoryview(parts[0])[: self.room_bytes]
        if not part.nbytes:
            raise OSError(self.write_errno, os.strerror(self.write_errno))
        written = super().write(descriptor, [part])
        self.room_bytes -= written
        return written

    def rename(self, path: Path, target: Path) -> None:
        if self.rename_errno is not None:
            raise OSError(self.rename_errno, os.strerror(self.rename_errno))
        super().rename(path, target)

    def sync_path(self, path: Path) -> None:
        if self.sync_errno is not None:
            raise OSError(self.sync_errno, os.strerror(self.sync_errno))
        self.synced.append(path)
        super().sync_path(path)

    def read(self, path: Path, num_bytes: int | None = None) -> tuple[bytes, int]:
        if self.read_errno is not None:
            raise OSError(self.read_errno, os.strerror(self.read_errno))
        return super().read(path, num_bytes)

    def read_in_parts(self, path: Path, take: Callable[[memoryview], None]) -> memoryview:
        if self.read_errno is not None:
            raise OSError(self.read_errno, os.strerror(self.read_errno))
        return super().read_in_parts(path, take)


def outcomes(tier: DiskTier, *indexes: int) -> list[str]:
    return [fetch.outcome.value for fetch in tier.get_many([make_key(i) for i in indexes])]


def file_of(root: Path, index: int) -> Path:
    return path_of(root, make_key(index))


def test_records_are_found_again_after_a_restart(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    keys = [make_key(i) for i in (0, 1023, 1024, 99_999)] + [make_key(0, kind=SegmentKind.TEXT)]
    tier.put_many([make_encoded(key=key) for key in keys])
    used_bytes = tier.used_bytes()
    tier.close()
    again = make_disk(tmp_path)
    assert again.keys() == sorted(keys)
    assert again.used_bytes() == used_bytes
    for key, fetch in zip(keys, again.get_many(keys), strict=True):
        assert fetch.record is not None
        assert_same(decode(fetch.record), make_record(key=key))
    again.check_integrity()
    again.close()


def test_a_second_process_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    with pytest.raises(StoreLocked, match=r"cache_store\.disk\.path"):
        make_disk(tmp_path)
    tier.close()
    make_disk(tmp_path).close()


def test_leftovers_and_strange_files_do_no_harm(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(1)])
    tier.close()
    folder = file_of(tmp_path, 1).parent
    (folder / ".0").write_bytes(b"half a record")
    (folder / "0000000002.video").write_bytes(b"?")
    (folder / "notes.txt").write_bytes(b"?")
    (folder / "0000000003.clip").mkdir()
    (folder / "0000005000.clip").write_bytes(b"in the wrong folder")
    (tmp_path / "v1" / "..." / "x" / "y" / "0" / "0000000").mkdir(parents=True)
    again = make_disk(tmp_path)
    assert again.keys() == [make_key(1)]
    assert not (folder / ".0").exists()
    again.close()


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 500, -1])
def test_a_truncated_file_is_a_miss_once_and_then_gone(tmp_path: Path, keep: int) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(1), make_encoded(2)])
    tier.close()
    path = file_of(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:keep])
    again = make_disk(tmp_path)
    assert outcomes(again, 1, 2) == ["corrupt", "hit"]
    assert outcomes(again, 1, 2) == ["miss", "hit"]
    assert not path.exists()
    assert again.stats().corrupt == 1
    again.check_integrity()
    again.close()


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_scan_leaves_truncated_files_out_and_removes_them(tmp_path: Path, keep: int) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(index) for index in range(3)])
    path = file_of(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:keep])
    assert [head.key.index for head in tier.scan() if head] == [0, 2]
    assert tier.stats().corrupt == 1
    assert tier.keys() == [make_key(0), make_key(2)]
    tier.close()


def test_another_segments_file_under_the_name_is_foreign_and_stays(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(1), make_encoded(2)])
    file_of(tmp_path, 1).write_bytes(file_of(tmp_path, 2).read_bytes())
    assert outcomes(tier, 1) == ["foreign"]
    assert [head.key.index for head in tier.scan() if head] == [2]
    assert tier.stats().foreign == 2
    tier.put_many([make_encoded(1)])
    assert outcomes(tier, 1) == ["hit"]
    tier.close()


def test_it_keeps_within_its_budget_by_evicting_the_oldest(tmp_path: Path) -> None:
    probe = make_disk(tmp_path / "probe")
    probe.put_many([make_encoded(1)])
    size = probe.used_bytes()
    probe.close()
    tier = make_disk(tmp_path / "disk", budget_bytes=3 * size + size // 2)
    for index in range(1, 9):
        assert tier.put_many([make_encoded(index)]) == [PutOutcome.STORED]
        assert tier.used_bytes() <= tier.budget_bytes
    assert tier.keys() == [make_key(index) for index in (6, 7, 8)]
    assert tier.stats().evicted == 5
    tier.check_integrity()
    tier.close()
    smaller = make_disk(tmp_path / "disk", budget_bytes=size)
    assert len(smaller.keys()) == 1
    smaller.check_integrity()
    smaller.close()


def test_a_batch_larger_than_the_budget_keeps_its_end(tmp_path: Path) -> None:
    tier = make_disk(tmp_path, budget_bytes=5000, sync=True)
    stored = tier.put_many([make_encoded(index) for index in range(20)])
    assert stored == [PutOutcome.STORED] * 20
    kept = tier.keys()
    assert 0 < len(kept) < 20
    assert kept[-1] == make_key(19)
    tier.check_integrity()
    tier.close()


def test_a_record_larger_than_the_budget_is_refused_and_nothing_else_is_evicted(
    tmp_path: Path,
) -> None:
    tier = make_disk(tmp_path, budget_bytes=20_000)
    tier.put_many([make_encoded(1)])
    large = make_encoded(2, shape=(4, 2, 4, 64, 64))
    assert tier.put_many([large, make_encoded(3)]) == [PutOutcome.REFUSED, PutOutcome.STORED]
    assert tier.stats().refused == 1
    tier.check_integrity()
    tier.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_refuses_and_counts_and_leaves_nothing_behind(
    tmp_path: Path, code: int
) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files)
    tier.put_many([make_encoded(0)])
    files.write_errno, files.room_bytes = code, 100
    assert tier.put_many([make_encoded(1), make_encoded(2)]) == [PutOutcome.REFUSED] * 2
    assert tier.stats().refused == 2
    assert outcomes(tier, 0, 1, 2) == ["hit", "miss", "miss"]
    tier.check_integrity()
    files.room_bytes = None
    assert tier.put_many([make_encoded(1)]) == [PutOutcome.STORED]
    tier.close()


class FullDevice(Files):
    """Writes to the kernel's own full device. The error and its place are real; a file system that
    fills up, with room for names and a part of a record, is not."""

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> int:
        full = os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
        try:
            return super().write(full, parts)
        finally:
            os.close(full)


def test_what_the_kernel_says_of_a_full_device_is_a_refusal(tmp_path: Path) -> None:
    tier = make_disk(tmp_path, files=FullDevice())
    assert tier.put_many([make_encoded(1), make_encoded(2)]) == [PutOutcome.REFUSED] * 2
    assert (tier.stats().refused, tier.stats().write_errors) == (2, 0)
    assert outcomes(tier, 1, 2) == ["miss", "miss"]
    tier.check_integrity()
    tier.close()


def test_a_write_error_is_no_refusal(tmp_path: Path) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files)
    files.write_errno, files.room_bytes = errno.EIO, 0
    assert tier.put_many([make_encoded(1)]) == [PutOutcome.ERROR]
    assert tier.stats().write_errors == 1
    tier.check_integrity()
    tier.close()


def test_a_record_that_cannot_be_replaced_stays_as_it_was(tmp_path: Path) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files)
    tier.put_many([make_encoded(1, seed=1)])
    files.rename_errno = errno.EIO
    assert tier.put_many([make_encoded(1, seed=2)]) == [PutOutcome.ERROR]
    fetch = tier.get_many([make_key(1)])[0]
    assert fetch.record is not None
    assert_same(decode(fetch.record), make_record(1, seed=1))
    tier.check_integrity()
    tier.close()


def test_nothing_counts_as_stored_when_the_disk_does_not_sync(tmp_path: Path) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files, sync=True)
    files.sync_errno = errno.EIO
    assert tier.put_many([make_encoded(1)]) == [PutOutcome.ERROR]
    assert outcomes(tier, 1) == ["miss"]
    tier.check_integrity()
    tier.close()


def test_a_record_and_all_new_folders_above_it_are_synced(tmp_path: Path) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files, sync=True)
    tier.put_many([make_encoded(1)])
    folders = list(file_of(tmp_path, 1).parents)[:6]
    assert set(folders) <= set(files.synced)
    assert folders[-1] == tmp_path / "v1"
    assert any(path.name.startswith(".") for path in files.synced)
    tier.close()


def test_a_read_error_is_a_miss_that_keeps_the_record(tmp_path: Path) -> None:
    files = BrokenFiles()
    tier = make_disk(tmp_path, files=files)
    tier.put_many([make_encoded(1)])
    files.read_errno = errno.EIO
    assert outcomes(tier, 1) == ["error"]
    assert list(tier.scan()) == [None]
    files.read_errno = None
    assert outcomes(tier, 1) == ["hit"]
    assert tier.stats().read_errors == 2
    tier.close()


@pytest.mark.parametrize("count", [2, 3, 4, 5, 11])
def test_a_large_read_is_shared_by_threads_and_stays_in_order(tmp_path: Path, count: int) -> None:
    tier = make_disk(tmp_path)
    shape = (8, 2, 8, 32, 64)
    tier.put_many([make_encoded(index, shape=shape) for index in range(count)])
    order = [*range(count - 1, -1, -1), 99, 0]
    fetches = tier.get_many([make_key(index) for index in order])
    for index, fetch in zip(order, fetches, strict=True):
        if index == 99:
            assert fetch.outcome is FetchOutcome.MISS
        else:
            assert fetch.record is not None
            assert_same(decode(fetch.record), make_record(index, shape=shape))
    tier.close()


def test_a_file_that_someone_removed_is_a_miss(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(1)])
    file_of(tmp_path, 1).unlink()
    assert outcomes(tier, 1) == ["miss"]
    assert list(tier.scan()) == []
    assert tier.delete_many([make_key(1)])
    tier.check_integrity()
    tier.close()


def test_folders_go_with_their_last_record(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(0), make_encoded(5000)])
    tier.delete_many([make_key(0)])
    assert not file_of(tmp_path, 0).parent.exists()
    tier.delete_many([make_key(5000)])
    assert list((tmp_path / "v1").iterdir()) == []
    tier.put_many([make_encoded(0)])
    assert outcomes(tier, 0) == ["hit"]
    tier.close()


def test_victims_can_still_be_read_by_who_takes_them_over(tmp_path: Path) -> None:
    taken: list[EncodedRecord | None] = []
    tier = make_disk(tmp_path, budget_bytes=4000)
    tier.on_evicting = lambda keys, read: taken.extend(read(key) for key in keys)
    for index in range(6):
        tier.put_many([make_encoded(index)])
    assert len(taken) == tier.stats().evicted > 0
    for index, record in enumerate(taken):
        assert record is not None
        assert_same(decode(record), make_record(index))
    tier.close()


CHILD_WITH_A_LIMIT = """
import sys
from pathlib import Path
from tests.unit.cache_store.factories import make_disk, make_encoded
tier = make_disk(Path(sys.argv[1]), sync=True)
print([outcome.value for outcome in tier.put_many(
    [make_encoded(1), make_encoded(2, shape=(8, 2, 4, 32, 64)), make_encoded(3)])])
tier.check_integrity()
tier.close()
"""


def test_the_systems_own_size_limit_refuses_one_record_of_a_batch(tmp_path: Path) -> None:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", CHILD_WITH_A_LIMIT, str(tmp_path)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['stored', 'refused', 'stored']"
    again = make_disk(tmp_path)
    assert outcomes(again, 1, 2, 3) == ["hit", "miss", "hit"]
    again.close()


def test_a_fetch_of_a_directory_in_place_of_a_record_is_an_error(tmp_path: Path) -> None:
    tier = make_disk(tmp_path)
    tier.put_many([make_encoded(1)])
    file_of(tmp_path, 1).unlink()
    file_of(tmp_path, 1).mkdir()
    assert outcomes(tier, 1) == [FetchOutcome.ERROR.value]
    assert not tier.delete_many([make_key(1)])
    tier.close()
